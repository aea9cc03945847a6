//! Security groups and their rules: what they are, and what may become of them. `terms` understands the words of
//! rules, `group` and `rules` carry changes out.

mod group;
pub mod name;
mod rules;
pub mod terms;

pub use group::Named;
pub use rules::{NewRule, Selection};
pub use terms::Terms;

use karri_proto::fault::{Fault, FaultCode, shown};
use karri_proto::ids::{SecurityGroupId, SecurityGroupRuleId};
use karri_proto::network::{Direction, GroupRule, Net4, Peer, Traffic};
use sha2::{Digest as _, Sha256};

/// Every VPC has one of this name.
pub const DEFAULT: &str = "default";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub id: SecurityGroupRuleId,
    pub group: SecurityGroupId,
    /// Of the group.
    pub account: String,
    pub terms: Terms,
    /// Whose group the peer is.
    pub peer_account: Option<String>,
    pub description: Option<String>,
}

impl Rule {
    pub fn fact(&self) -> GroupRule {
        let Terms { direction, traffic, peer } = self.terms.clone();
        GroupRule { group: self.group.clone(), id: self.id.clone(), direction, traffic, peer }
    }
}

/// What a VPC's default group has: members may reach each other, and everything may go out.
pub fn default_rules(group: &SecurityGroupId, account: &str) -> Vec<Rule> {
    let itself =
        Terms { direction: Direction::Ingress, traffic: Traffic::All, peer: Peer::Group(group.clone()) };
    let rule = |terms: Terms, peer_account| {
        let id = default_rule_id(group, terms.direction)?;
        let (group, account) = (group.clone(), account.to_owned());
        Some(Rule { id, group, account, terms, peer_account, description: None })
    };
    [rule(itself, Some(account.to_owned())), rule(everything_out(), None)].into_iter().flatten().collect()
}

/// Every new group lets everything out.
pub fn everything_out() -> Terms {
    Terms { direction: Direction::Egress, traffic: Traffic::All, peer: Peer::V4(Net4::EVERYWHERE) }
}

/// The ids by which clients know these rules from when they were kept nowhere.
fn default_rule_id(group: &SecurityGroupId, direction: Direction) -> Option<SecurityGroupRuleId> {
    let word = match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    };
    let sum = Sha256::new().chain_update(group.as_str()).chain_update(word).finalize();
    format!("{}-{}", SecurityGroupRuleId::PREFIX, &hex::encode(sum)[..17]).parse().ok()
}

pub fn group_not_found(id_or_name: &str) -> Fault {
    let sentence = format!("The security group '{}' does not exist", shown(id_or_name));
    Fault::new(FaultCode::InvalidGroupNotFound, sentence)
}

/// EC2's words for what is named together and lies in two VPCs.
pub fn different_networks() -> Fault {
    let sentence = "You have specified two resources that belong to different networks.";
    Fault::new(FaultCode::InvalidGroupNotFound, sentence)
}

/// More groups on one interface than may be.
pub fn check_interface_groups(count: usize, most: usize) -> Result<(), Fault> {
    if count <= most {
        return Ok(());
    }
    let sentence = format!("The maximum number of security groups per interface has been reached ({most}).");
    Err(Fault::new(FaultCode::SecurityGroupsPerInterfaceLimitExceeded, sentence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_of_a_default_group_keep_the_ids_that_clients_know() {
        let group: SecurityGroupId = "sg-0123456789abcdef0".parse().unwrap();
        let rules = default_rules(&group, "000000000001");
        let [inward, outward] = rules.as_slice() else { panic!("{rules:?}") };
        // sha256("sg-0123456789abcdef0ingress"), and with "egress".
        assert_eq!(inward.id.as_str(), "sgr-16d97b7a2a089d118");
        assert_eq!(outward.id.as_str(), "sgr-db49f944179a4c547");
        assert_eq!(inward.terms.peer, Peer::Group(group));
        assert_eq!(outward.terms, everything_out());
    }
}
