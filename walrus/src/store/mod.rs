//! What Walrus keeps. The only room that knows how files are named and when they are durable, and the
//! only SQL.

pub mod blobs;
pub mod keeper;
pub mod objects;
pub mod scratch;
