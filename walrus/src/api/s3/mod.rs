//! S3's edge: address, route, authenticate, authorise, handle, encode. Until the operations are there, every
//! request is answered as one that is not implemented.

use crate::config::S3Config;
use crate::drive::signers::Authenticator;
use axum::Router;
use axum::body::Body;
use axum::http::{Response, StatusCode, header};
use karri_proto::runtime::rsa_pair::RsaPair;
use std::sync::Arc;

/// What S3 requests are served with.
pub struct S3 {
    pub authenticator: Arc<dyn Authenticator>,
    pub config: S3Config,
    /// What image bundles are encrypted for.
    pub cloud: RsaPair,
}

impl S3 {
    /// Whether a signature for this region is taken; names have no case.
    pub fn is_region(&self, name: &str) -> bool {
        self.config.regions().any(|known| known.eq_ignore_ascii_case(name))
    }
}

pub fn router(s3: Arc<S3>) -> Router {
    Router::new().fallback(not_implemented).with_state(s3)
}

async fn not_implemented() -> Response<Body> {
    let document = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NotImplemented</Code>\
                    <Message>A header you provided implies functionality that is not implemented</Message></Error>";
    let mut response = Response::new(Body::from(document));
    *response.status_mut() = StatusCode::NOT_IMPLEMENTED;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/xml"));
    response
}
