//! The operator's webhooks: where events are sent to.
//!
//! Users name them; their addresses are the operator's alone to say, so that nobody can have requests sent into a
//! network that only the store reaches.

use super::http;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For one message and its answer.
const SEND_TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    pub url: String,
    /// Whom an `https://` URL is trusted by.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Sent as the header `Authorization`.
    #[serde(default)]
    pub authorization: Option<String>,
}

#[derive(Debug, Default)]
pub struct Webhooks(BTreeMap<String, Webhook>);

#[derive(Debug)]
struct Webhook {
    url: String,
    authorization: Option<String>,
    http: reqwest::Client,
}

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("there is no webhook of this name")]
    Unknown,
    #[error("it cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    #[error("it answered {0}")]
    Refused(u16),
}

impl Webhooks {
    /// # Errors
    /// A URL or a file that cannot be used, with the webhook's name.
    pub fn open(configs: &BTreeMap<String, WebhookConfig>) -> Result<Self, String> {
        let open = |(name, config): (&String, &WebhookConfig)| {
            let hook = Webhook::open(config).map_err(|why| format!("s3.webhooks.{name}: {why}"))?;
            Ok((name.clone(), hook))
        };
        configs.iter().map(open).collect::<Result<_, String>>().map(Self)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub fn is_known(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// One message; heard when this returns without an error.
    pub async fn send(&self, name: &str, body: String) -> Result<(), SendError> {
        let hook = self.0.get(name).ok_or(SendError::Unknown)?;
        let mut request = hook.http.post(&hook.url).header("content-type", "application/json").body(body);
        if let Some(authorization) = &hook.authorization {
            request = request.header("authorization", authorization);
        }
        let answer = request.send().await.map_err(|error| SendError::Unreachable(error.without_url()))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(SendError::Refused(status.as_u16())),
        }
    }
}

impl Webhook {
    fn open(config: &WebhookConfig) -> Result<Self, String> {
        let named = |why: &dyn std::fmt::Display| match &config.ca {
            Some(ca) => format!("{}: {why}", ca.display()),
            None => why.to_string(),
        };
        let pem = config.ca.as_ref().map(std::fs::read).transpose().map_err(|error| named(&error))?;
        let builder = http::trusting(pem.as_deref(), CONNECT_TIMEOUT).map_err(|why| named(&why))?;
        let http = builder.timeout(SEND_TIMEOUT).build().map_err(|error| error.to_string())?;
        Ok(Self { url: config.url.clone(), authorization: config.authorization.clone(), http })
    }
}

impl WebhookConfig {
    /// # Errors
    /// What is wrong with the key that is named.
    pub fn check(&self) -> Result<(), String> {
        let url =
            reqwest::Url::parse(&self.url).map_err(|error| format!("url = \"{}\": {error}", self.url))?;
        match (url.scheme(), &self.ca) {
            ("http", _) | ("https", Some(_)) => {}
            ("https", None) => return Err("ca: an https:// URL needs the CA's certificate".to_owned()),
            _ => return Err(format!("url = \"{}\": expecting http:// or https://", self.url)),
        }
        let header = self.authorization.as_deref().map(reqwest::header::HeaderValue::from_str);
        match header {
            Some(Err(_)) => Err("authorization: not a header's value".to_owned()),
            Some(Ok(_)) | None => Ok(()),
        }
    }
}
