//! Network ACLs as chains: they know no connections, so each packet is judged by itself.

use super::chains::{Chain, Match, Rule, Then};
use karri_proto::network::{Acl, AclEntry, Net4, Traffic};

/// By which end of a packet the other side of the subnet's border is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Border {
    /// Into the subnet: by its source.
    In,
    /// Out of it: by its destination.
    Out,
}

/// `None`: everything passes, and no chain is needed.
pub fn chain(acl: Option<&Acl>, border: Border) -> Option<Chain> {
    let entries = acl.map(|acl| match border {
        Border::In => &acl.ingress,
        Border::Out => &acl.egress,
    });
    let mut rules = Chain::new();
    for entry in entries.into_iter().flatten().filter(|entry| !is_about_ipv6(entry)) {
        if entry.traffic == Traffic::All && entry.range == Net4::EVERYWHERE && entry.allow {
            if rules.iter().all(|rule: &Rule| rule.then == Then::Return) {
                return None;
            }
            rules.push(Rule { on: Vec::new(), then: Then::Return });
            return Some(rules);
        }
        rules.push(rule(entry, border));
    }
    rules.push(Rule { on: Vec::new(), then: Then::Drop });
    Some(rules)
}

fn is_about_ipv6(entry: &AclEntry) -> bool {
    matches!(entry.traffic, Traffic::Icmp6 { .. })
}

fn rule(entry: &AclEntry, border: Border) -> Rule {
    let peer = match border {
        Border::In => Match::From(entry.range),
        Border::Out => Match::To(entry.range),
    };
    let then = if entry.allow { Then::Return } else { Then::Drop };
    Rule { on: vec![peer, Match::Traffic(entry.traffic)], then }
}
