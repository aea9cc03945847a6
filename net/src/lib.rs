//! Networks in the kernel, for the controllers that make them there: links and addresses by rtnetlink, namespaces,
//! and segments, which several controllers of one host share.
//!
//! ```text
//!   netlink.rs, link.rs   what there is, and single changes of it
//!   proxy.rs, arp.rs      addresses that a host answers for, and says so
//!   bpf/, classifier.rs   programs that the kernel runs for each packet of a link
//!   watch.rs              what changes, as the kernel tells it unasked
//!   dump.rs               lists that the kernel tells
//!   namespace.rs          network namespaces, and work inside them
//!   descriptors.rs        room for the descriptors that it takes
//!   nfnetlink.rs          the kernel's netfilter: connections, and whether rules have changed
//!   names.rs              what the links of a segment are called
//!   wire.rs               what joins segments to those of other hosts
//!   step.rs               what leads from what is there to what is wanted: pure
//!   segments.rs           does it
//! ```
//!
//! It knows no controller, no database and no rules of who may talk to whom.

mod arp;
pub mod bpf;
mod classifier;
mod descriptors;
mod dump;
mod error;
mod link;
mod names;
mod namespace;
mod netlink;
pub mod nfnetlink;
mod proxy;
mod segments;
mod step;
mod watch;
mod wire;

pub use arp::announce;
pub use classifier::{Attachment, FilterChanges, Hook, Owner};
pub use descriptors::descriptors_raise;
pub use dump::dump;
pub use error::{NetError, is_passing};
pub use link::{Kind, Link, Vxlan, speaks_ipv6};
pub use names::{Names, TAG_MAX, Tag};
pub use namespace::Namespace;
pub use netlink::{Netlink, addresses_ask, links_ask};
pub use segments::{Described, Segments, silence};
pub use step::GROUP;
pub use watch::{Heard, Watch};
pub use wire::{Tunnel, Wire};
