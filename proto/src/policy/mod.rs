//! IAM policies: what a signer may do.
//!
//! [`Policy::parse`] reads a JSON document, refusing what it does not understand; [`evaluate`]
//! decides about one request by all policies that apply to it. A matching Deny wins over any
//! Allow, and without an Allow the answer is no. [`decide`] is for what has an owner and a policy of its own,
//! such as a bucket; [`s3`] reads bucket policies as S3 takes them.
//!
//! Must not: know where policies are kept, who a request comes from, or what the resources are;
//! all of that is in the [`RequestContext`] that the caller fills. Nothing here reads a clock.

mod access;
mod condition;
mod context;
mod document;
mod evaluate;
mod fault;
mod json;
mod keys;
mod managed;
mod operator;
mod pattern;
mod principal;
pub mod s3;
mod statement;

pub use access::{Access, Requester, ResourceSide, Why, decide};
pub use context::RequestContext;
pub use document::{Kind, Policy};
pub use evaluate::{Decision, Denied, Identity, Verdict, evaluate};
pub use fault::PolicyFault;
pub use managed::{Managed, managed};
pub use principal::PrincipalName;

pub(crate) use json::Strict;
