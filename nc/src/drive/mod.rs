//! The outside world behind small traits, each with one real implementation and one simulated.

pub mod blobs;
pub mod dhcp;
pub mod host;
pub mod hypervisor;
pub mod ports;
pub mod storage;

pub use karri_net::is_passing;
