//! What Walrus keeps. The only room that knows how files are named and when they are durable.

pub mod blobs;
pub mod bundles;
pub mod holds;
pub mod scratch;
