//! Whole-system tests and the fuzz loop: what needs all crates, or the machine for itself.

pub mod simulation;
