//! VPCs: what they are, and what may become of them. `range` has the rules of their ranges, `change` makes and removes
//! them, `attribute` changes what they have, `flat` keeps default ones to what their network does, `told` tells instances.

pub mod attribute;
mod change;
pub mod flat;
pub mod parts;
pub mod range;
mod told;

pub use change::first_association;

use crate::app::App;
use crate::app::instance::control::Caller;
use crate::store::vpc::Vpc;
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::VpcId;

/// How a request names no set of DHCP options, and how a VPC without one is told.
pub const NO_DHCP_OPTIONS: &str = "default";

impl App {
    /// One that the caller may touch.
    pub async fn vpc_named(&self, caller: Caller<'_>, id: &str) -> Result<Vpc, Fault> {
        let id: VpcId = id.parse()?;
        let found = self.store.vpc_fetch(id.as_str()).await?;
        let seen = found.filter(|vpc| caller.administrator || vpc.account == caller.account);
        seen.ok_or_else(|| id.not_found())
    }
}

/// Whatever is in the way is named after EC2's words, which name only what cannot go.
pub fn has_dependencies(kind: &str, id: &str, dependency: &str) -> Fault {
    let sentence =
        format!("The {kind} '{id}' has dependencies and cannot be deleted. One of them is {dependency}.");
    Fault::new(FaultCode::DependencyViolation, sentence)
}

/// Behind a zone's default subnets there is one flat network for all accounts: what would have to be otherwise in it for
/// one of them alone is refused.
pub fn not_in_default_vpc(what: &str) -> Fault {
    let sentence = format!("{what} is not supported in a default VPC. Create a VPC for it.");
    Fault::new(FaultCode::UnsupportedOperation, sentence)
}
