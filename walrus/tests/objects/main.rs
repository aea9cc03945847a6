//! The store of objects as its callers see it: over real files and a real database.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod basics;
mod crash;
mod full;
mod harness;
mod house;
mod keys;
mod lifecycle;
mod model;
mod multipart;
