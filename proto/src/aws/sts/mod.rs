//! STS's wire types, flat: `sts::GetCallerIdentityRequest`.

pub mod generated;

pub use generated::*;

/// The one version of the API that STS has had.
pub const VERSIONS: &[&str] = &["2011-06-15"];
