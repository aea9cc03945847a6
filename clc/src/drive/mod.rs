//! The outside world behind small traits: one real implementation each, and one for tests.

pub mod blobs;
