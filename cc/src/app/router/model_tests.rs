//! The judge of routes, ACLs and translation: what EC2 says becomes of a packet, written down once more without
//! rules or tables, against what the rendered rules and routes make of it.

use super::chains::{self, FORWARD, Match, POSTROUTING, PREROUTING, Rule, Table, Tables, Then};
use super::names::leg_inside;
use super::samples::{A, B, ELSEWHERE, acl, address, entry, id, lease, nat, net, site, subnet, table, vpc};
use super::ways::Plan;
use super::{Input, Lease, Route, Via, legs, routes, table_of};
use karri_proto::network::{Acl, AclEntry, Net4, RouteTarget, SegmentTag, Shape, Traffic, Vpc};
use proptest::prelude::*;
use std::net::Ipv4Addr;

const PUBLIC_A: [u8; 4] = [203, 0, 113, 5];
const PUBLIC_B: [u8; 4] = [203, 0, 113, 6];
const PUBLIC_NAT: [u8; 4] = [203, 0, 113, 200];
const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const PORTS: [u16; 2] = [22, 80];

/// What becomes of the first packet of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Lost,
    /// Comes out there, from and to these addresses.
    Comes {
        out: Out,
        from: Ipv4Addr,
        to: Ipv4Addr,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Out {
    Leg(SegmentTag),
    Up,
}

fn contains(entry: &AclEntry, peer: Ipv4Addr, port: u16) -> bool {
    let traffic = match entry.traffic {
        Traffic::All => true,
        Traffic::Tcp { from, to } => (from..=to).contains(&port),
        _ => false,
    };
    traffic && entry.range.contains(peer)
}

/// EC2's words about ACLs.
fn acl_allows(acl: Option<&Acl>, inward: bool, peer: Ipv4Addr, port: u16) -> bool {
    let Some(acl) = acl else { return false };
    let entries = if inward { &acl.ingress } else { &acl.egress };
    entries.iter().find(|entry| contains(entry, peer, port)).is_some_and(|entry| entry.allow)
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Says {
    Local(SegmentTag),
    Target(RouteTarget),
    Nothing,
}

/// EC2's words about routes: the most specific one counts, the VPC itself is always one of them. (Routes to a part of
/// the VPC are not among those tried: they would lead a packet once more that comes back by a public address.)
fn route_says(input: &Input, tag: SegmentTag, to: Ipv4Addr) -> Says {
    let routes = &input.tables[&id("rtb", tag)].routes;
    let mut best: Option<(u8, Says)> = None;
    let mut offer = |net: Net4, says: Says| {
        // A route of the table's own wins over one of the VPC to the same network.
        if net.contains(to) && best.as_ref().is_none_or(|(prefix, _)| net.prefix >= *prefix) {
            best = Some((net.prefix, says));
        }
    };
    input.vpc.ranges.iter().for_each(|range| offer(*range, Says::Nothing));
    for subnet in input.subnets.iter().filter(|subnet| subnet.tag != ELSEWHERE) {
        offer(subnet.range, Says::Local(subnet.tag));
    }
    routes.iter().for_each(|route| offer(route.to, Says::Target(route.target.clone())));
    best.map_or(Says::Nothing, |(_, says)| says)
}

/// A packet of an instance to `to`, which is not in its own subnet.
fn model_from(input: &Input, from: &Lease, to: Ipv4Addr, port: u16) -> Fate {
    let acl = |tag| input.acls.get(&id("acl", tag));
    let attached = input.vpc.internet_gateway.is_some();
    if !acl_allows(acl(from.tag), false, to, port) {
        return Fate::Lost;
    }
    let comes_to = |tag: SegmentTag, source: Ipv4Addr, seen: Ipv4Addr, to: Ipv4Addr| {
        let passes = acl_allows(acl(tag), true, source, port);
        if passes { Fate::Comes { out: Out::Leg(tag), from: seen, to } } else { Fate::Lost }
    };
    let public = match route_says(input, from.tag, to) {
        Says::Nothing => return Fate::Lost,
        Says::Local(tag) => return comes_to(tag, from.address, from.address, to),
        Says::Target(RouteTarget::Blackhole) => return Fate::Lost,
        Says::Target(RouteTarget::Interface(port)) => {
            return match input.lease_of(&port) {
                Some(lease) => comes_to(lease.tag, from.address, from.address, to),
                None => Fate::Lost,
            };
        }
        Says::Target(RouteTarget::Internet) => input
            .addresses
            .iter()
            .find(|address| address.private == from.address)
            .map(|address| address.public),
        Says::Target(RouteTarget::Nat(nat)) => input.nats.get(&nat).and_then(|nat| {
            let tag = input.subnets.iter().find(|subnet| subnet.id == nat.subnet)?.tag;
            let onward = route_says(input, tag, to) == Says::Target(RouteTarget::Internet);
            // Its own subnet is one more on the way.
            let through = tag == from.tag
                || acl_allows(acl(tag), true, from.address, port) && acl_allows(acl(tag), false, to, port);
            nat.public.filter(|_| onward && through)
        }),
    };
    let Some(public) = public.filter(|_| attached) else { return Fate::Lost };
    match input.addresses.iter().find(|address| address.public == to) {
        // Back into the VPC; its border is crossed with the sender's own address.
        Some(address) => {
            let tag = if address.subnet == id("subnet", A) { A } else { B };
            comes_to(tag, from.address, public, address.private)
        }
        None => Fate::Comes { out: Out::Up, from: public, to },
    }
}

/// A packet from outside.
fn model_in(input: &Input, to: Ipv4Addr, port: u16) -> Fate {
    let address = input.addresses.iter().find(|address| address.public == to);
    let Some(address) = address.filter(|_| input.vpc.internet_gateway.is_some()) else { return Fate::Lost };
    let tag = if address.subnet == id("subnet", A) { A } else { B };
    match acl_allows(input.acls.get(&id("acl", tag)), true, CLIENT, port) {
        true => Fate::Comes { out: Out::Leg(tag), from: CLIENT, to: address.private },
        false => Fate::Lost,
    }
}

/// Whether the answer to it comes back outside.
fn model_answer(input: &Input, to: Ipv4Addr, port: u16) -> bool {
    let Fate::Comes { out: Out::Leg(tag), .. } = model_in(input, to, port) else { return false };
    acl_allows(input.acls.get(&id("acl", tag)), false, CLIENT, ANSWERS_TO)
        && route_says(input, tag, CLIENT) == Says::Target(RouteTarget::Internet)
}

/// Whether EC2 lets the answer back that comes to a NAT gateway.
fn model_back(input: &Input, from: &Lease) -> bool {
    let acl = |tag| input.acls.get(&id("acl", tag));
    let nat = &input.nats[&id("nat", 1)];
    let tag = if nat.subnet == id("subnet", A) { A } else { B };
    let into = |tag| acl_allows(acl(tag), true, CLIENT, ANSWERS_TO);
    let through = tag == from.tag || acl_allows(acl(tag), false, from.address, ANSWERS_TO) && into(from.tag);
    into(tag) && through
}

/// The port that the client speaks from.
const ANSWERS_TO: u16 = 40_000;

/// A packet on its way through the rules.
#[derive(Debug, Clone)]
struct Packet {
    in_by: String,
    out_by: String,
    from: Ipv4Addr,
    to: Ipv4Addr,
    port: u16,
    mark: u32,
    known: bool,
    to_translated: bool,
    from_translated: bool,
    backward: bool,
    /// Where answers to its connection come.
    answered_at: Ipv4Addr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Accept,
    Drop,
    ToAddress(Ipv4Addr),
    FromAddress(Ipv4Addr),
}

fn matches(on: &Match, packet: &Packet) -> bool {
    match on {
        Match::InBy(link) => packet.in_by == *link,
        Match::OutBy(link) => packet.out_by == *link,
        Match::From(net) => net.contains(packet.from),
        Match::To(net) => net.contains(packet.to),
        Match::Traffic(Traffic::All) => true,
        Match::Traffic(Traffic::Tcp { from, to }) => (*from..=*to).contains(&packet.port),
        Match::Traffic(_) | Match::DhcpQuestion | Match::EchoQuestion => false,
        Match::Mark(mark) => packet.mark == *mark,
        Match::Marked => packet.mark != 0,
        Match::Known => packet.known,
        Match::ToTranslated => packet.to_translated,
        Match::Translated => packet.to_translated || packet.from_translated,
        Match::Backward => packet.backward,
        Match::AnswersTo(address) => packet.backward && packet.answered_at == *address,
    }
}

fn walk(table: &Table, chain: &str, packet: &mut Packet) -> Option<End> {
    for Rule { on, then } in table.chains.get(chain).into_iter().flatten() {
        if !on.iter().all(|on| matches(on, packet)) {
            continue;
        }
        match then {
            Then::Accept => return Some(End::Accept),
            Then::Drop => return Some(End::Drop),
            Then::Return => return None,
            Then::Jump(chain) => {
                if let Some(end) = walk(table, chain, packet) {
                    return Some(end);
                }
            }
            Then::Mark(mark) => packet.mark = *mark,
            Then::ToAddress(to) => return Some(End::ToAddress(*to)),
            Then::FromAddress(from) => return Some(End::FromAddress(*from)),
        }
    }
    None
}

fn end(table: &Table, chain: &'static str, packet: &mut Packet) -> End {
    let policy = if table.policies[chain] { End::Accept } else { End::Drop };
    walk(table, chain, packet).unwrap_or(policy)
}

struct Kernel {
    tables: Tables,
    routes: Vec<Route>,
}

impl Kernel {
    fn new(input: &Input) -> Self {
        let legs = legs(input, &site());
        let plan = Plan::new(input, &site(), &legs);
        Self { tables: chains::tables(&plan), routes: routes::routes(&plan) }
    }

    /// Of what comes in by `in_by`, the link that it goes out by. What comes from outside is asked of the main table,
    /// where the kernel has put the networks of the legs itself.
    fn lookup(&self, in_by: &str, to: Ipv4Addr) -> Option<Out> {
        let tag = [A, B].into_iter().find(|tag| leg_inside(*tag) == in_by);
        let Some(tag) = tag else {
            return [A, B]
                .into_iter()
                .find(|tag| subnet(*tag).range.contains(to))
                .map(Out::Leg)
                .or(Some(Out::Up));
        };
        let own = self.routes.iter().filter(|route| route.table == table_of(tag) && route.to.contains(to));
        match own.max_by_key(|route| route.to.prefix)?.via {
            Via::Leg(tag) | Via::Port(tag, _) => Some(Out::Leg(tag)),
            Via::Up => Some(Out::Up),
            Via::Unreachable | Via::Blackhole => None,
        }
    }

    /// The first packet; and what its connection is, for the answer.
    fn first(&self, in_by: &str, from: Ipv4Addr, to: Ipv4Addr, port: u16) -> (Fate, Packet) {
        let mut packet = Packet {
            in_by: in_by.to_owned(),
            out_by: String::new(),
            from,
            to,
            port,
            mark: 0,
            known: false,
            to_translated: false,
            from_translated: false,
            backward: false,
            answered_at: from,
        };
        if end(&self.tables.mangle, PREROUTING, &mut packet) == End::Drop {
            return (Fate::Lost, packet);
        }
        if let End::ToAddress(to) = end(&self.tables.nat, PREROUTING, &mut packet) {
            (packet.to, packet.to_translated) = (to, true);
        }
        let Some(out) = self.passes(&mut packet) else { return (Fate::Lost, packet) };
        if let End::FromAddress(from) = end(&self.tables.nat, POSTROUTING, &mut packet) {
            (packet.from, packet.from_translated) = (from, true);
            packet.answered_at = from;
        }
        (Fate::Comes { out, from: packet.from, to: packet.to }, packet)
    }

    fn passes(&self, packet: &mut Packet) -> Option<Out> {
        let out = self.lookup(&packet.in_by, packet.to)?;
        packet.out_by = match out {
            Out::Leg(tag) => leg_inside(tag),
            Out::Up => "u".to_owned(),
        };
        let passes = end(&self.tables.mangle, FORWARD, packet) != End::Drop
            && end(&self.tables.filter, FORWARD, packet) == End::Accept;
        passes.then_some(out)
    }

    /// Whether the answer from outside to what went there by a NAT gateway comes back.
    fn comes_back(&self, from: &Lease, port: u16) -> Option<bool> {
        let (fate, first) = self.first(&leg_inside(from.tag), from.address, CLIENT, port);
        let is_by_nat = fate == Fate::Comes { out: Out::Up, from: PUBLIC_NAT.into(), to: CLIENT };
        let mut answer = Packet {
            in_by: "u".to_owned(),
            from: CLIENT,
            to: PUBLIC_NAT.into(),
            port: ANSWERS_TO,
            mark: 0,
            known: true,
            backward: true,
            ..first
        };
        is_by_nat.then(|| {
            let comes = end(&self.tables.mangle, PREROUTING, &mut answer) != End::Drop;
            answer.to = from.address; // as the connection's translation has it
            comes && self.passes(&mut answer) == Some(Out::Leg(from.tag))
        })
    }

    /// Whether the answer to what came from outside gets back there.
    fn answers(&self, to: Ipv4Addr, port: u16) -> bool {
        let (Fate::Comes { out: Out::Leg(tag), .. }, first) = self.first("u", CLIENT, to, port) else {
            return false;
        };
        let mut answer = Packet {
            in_by: leg_inside(tag),
            from: first.to,
            to: first.from,
            port: ANSWERS_TO,
            mark: 0,
            known: true,
            backward: true,
            ..first
        };
        end(&self.tables.mangle, PREROUTING, &mut answer) != End::Drop
            && self.passes(&mut answer) == Some(Out::Up)
    }
}

fn targets() -> impl Strategy<Value = RouteTarget> {
    prop_oneof![
        3 => Just(RouteTarget::Internet),
        3 => Just(RouteTarget::Nat(id("nat", 1))),
        1 => Just(RouteTarget::Interface(lease(B, 5).port)),
        1 => Just(RouteTarget::Interface(id("eni", 99))),
        1 => Just(RouteTarget::Blackhole),
    ]
}

fn route_list() -> impl Strategy<Value = Vec<(&'static str, RouteTarget)>> {
    let nets = prop_oneof![
        4 => Just("0.0.0.0/0"),
        1 => Just("198.51.0.0/16"),
        1 => Just("198.51.100.0/24"),
        1 => Just("203.0.113.0/24"),
        1 => Just("203.0.113.6/32"),
    ];
    // A table has one route to a network.
    proptest::collection::btree_map(nets, targets(), 0..4).prop_map(|routes| routes.into_iter().collect())
}

fn entries() -> impl Strategy<Value = Vec<AclEntry>> {
    let nets = prop_oneof![
        Just("0.0.0.0/0"),
        Just("10.0.0.0/16"),
        Just("10.0.1.0/24"),
        Just("198.51.100.0/24"),
        Just("203.0.113.0/24"),
    ];
    let traffic = prop_oneof![
        3 => Just(Traffic::All),
        1 => Just(Traffic::Tcp { from: 22, to: 22 }),
        1 => Just(Traffic::Tcp { from: 80, to: 50_000 }),
        1 => Just(Traffic::Udp { from: 0, to: 65_535 }),
    ];
    let entry = (any::<bool>(), traffic, nets);
    let few = proptest::collection::vec(entry, 0..4).prop_map(|all| {
        let numbered = all.into_iter().zip(1u16..);
        numbered.map(|((allow, traffic, range), number)| entry_of(number, allow, traffic, range)).collect()
    });
    prop_oneof![1 => few, 1 => Just(vec![super::samples::everything()])]
}

fn entry_of(number: u16, allow: bool, traffic: Traffic, range: &str) -> AclEntry {
    entry(number, allow, traffic, range)
}

fn inputs() -> impl Strategy<Value = Input> {
    let acls = (entries(), entries(), entries(), entries(), 0u8..12);
    (route_list(), route_list(), acls, any::<[bool; 3]>(), 0u8..8).prop_map(|(of_a, of_b, acls, has, odd)| {
        let [public_a, public_b, nat_in_b] = has;
        let internet_gateway = (odd != 0).then(|| id("igw", 1));
        let mut shapes = vec![Shape::Vpc(Vpc { internet_gateway, ..vpc() })];
        shapes.extend([A, B, ELSEWHERE].map(|tag| Shape::Subnet(subnet(tag))));
        shapes.extend([Shape::RouteTable(table(A, &of_a)), Shape::RouteTable(table(B, &of_b))]);
        let (a_in, a_out, b_in, b_out, missing) = acls;
        shapes.extend((missing != 0).then(|| Shape::Acl(acl(A, a_in, a_out))));
        shapes.push(Shape::Acl(acl(B, b_in, b_out)));
        shapes.push(Shape::Nat(nat(if nat_in_b { B } else { A }, Some(PUBLIC_NAT))));
        shapes.extend(public_a.then(|| Shape::Address(address(PUBLIC_A, &lease(A, 5)))));
        shapes.extend(public_b.then(|| Shape::Address(address(PUBLIC_B, &lease(B, 5)))));
        Input::new(&shapes, vec![lease(A, 5), lease(B, 5)]).unwrap()
    })
}

fn destinations() -> Vec<Ipv4Addr> {
    let all = [[10, 0, 0, 5], [10, 0, 1, 5], [10, 0, 2, 5], [10, 0, 9, 9], [198, 51, 7, 7], [8, 8, 8, 8]];
    let all = all.into_iter().chain([PUBLIC_A, PUBLIC_B, PUBLIC_NAT, [169, 254, 169, 254]]);
    all.map(Ipv4Addr::from).chain([CLIENT]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn rules_and_routes_let_through_what_ec2_would(input in inputs()) {
        let kernel = Kernel::new(&input);
        for from in &input.leases {
            for to in destinations() {
                for port in PORTS {
                    if subnet(from.tag).range.contains(to) {
                        continue; // never comes to the router
                    }
                    let expected = match net("169.254.0.0/16").contains(to) {
                        true => Fate::Lost,
                        false => model_from(&input, from, to, port),
                    };
                    let (fate, _) = kernel.first(&leg_inside(from.tag), from.address, to, port);
                    prop_assert_eq!(fate, expected, "from {} to {}:{}", from.address, to, port);
                }
            }
            for port in PORTS {
                if let Some(comes) = kernel.comes_back(from, port) {
                    prop_assert_eq!(comes, model_back(&input, from), "back to {} of {}", from.address, port);
                }
            }
        }
        for to in destinations() {
            for port in PORTS {
                let (fate, _) = kernel.first("u", CLIENT, to, port);
                prop_assert_eq!(fate, model_in(&input, to, port), "from outside to {}:{}", to, port);
                prop_assert_eq!(kernel.answers(to, port), model_answer(&input, to, port), "answers from {}:{}", to, port);
            }
        }
    }
}
