//! The outside world: one tool, `qemu-img`.

pub mod qemu_img;
