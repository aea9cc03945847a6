//! What a handler gets of its request besides the decoded one.

use super::S3;
use crate::app::s3::address::Address;
use crate::drive::signers::Signer;
use axum::body::Body;
use http::{HeaderMap, Method, Uri};
use karri_proto::aws::rest::{Query, RestRequest};
use karri_proto::aws::s3::{S3Action, S3Fault};
use karri_proto::sign::Scheme;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use time::OffsetDateTime;

/// Shared by the edge and the handler of one request.
pub type Cx = Arc<Request>;

#[derive(Clone)]
pub enum Caller {
    Anonymous,
    User(Arc<Signer>),
}

pub struct Request {
    pub s3: Arc<S3>,
    pub method: Method,
    pub uri: Uri,
    /// With those that a presigned URL carries as parameters.
    pub headers: HeaderMap,
    pub address: Address,
    pub host: String,
    pub caller: Caller,
    pub scheme: Option<Scheme>,
    pub peer: Option<IpAddr>,
    pub now: OffsetDateTime,
    pub request_id: String,
    pub host_id: String,
    pub notes: Arc<Notes>,
    /// What of the body nobody has read: an answer that comes early must not be lost for it.
    pub left: Arc<Leftover>,
}

/// What turns out on the way, for the access log.
#[derive(Default)]
pub struct Notes {
    /// Only a list of access control has let the request in.
    pub by_acl: AtomicBool,
    /// Who has signed a form.
    pub signer: OnceLock<Arc<Signer>>,
    /// Keys that one request has deleted.
    pub deleted: Mutex<Vec<String>>,
}

/// What the edge hears of a request besides its answer.
#[derive(Default)]
pub struct Leftover {
    body: Mutex<Option<Body>>,
    charged: AtomicBool,
}

impl Leftover {
    /// The requester pays for this.
    pub fn charge(&self) {
        self.charged.store(true, Ordering::Relaxed);
    }

    pub fn is_charged(&self) -> bool {
        self.charged.load(Ordering::Relaxed)
    }

    pub fn put(&self, body: Body) {
        *self.body.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(body);
    }

    pub fn take(&self) -> Option<Body> {
        self.body.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }
}

impl Request {
    /// The same request, to be changed for a step of its own.
    pub fn again(&self) -> Self {
        Self {
            s3: self.s3.clone(),
            method: self.method.clone(),
            uri: self.uri.clone(),
            headers: self.headers.clone(),
            address: self.address.clone(),
            host: self.host.clone(),
            caller: self.caller.clone(),
            request_id: self.request_id.clone(),
            host_id: self.host_id.clone(),
            notes: self.notes.clone(),
            left: self.left.clone(),
            ..*self
        }
    }

    pub fn query(&self) -> Result<Query<'_>, S3Fault> {
        Ok(Query::parse(self.uri.query().unwrap_or_default())?)
    }

    pub fn decode<A: S3Action>(&self, body: &[u8]) -> Result<A, S3Fault> {
        let query = self.query()?;
        Ok(A::decode(&self.rest(&query), body)?)
    }

    pub fn rest<'a>(&'a self, query: &'a Query<'a>) -> RestRequest<'a> {
        RestRequest {
            method: self.method.as_str(),
            bucket: self.address.bucket.as_deref(),
            key: self.address.key.as_deref(),
            query,
            headers: &self.headers,
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub fn signer(&self) -> Option<&Signer> {
        match &self.caller {
            Caller::Anonymous => None,
            Caller::User(signer) => Some(signer),
        }
    }

    /// The canonical id of the requester's account.
    pub fn canonical(&self) -> Option<&str> {
        self.signer().map(|signer| signer.who.account.canonical_id.as_str())
    }

    pub fn account(&self) -> Option<&str> {
        self.signer().map(|signer| signer.who.account.id.as_str())
    }

    pub fn now_ms(&self) -> i64 {
        crate::app::s3::lock::millis(self.now)
    }
}

/// From the store's milliseconds, in whole seconds: S3 tells when something was written no finer, and what
/// a list says must be what a header says.
pub fn time(ms: i64) -> OffsetDateTime {
    exact_time(ms - ms.rem_euclid(1000))
}

/// From the store's milliseconds, for what a client said.
pub fn exact_time(ms: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
