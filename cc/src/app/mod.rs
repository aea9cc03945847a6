//! The rules of a cluster, as functions of values: no IO, no clock, no randomness.
//!
//! ```text
//!   row.rs        one instance as the cluster sees it; what an intent and a report change in it
//!   plan.rs       what to do next for one instance, and for a guest that should not be where it is
//!   placement.rs  which node a new instance goes to
//!   stray.rs      how a guest ends that should not be where it is
//!   facts/        what networks let through, and which part of it each node needs
//!   router/       the routers of VPCs: links, routes, rules, and what they serve
//!   book/         all instances and nodes in memory, indexed; gathers what must be made durable
//! ```
//!
//! The async loops and the seeded simulation drive the same functions.

pub mod book;
pub mod facts;
pub mod node;
pub mod placement;
pub mod plan;
pub mod router;
pub mod row;
pub mod stray;

#[cfg(test)]
pub mod samples;

#[cfg(test)]
mod book_tests;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod scale_tests;
