//! Objects that another controller reads because a user asked it to: judged as the user's own GetObject.

use super::S3;
use super::cx::{Caller, Request};
use super::object_get::{READ, find};
use super::{authorise, cx};
use crate::app::s3::address::Address;
use crate::app::s3::encryption::Sse;
use crate::drive::signers::{AuthFault, Signer};
use crate::store::objects::{Bucket, Object};
use http::{HeaderMap, Method, Uri};
use karri_proto::aws::s3::{S3Code, S3Fault};
use std::net::IpAddr;
use std::sync::Arc;
use time::OffsetDateTime;

/// A user in whose name objects are read.
pub struct Reader {
    cx: cx::Cx,
}

impl Reader {
    /// Whom the key belongs to, and where that user's request came from.
    pub async fn new(s3: Arc<S3>, access_key_id: &str, peer: Option<IpAddr>) -> Result<Self, AuthFault> {
        let signer = s3.authenticator.signer(access_key_id, None).await?;
        Ok(Self { cx: Arc::new(request(s3, signer, peer)) })
    }

    pub fn account(&self) -> &str {
        self.cx.account().unwrap_or_default()
    }

    pub async fn bucket(&self, name: &str) -> Result<Arc<Bucket>, S3Fault> {
        authorise::bucket(&self.cx, name, None).await
    }

    /// The newest version, if the user may read it and nobody's key is needed for that.
    pub async fn object(&self, bucket: &Arc<Bucket>, key: &str) -> Result<Arc<Object>, S3Fault> {
        let object = find(&self.cx, bucket.clone(), key, None, READ).await?.object;
        match object.facts.sse.as_deref().and_then(Sse::from_text) {
            Some(Sse::Customer(_)) => {
                let text = format!("The object {key} is encrypted with a key of its owner's (SSE-C)");
                Err(S3Fault::saying(S3Code::InvalidRequest, text))
            }
            Some(Sse::Master | Sse::Kms(_)) | None => Ok(object),
        }
    }
}

/// What a GetObject by this user would have been, but for what only a signed request has.
fn request(s3: Arc<S3>, signer: Arc<Signer>, peer: Option<IpAddr>) -> Request {
    Request {
        s3,
        method: Method::GET,
        uri: Uri::from_static("/"),
        headers: HeaderMap::new(),
        address: Address::default(),
        host: String::new(),
        caller: Caller::User(signer),
        scheme: None,
        peer,
        now: OffsetDateTime::now_utc(),
        request_id: String::new(),
        host_id: String::new(),
        notes: Arc::default(),
        left: Arc::default(),
    }
}
