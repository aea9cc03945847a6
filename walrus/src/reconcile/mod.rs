//! Loops that carry out what users want for later: intent and what there is in, idempotent steps out.
//!
//! ```text
//!   bundles     images whose manifest was overwritten or deleted are forgotten
//!   lifecycle   what the rules of buckets expire
//! ```

pub mod bundles;
pub mod lifecycle;
