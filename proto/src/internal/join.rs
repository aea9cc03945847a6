//! How a new controller gets its certificate: a short-lived token once, a certificate from then on.
//!
//! The only internal call that is answered without a client certificate. The joiner trusts the server
//! by the CA fingerprint that the token carries.

use super::openapi::named;
use super::{ApiError, Identity};
use crate::runtime::client::InternalClient;
use crate::runtime::tls::fingerprint;
use aide::axum::ApiRouter;
use aide::axum::routing::post_with;
use async_trait::async_trait;
use axum::extract::State;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What `karri node token` prints and `karri node join` takes, as one word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JoinToken {
    /// The clc's internal API.
    pub clc_url: String,
    /// SHA-256 of the CA certificate, hex.
    pub ca_fingerprint: String,
    pub secret: String,
}

#[derive(Debug, thiserror::Error)]
#[error("this is not a join token (karri node token prints one)")]
pub struct BadToken;

impl JoinToken {
    pub fn encode(&self) -> String {
        let json = serde_json::to_vec(self).expect("strings always serialise");
        format!("kjt1.{}", URL_SAFE_NO_PAD.encode(json))
    }

    pub fn decode(word: &str) -> Result<Self, BadToken> {
        let body = word.trim().strip_prefix("kjt1.").ok_or(BadToken)?;
        let json = URL_SAFE_NO_PAD.decode(body).map_err(|_| BadToken)?;
        serde_json::from_slice(&json).map_err(|_| BadToken)
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct JoinRequest {
    pub secret: String,
    /// The name the node wants; must be new or the same node's.
    pub name: String,
    pub csr_pem: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct JoinAnswer {
    pub identity: Identity,
    pub certificate_pem: String,
    pub ca_pem: String,
    /// Where the joined cluster's cc and the image store answer.
    pub cc_url: String,
    pub walrus_url: String,
}

#[async_trait]
pub trait JoinService: Send + Sync + 'static {
    async fn join(&self, request: JoinRequest) -> Result<JoinAnswer, ApiError>;
}

pub fn router(service: Arc<dyn JoinService>) -> Router {
    api().with_state(service).into()
}

pub(super) fn api() -> ApiRouter<Arc<dyn JoinService>> {
    ApiRouter::new().api_route("/v1/join", post_with(handle_join, named("join")))
}

async fn handle_join(
    State(service): State<Arc<dyn JoinService>>,
    Json(request): Json<JoinRequest>,
) -> Result<Json<JoinAnswer>, ApiError> {
    service.join(request).await.map(Json)
}

/// Spends the token. What comes back belongs to the CA that the token names, or is refused.
pub async fn join(token: &JoinToken, name: &str, csr_pem: &str) -> Result<JoinAnswer, ApiError> {
    let client = InternalClient::joining(&token.clc_url, &token.ca_fingerprint)?;
    let request =
        JoinRequest { secret: token.secret.clone(), name: name.to_owned(), csr_pem: csr_pem.to_owned() };
    let answer: JoinAnswer = client.post("/v1/join", "join", &request).await?;
    let shown = fingerprint(&answer.ca_pem).map_err(ApiError::internal)?;
    if !shown.eq_ignore_ascii_case(&token.ca_fingerprint) {
        return Err(ApiError::forbidden("the answer names another CA than the token"));
    }
    Ok(answer)
}
