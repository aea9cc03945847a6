//! A cluster controller over mutual TLS between a cloud controller and nodes that are only pretended.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod cloud;
mod node;
#[path = "../../src/app/samples.rs"]
mod samples;

mod facts;
mod instances;
mod kernel;
mod routers;
mod trust;
