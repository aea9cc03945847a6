//! The edge: who may ask, what was asked, how it is answered. No decisions.

pub mod facts;
pub mod instances;
pub mod kernel;
pub mod metadata;
pub mod story;
