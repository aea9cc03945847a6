//! How an internal call fails.

use aide::generate::GenContext;
use aide::openapi::{self, Operation};
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ApiErrorKind {
    /// The request itself is wrong; repeating it cannot help.
    Invalid,
    Forbidden,
    NotFound,
    /// The receiver knows something newer.
    Conflict,
    /// There is no room for it.
    Full,
    /// Nobody answered, or not in time: whether it was carried out is unknown.
    Unreachable,
    Internal,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    pub kind: ApiErrorKind,
    pub message: String,
}

impl ApiError {
    pub fn new(kind: ApiErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ApiErrorKind::Invalid, message)
    }

    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(ApiErrorKind::Forbidden, message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ApiErrorKind::NotFound, message)
    }

    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ApiErrorKind::Conflict, message)
    }

    pub fn full(message: impl Into<String>) -> Self {
        Self::new(ApiErrorKind::Full, message)
    }

    pub fn unreachable(cause: impl std::fmt::Display) -> Self {
        Self::new(ApiErrorKind::Unreachable, cause.to_string())
    }

    /// A fault of the receiver's own; controllers are trusted with the cause.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        Self::new(ApiErrorKind::Internal, cause.to_string())
    }

    fn status(&self) -> StatusCode {
        match self.kind {
            ApiErrorKind::Invalid => StatusCode::BAD_REQUEST,
            ApiErrorKind::Forbidden => StatusCode::FORBIDDEN,
            ApiErrorKind::NotFound => StatusCode::NOT_FOUND,
            ApiErrorKind::Conflict => StatusCode::CONFLICT,
            ApiErrorKind::Full => StatusCode::INSUFFICIENT_STORAGE,
            ApiErrorKind::Unreachable => StatusCode::BAD_GATEWAY,
            ApiErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status(), Json(self)).into_response()
    }
}

/// In the description of an operation: what any status but success comes with.
impl aide::OperationOutput for ApiError {
    type Inner = Self;

    fn operation_response(context: &mut GenContext, operation: &mut Operation) -> Option<openapi::Response> {
        Json::<Self>::operation_response(context, operation)
            .map(|response| openapi::Response { description: "Refused, or failed".to_owned(), ..response })
    }

    fn inferred_responses(
        context: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<u16>, openapi::Response)> {
        Self::operation_response(context, operation).map(|response| (None, response)).into_iter().collect()
    }
}
