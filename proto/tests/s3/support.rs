//! A request in pieces, and the way of an S3 server through the verifier.

use karri_proto::refusal::S3Refusal;
use karri_proto::sign::{Claim, Payload, RequestView, Rules, Secret, Verified, Verifier, parse_s3};
use serde_json::Value;
use time::OffsetDateTime;

/// The credentials of AWS's documentation.
pub const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
pub const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
pub const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[derive(Debug, Clone)]
pub struct Request {
    pub name: String,
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
    /// The bucket, when it stands in the host name.
    pub bucket: Option<String>,
}

impl Request {
    pub fn new(method: &str, target: &str, headers: &[(&str, &str)]) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Self {
            name: format!("{method} {target}"),
            method: method.into(),
            path: path.into(),
            query: query.into(),
            headers: headers.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect(),
            body: String::new(),
            bucket: None,
        }
    }

    /// A line of the recordings.
    pub fn read(line: &str) -> Self {
        let value: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| value[name].as_str().unwrap();
        let mut request = Self::new(text("method"), text("target"), &[]);
        let pair = |h: &Value| (h[0].as_str().unwrap().to_owned(), h[1].as_str().unwrap().to_owned());
        request.headers = value["headers"].as_array().unwrap().iter().map(pair).collect();
        request.name = text("name").to_owned();
        request.body = text("body").to_owned();
        let host = request.header("host").unwrap().to_owned();
        request.bucket = host.strip_suffix(|c: char| c.is_ascii_digit() || c == ':').and_then(|_| {
            let (bucket, rest) = host.split_once('.')?;
            rest.starts_with("localhost").then(|| bucket.to_owned())
        });
        request
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self.headers.push((name.into(), value.into()));
    }

    pub fn remove(&mut self, name: &str) {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
    }

    pub fn with_view<T>(&self, payload: Payload<'_>, look: impl FnOnce(&RequestView<'_>) -> T) -> T {
        let headers: Vec<(&str, &[u8])> =
            self.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
        let (method, path, query) = (&self.method, &self.path, &self.query);
        look(&RequestView { method, path, query, headers: &headers, payload })
    }

    pub fn claim(&self) -> Result<Option<Claim>, S3Refusal> {
        self.with_view(Payload::Unread, parse_s3)
    }

    /// As a server with the region us-east-1 (and s3cmd's default) would, at `now`.
    pub fn verify_with(&self, secret: &str, now: OffsetDateTime) -> Result<Verified, S3Refusal> {
        self.with_view(Payload::Unread, |view| {
            let claim = parse_s3(view)?.ok_or(S3Refusal::denied("anonymous"))?;
            claim.expect_s3_scope(&["us-east-1", "US"])?;
            let verifier = Verifier::new(Rules::S3);
            verifier.verify_s3(&claim, &Secret::new(secret), view, self.bucket.as_deref(), now)
        })
    }

    pub fn verify(&self, now: OffsetDateTime) -> Result<Verified, S3Refusal> {
        self.verify_with(SECRET, now)
    }
}
