//! The edge: who may call, HTTP in, HTTP out. `blobs`, `buckets`, `bundles` and `objects` are the internal face, `s3` what
//! clients of the cloud see.

pub mod blobs;
pub mod buckets;
pub mod bundles;
pub mod captures;
pub mod exports;
#[cfg(test)]
pub(crate) mod faults;
pub mod instance_bundles;
pub mod objects;
pub mod range;
pub mod s3;
pub mod story;

use crate::app::import::Importer;
use axum::Router;
use karri_proto::runtime::process::Base;

/// Everything that is served under mutual TLS.
pub fn router(importer: Importer, base: &Base) -> Router {
    blobs::router(importer, base).merge(story::router(base))
}
