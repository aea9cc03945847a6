//! A small EC2 client: what the command line itself asks the cloud's front door, signed by AWS's own crate.

mod xml;

pub use xml::Element;

use crate::credentials::Credentials;
use crate::http;
use anyhow::Context;
use aws_credential_types::Credentials as Keys;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::time::{Duration, SystemTime};

const API_VERSION: &str = "2016-11-15";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
const PAGES_MAX: usize = 1000;
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// EC2 said no, in its own words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message} (request {request_id})")]
pub struct Refusal {
    pub code: String,
    pub message: String,
    pub request_id: String,
}

#[derive(Debug)]
pub struct Ec2 {
    credentials: Credentials,
    http: reqwest::Client,
}

impl Ec2 {
    pub fn new(credentials: Credentials) -> anyhow::Result<Self> {
        let http = http::trusting_the_system()?
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            .no_proxy()
            .build()?;
        Ok(Self { credentials, http })
    }

    /// One action. `parameters` are as the Query protocol spells them.
    pub async fn call(&self, action: &str, parameters: &[(&str, &str)]) -> anyhow::Result<Element> {
        let body = form(action, parameters);
        let request = reqwest::Request::try_from(self.signed(body, SystemTime::now())?)?;
        let endpoint = &self.credentials.endpoint;
        let response =
            self.http.execute(request).await.with_context(|| format!("{endpoint} does not answer"))?;
        let status = response.status();
        let text = response.text().await?;
        let answer = Element::parse(&text).with_context(|| format!("{action}: {status}, and no XML"))?;
        if status.is_success() {
            return Ok(answer);
        }
        let error = answer.at(&["Errors", "Error"]).cloned().unwrap_or_default();
        let request_id = answer.text("RequestID").or(answer.text("RequestId"));
        Err(Refusal {
            code: error.text("Code").unwrap_or(status.as_str()).to_owned(),
            message: error.text("Message").unwrap_or(&text).to_owned(),
            request_id: request_id.unwrap_or_default().to_owned(),
        }
        .into())
    }

    /// Every item of `set`, through all pages.
    pub async fn list(
        &self,
        action: &str,
        parameters: &[(&str, &str)],
        set: &str,
    ) -> anyhow::Result<Vec<Element>> {
        let mut found = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let mut asked = parameters.to_vec();
            asked.extend(token.as_deref().map(|token| ("NextToken", token)));
            let page = self.call(action, &asked).await?;
            found.extend(page.items(set).cloned());
            token = page.text("nextToken").filter(|text| !text.is_empty()).map(str::to_owned);
            if token.is_none() {
                return Ok(found);
            }
        }
        anyhow::bail!("{action}: the answer has more than {PAGES_MAX} pages")
    }

    fn signed(&self, body: String, now: SystemTime) -> anyhow::Result<::http::Request<String>> {
        let Credentials { access_key_id, secret_access_key, region, endpoint, .. } = &self.credentials;
        let identity = Keys::new(access_key_id, secret_access_key, None, None, "karri").into();
        let settings = SigningSettings::default();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name("ec2")
            .time(now)
            .settings(settings);
        let content_type = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");
        let url = format!("{}/", endpoint.trim_end_matches('/'));
        let signable = SignableRequest::new(
            "POST",
            &url,
            [content_type].into_iter(),
            SignableBody::Bytes(body.as_bytes()),
        )?;
        let (instructions, _) = sign(signable, &parameters.build()?.into())?.into_parts();
        let mut request = ::http::Request::builder()
            .method("POST")
            .uri(&url)
            .header(content_type.0, content_type.1)
            .body(body)?;
        instructions.apply_to_request_http1x(&mut request);
        Ok(request)
    }
}

fn form(action: &str, parameters: &[(&str, &str)]) -> String {
    let fixed = [("Action", action), ("Version", API_VERSION)];
    let pairs: Vec<String> = fixed
        .iter()
        .chain(parameters)
        .map(|(name, value)| {
            format!("{}={}", utf8_percent_encode(name, FORM), utf8_percent_encode(value, FORM))
        })
        .collect();
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_signed_form() {
        let credentials = Credentials {
            access_key_id: "AKIAEXAMPLE".into(),
            secret_access_key: "secret".into(),
            region: "karri-1".into(),
            endpoint: "http://127.0.0.1:8773".into(),
            s3: None,
            bundling: None,
        };
        let body = form("RegisterImage", &[("Name", "a b&c/ä~")]);
        assert_eq!(body, "Action=RegisterImage&Version=2016-11-15&Name=a%20b%26c%2F%C3%A4~");
        let ec2 = Ec2::new(credentials).unwrap();
        let request = ec2.signed(body, SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)).unwrap();
        let authorization = request.headers()["authorization"].to_str().unwrap();
        let scope =
            "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20231114/karri-1/ec2/aws4_request, SignedHeaders=";
        assert!(authorization.starts_with(scope), "{authorization}");
        assert_eq!(request.uri(), "http://127.0.0.1:8773/");
    }
}
