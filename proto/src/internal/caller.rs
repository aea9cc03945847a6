//! Who is at the other end of an internal call: read from its certificate, never from a header.

use crate::internal::ApiError;
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

pub const REQUEST_ID_HEADER: &str = "x-karri-request-id";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Clc,
    Cc,
    Nc,
    Walrus,
    /// The operator's command line.
    Admin,
}

impl Role {
    pub const ALL: [Role; 5] = [Role::Clc, Role::Cc, Role::Nc, Role::Walrus, Role::Admin];

    pub fn as_str(self) -> &'static str {
        match self {
            Role::Clc => "clc",
            Role::Cc => "cc",
            Role::Nc => "nc",
            Role::Walrus => "walrus",
            Role::Admin => "admin",
        }
    }

    pub fn parse(text: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

/// The subject of a certificate: `karri:ROLE:CLUSTER:NAME`, where CLUSTER is empty for clc, walrus and admin.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Identity {
    pub role: Role,
    pub cluster: String,
    pub name: String,
}

impl Identity {
    pub fn new(role: Role, cluster: &str, name: &str) -> Self {
        Self { role, cluster: cluster.to_owned(), name: name.to_owned() }
    }

    pub fn parse(uri: &str) -> Option<Self> {
        let mut parts = uri.strip_prefix("karri:")?.split(':');
        let role = Role::parse(parts.next()?)?;
        let (cluster, name) = (parts.next()?, parts.next()?);
        parts.next().is_none().then(|| Self::new(role, cluster, name))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "karri:{}:{}:{}", self.role.as_str(), self.cluster, self.name)
    }
}

/// One internal call: who makes it, and for which client request.
#[derive(Debug, Clone)]
pub struct Caller {
    pub identity: Identity,
    pub request_id: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let identity = parts.extensions.get::<Identity>().cloned();
        let identity = identity.ok_or_else(|| ApiError::forbidden("a client certificate is required"))?;
        let header = parts.headers.get(REQUEST_ID_HEADER).and_then(|value| value.to_str().ok());
        Ok(Self { identity, request_id: header.unwrap_or_default().to_owned() })
    }
}

/// The certificate is not a parameter: it comes with the connection.
impl aide::OperationInput for Caller {}

/// Lets through only callers that `allowed` accepts. Every internal router wears one.
pub async fn require(
    allowed: impl Fn(&Identity) -> bool + Clone + Send + Sync + 'static,
    request: Request,
    next: Next,
) -> Response {
    match request.extensions().get::<Identity>() {
        Some(identity) if allowed(identity) => next.run(request).await,
        Some(identity) => {
            tracing::warn!(caller = %identity, path = request.uri().path(), "internal call refused");
            ApiError::forbidden(format!("{identity} may not call this")).into_response()
        }
        None => ApiError::forbidden("a client certificate is required").into_response(),
    }
}

/// `router` for callers that `allowed` accepts.
pub fn guarded(
    router: axum::Router,
    allowed: impl Fn(&Identity) -> bool + Clone + Send + Sync + 'static,
) -> axum::Router {
    router.layer(axum::middleware::from_fn(move |request, next| require(allowed.clone(), request, next)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_survive_their_text_form() {
        let identity = Identity::new(Role::Nc, "zone-a", "node-1");
        assert_eq!(Identity::parse(&identity.to_string()), Some(identity));
        for bad in ["", "karri:nc", "karri:boss::x", "karri:nc:a:b:c", "urn:nc:a:b"] {
            assert_eq!(Identity::parse(bad), None, "{bad}");
        }
    }
}
