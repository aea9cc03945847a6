//! Networks in the kernel, for the controllers that make them there: links and addresses by rtnetlink, namespaces,
//! and segments, which several controllers of one host share.
//!
//! ```text
//!   netlink.rs, link.rs   what there is, and single changes of it
//!   dump.rs               lists that the kernel tells
//!   namespace.rs          network namespaces, and work inside them
//!   nfnetlink.rs          the kernel's netfilter: connections, and whether rules have changed
//!   names.rs              what the links of a segment are called
//!   step.rs               what leads from what is there to what is wanted: pure
//!   segments.rs           does it
//! ```
//!
//! It knows no controller, no database and no rules of who may talk to whom.

mod dump;
mod error;
mod link;
mod names;
mod namespace;
mod netlink;
pub mod nfnetlink;
mod segments;
mod step;

pub use dump::dump;
pub use error::{NetError, is_passing};
pub use link::{Kind, Link, Vxlan};
pub use names::{Names, TAG_MAX, Tag};
pub use namespace::Namespace;
pub use netlink::Netlink;
pub use segments::{Segments, silence};
pub use step::{GROUP, OVERHEAD_BYTES, Tunnel};
