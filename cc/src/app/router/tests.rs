//! Routers that are made of VPCs, one property at a time; all rules of one in `usual.golden`.

use super::names::{leg_outside, namespace, uplink};
use super::samples::{
    A, B, ELSEWHERE, acl, address, entry, everything, far, id, input, lease, names, nat, open, site, subnet,
    table, usual, vpc,
};
use super::{Input, Router, Site, Via, outside, router, table_of};
use karri_proto::network::{RouteTarget, Shape, Traffic};

fn made(shapes: &[Shape]) -> Router {
    router(&input(shapes), &site()).unwrap()
}

/// Routes of the leg's own table, as text.
fn ways(router: &Router, tag: u32) -> Vec<String> {
    let own = router.routes.iter().filter(|route| route.table == table_of(tag));
    own.map(|route| match route.via {
        Via::Leg(tag) => format!("{} {tag:x}", route.to),
        Via::Port(tag, address) => format!("{} {tag:x} {address}", route.to),
        Via::Up => format!("{} up", route.to),
        Via::Unreachable => format!("{} unreachable", route.to),
        Via::Blackhole => format!("{} blackhole", route.to),
    })
    .collect()
}

#[test]
fn a_usual_vpc_is_what_it_was_when_last_looked_at() {
    let router = made(&usual());
    let routes: String =
        router.routes.iter().map(|route| format!("{} {} {:?}\n", route.table, route.to, route.via)).collect();
    let text = format!("{routes}{}", router.tables);
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/src/app/router/usual.golden");
    if std::env::var_os("KARRI_GOLDEN").is_some() {
        std::fs::write(golden, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(golden).unwrap_or_default());
}

#[test]
fn there_is_a_router_only_while_somebody_needs_it() {
    let none = |shapes: &[Shape]| router(&Input::new(shapes, Vec::new()).unwrap(), &site());
    let mut shapes = usual();
    let legs: Vec<u32> = none(&shapes).unwrap().legs.into_keys().collect();
    assert_eq!(legs, [A], "that of the NAT gateway");
    shapes.retain(|shape| !matches!(shape, Shape::Nat(_)));
    assert_eq!(none(&shapes), None);
    let legs: Vec<u32> = made(&shapes).legs.into_keys().collect();
    assert_eq!(legs, [A, B]);
    assert_eq!(Input::new(&shapes[1..], Vec::new()), None, "nothing is known of the VPC itself");
}

#[test]
fn a_port_in_another_cluster_of_the_zone_is_served_as_if_it_were_here() {
    let mut near = usual();
    near.push(Shape::Address(address([203, 0, 113, 9], &lease(B, 9))));
    let mut there = near.clone();
    there.push(Shape::Far(far(B, 9)));
    let leases = vec![lease(B, 9), lease(A, 5)];
    let alone = Input::new(&there, vec![lease(A, 5)]).unwrap();
    assert_eq!(router(&alone, &site()), router(&Input::new(&near, leases).unwrap(), &site()));
}

#[test]
fn a_cluster_that_extends_a_zone_has_none_of_its_routers_and_public_addresses() {
    let there = Site { extends: true, ..site() };
    assert_eq!(router(&input(&usual()), &there), None);
    let (public, mut flat) = (address([203, 0, 113, 9], &lease(A, 9)), subnet(A));
    flat.tag = 0;
    assert_eq!(outside(&site(), [(&public, &flat)], []).flat.len(), 1);
    assert_eq!(outside(&there, [(&public, &flat)], []), Default::default());
}

#[test]
fn each_leg_serves_its_own_ports_and_no_others() {
    let router = made(&usual());
    let leg = &router.legs[&B];
    assert_eq!(leg.gateway, std::net::Ipv4Addr::new(10, 0, 1, 1));
    let [host] = &leg.hosts[..] else { panic!("{:?}", leg.hosts) };
    assert_eq!((host.address, host.hostname.as_str()), (lease(B, 5).address, "ip-10-0-1-5"));
}

#[test]
fn names_of_its_own_public_addresses_lead_to_private_ones_if_the_vpc_has_such_names() {
    let router = made(&usual());
    assert_eq!(router.naming.region, Some(names().into()));
    assert_eq!(router.naming.ranges, vpc().ranges.into_iter().collect());
    // Neither a NAT gateway's, nor one in another zone, to which there is no other way.
    let mut shapes = usual();
    shapes.push(Shape::Address(address([203, 0, 113, 6], &lease(ELSEWHERE, 5))));
    let inside = [([203, 0, 113, 5].into(), [10, 0, 0, 5].into())].into();
    assert_eq!(made(&shapes).naming.inside, inside);
    shapes[0] = Shape::Vpc(karri_proto::network::Vpc { dns_hostnames: false, ..vpc() });
    assert!(made(&shapes).naming.inside.is_empty());
}

#[test]
fn a_subnet_reaches_the_vpc_and_what_its_table_says() {
    let router = made(&usual());
    let own = [
        "0.0.0.0/0 up",
        "10.0.0.0/16 unreachable",
        "10.0.0.0/24 1001",
        "10.0.1.0/24 1002",
        "169.254.0.0/16 blackhole",
    ];
    assert_eq!(ways(&router, A), own);
    let private = ways(&router, B);
    assert!(private.contains(&"198.51.100.0/24 blackhole".to_owned()), "{private:?}");
    assert!(private.contains(&"0.0.0.0/0 up".to_owned()), "{private:?}");
}

#[test]
fn without_an_internet_gateway_nothing_leads_out() {
    let mut shapes = usual();
    shapes[0] = Shape::Vpc(karri_proto::network::Vpc { internet_gateway: None, ..vpc() });
    let router = made(&shapes);
    assert!(ways(&router, A).contains(&"0.0.0.0/0 blackhole".to_owned()));
    assert!(ways(&router, B).contains(&"0.0.0.0/0 blackhole".to_owned()));
    assert!(router.public.is_empty() && !router.tables.contains("--to-"));
}

#[test]
fn a_nat_gateway_leads_only_where_its_own_subnet_does() {
    let out = || ("0.0.0.0/0", RouteTarget::Nat(id("nat", 1)));
    let check = |of_nat: &[(&str, RouteTarget)], of_b: &[(&str, RouteTarget)], expected: &[&str]| {
        let mut shapes = vec![Shape::Vpc(vpc()), Shape::Subnet(subnet(A)), Shape::Subnet(subnet(B))];
        shapes.extend([Shape::RouteTable(table(A, of_nat)), Shape::RouteTable(table(B, of_b))]);
        shapes.push(Shape::Nat(nat(A, Some([203, 0, 113, 200]))));
        let found = ways(&made(&shapes), B);
        let of_the_vpc = |line: &&String| !line.starts_with("10.0.") && !line.starts_with("169.254.");
        assert_eq!(found.iter().filter(of_the_vpc).collect::<Vec<_>>(), expected);
    };
    let internet = || ("0.0.0.0/0", RouteTarget::Internet);
    check(&[internet()], &[out()], &["0.0.0.0/0 up"]);
    check(&[], &[out()], &["0.0.0.0/0 blackhole"]);
    check(&[out()], &[out()], &["0.0.0.0/0 blackhole"]);
    let hole = || ("198.51.0.0/16", RouteTarget::Blackhole);
    check(&[internet(), hole()], &[out()], &["0.0.0.0/0 up", "198.51.0.0/16 blackhole"]);
    // A longer prefix of the subnet's own comes before what is behind the gateway.
    let own = || ("198.51.0.0/16", RouteTarget::Interface(lease(B, 5).port));
    check(&[internet(), hole()], &[out(), own()], &["0.0.0.0/0 up", "198.51.0.0/16 1002 10.0.1.5"]);
    let within = ("198.51.100.0/24", RouteTarget::Nat(id("nat", 1)));
    check(&[internet(), hole()], &[within], &["0.0.0.0/0 blackhole", "198.51.100.0/24 blackhole"]);
}

#[test]
fn an_acl_that_lets_all_pass_costs_no_rule_and_one_that_is_missing_lets_nothing() {
    let tables = |of_a: Option<karri_proto::network::Acl>| {
        let mut shapes = usual();
        shapes.retain(|shape| !matches!(shape, Shape::Acl(acl) if acl.id == id("acl", A)));
        shapes.extend(of_a.map(Shape::Acl));
        made(&shapes).tables
    };
    assert!(!tables(Some(open(A))).contains("s1001-acl"));
    let missing = tables(None);
    assert!(missing.contains("-A s1001-acl-in -j DROP\n") && missing.contains("-A s1001-acl-out -j DROP\n"));
    let ssh = entry(90, false, Traffic::Tcp { from: 22, to: 22 }, "0.0.0.0/0");
    let some = tables(Some(acl(A, vec![ssh, everything()], vec![everything()])));
    assert!(
        some.contains("-A s1001-acl-in -p tcp --dport 22:22 -j DROP\n-A s1001-acl-in -j RETURN\n"),
        "{some}"
    );
}

#[test]
fn names_fit_into_the_kernels() {
    for bridge in ["k", "karri0", "karri-t0", "a-bridge-name15"] {
        assert!(
            leg_outside(bridge, 0xff_ffff).len() <= 15 && uplink(bridge, u16::MAX).len() <= 15,
            "{bridge}"
        );
    }
    assert_eq!(namespace("karri0", &"vpc-0123456789abcdef0".parse().unwrap()), "karri-karri0-789abcdef0");
}
