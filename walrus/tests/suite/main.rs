//! Walrus over its real HTTP face: real certificates, real files, real images made by qemu-img.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod account_buckets;
mod bundle_cache;
mod bundler;
mod bundles;
mod faults;
mod formats;
mod harness;
mod hostile;
mod reads;
mod roles;
mod s3_backup;
mod s3_crash;
mod s3_start;
