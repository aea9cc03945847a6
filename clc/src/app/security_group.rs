//! Security groups. For now an account has its default group, whose rules are EC2's: members may reach
//! each other, and everything may go out. Rules follow from their group and are kept nowhere.

use crate::store::network::SecurityGroup;
use karri_proto::ids::SecurityGroupRuleId;
use sha2::{Digest as _, Sha256};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From members of the group itself.
    Ingress,
    /// To everywhere.
    Egress,
}

impl Direction {
    pub const ALL: [Direction; 2] = [Direction::Ingress, Direction::Egress];

    fn as_str(self) -> &'static str {
        match self {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        }
    }
}

pub fn rule_id(group: &SecurityGroup, direction: Direction) -> String {
    let sum = Sha256::new().chain_update(&group.id).chain_update(direction.as_str()).finalize();
    format!("{}-{}", SecurityGroupRuleId::PREFIX, &hex::encode(sum)[..17])
}

/// Whether the rule is one of these groups'.
pub fn has_rule(groups: &[SecurityGroup], id: &str) -> bool {
    groups.iter().any(|group| Direction::ALL.iter().any(|direction| rule_id(group, *direction) == id))
}
