//! The calling side of the internal APIs.

use crate::internal::ApiError;
use crate::internal::caller::REQUEST_ID_HEADER;
use crate::internal::error::ApiErrorKind;
use crate::runtime::tls::{self, Peer, TlsFiles};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// A stream may take as long as it likes, but not stand still.
const STREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// An upload is answered when all of it has arrived and is stored; its receiver minds standing still.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(6 * 3600);
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Calls one controller. Cheap to clone; connections are kept.
#[derive(Debug, Clone)]
pub struct InternalClient {
    base: String,
    http: reqwest::Client,
    /// Without the idle timeout: it counts from the first byte sent until the answer begins.
    uploads: reqwest::Client,
}

impl InternalClient {
    /// `base` is the peer's URL (it may end in a path); the peer must hold a certificate of this role, or of
    /// this very identity.
    pub fn new(base: &str, peer: impl Into<Peer>, files: &TlsFiles) -> Result<Self, ApiError> {
        Self::over(base, tls::client_config(files, peer).map_err(ApiError::internal)?)
    }

    /// For `/v1/join` only: no certificate of our own yet, and trust in one CA by its fingerprint.
    pub fn joining(base: &str, ca_fingerprint: &str) -> Result<Self, ApiError> {
        Self::over(base, tls::joining_client_config(ca_fingerprint).map_err(ApiError::internal)?)
    }

    fn over(base: &str, tls: rustls::ClientConfig) -> Result<Self, ApiError> {
        let builder = || {
            reqwest::Client::builder()
                .use_preconfigured_tls(tls.clone())
                .connect_timeout(CONNECT_TIMEOUT)
                .tcp_keepalive(KEEPALIVE)
                .tcp_nodelay(true)
                .no_proxy()
        };
        let http = builder().read_timeout(STREAM_IDLE_TIMEOUT).build().map_err(ApiError::internal)?;
        let uploads = builder().timeout(UPLOAD_TIMEOUT).build().map_err(ApiError::internal)?;
        Ok(Self { base: base.trim_end_matches('/').to_owned(), http, uploads })
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    /// The same trust and connections, another address.
    pub fn with_base(&self, base: &str) -> Self {
        Self { base: base.trim_end_matches('/').to_owned(), ..self.clone() }
    }

    /// An absolute path whose segments may hold any character.
    pub fn path(&self, segments: &[&str]) -> String {
        segments.iter().map(|s| format!("/{}", utf8_percent_encode(s, NON_ALPHANUMERIC))).collect()
    }

    fn request(&self, method: Method, path: &str, request_id: &str) -> RequestBuilder {
        self.request_with(&self.http, method, path, request_id)
    }

    fn request_with(
        &self,
        http: &reqwest::Client,
        method: Method,
        path: &str,
        request_id: &str,
    ) -> RequestBuilder {
        http.request(method, format!("{}{path}", self.base)).header(REQUEST_ID_HEADER, request_id)
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str, request_id: &str) -> Result<T, ApiError> {
        self.get_waiting(path, request_id, Duration::ZERO).await
    }

    /// A call that the server may answer only after `wait`.
    pub async fn get_waiting<T: DeserializeOwned>(
        &self,
        path: &str,
        request_id: &str,
        wait: Duration,
    ) -> Result<T, ApiError> {
        answer(self.request(Method::GET, path, request_id).timeout(CALL_TIMEOUT + wait)).await
    }

    pub async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        request_id: &str,
        body: &impl Serialize,
    ) -> Result<T, ApiError> {
        answer(self.request(Method::PUT, path, request_id).timeout(CALL_TIMEOUT).json(body)).await
    }

    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        request_id: &str,
        body: &impl Serialize,
    ) -> Result<T, ApiError> {
        answer(self.request(Method::POST, path, request_id).timeout(CALL_TIMEOUT).json(body)).await
    }

    pub async fn delete(&self, path: &str, request_id: &str) -> Result<(), ApiError> {
        checked(self.request(Method::DELETE, path, request_id).timeout(CALL_TIMEOUT)).await.map(drop)
    }

    /// A deletion that is answered with what went.
    pub async fn delete_told<T: DeserializeOwned>(
        &self,
        path: &str,
        request_id: &str,
    ) -> Result<T, ApiError> {
        answer(self.request(Method::DELETE, path, request_id).timeout(CALL_TIMEOUT)).await
    }

    pub async fn get_stream(&self, path: &str, request_id: &str, offset: u64) -> Result<Response, ApiError> {
        let range = format!("bytes={offset}-");
        checked(self.request(Method::GET, path, request_id).header("range", range)).await
    }

    pub async fn post_stream<T: DeserializeOwned>(
        &self,
        path: &str,
        request_id: &str,
        body: reqwest::Body,
    ) -> Result<T, ApiError> {
        answer(self.request_with(&self.uploads, Method::POST, path, request_id).body(body)).await
    }
}

async fn checked(request: RequestBuilder) -> Result<Response, ApiError> {
    let response = request.send().await.map_err(unreachable)?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let text = response.text().await.map_err(unreachable)?;
    Err(serde_json::from_str(&text)
        .unwrap_or_else(|_| ApiError::new(ApiErrorKind::Internal, format!("{status}: {text}"))))
}

async fn answer<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, ApiError> {
    checked(request).await?.json().await.map_err(unreachable)
}

/// Names the innermost cause: "connection refused" says more than "error sending request".
fn unreachable(error: reqwest::Error) -> ApiError {
    let url = error.url().map(|url| url.to_string()).unwrap_or_default();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    ApiError::unreachable(format!("{url}: {cause}"))
}
