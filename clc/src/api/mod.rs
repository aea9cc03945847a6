//! The edge: authenticate, decode, authorise, call, encode. No decisions about the cloud.
//!
//! `public` is what EC2 clients speak to; `internal` serves the other controllers and the operator.
//! A handler is a function and one line in `ec2::table` or `sts::table`.

pub mod answer;
pub mod cx;
pub mod ec2;
pub mod internal;
pub mod permit;
pub mod public;
pub mod sts;
pub mod table;

pub use cx::Cx;
pub use permit::{Asks, Target};
pub use table::Table;

/// Every action that is served.
pub fn table() -> Table {
    sts::table(ec2::table(Table::default()))
}
