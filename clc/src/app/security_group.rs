//! Security groups and their rules: what they are, and what may become of them. `terms` understands the words of
//! rules, `group` and `rules` carry changes out.

mod group;
pub mod name;
mod rules;
pub mod terms;

pub use group::Named;
pub use rules::{NewRule, Selection};
pub use terms::{Peer, Terms};

use karri_proto::fault::{Fault, FaultCode, shown};
use karri_proto::ids::{PrefixListId, SecurityGroupId, SecurityGroupRuleId};
use karri_proto::network::{self, Direction, GroupRule, Net4, Traffic};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;

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

/// Of each prefix list, the ranges that are in it now.
pub type Lists = HashMap<PrefixListId, Vec<network::Peer>>;

impl Rule {
    /// What clusters are told of it: one fact, or one for each entry of the list that it names.
    pub fn facts(&self, lists: &Lists) -> Vec<GroupRule> {
        let whole = |peer| vec![self.fact(self.id.clone(), peer, None)];
        match &self.terms.peer {
            Peer::V4(net) => whole(network::Peer::V4(*net)),
            Peer::V6(net) => whole(network::Peer::V6(*net)),
            Peer::Group(group) => whole(network::Peer::Group(group.clone())),
            Peer::List(list) => {
                let part = |net: &network::Peer| {
                    let id = part_rule_id(&self.id, net)?;
                    Some(self.fact(id, net.clone(), Some(self.id.clone())))
                };
                lists.get(list).into_iter().flatten().filter_map(part).collect()
            }
        }
    }

    fn fact(
        &self,
        id: SecurityGroupRuleId,
        peer: network::Peer,
        part_of: Option<SecurityGroupRuleId>,
    ) -> GroupRule {
        let (direction, traffic) = (self.terms.direction, self.terms.traffic);
        GroupRule { group: self.group.clone(), id, direction, traffic, peer, part_of }
    }
}

/// Facts have an id each. The same rule and range have the same one for good, whatever comes and goes beside it.
fn part_rule_id(rule: &SecurityGroupRuleId, net: &network::Peer) -> Option<SecurityGroupRuleId> {
    let range = match net {
        network::Peer::V4(net) => net.to_string(),
        network::Peer::V6(net) => net.to_string(),
        network::Peer::Group(_) => return None,
    };
    digest_rule_id(&[rule.as_str(), &range])
}

fn digest_rule_id(parts: &[&str]) -> Option<SecurityGroupRuleId> {
    let sum = parts.iter().fold(Sha256::new(), |sum, part| sum.chain_update(part)).finalize();
    format!("{}-{}", SecurityGroupRuleId::PREFIX, &hex::encode(sum)[..17]).parse().ok()
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
    digest_rule_id(&[group.as_str(), word])
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

    #[test]
    fn a_rule_that_names_a_list_is_told_as_its_entries() {
        let (list, id) = ("pl-0123456789abcdef0", "sgr-0123456789abcdef0");
        let rule = Rule {
            id: id.parse().unwrap(),
            group: "sg-0123456789abcdef0".parse().unwrap(),
            account: "000000000001".to_owned(),
            terms: Terms { peer: Peer::List(list.parse().unwrap()), ..everything_out() },
            peer_account: None,
            description: None,
        };
        let net = |text: &str| terms::net_of(text).unwrap();
        let told = |nets: &[&str]| {
            let nets = nets.iter().map(|text| net(text)).collect();
            rule.facts(&Lists::from([(list.parse().unwrap(), nets)]))
        };
        let both = told(&["10.0.0.0/8", "2001:db8::/32"]);
        assert_eq!(
            both.iter().map(|fact| &fact.peer).collect::<Vec<_>>(),
            [&net("10.0.0.0/8"), &net("2001:db8::/32")]
        );
        assert!(both.iter().all(|fact| fact.part_of.as_ref() == Some(&rule.id) && fact.id != rule.id));
        assert_ne!(both[0].id, both[1].id);
        assert_eq!(told(&["2001:db8::/32"]), both[1..], "an entry keeps its id when another goes");
        assert!(told(&[]).is_empty() && rule.facts(&Lists::new()).is_empty());
    }
}
