//! What is in a router's iptables. The tables are the router's own, so they are written whole.
//!
//! ```text
//!   mangle PREROUTING   per leg: its subnet's ACL outward, then the mark of the way that the packet goes; by a NAT gateway it
//!                       goes through that one's subnet, whose ACL it meets as well, on its way back too
//!   nat    PREROUTING   public addresses become private ones: from outside, and where the way leads out
//!   mangle FORWARD      per leg: its subnet's ACL inward
//!   filter FORWARD      from outside only what was translated or answers; to outside by the mark
//!   filter INPUT        DHCP, DNS and echo of the leg's own gateway, and nothing else
//!   nat    POSTROUTING  by the mark: the sender's own public address, or that of the NAT gateway
//! ```

use super::acl::{self, Border};
use super::names::{UP, leg_inside};
use super::ways::{INTERNET_MARK, Plan, Side};
use karri_proto::network::{Net4, SegmentTag, Traffic};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

pub type Chain = Vec<Rule>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// All of them must be so.
    pub on: Vec<Match>,
    pub then: Then,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    InBy(String),
    OutBy(String),
    From(Net4),
    To(Net4),
    Traffic(Traffic),
    /// A DHCP client's question.
    DhcpQuestion,
    EchoQuestion,
    Mark(u32),
    Marked,
    /// The packet belongs to a connection in which somebody has spoken before, or comes of one.
    Known,
    /// The destination of its connection was translated.
    ToTranslated,
    /// One of the two was.
    Translated,
    /// It goes against the direction of its connection's first packet.
    Backward,
    /// So does it, in a connection whose answers come to this address.
    AnswersTo(Ipv4Addr),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    Accept,
    Drop,
    Return,
    Jump(String),
    Mark(u32),
    ToAddress(Ipv4Addr),
    FromAddress(Ipv4Addr),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// The kernel's chains, and what becomes of packets at their end.
    pub policies: BTreeMap<&'static str, bool>,
    pub chains: BTreeMap<String, Chain>,
}

/// In the order in which they are put.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    pub mangle: Table,
    pub nat: Table,
    pub filter: Table,
}

pub const PREROUTING: &str = "PREROUTING";
pub const INPUT: &str = "INPUT";
pub const FORWARD: &str = "FORWARD";
pub const OUTPUT: &str = "OUTPUT";
pub const POSTROUTING: &str = "POSTROUTING";
const TO_PUBLIC: &str = "to-public";
const FROM_PUBLIC: &str = "from-public";
const HAS_PUBLIC: &str = "has-public";
const OUTWARD: &str = "outward";

impl Table {
    fn new(policies: &[(&'static str, bool)]) -> Self {
        let policies: BTreeMap<_, _> = policies.iter().copied().collect();
        let chains = policies.keys().map(|name| ((*name).to_owned(), Chain::new())).collect();
        Self { policies, chains }
    }

    fn add(&mut self, chain: &str, on: Vec<Match>, then: Then) {
        self.chains.entry(chain.to_owned()).or_default().push(Rule { on, then });
    }
}

pub fn tables(plan: &Plan) -> Tables {
    Tables { mangle: mangle(plan), nat: nat(plan), filter: filter(plan) }
}

fn mangle(plan: &Plan) -> Table {
    let kernel = [(PREROUTING, true), (INPUT, true), (FORWARD, true), (OUTPUT, true), (POSTROUTING, true)];
    let mut table = Table::new(&kernel);
    for side in &plan.sides {
        let link = leg_inside(side.leg.tag);
        let from = format!("{link}-from");
        table.add(PREROUTING, vec![Match::InBy(link.clone())], Then::Jump(from.clone()));
        // DHCP and the gateway's own answers are no matter of ACLs.
        table.add(&from, vec![Match::To(single(side.leg.gateway))], Then::Return);
        table.add(&from, vec![Match::To(single(Ipv4Addr::BROADCAST))], Then::Return);
        if let Some(chain) = acl::chain(side.acl, Border::Out) {
            let name = format!("{link}-acl-out");
            table.chains.insert(name.clone(), chain);
            table.add(&from, Vec::new(), Then::Jump(name));
        }
        for (net, mark) in marks(side) {
            table.add(&from, vec![Match::To(net)], Then::Mark(mark));
        }
        if let Some(chain) = acl::chain(side.acl, Border::In) {
            let name = format!("{link}-acl-in");
            table.chains.insert(name.clone(), chain);
            table.add(FORWARD, vec![Match::OutBy(link)], Then::Jump(name));
        }
    }
    for (public, tag) in &plan.nats {
        through_nat(&mut table, plan, *public, *tag);
    }
    table
}

/// What goes by a NAT gateway from another subnet comes into the gateway's own and leaves it again, and so do the answers.
fn through_nat(table: &mut Table, plan: &Plan, public: Ipv4Addr, tag: SegmentTag) {
    let link = leg_inside(tag);
    let [inward, outward] = ["in", "out"].map(|end| format!("{link}-acl-{end}"));
    let has = |table: &Table, chain: &String| table.chains.contains_key(chain);
    for side in plan.sides.iter().filter(|side| side.leg.tag != tag) {
        let from = format!("{}-from", leg_inside(side.leg.tag));
        for chain in [&inward, &outward] {
            if has(table, chain) {
                table.add(&from, vec![Match::Mark(u32::from(public))], Then::Jump(chain.clone()));
            }
        }
        if has(table, &outward) {
            let answer = vec![Match::OutBy(leg_inside(side.leg.tag)), Match::AnswersTo(public)];
            table.add(FORWARD, answer, Then::Jump(outward.clone()));
        }
    }
    if has(table, &inward) {
        let answer = vec![Match::InBy(UP.to_owned()), Match::To(single(public))];
        table.add(PREROUTING, answer, Then::Jump(inward));
    }
}

/// The last that holds a destination is its mark; what says nothing new is left out.
fn marks(side: &Side) -> Vec<(Net4, u32)> {
    let mut marks: Vec<(Net4, u32)> = Vec::new();
    for (net, way) in side.ways.iter().rev() {
        let around = marks.iter().rev().find(|(outer, _)| outer.contains(net.address));
        if around.map_or(0, |(_, mark)| *mark) != way.mark() {
            marks.push((*net, way.mark()));
        }
    }
    marks
}

fn nat(plan: &Plan) -> Table {
    let mut table = Table::new(&[(PREROUTING, true), (INPUT, true), (OUTPUT, true), (POSTROUTING, true)]);
    if !plan.addresses.is_empty() {
        table.add(PREROUTING, vec![Match::InBy(UP.to_owned())], Then::Jump(TO_PUBLIC.to_owned()));
        table.add(PREROUTING, vec![Match::Marked], Then::Jump(TO_PUBLIC.to_owned()));
        table.add(POSTROUTING, vec![Match::Mark(INTERNET_MARK)], Then::Jump(FROM_PUBLIC.to_owned()));
    }
    for address in &plan.addresses {
        table.add(TO_PUBLIC, vec![Match::To(single(address.public))], Then::ToAddress(address.private));
        table.add(FROM_PUBLIC, vec![Match::From(single(address.private))], Then::FromAddress(address.public));
    }
    for (public, _) in &plan.nats {
        table.add(POSTROUTING, vec![Match::Mark(u32::from(*public))], Then::FromAddress(*public));
    }
    table
}

fn filter(plan: &Plan) -> Table {
    let mut table = Table::new(&[(INPUT, false), (FORWARD, false), (OUTPUT, true)]);
    let up = || UP.to_owned();
    table.add(INPUT, vec![Match::Known], Then::Accept);
    table.add(INPUT, vec![Match::InBy("lo".to_owned())], Then::Accept);
    table.add(FORWARD, vec![Match::InBy(up()), Match::Known], Then::Accept);
    table.add(FORWARD, vec![Match::InBy(up()), Match::ToTranslated], Then::Accept);
    table.add(FORWARD, vec![Match::InBy(up())], Then::Drop);
    table.add(FORWARD, vec![Match::OutBy(up())], Then::Jump(OUTWARD.to_owned()));
    // From a guest to a public address that leads back here, and the answers to it.
    table.add(FORWARD, vec![Match::Translated], Then::Jump(OUTWARD.to_owned()));
    for side in &plan.sides {
        let link = leg_inside(side.leg.tag);
        serve(&mut table, side, &link);
        table.add(FORWARD, vec![Match::InBy(link)], Then::Accept);
    }
    let internet = || Match::Mark(INTERNET_MARK);
    if !plan.addresses.is_empty() {
        table.add(OUTWARD, vec![internet()], Then::Jump(HAS_PUBLIC.to_owned()));
    }
    table.add(OUTWARD, vec![internet()], Then::Drop);
    table.add(OUTWARD, vec![Match::Mark(0)], Then::Drop);
    // Who answers to a public address answers by the internet gateway.
    table.add(OUTWARD, vec![Match::ToTranslated, Match::Backward], Then::Drop);
    table.add(OUTWARD, Vec::new(), Then::Accept);
    for address in &plan.addresses {
        table.add(HAS_PUBLIC, vec![Match::From(single(address.private))], Then::Accept);
    }
    table
}

/// What the gateway's own address answers, and to whom.
fn serve(table: &mut Table, side: &Side, link: &str) {
    let from = || Match::InBy(link.to_owned());
    let to = || Match::To(single(side.leg.gateway));
    table.add(INPUT, vec![from(), Match::DhcpQuestion], Then::Accept);
    if side.leg.dns {
        for traffic in [Traffic::Udp { from: 53, to: 53 }, Traffic::Tcp { from: 53, to: 53 }] {
            table.add(INPUT, vec![from(), to(), Match::Traffic(traffic)], Then::Accept);
        }
    }
    table.add(INPUT, vec![from(), to(), Match::EchoQuestion], Then::Accept);
}

fn single(address: Ipv4Addr) -> Net4 {
    Net4 { address, prefix: 32 }
}

impl std::fmt::Display for Tables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, table) in [("mangle", &self.mangle), ("nat", &self.nat), ("filter", &self.filter)] {
            writeln!(f, "*{name}")?;
            for chain in table.chains.keys() {
                let policy = match table.policies.get(chain.as_str()) {
                    Some(true) => "ACCEPT",
                    Some(false) => "DROP",
                    None => "-",
                };
                writeln!(f, ":{chain} {policy} [0:0]")?;
            }
            for (chain, rules) in &table.chains {
                rules.iter().try_for_each(|rule| writeln!(f, "-A {chain}{rule}"))?;
            }
            writeln!(f, "COMMIT")?;
        }
        Ok(())
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.on.iter().try_for_each(|on| on.fmt(f))?;
        match &self.then {
            Then::Accept => write!(f, " -j ACCEPT"),
            Then::Drop => write!(f, " -j DROP"),
            Then::Return => write!(f, " -j RETURN"),
            Then::Jump(chain) => write!(f, " -j {chain}"),
            Then::Mark(mark) => write!(f, " -j MARK --set-mark {mark:#x}"),
            Then::ToAddress(to) => write!(f, " -j DNAT --to-destination {to}"),
            Then::FromAddress(from) => write!(f, " -j SNAT --to-source {from}"),
        }
    }
}

/// With a space before it.
impl std::fmt::Display for Match {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Match::InBy(link) => write!(f, " -i {link}"),
            Match::OutBy(link) => write!(f, " -o {link}"),
            Match::From(net) if *net == Net4::EVERYWHERE => Ok(()),
            Match::To(net) if *net == Net4::EVERYWHERE => Ok(()),
            Match::From(net) => write!(f, " -s {net}"),
            Match::To(net) => write!(f, " -d {net}"),
            Match::Traffic(traffic) => write_traffic(f, *traffic),
            Match::DhcpQuestion => write!(f, " -p udp --sport 68 --dport 67"),
            Match::EchoQuestion => write!(f, " -p icmp --icmp-type echo-request"),
            Match::Mark(mark) => write!(f, " -m mark --mark {mark:#x}"),
            Match::Marked => write!(f, " -m mark ! --mark 0x0"),
            Match::Known => write!(f, " -m conntrack --ctstate RELATED,ESTABLISHED"),
            Match::ToTranslated => write!(f, " -m conntrack --ctstate DNAT"),
            Match::Translated => write!(f, " -m conntrack --ctstate DNAT,SNAT"),
            Match::Backward => write!(f, " -m conntrack --ctdir REPLY"),
            Match::AnswersTo(address) => write!(f, " -m conntrack --ctrepldst {address} --ctdir REPLY"),
        }
    }
}

fn write_traffic(f: &mut std::fmt::Formatter<'_>, traffic: Traffic) -> std::fmt::Result {
    match traffic {
        Traffic::All => Ok(()),
        Traffic::Tcp { from, to } => write!(f, " -p tcp --dport {from}:{to}"),
        Traffic::Udp { from, to } => write!(f, " -p udp --dport {from}:{to}"),
        Traffic::Icmp { r#type: None, .. } => write!(f, " -p icmp"),
        Traffic::Icmp { r#type: Some(kind), code: None } => write!(f, " -p icmp --icmp-type {kind}"),
        Traffic::Icmp { r#type: Some(kind), code: Some(code) } => {
            write!(f, " -p icmp --icmp-type {kind}/{code}")
        }
        Traffic::Icmp6 { .. } => write!(f, " -p ipv6-icmp"),
        Traffic::Protocol(number) => write!(f, " -p {number}"),
    }
}
