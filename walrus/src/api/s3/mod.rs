//! S3's edge: address → route → authenticate → authorise → handler → encode.
//!
//! ```text
//!   edge.rs          one request from its head to its answer: ids, span, audit line, draining
//!   authenticate.rs  who asks, and what the signature says of the body
//!   authorise.rs     may they: policies, lists, the bucket's blocks
//!   behalf.rs        an object that another controller reads or writes in a user's name
//!   cx.rs            what a handler gets
//!   table.rs         one line per operation
//!   payload.rs       a body as it arrives: unframed, bounded, timed
//!   document.rs      a body that is a document: who may send it, how long and how large
//!   receive.rs       a body into the store; digests.rs: its digests, beside each other and the disk
//!   late.rs          an answer that shows signs of life while it is made
//!   reply.rs         an answer; fault.rs: the store's words in S3's
//!   logging.rs       the line that an answered request leaves where its bucket's owner wants one
//!   website/         a bucket as the readers of its website see it
//!   the rest         handlers, one file per resource
//! ```
//!
//! Must not: decide what `app::s3` can decide as a rule of values, or know how anything is kept.

mod acl;
mod attributes;
mod authenticate;
mod authorise;
pub mod behalf;
mod bucket;
mod configuration;
mod copy;
mod cors;
mod cx;
mod digests;
mod document;
mod edge;
pub(super) mod fault;
mod gathered;
mod late;
mod lifecycle;
mod list;
mod lock;
mod logging;
mod multipart;
mod notification;
mod object_delete;
mod object_get;
mod object_put;
mod payload;
mod policy;
mod post;
mod receive;
mod reply;
mod settings;
mod signed_policy;
mod table;
mod tagging;
mod upload_facts;
mod versioning;
mod website;

use crate::config::S3Config;
use crate::drive::signers::Authenticator;
use crate::drive::webhooks::Webhooks;
use crate::reconcile::access_logs::AccessLogs;
use crate::store::objects::Objects;
use axum::Router;
use karri_proto::runtime::metrics::Metrics;
use karri_proto::runtime::rsa_pair::RsaPair;
use karri_proto::sign::{Rules, Verifier};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What the edge works with.
pub struct S3 {
    pub objects: Objects,
    pub authenticator: Arc<dyn Authenticator>,
    pub metrics: Arc<Metrics>,
    pub options: S3Options,
    /// What image bundles are encrypted for.
    pub cloud: Option<RsaPair>,
    /// What is to be delivered of the requests that owners want logged.
    pub logs: Arc<AccessLogs>,
    /// Whom events are sent to.
    pub webhooks: Arc<Webhooks>,
}

#[derive(Debug, Clone)]
pub struct S3Options {
    pub region: String,
    /// Accepted in a signature's scope, besides `region`.
    pub regions: Vec<String>,
    /// Names that a bucket's name may stand before.
    pub hosts: Vec<String>,
    /// Names that a bucket's name stands before where its website is read.
    pub website_hosts: Vec<String>,
    /// New buckets refuse public access, as AWS's do.
    pub block_public_access_default: bool,
    /// `BucketOwnerEnforced`, as AWS's; nothing: buckets take lists of access control.
    pub object_ownership_default: Option<String>,
    /// A body that stalls so long is not waited for.
    pub idle: Duration,
    /// Documents of requests that are in memory at a time, all together; small ones are not counted.
    pub documents_bytes_max: usize,
}

impl Default for S3Options {
    fn default() -> Self {
        Self {
            region: "us-east-1".to_owned(),
            regions: Vec::new(),
            hosts: Vec::new(),
            website_hosts: Vec::new(),
            block_public_access_default: true,
            object_ownership_default: Some("BucketOwnerEnforced".to_owned()),
            idle: Duration::from_secs(20),
            documents_bytes_max: document::COUNTED_BYTES_MAX,
        }
    }
}

impl From<&S3Config> for S3Options {
    fn from(config: &S3Config) -> Self {
        Self {
            region: config.region.clone(),
            regions: config.also_accept_regions.clone(),
            hosts: config.hosts.clone(),
            website_hosts: config.website_domain.iter().cloned().collect(),
            block_public_access_default: config.block_public_access_default,
            object_ownership_default: config.object_ownership_default.clone(),
            idle: Duration::from_secs(config.idle_secs),
            ..Self::default()
        }
    }
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3").field("options", &self.options).finish_non_exhaustive()
    }
}

/// All that is served to the users' S3 clients.
pub fn router(s3: Arc<S3>) -> Router {
    let edge = edge::Edge::new(s3, Verifier::new(Rules::S3), table::table());
    Router::new().fallback(edge::handle).with_state(Arc::new(edge))
}
