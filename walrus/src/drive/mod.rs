//! The outside world: one tool, `qemu-img`, who knows the signers of requests, and whom events are sent to.

pub mod http;
pub mod qemu_img;
pub mod signers;
pub mod webhooks;
