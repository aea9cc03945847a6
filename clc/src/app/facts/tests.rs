//! What clusters are told is a function of what there is, and arrives whatever is lost on the way.

use super::beside::Site;
use super::stand::Stand;
use super::table::{Most, Table};
use crate::app::security_group::terms::{Terms, net_of, net4, traffic};
use crate::app::security_group::{Lists, Peer, Rule};
use crate::store::network_change::NetworkChanges;
use crate::store::security_group::RuleChanges;
use karri_proto::ids::{NetworkInterfaceId, PrefixListId, SecurityGroupId};
use karri_proto::internal::facts::{FactsAt, FactsPage};
use karri_proto::network::{
    ClusterHosts, DhcpOptions, Direction, Fact, FactChange, FactKey, FactTable, FarPort, PortFact, Shape, Vpc,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashSet};

const CLUSTERS: [&str; 3] = ["a", "b", "c"];
const GROUPS: u8 = 4;
const PORTS: u8 = 6;
const RULES: u8 = 8;
const SHAPES: u8 = 3;
const LISTS: u8 = 2;
const ENTRIES: u8 = 3;
const EPOCH: u64 = 7;
/// Small, so that everything takes several, and often less than the facts that there may be.
const PAGE: Most = Most { facts: 3, bytes: 400 };

fn group(number: u8) -> SecurityGroupId {
    format!("sg-{number:08x}").parse().unwrap()
}

fn port_id(number: u8) -> NetworkInterfaceId {
    format!("eni-{number:08x}").parse().unwrap()
}

fn port(number: u8, groups: u8) -> PortFact {
    PortFact {
        id: port_id(number),
        vpc: "vpc-00000001".parse().unwrap(),
        addresses: vec![[10, 0, 0, number].into()],
        groups: (0..GROUPS).filter(|bit| groups & (1 << bit) != 0).map(group).collect(),
    }
}

/// The port as another cluster's routers serve it; it has another name with each change of its groups.
fn far(number: u8, groups: u8) -> FarPort {
    FarPort {
        port: port_id(number),
        vpc: "vpc-00000001".parse().unwrap(),
        tag: 7,
        mac: format!("02:00:0a:00:00:{number:02x}"),
        address: [10, 0, 0, number].into(),
        hostname: format!("h{groups}"),
    }
}

fn list(number: u8) -> PrefixListId {
    format!("pl-{number:08x}").parse().unwrap()
}

fn anywhere() -> Peer {
    Peer::V4(net4("10.0.0.0/8").unwrap())
}

/// One of the rules: it stays in its group, what it says may change.
fn rule(number: u8, peer: Peer) -> Rule {
    Rule {
        id: format!("sgr-{number:08x}").parse().unwrap(),
        group: group(number % GROUPS),
        account: "000000000001".into(),
        terms: Terms {
            direction: Direction::Ingress,
            traffic: traffic("tcp", Some(22), Some(22)).unwrap(),
            peer,
        },
        peer_account: None,
        description: None,
    }
}

fn key(rule: &Rule) -> FactKey {
    FactKey::Rule { group: rule.group.clone(), rule: rule.id.clone() }
}

fn shape(number: u8, gateway: bool) -> Shape {
    Shape::Vpc(Vpc {
        id: format!("vpc-{number:08x}").parse().unwrap(),
        ranges: vec![net4("10.0.0.0/16").unwrap()],
        internet_gateway: gateway.then(|| "igw-00000001".parse().unwrap()),
        dhcp: DhcpOptions::default(),
        dns_support: true,
        dns_hostnames: false,
        transit: 5,
    })
}

#[derive(Debug, Clone)]
enum Act {
    Port {
        number: u8,
        home: usize,
        groups: u8,
    },
    PortGone(u8),
    Rule {
        number: u8,
        peer: Peer,
    },
    RuleGone(u8),
    /// The list has now those of the entries whose bits are set.
    List {
        number: u8,
        entries: u8,
    },
    Shape {
        number: u8,
        gateway: bool,
    },
    ShapeGone(u8),
    /// A cluster is in one of two zones, or in none yet.
    Site {
        cluster: usize,
        site: Option<Site>,
    },
    /// Everything that is known of rules and VPCs, anew.
    Reread,
    /// A page on its way, and what becomes of it.
    Page {
        cluster: usize,
        fate: Fate,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Arrives,
    Lost,
    AnswerLost,
    Twice,
    /// The receiver restarts afterwards.
    Restart,
    /// The receiver has lost its disk.
    Blank,
}

fn site_of((zone, extends, hosts): (u8, bool, u8)) -> Site {
    Site {
        zone: format!("zone-{zone}"),
        extends,
        tunnels: (0..hosts).map(|host| [192, 0, 2, host].into()).collect(),
    }
}

fn peers() -> impl Strategy<Value = Peer> {
    prop_oneof![
        Just(anywhere()),
        (0..GROUPS).prop_map(|number| Peer::Group(group(number))),
        (0..LISTS).prop_map(|number| Peer::List(list(number))),
    ]
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let fate = prop_oneof![
        6 => Just(Fate::Arrives),
        1 => Just(Fate::Lost),
        1 => Just(Fate::AnswerLost),
        1 => Just(Fate::Twice),
        1 => Just(Fate::Restart),
        1 => Just(Fate::Blank),
    ];
    let act = prop_oneof![
        4 => (0..PORTS, 0..CLUSTERS.len(), 0..1u8 << GROUPS)
            .prop_map(|(number, home, groups)| Act::Port { number, home, groups }),
        2 => (0..PORTS).prop_map(Act::PortGone),
        4 => (0..RULES, peers()).prop_map(|(number, peer)| Act::Rule { number, peer }),
        2 => (0..LISTS, 0..1u8 << ENTRIES).prop_map(|(number, entries)| Act::List { number, entries }),
        2 => (0..RULES).prop_map(Act::RuleGone),
        2 => (0..SHAPES, any::<bool>()).prop_map(|(number, gateway)| Act::Shape { number, gateway }),
        1 => (0..SHAPES).prop_map(Act::ShapeGone),
        3 => (0..CLUSTERS.len(), proptest::option::weighted(0.9, (0..2u8, any::<bool>(), 0..3u8)))
            .prop_map(|(cluster, site)| Act::Site { cluster, site: site.map(site_of) }),
        1 => Just(Act::Reread),
        6 => (0..CLUSTERS.len(), fate).prop_map(|(cluster, fate)| Act::Page { cluster, fate }),
    ];
    proptest::collection::vec(act, 1..60)
}

/// What there is, without anything clever.
#[derive(Default)]
struct Model {
    ports: BTreeMap<u8, (PortFact, usize)>,
    far: BTreeMap<u8, FarPort>,
    sites: BTreeMap<String, Site>,
    rules: BTreeMap<u8, Rule>,
    lists: Lists,
    shapes: BTreeMap<u8, Shape>,
}

impl Model {
    /// What that cluster has to know.
    fn needed(&self, cluster: usize) -> FactTable {
        let own = || self.ports.values().filter(|(_, home)| *home == cluster).map(|(port, _)| port);
        let groups: HashSet<&SecurityGroupId> = own().flat_map(|port| &port.groups).collect();
        let rules = || self.rules.values().filter(|rule| groups.contains(&rule.group));
        let named = rules().filter_map(|rule| match &rule.terms.peer {
            Peer::Group(group) => Some(group),
            _ => None,
        });
        let named: HashSet<&SecurityGroupId> = named.collect();
        let elsewhere = self.ports.values().map(|(port, _)| port);
        let elsewhere = elsewhere.filter(|port| port.groups.iter().any(|group| named.contains(group)));
        let mut table = FactTable::default();
        for port in own().chain(elsewhere) {
            table.apply(FactChange::Put(Fact::Port(port.clone())));
        }
        let facts = rules().flat_map(|rule| rule.facts(&self.lists));
        facts.for_each(|fact| drop(table.apply(FactChange::Put(Fact::Rule(fact)))));
        self.all_shapes()
            .into_iter()
            .for_each(|shape| drop(table.apply(FactChange::Put(Fact::Shape(shape)))));
        self.beside(cluster).into_iter().for_each(|fact| drop(table.apply(FactChange::Put(fact))));
        table
    }

    /// What it has to know of the other clusters of its zone.
    fn beside(&self, cluster: usize) -> Vec<Fact> {
        let Some(own) = self.sites.get(CLUSTERS[cluster]) else { return Vec::new() };
        let is_beside = |name: &str| {
            name != CLUSTERS[cluster] && self.sites.get(name).is_some_and(|site| site.zone == own.zone)
        };
        let with_hosts = self.sites.iter().filter(|(name, site)| is_beside(name) && !site.tunnels.is_empty());
        let hosts = with_hosts.map(|(name, site)| {
            Fact::Hosts(ClusterHosts { cluster: name.clone(), tunnels: site.tunnels.clone() })
        });
        let is_served = |home: &str| is_beside(home) && self.sites[home].extends && !own.extends;
        let served = self.ports.iter().filter(|(_, (_, home))| is_served(CLUSTERS[*home]));
        let far = served.map(|(number, _)| Fact::Shape(Shape::Far(self.far[number].clone())));
        hosts.chain(far).collect()
    }

    fn all_shapes(&self) -> Vec<Shape> {
        self.shapes.values().cloned().collect()
    }

    fn all_rules(&self) -> RuleChanges {
        RuleChanges { whole: true, ..self.rules_now(self.rules.values().cloned().collect()) }
    }

    /// As they are read after a change of them.
    fn rules_now(&self, rules: Vec<Rule>) -> RuleChanges {
        RuleChanges { rules, lists: self.lists.clone(), ..RuleChanges::default() }
    }
}

/// A cluster as the contract has it: everything takes the place of what was there when all of it has come.
#[derive(Default)]
struct Receiver {
    stands: FactsAt,
    table: FactTable,
    coming: Option<(FactsAt, FactTable)>,
}

impl Receiver {
    fn put(&mut self, page: &FactsPage) -> FactsAt {
        let begins = page.from.map(|at| FactsAt { epoch: page.epoch, at });
        let here = FactsAt { epoch: page.epoch, at: page.to };
        let apply = |table: &mut FactTable| {
            page.changes.iter().for_each(|change| drop(table.apply(change.clone())));
        };
        match (begins, self.coming.take()) {
            (None, _) => {
                let mut table = FactTable::default();
                apply(&mut table);
                self.coming = Some((here, table));
            }
            (Some(begins), Some((at, mut table))) if begins == at => {
                apply(&mut table);
                self.coming = Some((here, table));
            }
            (Some(begins), _) if begins == self.stands => {
                apply(&mut self.table);
                self.stands = here;
            }
            _ => return self.stands,
        }
        if page.caught_up
            && let Some((at, table)) = self.coming.take()
        {
            (self.stands, self.table) = (at, table);
        }
        here
    }
}

#[derive(Default)]
struct World {
    table: Table,
    model: Model,
    receivers: [Receiver; CLUSTERS.len()],
    stands: [Stand; CLUSTERS.len()],
}

impl World {
    fn act(&mut self, act: Act) {
        match act {
            Act::Port { number, home, groups } => {
                let port = port(number, groups);
                self.table.port_set(&port.id, Some((port.clone(), CLUSTERS[home])));
                self.table.far_set(&port.id, Some((far(number, groups), CLUSTERS[home])));
                self.model.far.insert(number, far(number, groups));
                self.model.ports.insert(number, (port, home));
            }
            Act::PortGone(number) => {
                self.table.port_set(&port_id(number), None);
                self.table.far_set(&port_id(number), None);
                self.model.ports.remove(&number);
            }
            Act::Rule { number, peer } => {
                let rule = rule(number, peer);
                self.model.rules.insert(number, rule.clone());
                self.table.rules_changed(self.model.rules_now(vec![rule]));
            }
            Act::List { number, entries } => {
                let bits = (0..ENTRIES).filter(|bit| entries & (1 << bit) != 0);
                let nets = bits.map(|bit| net_of(&format!("10.{bit}.0.0/16")).unwrap()).collect();
                self.model.lists.insert(list(number), nets);
                let naming = |rule: &&Rule| rule.terms.peer == Peer::List(list(number));
                let naming = self.model.rules.values().filter(naming).cloned().collect();
                self.table.rules_changed(self.model.rules_now(naming));
            }
            Act::RuleGone(number) => {
                self.model.rules.remove(&number);
                let gone = vec![key(&rule(number, anywhere()))];
                self.table.rules_changed(RuleChanges { gone, ..RuleChanges::default() });
            }
            Act::Shape { number, gateway } => {
                let shapes = vec![shape(number, gateway)];
                self.model.shapes.insert(number, shapes[0].clone());
                self.table.networks_changed(NetworkChanges { shapes, ..NetworkChanges::default() });
            }
            Act::ShapeGone(number) => {
                self.model.shapes.remove(&number);
                let gone = vec![shape(number, false).key()];
                self.table.networks_changed(NetworkChanges { gone, ..NetworkChanges::default() });
            }
            Act::Site { cluster, site } => {
                match site {
                    Some(site) => drop(self.model.sites.insert(CLUSTERS[cluster].to_owned(), site)),
                    None => drop(self.model.sites.remove(CLUSTERS[cluster])),
                }
                let (moved, _): (BTreeSet<String>, _) = self.table.sites_are(self.model.sites.clone());
                for (number, (port, home)) in &self.model.ports {
                    if moved.contains(CLUSTERS[*home]) {
                        let far = self.model.far[number].clone();
                        self.table.far_set(&port.id, Some((far, CLUSTERS[*home])));
                    }
                }
            }
            Act::Reread => {
                self.table.rules_changed(self.model.all_rules());
                let shapes = self.model.all_shapes();
                self.table.networks_changed(NetworkChanges {
                    shapes,
                    whole: true,
                    ..NetworkChanges::default()
                });
            }
            Act::Page { cluster, fate } => drop(self.page(cluster, fate)),
        }
    }

    /// True: the cluster followed and has everything.
    fn page(&mut self, cluster: usize, fate: Fate) -> bool {
        let name = CLUSTERS[cluster];
        let page = self.table.page(EPOCH, name, self.stands[cluster].at, PAGE);
        let bytes: usize =
            page.changes.iter().map(|change| serde_json::to_string(change).unwrap().len()).sum();
        assert!(
            page.changes.len() <= PAGE.facts && (bytes <= PAGE.bytes || page.changes.len() == 1),
            "{bytes}"
        );
        if fate == Fate::Lost {
            return false;
        }
        let receiver = &mut self.receivers[cluster];
        let mut answer = receiver.put(&page);
        match fate {
            Fate::AnswerLost => return false,
            Fate::Twice => answer = receiver.put(&page),
            Fate::Restart => receiver.coming = None,
            Fate::Blank => *receiver = Receiver::default(),
            Fate::Arrives | Fate::Lost => {}
        }
        let table = &self.table;
        let followed = self.stands[cluster].answered(&page, answer, |at| table.reaches(name, at));
        if followed && page.caught_up {
            self.table.heard(name, page.to);
        }
        followed && page.caught_up
    }

    /// Everything arrives from now on. So many pages are enough: everything may have to be told twice.
    fn settle(&mut self, cluster: usize) {
        let enough = 4 + 2 * (usize::from(2 * PORTS + RULES * ENTRIES + SHAPES) + CLUSTERS.len());
        // The first may end a telling whose beginning the receiver has lost since; it finds out with the next.
        let done = (0..enough).filter(|_| self.page(cluster, Fate::Arrives)).take(2).count();
        assert_eq!(done, 2, "cluster {cluster} never has everything");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_cluster_ends_up_with_what_it_needs_and_no_more(acts in acts()) {
        let mut world = World::default();
        acts.into_iter().for_each(|act| world.act(act));
        for cluster in 0..CLUSTERS.len() {
            world.settle(cluster);
            prop_assert_eq!(&world.receivers[cluster].table, &world.model.needed(cluster));
        }
    }
}

#[test]
fn a_port_that_changes_nothing_is_not_told_of() {
    let mut table = Table::default();
    assert_eq!(table.port_set(&port_id(1), Some((port(1, 1), "a"))), ["a"]);
    assert!(table.port_set(&port_id(1), Some((port(1, 1), "a"))).is_empty());
    assert_eq!(table.port_set(&port_id(1), Some((port(1, 3), "a"))), ["a"]);
    assert_eq!(table.port_set(&port_id(1), None), ["a"]);
    assert!(table.port_set(&port_id(1), None).is_empty());
}

#[test]
fn a_change_is_told_to_those_alone_who_need_it() {
    let mut table = Table::default();
    table.port_set(&port_id(1), Some((port(1, 0b01), "a")));
    table.port_set(&port_id(2), Some((port(2, 0b10), "b")));
    let changes = |rule| RuleChanges { rules: vec![rule], ..RuleChanges::default() };
    let keys = |table: &mut Table, cluster: &str| -> HashSet<FactKey> {
        table
            .page(EPOCH, cluster, None, Most { facts: 10, bytes: usize::MAX })
            .changes
            .iter()
            .map(FactChange::key)
            .collect()
    };
    // A rule of the second group, which only `b` is in, and which names the first.
    let second = rule(1, Peer::Group(group(0)));
    table.rules_changed(changes(second.clone()));
    assert_eq!(keys(&mut table, "a"), HashSet::from([FactKey::Port(port_id(1))]));
    let needed = [FactKey::Port(port_id(1)), FactKey::Port(port_id(2)), key(&second)];
    assert_eq!(keys(&mut table, "b"), HashSet::from(needed));
}
