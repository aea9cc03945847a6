//! The outside world: one tool, `qemu-img`, and who knows the signers of requests.

pub mod qemu_img;
pub mod signers;
