//! Loops that carry out what users want for later: intent and what there is in, idempotent steps out.

pub mod lifecycle;
