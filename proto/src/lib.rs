//! Every contract of Karri: AWS wire types, internal APIs, ids, states, faults, signing.
//!
//! Controllers never know each other; they meet here. Nothing in this crate decides what the cloud
//! does and nothing in it touches a database, libvirt or the kernel's network.

pub mod aws;
pub mod checksum;
pub mod fault;
pub mod ids;
pub mod instance;
pub mod internal;
pub mod network;
pub mod policy;
pub mod refusal;
pub mod resources;
pub mod runtime;
pub mod sign;
