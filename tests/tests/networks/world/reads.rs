//! What EC2's answers say, part by part.

use super::{ToldAcl, ToldPort, ToldTable};
use crate::calls::net;
use crate::model::{Entry, Nat, Peer, Rule, Traffic};
use crate::support::Answer;
use crate::xml::Element;

/// The entry that stands at the end of every ACL, and that nobody has made.
const LAST: u16 = 32_767;

pub fn subnet(of: &Element) -> (String, (String, String, usize)) {
    let free = of.text("availableIpAddressCount").parse().unwrap();
    (of.text("subnetId"), (of.text("vpcId"), of.text("cidrBlock"), free))
}

/// `None`: it is a NAT gateway's.
pub fn port(of: &Element) -> Option<(String, ToldPort)> {
    if of.text("interfaceType") == "nat_gateway" {
        return None;
    }
    let address = |one: &Element| {
        let public =
            one.child("association").map(|association| association.text("publicIp").parse().unwrap());
        (one.text("privateIpAddress").parse().unwrap(), public)
    };
    let attachment = of.child("attachment");
    let instance = attachment.map(|at| (at.text("instanceId"), at.text("deviceIndex").parse().unwrap()));
    let told = ToldPort {
        subnet: of.text("subnetId"),
        addresses: of.items("privateIpAddressesSet").iter().map(address).collect(),
        groups: of.items("groupSet").iter().map(|group| group.text("groupId")).collect(),
        instance,
    };
    Some((of.text("networkInterfaceId"), told))
}

/// `None`: it is no more, and told of for an hour.
pub fn nat(of: &Element) -> Option<(String, Nat)> {
    if of.text("state").starts_with("delet") {
        return None;
    }
    let address = of.items("natGatewayAddressSet").first()?;
    let ip = |name: &str| address.text(name).parse().unwrap();
    let nat = Nat { subnet: of.text("subnetId"), private: ip("privateIp"), public: ip("publicIp") };
    Some((of.text("natGatewayId"), nat))
}

/// Of tables and ACLs: the subnet, if it is one's, and the association. Its names begin with `thing`.
pub fn associations(of: &Element, thing: &str) -> Vec<(Option<String>, String)> {
    let one = |one: &Element| {
        let subnet = one.child("subnetId").map(|subnet| subnet.text.clone());
        (subnet, one.text(&format!("{thing}AssociationId")))
    };
    of.items("associationSet").iter().map(one).collect()
}

pub fn table(of: &Element) -> (String, ToldTable) {
    let route = |route: &Element| {
        let gateway = [route.text("gatewayId"), route.text("natGatewayId")].concat();
        let leads = (gateway, route.text("state") == "active");
        (route.text("destinationCidrBlock"), leads)
    };
    let all = associations(of, "routeTable");
    let main = all.iter().any(|(subnet, _)| subnet.is_none());
    let subnets = all.into_iter().filter_map(|(subnet, association)| Some((subnet?, association)));
    let told = ToldTable {
        vpc: of.text("vpcId"),
        main,
        subnets: subnets.collect(),
        routes: of.items("routeSet").iter().map(route).collect(),
    };
    (of.text("routeTableId"), told)
}

pub fn acl(of: &Element) -> (String, ToldAcl) {
    let entries = of.items("entrySet").iter().map(|entry| {
        let number = entry.text("ruleNumber").parse().unwrap();
        let allow = entry.text("ruleAction") == "allow";
        let range = net(&entry.text("cidrBlock"));
        let number_of = |part: &str, end: &str| {
            entry.child(part).map(|part| part.text(end).parse().unwrap()).unwrap_or_default()
        };
        let icmp: i16 = entry.child("icmpTypeCode").map_or(-1, |icmp| icmp.text("type").parse().unwrap());
        let ports = (number_of("portRange", "from"), number_of("portRange", "to"));
        let traffic = traffic(&entry.text("protocol"), ports, icmp);
        ((entry.text("egress") == "true", number), Entry { allow, traffic, range })
    });
    let subnets = associations(of, "networkAcl").into_iter().filter_map(|(subnet, _)| subnet);
    let told = ToldAcl {
        vpc: of.text("vpcId"),
        default: of.text("default") == "true",
        subnets: subnets.collect(),
        entries: entries.filter(|((_, number), _)| *number != LAST).collect(),
    };
    (of.text("networkAclId"), told)
}

fn traffic(protocol: &str, (from, to): (u16, u16), icmp: i16) -> Traffic {
    match protocol {
        "-1" => Traffic::All,
        "tcp" | "6" => Traffic::Tcp(from, to),
        "udp" | "17" => Traffic::Udp(from, to),
        "icmp" | "1" => Traffic::Icmp(u8::try_from(icmp).ok()),
        other => panic!("nobody has asked for {other}"),
    }
}

/// Group, id, what it says.
pub fn rules_of(answer: &Answer) -> Vec<(String, String, Rule)> {
    let rule = |of: &Element| {
        let protocol = of.text("ipProtocol");
        let number = |name: &str| of.text(name).parse::<i32>().unwrap_or(-1);
        let port = |name: &str| u16::try_from(number(name)).unwrap_or_default();
        let icmp = i16::try_from(number("fromPort")).unwrap_or(-1);
        let traffic = traffic(&protocol, (port("fromPort"), port("toPort")), icmp);
        let peer = match (of.child("referencedGroupInfo"), of.child("prefixListId")) {
            (Some(group), _) => Peer::Group(group.text("groupId")),
            (_, Some(list)) => Peer::List(list.text.clone()),
            _ => Peer::Range(net(&of.text("cidrIpv4"))),
        };
        let rule = Rule { outward: of.text("isEgress") == "true", traffic, peer };
        (of.text("groupId"), of.text("securityGroupRuleId"), rule)
    };
    Element::parse(&answer.text).items("securityGroupRuleSet").iter().map(rule).collect()
}
