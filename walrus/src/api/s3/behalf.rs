//! Objects that another controller reads or writes because a user asked it to: judged as the user's own GetObject or
//! PutObject.

use super::S3;
use super::cx::{Caller, Request};
use super::digests::Digests;
use super::fault::About;
use super::object_get::{READ, find};
use super::object_put::{Write, prepared};
use super::payload::array;
use super::receive::Received;
use super::signed_policy::UploadPolicy;
use super::upload_facts::{facts, upload_head};
use super::{authorise, cx};
use crate::app::s3::address::Address;
use crate::app::s3::checksum;
use crate::app::s3::condition::WriteConditions;
use crate::app::s3::encryption::Sse;
use crate::app::s3::notification::Created;
use crate::drive::signers::{AuthFault, Signer};
use crate::store::objects::{Bucket, Facts, Object, ObjectPut};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::{HeaderMap, Method, Uri};
use karri_proto::aws::s3::{PutObjectRequest, S3Code, S3Fault};
use karri_proto::checksum::Algorithm;
use karri_proto::internal::instance_bundles::SignedPolicy;
use karri_proto::internal::signers::SecretText;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use time::OffsetDateTime;

/// The credentials that a user's request was signed with.
#[derive(Clone, Copy)]
pub struct Key<'a> {
    pub id: &'a str,
    pub session_token: Option<&'a SecretText>,
}

impl Key<'_> {
    async fn signer(&self, s3: &S3) -> Result<Arc<Signer>, AuthFault> {
        s3.authenticator.signer(self.id, self.session_token.map(|token| token.0.as_str())).await
    }
}

/// A user in whose name objects are read.
pub struct Reader {
    cx: cx::Cx,
}

impl Reader {
    /// Whom the key belongs to, and where that user's request came from.
    pub async fn new(s3: Arc<S3>, key: Key<'_>, peer: Option<IpAddr>) -> Result<Self, AuthFault> {
        let signer = key.signer(&s3).await?;
        Ok(Self { cx: Arc::new(request(s3, signer, peer, Method::GET)) })
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

/// A user in whose name objects are written.
#[derive(Clone)]
pub struct Writer {
    cx: cx::Cx,
    bucket: Option<Arc<Bucket>>,
    head: PutObjectRequest,
    policy: Option<Arc<UploadPolicy>>,
}

/// An object's bytes, which are durable and no version's yet. Dropped, they leave nothing.
pub struct Staged {
    cx: cx::Cx,
    bucket: Arc<Bucket>,
    key: String,
    facts: Facts,
    received: Received,
}

impl Staged {
    fn prepared(self) -> ObjectPut {
        let Self { cx, bucket, key, facts, received } = self;
        let write = Write { conditions: WriteConditions::default(), created: Created::Put };
        prepared(&cx, &bucket, &key, received, facts, &write)
    }

    /// From now on all of them are there, in this order; or none.
    pub async fn publish_all(staged: Vec<Self>) -> Result<Vec<Arc<Object>>, S3Fault> {
        let Some(first) = staged.first() else { return Ok(Vec::new()) };
        let (objects, name) = (first.cx.s3.objects.clone(), first.bucket.name.clone());
        let published = objects.objects_put(staged.into_iter().map(Self::prepared).collect()).await;
        published.map_err(|error| About::bucket(&name).fault(error))
    }
}

impl Writer {
    pub async fn new(s3: Arc<S3>, key: Key<'_>, peer: Option<IpAddr>) -> Result<Self, AuthFault> {
        let signer = key.signer(&s3).await?;
        let cx = Arc::new(request(s3, signer, peer, Method::PUT));
        Ok(Self { cx, bucket: None, head: PutObjectRequest::default(), policy: None })
    }

    pub fn account(&self) -> &str {
        self.cx.account().unwrap_or_default()
    }

    /// The key's holder, by whose signed policy all that is written must go.
    pub async fn by_policy(
        s3: Arc<S3>,
        key_id: &str,
        policy: &SignedPolicy,
        peer: Option<IpAddr>,
    ) -> Result<Self, S3Fault> {
        let (signer, policy) = UploadPolicy::verify(&s3, key_id, policy).await?;
        let cx = Arc::new(request(s3, signer, peer, Method::PUT));
        Ok(Self { cx, bucket: None, head: PutObjectRequest::default(), policy: Some(Arc::new(policy)) })
    }

    /// The same for one object, if the user may write it.
    pub async fn at(mut self, bucket: &str, key: &str) -> Result<Self, S3Fault> {
        let found = authorise::bucket(&self.cx, bucket, None).await?;
        if let Some(policy) = &self.policy {
            policy.permits(bucket, key)?;
        }
        self.head.bucket = bucket.to_owned();
        self.head.key = key.to_owned();
        self.head.content_type = Some("application/octet-stream".to_owned());
        facts(&self.cx, &found, key, &upload_head!(self.head)).await?;
        self.bucket = Some(found);
        Ok(self)
    }

    /// Writes the object as it was permitted, of whatever size; `told` hears how far it is.
    pub async fn write(
        self,
        length: u64,
        bytes: impl Stream<Item = io::Result<Bytes>> + Unpin,
        told: impl Fn(u64),
    ) -> Result<Arc<Object>, S3Fault> {
        let staged = self.stage(Some(length), bytes, told).await?;
        let mut published = Staged::publish_all(vec![staged]).await?;
        published.pop().ok_or_else(|| S3Fault::internal("nothing was published"))
    }

    /// All of that but the last: nobody sees the object yet.
    pub async fn stage(
        self,
        length: Option<u64>,
        mut bytes: impl Stream<Item = io::Result<Bytes>> + Unpin,
        told: impl Fn(u64),
    ) -> Result<Staged, S3Fault> {
        let Some(bucket) = self.bucket else { return Err(S3Fault::internal("no object to write")) };
        let key = self.head.key.as_str();
        let (facts, wanted) = facts(&self.cx, &bucket, key, &upload_head!(self.head)).await?;
        let fault = |error| About::key(&bucket.name, key).fault(error);
        let mut digests = Digests::new(&[Algorithm::Md5, checksum::DEFAULT], true);
        let mut writer = self.cx.s3.objects.begin_write(length, wanted.seal_with()).map_err(fault)?;
        while let Some(piece) = bytes.next().await {
            let piece = piece.map_err(S3Fault::internal)?;
            digests.update(&piece).await;
            writer.write(&piece).await.map_err(fault)?;
            told(writer.len());
        }
        let computed = digests.finish().await;
        let of = |algorithm| computed.iter().find(|one| one.algorithm() == algorithm);
        let md5 = of(Algorithm::Md5).map(|sum| array(sum.digest())).unwrap_or_default();
        let checksums = of(checksum::DEFAULT).into_iter().cloned().collect();
        let content = writer.finish().await.map_err(fault)?;
        if let Some(policy) = &self.policy {
            policy.check_size(content.len())?;
        }
        let received = Received { content, md5, checksums };
        let key = self.head.key;
        Ok(Staged { cx: self.cx, bucket, key, facts, received })
    }
}

/// What a request of this user's own would have been, but for what only a signed one has.
fn request(s3: Arc<S3>, signer: Arc<Signer>, peer: Option<IpAddr>, method: Method) -> Request {
    Request {
        s3,
        method,
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
