//! The loops: they re-read what is and do what follows from it.
//!
//! ```text
//!   bundles   images whose manifest was overwritten or deleted are forgotten
//! ```

pub mod bundles;
