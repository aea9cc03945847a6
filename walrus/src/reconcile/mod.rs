//! Loops that carry out what users want for later: intent and what there is in, idempotent steps out.
//!
//! ```text
//!   access_logs  what was logged is delivered as objects
//!   bundles      images whose manifest was overwritten or deleted are forgotten
//!   events       what has become of objects is told to webhooks
//!   lifecycle    what the rules of buckets expire
//! ```

pub mod access_logs;
pub mod bundles;
pub mod events;
pub mod lifecycle;
