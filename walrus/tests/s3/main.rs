//! S3 over HTTP: the edge in this process on a port of its own, with a store in a temporary directory, and
//! requests that AWS's own crate has signed.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod buckets;
mod bundles;
mod copies;
mod cors;
mod disks;
mod encryption;
mod engine;
mod exports;
mod forms;
mod framed;
mod harness;
mod instance_bundles;
mod judged;
mod keys;
mod lifecycle;
mod linear;
mod lists;
mod locks;
mod logging;
mod multipart;
mod notifications;
mod objects;
mod pen;
mod presigned;
mod reads;
mod refusals;
mod sessions;
mod shared;
mod slow;
mod website;
