//! What a page of facts must be like before anybody takes it. An answer names the field.

use super::{Fact, FactChange, GroupRule, Peer, PortFact, Traffic};
use crate::internal::ApiError;
use crate::internal::facts::{FACTS_PER_PAGE_MAX, FactsPage};

/// AWS' own limit is 16.
pub const GROUPS_PER_PORT_MAX: usize = 64;
/// AWS' own limit for the largest of its interfaces is 50.
pub const ADDRESSES_PER_PORT_MAX: usize = 256;
const V4_PREFIX_MAX: u8 = 32;
const V6_PREFIX_MAX: u8 = 128;

pub fn page(page: &FactsPage) -> Result<(), ApiError> {
    let wrong = |what: String| Err(ApiError::invalid(what));
    if page.epoch == 0 {
        return wrong("epoch: 0 is that of a receiver that knows nothing".to_owned());
    }
    if page.from.is_some_and(|from| page.to < from) {
        return wrong(format!("to: {} is before where the page begins", page.to));
    }
    if page.from == Some(page.to) && !page.changes.is_empty() {
        return wrong("to: a page with changes leads somewhere".to_owned());
    }
    if page.changes.len() > FACTS_PER_PAGE_MAX {
        return wrong(format!("changes: more than {FACTS_PER_PAGE_MAX}"));
    }
    for (number, change) in page.changes.iter().enumerate() {
        if let FactChange::Put(fact) = change
            && let Err(what) = check(fact)
        {
            return wrong(format!("changes[{number}].{what}"));
        }
    }
    Ok(())
}

fn check(fact: &Fact) -> Result<(), String> {
    match fact {
        Fact::Rule(rule) => check_rule(rule).map_err(|what| format!("put.rule.{what}")),
        Fact::Port(port) => check_port(port).map_err(|what| format!("put.port.{what}")),
    }
}

fn check_rule(rule: &GroupRule) -> Result<(), String> {
    if let Traffic::Tcp { from, to } | Traffic::Udp { from, to } = rule.traffic
        && to < from
    {
        return Err(format!("traffic.to: {to} is before {from}"));
    }
    match rule.peer {
        Peer::V4(net) if net.prefix > V4_PREFIX_MAX => Err(format!("peer.v4.prefix: {}", net.prefix)),
        Peer::V6(net) if net.prefix > V6_PREFIX_MAX => Err(format!("peer.v6.prefix: {}", net.prefix)),
        Peer::V4(_) | Peer::V6(_) | Peer::Group(_) => Ok(()),
    }
}

fn check_port(port: &PortFact) -> Result<(), String> {
    if port.groups.len() > GROUPS_PER_PORT_MAX {
        return Err(format!("groups: more than {GROUPS_PER_PORT_MAX}"));
    }
    if port.addresses.len() > ADDRESSES_PER_PORT_MAX {
        return Err(format!("addresses: more than {ADDRESSES_PER_PORT_MAX}"));
    }
    Ok(())
}
