//! Programs of a few dozen instructions that the kernel runs for each packet (eBPF), made here and not by a compiler, and
//! the maps through which they remember and are told something.
//!
//! ```text
//!   assembler.rs   instructions with labels, as bytes
//!   kernel.rs      gives programs and maps to the kernel
//!   skb.rs         where a program finds what of a packet, and which of the kernel's functions it may call
//! ```

mod assembler;
mod kernel;
pub mod skb;

pub use assembler::{Assembler, Register, Size, Test};
pub use kernel::{Map, Program};
