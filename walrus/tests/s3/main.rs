//! S3 over HTTP: the edge in this process on a port of its own, with a store in a temporary directory, and
//! requests that AWS's own crate has signed.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod buckets;
mod bundles;
mod disks;
mod encryption;
mod engine;
mod exports;
mod harness;
mod instance_bundles;
mod judged;
mod lifecycle;
mod linear;
mod logging;
mod multipart;
mod notifications;
mod objects;
mod refusals;
mod sessions;
mod shared;
mod slow;
mod website;
