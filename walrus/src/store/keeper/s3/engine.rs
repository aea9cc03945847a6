//! Requests to the engine. What passes is tried again, with pauses that grow; as long as the engine is known to be
//! away each request tries once, so that callers hear of it soon.

use super::documents::{self, Failure, Made};
use super::fault::EngineError;
use super::sign::Signer;
use super::spool::Part;
use crate::drive::http;
use bytes::{Bytes, BytesMut};
use karri_proto::aws::rest::read::document;
use karri_proto::runtime::metrics::Metrics;
use karri_proto::runtime::outage::Outage;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rand::Rng as _;
use reqwest::header::HeaderMap;
use reqwest::{Method, Response, StatusCode};
use sha2::{Digest as _, Sha256};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
pub const TRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 10 } else { 100 });
/// Of an answer that is held in memory: a listing of 1,000 names, or bytes that were asked for.
const ANSWER_BYTES_MAX: usize = 2 << 20;
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Whom the engine knows us as.
#[derive(Clone)]
pub struct EngineKeys {
    pub access_key_id: String,
    pub secret_access_key: String,
}

impl std::fmt::Debug for EngineKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EngineKeys({})", self.access_key_id)
    }
}

#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// `http://host:port` or `https://host:port`.
    pub endpoint: String,
    pub region: String,
    pub bucket: String,
    /// Empty, or ends with a slash.
    pub prefix: String,
    /// The bucket stands in the path, not in the host's name.
    pub path_style: bool,
    pub keys: EngineKeys,
    /// Who vouches for the engine's certificate, as PEM.
    pub ca: Option<Vec<u8>>,
    /// For one request, from its first byte to the end of its answer. One that takes longer is made once more: its
    /// connection may have ended at a machine that is no longer there.
    pub timeout: Duration,
}

#[derive(Debug)]
pub struct Engine {
    http: reqwest::Client,
    /// Up to and with the bucket.
    base: String,
    bucket: String,
    signer: Signer,
    timeout: Duration,
    outage: Mutex<Outage>,
    away: AtomicBool,
    metrics: Arc<Metrics>,
}

/// A request, which can be made any number of times.
#[derive(Debug, Clone)]
pub struct Call {
    method: &'static str,
    key: String,
    query: Vec<(&'static str, String)>,
    headers: Vec<(&'static str, String)>,
    body: Body,
    /// The root of the document that an answer must have.
    root: Option<&'static str>,
}

#[derive(Debug, Clone)]
enum Body {
    Text(String),
    Part(Part),
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Call {
    /// An empty key is the bucket itself.
    pub fn new(method: &'static str, key: String) -> Self {
        Self {
            method,
            key,
            query: Vec::new(),
            headers: Vec::new(),
            body: Body::Text(String::new()),
            root: None,
        }
    }

    pub fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn text(self, text: String) -> Self {
        Self { body: Body::Text(text), ..self }
    }

    pub fn part(self, part: Part) -> Self {
        Self { body: Body::Part(part), ..self }
    }

    /// An answer of 200 that is another document, or none, is tried again like any failure.
    pub fn answered_by(self, root: &'static str) -> Self {
        Self { root: Some(root), ..self }
    }
}

impl Engine {
    /// # Errors
    /// What cannot be used of the options.
    pub fn new(options: EngineOptions, metrics: Arc<Metrics>) -> Result<Self, String> {
        let builder = http::trusting(options.ca.as_deref(), CONNECT_TIMEOUT)?;
        let http = builder.build().map_err(|error| error.to_string())?;
        let (endpoint, bucket) = (options.endpoint.trim_end_matches('/'), options.bucket.clone());
        let base = match (options.path_style, endpoint.split_once("://")) {
            (false, Some((scheme, host))) => format!("{scheme}://{bucket}.{host}"),
            _ => format!("{endpoint}/{bucket}"),
        };
        let signer = Signer::new(&options.region, &options.keys);
        let (outage, away) = (Mutex::default(), AtomicBool::new(false));
        Ok(Self { http, base, bucket, signer, timeout: options.timeout, outage, away, metrics })
    }

    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    fn url(&self, call: &Call) -> String {
        let mut url = format!("{}/{}", self.base, call.key);
        if call.key.is_empty() && self.base.ends_with(&format!("/{}", self.bucket)) {
            url.pop();
        }
        for (at, (name, value)) in call.query.iter().enumerate() {
            let mark = if at == 0 { '?' } else { '&' };
            url.push_str(&format!("{mark}{name}={}", utf8_percent_encode(value, QUERY)));
        }
        url
    }

    /// An answer's head; whatever it says.
    async fn send(&self, call: &Call) -> Result<Response, EngineError> {
        let method = Method::from_bytes(call.method.as_bytes()).map_err(broken)?;
        let url = self.url(call);
        let (body, bytes, sha256) = match &call.body {
            Body::Text(text) => {
                (text.clone().into(), text.len() as u64, hex::encode(Sha256::digest(text.as_bytes())))
            }
            Body::Part(part) => (part.body(), part.bytes, part.sha256.clone()),
        };
        let signature = self.signer.sign(call.method, &url, &call.headers, &sha256).map_err(broken)?;
        let mut request = self.http.request(method.clone(), url);
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        for (name, value) in signature {
            request = request.header(name, value);
        }
        if matches!(method, Method::PUT | Method::POST) {
            request = request.header("content-length", bytes).body(body);
        }
        request.send().await.map_err(|error| EngineError::Broken(chain(&error.without_url())))
    }

    /// The head of an answer that is a success.
    async fn begun(&self, call: &Call) -> Result<Response, EngineError> {
        let response = self.send(call).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = whole(response).await.unwrap_or_default();
        let failure = document::<Failure>(&body, "Error").unwrap_or_default();
        let code = match failure.code {
            // To HEAD there is no document. A bucket that is not there never gets that far.
            code if code.is_empty() && call.method == "HEAD" && status == StatusCode::NOT_FOUND => {
                "NoSuchKey".to_owned()
            }
            code => code,
        };
        Err(EngineError::refused(status.as_u16(), code, failure.message))
    }

    async fn once(&self, call: &Call) -> Result<Answer, EngineError> {
        let response = self.begun(call).await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = whole(response).await?;
        if let Some(root) = call.root {
            documents::read::<Made>(&body, root)?;
        }
        Ok(Answer { status, headers, body })
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T, EngineError>>) -> Result<T, EngineError> {
        let late = || EngineError::Broken(format!("no answer within {} s", self.timeout.as_secs_f64()));
        tokio::time::timeout(self.timeout, work).await.map_err(|_| late())?
    }

    /// A request and its whole answer.
    pub async fn call(&self, call: &Call) -> Result<Answer, EngineError> {
        self.tries(call, || self.within(self.once(call))).await
    }

    /// One try, for who is in a hurry.
    pub async fn ask(&self, call: &Call) -> Result<Answer, EngineError> {
        let answer = self.within(self.once(call)).await;
        self.note(call, answer.as_ref().err());
        answer
    }

    /// A request and the head of its answer. The caller reads on.
    pub async fn stream(&self, call: &Call) -> Result<Response, EngineError> {
        self.tries(call, || self.within(self.begun(call))).await
    }

    async fn tries<T, F>(&self, call: &Call, mut work: impl FnMut() -> F) -> Result<T, EngineError>
    where
        F: Future<Output = Result<T, EngineError>>,
    {
        let begun = Instant::now();
        let mut tried = 0;
        loop {
            let outcome = work().await;
            tried += 1;
            let tries = if self.away.load(Ordering::Relaxed) { 1 } else { TRIES };
            let again = |error: &EngineError| {
                error.is_passing() && tried < tries && begun.elapsed() < 2 * self.timeout
            };
            match outcome {
                Err(error) if again(&error) => {
                    tracing::debug!(method = call.method, key = call.key, %error, "tried again");
                    self.metrics.count("karri_walrus_engine_retries_total", &[]);
                    tokio::time::sleep(pause(tried)).await;
                }
                outcome => {
                    self.note(call, outcome.as_ref().err());
                    return outcome;
                }
            }
        }
    }

    /// How a request ended.
    fn note(&self, call: &Call, error: Option<&EngineError>) {
        match error.filter(|error| !error.is_answer()) {
            Some(error) => {
                self.metrics.count("karri_walrus_engine_failures_total", &[("method", call.method)]);
                self.away.store(true, Ordering::Relaxed);
                if self.outage().goes_on(Instant::now()) {
                    tracing::warn!(%error, "the engine of larger objects is away; requests for them are answered 503");
                }
            }
            None if self.away.load(Ordering::Relaxed) => {
                self.away.store(false, Ordering::Relaxed);
                if self.outage().ends() {
                    tracing::info!("the engine of larger objects answers again");
                }
            }
            None => {}
        }
    }

    fn outage(&self) -> std::sync::MutexGuard<'_, Outage> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next piece of an answer that is being read; nothing at its end.
    pub async fn chunk(&self, response: &mut Response) -> Result<Option<Bytes>, EngineError> {
        self.within(async { response.chunk().await.map_err(|error| broken(error.without_url())) }).await
    }
}

impl Answer {
    pub fn text(&self, header: &str) -> &str {
        self.headers.get(header).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

async fn whole(mut response: Response) -> Result<Bytes, EngineError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| broken(error.without_url()))? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(EngineError::Nonsense(format!("more than {ANSWER_BYTES_MAX} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

pub fn pause(tried: u32) -> Duration {
    FIRST_PAUSE * 2u32.pow(tried.min(6)) / 2 * rand::thread_rng().gen_range(50..150) / 100
}

fn broken(error: impl std::fmt::Display) -> EngineError {
    EngineError::Broken(error.to_string())
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        assert!(pause(1) >= FIRST_PAUSE / 2 && pause(1) < FIRST_PAUSE * 3 / 2);
        assert!(pause(3) >= FIRST_PAUSE * 2 && pause(3) < FIRST_PAUSE * 6);
        assert!(pause(1000) <= FIRST_PAUSE * 48);
    }

    #[test]
    fn the_bucket_stands_in_the_path_or_in_the_host() {
        let engine = |path_style| {
            let keys = EngineKeys { access_key_id: "a".into(), secret_access_key: "b".into() };
            let options = EngineOptions {
                endpoint: "http://rgw.example.net:7480".into(),
                region: "r".into(),
                bucket: "bucket".into(),
                prefix: String::new(),
                path_style,
                keys,
                ca: None,
                timeout: Duration::from_secs(1),
            };
            Engine::new(options, Arc::default()).unwrap()
        };
        let object = Call::new("GET", "p/k".into()).query("uploadId", "a/b+c");
        assert_eq!(engine(true).url(&object), "http://rgw.example.net:7480/bucket/p/k?uploadId=a%2Fb%2Bc");
        assert_eq!(engine(false).url(&object), "http://bucket.rgw.example.net:7480/p/k?uploadId=a%2Fb%2Bc");
        let bucket = Call::new("GET", String::new()).query("uploads", "");
        assert_eq!(engine(true).url(&bucket), "http://rgw.example.net:7480/bucket?uploads=");
        assert_eq!(engine(false).url(&bucket), "http://bucket.rgw.example.net:7480/?uploads=");
    }
}
