//! Routers of VPCs for real, in network namespaces of the test's own: one is the host on which the driver runs,
//! others are guests on segments' bridges, and one is somebody outside.
//!
//! Each test runs itself again inside `unshare --net --mount`, so that nothing it does reaches the host.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod answering;
mod flat;
mod mending;
mod names;
mod public;
mod shown;
mod subnets;
mod vpc;
mod world;
