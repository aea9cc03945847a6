//! What a page of facts must be like before anybody takes it. An answer names the field.

use super::{Acl, AclEntry, Fact, FactChange, GroupRule, Net4, Peer, PortFact, Shape, Traffic};
use crate::internal::ApiError;
use crate::internal::facts::{FACTS_PER_PAGE_MAX, FactsPage};

/// AWS' own limit is 16.
pub const GROUPS_PER_PORT_MAX: usize = 64;
/// AWS' own limit for the largest of its interfaces is 50.
pub const ADDRESSES_PER_PORT_MAX: usize = 256;
/// AWS' own limit is 50 when raised.
pub const RANGES_PER_VPC_MAX: usize = 50;
/// AWS' own limit is 1,000 when raised.
pub const ROUTES_PER_TABLE_MAX: usize = 1_000;
/// AWS' own limit is 40 when raised, each way.
pub const ENTRIES_PER_ACL_MAX: usize = 40;
/// Of each kind that DHCP tells. AWS' own limit is 4.
pub const SERVERS_PER_OPTION_MAX: usize = 4;
/// Of which public addresses are given out.
pub const PUBLIC_RANGES_MAX: usize = 256;
/// As many nodes as a cluster has at most, and the host of its controller.
pub const HOSTS_PER_CLUSTER_MAX: usize = 2_001;
const SEGMENT_TAG_MAX: u32 = 0xff_ffff;
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
        Fact::Shape(shape) => check_shape(shape).map_err(|what| format!("put.shape.{what}")),
        Fact::Hosts(hosts) => check_few("put.hosts.tunnels", hosts.tunnels.len(), HOSTS_PER_CLUSTER_MAX),
    }
}

fn check_traffic(traffic: Traffic) -> Result<(), String> {
    match traffic {
        Traffic::Tcp { from, to } | Traffic::Udp { from, to } if to < from => {
            Err(format!("traffic.to: {to} is before {from}"))
        }
        _ => Ok(()),
    }
}

fn check_net(net: Net4) -> Result<(), String> {
    if net.prefix > V4_PREFIX_MAX { Err(format!("prefix: {}", net.prefix)) } else { Ok(()) }
}

fn check_rule(rule: &GroupRule) -> Result<(), String> {
    check_traffic(rule.traffic)?;
    match rule.peer {
        Peer::V4(net) => check_net(net).map_err(|what| format!("peer.v4.{what}")),
        Peer::V6(net) if net.prefix > V6_PREFIX_MAX => Err(format!("peer.v6.prefix: {}", net.prefix)),
        Peer::V6(_) | Peer::Group(_) => Ok(()),
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

fn check_shape(shape: &Shape) -> Result<(), String> {
    match shape {
        Shape::Vpc(vpc) => {
            check_few("vpc.ranges", vpc.ranges.len(), RANGES_PER_VPC_MAX)?;
            for (number, range) in vpc.ranges.iter().enumerate() {
                check_net(*range).map_err(|what| format!("vpc.ranges[{number}].{what}"))?;
            }
            let dhcp = &vpc.dhcp;
            for servers in [&dhcp.name_servers, &dhcp.time_servers, &dhcp.netbios_name_servers] {
                check_few("vpc.dhcp", servers.len(), SERVERS_PER_OPTION_MAX)?;
            }
            check_tag(vpc.transit).map_err(|what| format!("vpc.transit: {what}"))
        }
        Shape::Subnet(subnet) => {
            check_net(subnet.range).map_err(|what| format!("subnet.range.{what}"))?;
            check_tag(subnet.tag).map_err(|what| format!("subnet.tag: {what}"))
        }
        Shape::RouteTable(table) => {
            check_few("route-table.routes", table.routes.len(), ROUTES_PER_TABLE_MAX)?;
            for (number, route) in table.routes.iter().enumerate() {
                check_net(route.to).map_err(|what| format!("route-table.routes[{number}].to.{what}"))?;
            }
            Ok(())
        }
        Shape::Acl(acl) => check_acl(acl).map_err(|what| format!("acl.{what}")),
        Shape::Far(far) => check_tag(far.tag).map_err(|what| format!("far.tag: {what}")),
        Shape::Nat(_) | Shape::Address(_) => Ok(()),
    }
}

fn check_acl(acl: &Acl) -> Result<(), String> {
    let check_entry = |entry: &AclEntry| check_traffic(entry.traffic).and_then(|()| check_net(entry.range));
    for (name, entries) in [("ingress", &acl.ingress), ("egress", &acl.egress)] {
        check_few(name, entries.len(), ENTRIES_PER_ACL_MAX)?;
        for (number, entry) in entries.iter().enumerate() {
            check_entry(entry).map_err(|what| format!("{name}[{number}].{what}"))?;
        }
    }
    Ok(())
}

fn check_few(what: &str, count: usize, most: usize) -> Result<(), String> {
    if count > most { Err(format!("{what}: more than {most}")) } else { Ok(()) }
}

fn check_tag(tag: u32) -> Result<(), String> {
    if tag > SEGMENT_TAG_MAX { Err(format!("{tag} is above {SEGMENT_TAG_MAX}")) } else { Ok(()) }
}
