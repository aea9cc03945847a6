//! What a router's gateway tells the guests of one subnet: dnsmasq's arguments.

use crate::app::router::{Leg, NEXT_HOP, Naming, names::leg_inside};
use crate::drive::dnsmasq::LEASE_TIME;
use crate::drive::naming;
use karri_proto::network::Net4;
use std::net::Ipv4Addr;

/// Where instances ask about themselves. Clients that take classless routes ignore the router: it says both.
const METADATA: &str = "169.254.169.254/32";

pub fn arguments(leg: &Leg, naming: &Naming, mtu: u32) -> Vec<String> {
    let Leg { range, gateway, dhcp, .. } = leg;
    let option = |name: &str, value: &str| format!("--dhcp-option={name},{value}");
    let mut arguments = vec![
        format!("--interface={}", leg_inside(leg.tag)),
        // Only hosts that we name are served.
        format!("--dhcp-range={},static,{},{LEASE_TIME}", range.address, mask(*range)),
        option("option:router", &gateway.to_string()),
        option("option:mtu", &mtu.to_string()),
        option("121", &format!("{METADATA},{gateway},0.0.0.0/0,{gateway}")),
    ];
    let servers =
        if dhcp.name_servers.is_empty() && leg.dns { vec![*gateway] } else { dhcp.name_servers.clone() };
    match servers.is_empty() {
        true => arguments.push("--dhcp-option=option:dns-server".to_owned()), // else it would name itself
        false => arguments.push(option("option:dns-server", &list(&servers))),
    }
    let domain = dhcp.domain_name.as_deref().filter(|name| are_domains(name));
    if let Some(domain) = domain.or(naming::domain(naming)) {
        arguments.push(option("option:domain-name", domain));
    }
    for (name, addresses) in
        [("option:ntp-server", &dhcp.time_servers), ("option:netbios-ns", &dhcp.netbios_name_servers)]
    {
        arguments.extend((!addresses.is_empty()).then(|| option(name, &list(addresses))));
    }
    arguments.extend(dhcp.netbios_node_type.map(|kind| option("option:netbios-nodetype", &kind.to_string())));
    arguments.extend(names(leg, naming));
    arguments
}

/// Every address of the VPC has a name that says it, both ways. Other questions are the host's to answer.
fn names(leg: &Leg, naming: &Naming) -> Vec<String> {
    if !leg.dns {
        return vec!["--port=0".to_owned()];
    }
    let mut arguments = vec![
        "--no-resolv".to_owned(),
        format!("--server={NEXT_HOP}"),
        "--bogus-priv".to_owned(), // names of private addresses are nobody's outside
    ];
    arguments.extend(naming::arguments(naming));
    arguments
}

/// Several are one option with spaces between them. Whatever else is in it could be taken for more than a name.
fn are_domains(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b' ');
    !text.is_empty() && text.bytes().all(plain)
}

fn list(addresses: &[Ipv4Addr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn mask(range: Net4) -> Ipv4Addr {
    Ipv4Addr::from(u32::MAX.checked_shl(32 - u32::from(range.prefix.min(32))).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use karri_proto::network::DhcpOptions;

    fn leg(dhcp: DhcpOptions, dns: bool) -> Leg {
        let net = |address: [u8; 4], prefix| Net4 { address: address.into(), prefix };
        Leg {
            tag: 0x1001,
            range: net([10, 0, 1, 0], 24),
            gateway: [10, 0, 1, 1].into(),
            dhcp,
            dns,
            hosts: Vec::new(),
        }
    }

    fn check(dhcp: DhcpOptions, dns: bool, has: &[&str], has_not: &[&str]) {
        let naming = naming::tests::naming("ec2.internal", "compute-1.internal");
        let arguments = arguments(&leg(dhcp, dns), &naming, 1450);
        for wanted in has {
            assert!(arguments.iter().any(|argument| argument == wanted), "{wanted}: {arguments:?}");
        }
        for unwanted in has_not {
            assert!(
                !arguments.iter().any(|argument| argument.contains(unwanted)),
                "{unwanted}: {arguments:?}"
            );
        }
    }

    #[test]
    fn guests_are_told_what_the_vpc_says_and_else_what_is_the_clusters() {
        let usual = [
            "--interface=s1001",
            "--dhcp-range=10.0.1.0,static,255.255.255.0,12h",
            "--dhcp-option=option:mtu,1450",
            "--dhcp-option=option:dns-server,10.0.1.1",
            "--dhcp-option=option:domain-name,ec2.internal",
            "--synth-domain=ec2.internal,10.0.0.0/16,ip-",
            "--synth-domain=compute-1.internal,198.18.0.1,198.18.0.254,ec2-",
        ];
        check(DhcpOptions::default(), true, &usual, &["ntp", "netbios", "--port=0"]);
        let own = DhcpOptions {
            domain_name: Some("example.net".to_owned()),
            name_servers: vec![[192, 0, 2, 53].into(), [192, 0, 2, 54].into()],
            time_servers: vec![[192, 0, 2, 123].into()],
            netbios_name_servers: vec![[192, 0, 2, 137].into()],
            netbios_node_type: Some(2),
        };
        let told = [
            "--dhcp-option=option:dns-server,192.0.2.53,192.0.2.54",
            "--dhcp-option=option:domain-name,example.net",
            "--dhcp-option=option:ntp-server,192.0.2.123",
            "--dhcp-option=option:netbios-ns,192.0.2.137",
            "--dhcp-option=option:netbios-nodetype,2",
        ];
        check(own, true, &told, &["dns-server,10.0.1.1"]);
    }

    #[test]
    fn without_dns_nobody_answers_and_no_server_is_named() {
        let quiet = ["--port=0", "--dhcp-option=option:dns-server"];
        check(DhcpOptions::default(), false, &quiet, &["--server", "--synth-domain"]);
    }

    #[test]
    fn a_name_that_could_break_out_of_its_option_is_left_out() {
        let dhcp = DhcpOptions { domain_name: Some("a,b\n--x".to_owned()), ..DhcpOptions::default() };
        check(dhcp, true, &["--dhcp-option=option:domain-name,ec2.internal"], &["a,b"]);
    }
}
