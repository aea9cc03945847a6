//! The `s3` engine against a Walrus in this process: what every engine must do, and what becomes of blobs when
//! the network, or the engine, does not do what it should.

mod engine;
mod reading;
mod store;
mod writing;

use crate::store::keeper::conformance::conforms;

conforms!(engine::engine());
