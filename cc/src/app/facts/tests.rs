//! Nodes come to have exactly their part, whatever is lost, repeated or late, and whoever dies.

use super::teller::PART_BITS;
use super::*;
use karri_proto::ids::SecurityGroupRuleId;
use karri_proto::network::{Direction, FactTable, GroupRule, Net4, Peer, PortFact, Traffic};
use proptest::prelude::*;

const NODES: usize = 3;
const LIMITS: Limits = Limits { page_max: 3, log_max: 6 };

pub fn group(number: u32) -> SecurityGroupId {
    format!("sg-{number:08x}").parse().unwrap()
}

pub fn port_id(number: u32) -> NetworkInterfaceId {
    format!("eni-{number:08x}").parse().unwrap()
}

pub fn port(number: u32, groups: &[u32]) -> Fact {
    Fact::Port(PortFact {
        id: port_id(number),
        vpc: "vpc-00000001".parse().unwrap(),
        addresses: vec![number.into()],
        groups: groups.iter().copied().map(group).collect(),
    })
}

pub fn rule(of: u32, number: u32, peer: Option<u32>) -> Fact {
    let id: SecurityGroupRuleId = format!("sgr-{number:08x}").parse().unwrap();
    let peer = peer.map_or(Peer::V4(Net4::EVERYWHERE), |peer| Peer::Group(group(peer)));
    Fact::Rule(GroupRule {
        group: group(of),
        id,
        direction: Direction::Ingress,
        traffic: Traffic::All,
        peer,
        part_of: None,
    })
}

fn put(fact: Fact) -> FactChange {
    FactChange::Put(fact)
}

struct Node {
    receiver: Receiver,
    table: FactTable,
    /// What its disk has, where that takes no more.
    kept: Option<(FactsAt, FactTable)>,
}

impl Node {
    fn new() -> Self {
        let receiver = Receiver::new(Epochs::Growing, FactsAt::default());
        Self { receiver, table: FactTable::default(), kept: None }
    }

    fn told(&mut self, page: FactsPage) -> FactsAt {
        match self.receiver.take(page).unwrap() {
            Taken::Nothing => {}
            Taken::Changes(at, changes) => {
                changes.into_iter().for_each(|change| drop(self.table.apply(change)));
                self.receiver.settled(at);
            }
            Taken::Everything(at, changes) => {
                self.table = FactTable::default();
                changes.into_iter().for_each(|change| drop(self.table.apply(change)));
                self.receiver.settled(at);
            }
        }
        self.receiver.stands()
    }

    fn disk_is_full(&mut self, full: bool) {
        self.kept = full.then(|| (self.receiver.at(), self.table.clone()));
    }

    /// What it staged is lost, and what it could not keep.
    fn dies(&mut self) {
        let (at, table) = self.kept.clone().unwrap_or_else(|| (self.receiver.at(), self.table.clone()));
        (self.receiver, self.table) = (Receiver::new(Epochs::Growing, at), table);
    }
}

/// A cluster controller with its database, and its nodes.
struct World {
    facts: Facts,
    stored: BTreeMap<FactKey, FactChange>,
    at: FactsAt,
    placed: Vec<(u32, usize)>,
    nodes: Vec<Node>,
    /// On their way for longer than anybody waits.
    late: Vec<(usize, FactsPage)>,
    now_ms: i64,
    pages: usize,
}

fn name(node: usize) -> String {
    format!("node-{node}")
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            facts: Facts::load(StoredFacts::default(), LIMITS),
            stored: BTreeMap::new(),
            at: FactsAt::default(),
            placed: Vec::new(),
            nodes: (0..NODES).map(|_| Node::new()).collect(),
            late: Vec::new(),
            now_ms: 1,
            pages: 0,
        };
        (0..NODES).for_each(|node| world.facts.node_known(&name(node)));
        world
    }

    fn clc_tells(&mut self, changes: Vec<FactChange>) {
        let from = (self.at.epoch == 7).then_some(self.at.at);
        let to = self.at.at + 1;
        let page = FactsPage { epoch: 7, from, to, caught_up: true, changes };
        assert_eq!(self.facts.put(page).unwrap(), FactsAt { epoch: 7, at: to });
        self.commit();
    }

    fn commit(&mut self) {
        let changes = self.facts.take_changes();
        for (key, value) in changes.values {
            match value {
                Some(json) => drop(self.stored.insert(key, serde_json::from_str(&json).unwrap())),
                None => drop(self.stored.remove(&key)),
            }
        }
        self.at = changes.at.unwrap_or(self.at);
    }

    fn restart(&mut self) {
        self.now_ms += 1;
        let facts = self.stored.values().map(|change| match change {
            FactChange::Put(fact) => fact.clone(),
            FactChange::Gone(key) => panic!("{key} is stored as gone"),
        });
        self.facts = Facts::load(StoredFacts { at: self.at, facts: facts.collect() }, LIMITS);
        (0..NODES).for_each(|node| self.facts.node_known(&name(node)));
        self.placed.iter().for_each(|(port, node)| self.facts.port_placed(&port_id(*port), &name(*node)));
        self.facts.loaded();
    }

    fn place(&mut self, port: u32, node: usize) {
        self.placed.push((port, node));
        self.facts.port_placed(&port_id(port), &name(node));
    }

    fn remove(&mut self, port: u32, node: usize) {
        if let Some(place) = self.placed.iter().position(|placed| *placed == (port, node)) {
            self.placed.remove(place);
            self.facts.port_removed(&port_id(port), &name(node));
        }
    }

    /// One call. `fate` 0: all goes well; 1: the question is lost, 2: the answer, 3: the question is late,
    /// 4: it is late and comes in time too, 5 and 6: the answer is heard after it was heard that the node was started anew,
    /// with nothing or with what it had.
    fn call(&mut self, node: usize, fate: u8) {
        self.now_ms += 1;
        self.call_at_once(node, fate);
    }

    /// Within the same millisecond as what was before.
    fn call_at_once(&mut self, node: usize, fate: u8) {
        let Some(page) = self.facts.page(&name(node), self.now_ms) else { return };
        self.pages += 1;
        assert!(page.changes.len() <= LIMITS.page_max);
        let to = FactsAt { epoch: page.epoch, at: page.to };
        match fate {
            1 => return,
            3 => return self.late.push((node, page.plain())),
            _ => {}
        }
        let stands = self.nodes[node].told(page.plain());
        match fate {
            5 => self.act(Act::NodeLoses(node)),
            6 => self.act(Act::NodeDies(node)),
            _ => {}
        }
        if fate != 2 {
            self.facts.answered(&name(node), to, stands, self.now_ms);
        }
        if fate == 4 {
            self.late.push((node, page.plain())); // and comes a second time
        }
    }

    fn part(&self, node: usize) -> FactTable {
        let mut all = FactTable::default();
        self.stored.values().cloned().for_each(|change| drop(all.apply(change)));
        let ports: Vec<NetworkInterfaceId> =
            self.placed.iter().filter(|(_, at)| *at == node).map(|(port, _)| port_id(*port)).collect();
        part(&all, &ports)
    }

    /// A node to which nothing is due has its part and nothing else.
    fn check(&self) -> Result<(), TestCaseError> {
        for node in (0..NODES).filter(|node| self.facts.due(&name(*node)).is_none()) {
            prop_assert_eq!(&self.nodes[node].table, &self.part(node), "node {}", node);
        }
        Ok(())
    }

    fn calm(&mut self) {
        for node in 0..NODES {
            for _ in 0..60 {
                if self.facts.due(&name(node)).is_none() {
                    break;
                }
                self.call(node, 0);
            }
            assert_eq!(self.facts.due(&name(node)), None, "node {node} does not come to rest");
        }
    }
}

#[derive(Debug, Clone)]
enum Act {
    Tell(Vec<FactChange>),
    Place(u32, usize),
    Remove(u32, usize),
    Call(usize, u8),
    CallAtOnce(usize, u8),
    Late(u8),
    NodeDies(usize),
    NodeLoses(usize),
    DiskIsFull(usize, bool),
    Restart,
    Forget(usize),
}

fn changes() -> impl Strategy<Value = FactChange> {
    let ports = (0u32..6, proptest::collection::btree_set(0u32..4, 0..3))
        .prop_map(|(number, groups)| port(number, &groups.into_iter().collect::<Vec<_>>()));
    let rules = (0u32..4, 0u32..3, proptest::option::of(0u32..4))
        .prop_map(|(of, number, peer)| rule(of, number, peer));
    (prop_oneof![ports, rules], proptest::bool::weighted(0.7)).prop_map(|(fact, there)| match there {
        true => put(fact),
        false => FactChange::Gone(fact.key()),
    })
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => proptest::collection::vec(changes(), 1..4).prop_map(Act::Tell),
        3 => (0u32..6, 0..NODES).prop_map(|(port, node)| Act::Place(port, node)),
        2 => (0u32..6, 0..NODES).prop_map(|(port, node)| Act::Remove(port, node)),
        12 => (0..NODES, 0u8..8).prop_map(|(node, fate)| Act::Call(node, fate)),
        12 => (0..NODES, 0u8..8).prop_map(|(node, fate)| Act::CallAtOnce(node, fate)),
        2 => any::<u8>().prop_map(Act::Late),
        1 => (0..NODES).prop_map(Act::NodeDies),
        1 => (0..NODES).prop_map(Act::NodeLoses),
        1 => (0..NODES, any::<bool>()).prop_map(|(node, full)| Act::DiskIsFull(node, full)),
        1 => Just(Act::Restart),
        1 => (0..NODES).prop_map(Act::Forget),
    ]
}

impl World {
    fn act(&mut self, act: Act) {
        match act {
            Act::Tell(changes) => self.clc_tells(changes),
            Act::Place(port, node) => self.place(port, node),
            Act::Remove(port, node) => self.remove(port, node),
            Act::Call(node, fate) => self.call(node, fate),
            Act::CallAtOnce(node, fate) => self.call_at_once(node, fate),
            Act::Late(pick) if !self.late.is_empty() => {
                let (node, page) = self.late.remove(usize::from(pick) % self.late.len());
                self.nodes[node].told(page);
            }
            Act::Late(_) => {}
            Act::NodeDies(node) => {
                self.nodes[node].dies();
                self.facts.node_doubted(&name(node)); // its reports begin anew
            }
            Act::NodeLoses(node) => {
                self.nodes[node] = Node::new();
                self.facts.node_doubted(&name(node));
                // What was on its way to the machine before does not outlast the loss of its disk.
                self.late.retain(|(to, _)| *to != node);
            }
            Act::DiskIsFull(node, full) => self.nodes[node].disk_is_full(full),
            Act::Restart => self.restart(),
            Act::Forget(node) => {
                self.now_ms += 1;
                self.placed.clone().into_iter().filter(|(_, at)| *at == node).for_each(|(port, node)| {
                    self.remove(port, node);
                });
                self.facts.node_forgotten(&name(node));
                self.facts.node_known(&name(node));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn nodes_come_to_have_their_part_and_no_stale_rule_survives(
        acts in proptest::collection::vec(acts(), 0..80),
    ) {
        come_to_their_part(acts)?;
    }
}

fn come_to_their_part(acts: Vec<Act>) -> Result<(), TestCaseError> {
    let mut world = World::new();
    for act in acts {
        world.act(act);
        world.check()?;
    }
    world.calm();
    world.check()?;
    for (node, page) in std::mem::take(&mut world.late) {
        world.nodes[node].told(page);
        prop_assert_eq!(&world.nodes[node].table, &world.part(node), "what comes late changes nothing");
    }
    Ok(())
}

/// A change is on its way for long, and what is to bar it meets a node that dies.
#[test]
fn a_change_that_is_late_is_barred_though_the_node_dies_while_it_is_asked() {
    let port = vec![put(port(3, &[]))];
    let acts = vec![
        Act::Call(1, 0),
        Act::Tell(port),
        Act::Call(1, 0),
        Act::Restart,
        Act::Place(3, 1),
        Act::CallAtOnce(1, 6),
        Act::Call(1, 0),
        Act::CallAtOnce(1, 3),
        Act::Forget(1),
        Act::Call(1, 6),
    ];
    come_to_their_part(acts).unwrap();
}

fn quiet(facts: impl IntoIterator<Item = Fact>, placed: &[(u32, usize)]) -> World {
    let mut world = World::new();
    world.clc_tells(facts.into_iter().map(put).collect());
    placed.iter().for_each(|(port, node)| world.place(*port, *node));
    world.calm();
    world.check().unwrap();
    world.pages = 0;
    world
}

#[test]
fn a_change_is_told_to_those_that_need_it_and_to_nobody_else() {
    let facts = [rule(1, 1, Some(2)), port(1, &[1]), port(2, &[2]), port(3, &[3])];
    let mut world = quiet(facts, &[(1, 0), (2, 1), (3, 2)]);
    world.facts.take_woken();
    world.clc_tells(vec![put(port(4, &[2]))]);
    assert_eq!(world.facts.take_woken(), [name(0)].into(), "who has a rule about its group");
    world.clc_tells(vec![put(rule(3, 1, None))]);
    assert_eq!(world.facts.take_woken(), [name(2)].into(), "who has a port in the group");
    world.clc_tells(vec![put(port(2, &[2, 3]))]);
    assert_eq!(world.facts.take_woken(), [name(1)].into(), "where it is; the first is awake already");
    world.clc_tells(vec![put(rule(9, 1, None))]);
    assert_eq!(world.facts.take_woken(), BTreeSet::new());
    world.calm();
    world.check().unwrap();
    assert_eq!(world.pages, 3, "one page for each");
}

#[test]
fn what_a_nodes_own_ports_need_is_urgent_and_who_else_is_a_member_is_not() {
    let mut world = quiet([rule(1, 1, Some(1)), port(1, &[1])], &[(1, 0)]);
    let due = |world: &World| world.facts.due(&name(0));
    world.clc_tells(vec![put(port(2, &[1]))]);
    assert_eq!(due(&world), Some(Haste::Paced));
    world.clc_tells(vec![put(rule(1, 2, None))]);
    assert_eq!(due(&world), Some(Haste::Now));
    world.calm();
    world.place(2, 0);
    assert_eq!(due(&world), Some(Haste::Now));
    world.calm();
    world.remove(2, 0);
    assert_eq!(due(&world), Some(Haste::Paced));
}

#[test]
fn a_restart_reads_no_node_its_part_again() {
    let facts = (1..40).map(|number| port(number, &[1])).chain([rule(1, 1, Some(1))]);
    let mut world = quiet(facts, &[(1, 0), (2, 1), (3, 2)]);
    world.restart();
    world.calm();
    world.check().unwrap();
    // Asked where it stands, and moved on, without a change.
    assert_eq!(world.pages, 2 * NODES);
    // What comes before a node is asked is told it as a change.
    world.restart();
    world.clc_tells(vec![put(port(50, &[1]))]);
    world.pages = 0;
    world.calm();
    world.check().unwrap();
    assert_eq!(world.pages, 3 * NODES);
    // One that missed something is told everything.
    world.clc_tells(vec![put(port(51, &[1]))]);
    world.restart();
    world.pages = 0;
    world.calm();
    world.check().unwrap();
    assert!(world.pages > 10 * NODES, "{}", world.pages);
}

#[test]
fn a_node_that_was_started_anew_with_what_it_had_goes_on_from_there() {
    let facts = (1..40).map(|number| port(number, &[1])).chain([rule(1, 1, Some(1))]);
    let mut world = quiet(facts, &[(1, 0)]);
    world.clc_tells(vec![put(port(50, &[1]))]);
    world.act(Act::NodeDies(0));
    world.calm();
    world.check().unwrap();
    assert_eq!(world.pages, 2, "where it stands, and the change");
}

/// The order of the two is nobody's to choose: they come by connections of their own.
#[test]
fn an_answer_of_the_process_before_says_nothing_of_a_node_that_has_lost_everything() {
    let mut world = quiet([rule(1, 1, Some(1)), port(1, &[1])], &[(1, 0)]);
    world.clc_tells(vec![put(port(50, &[1]))]);
    world.call(0, 5);
    world.check().unwrap();
    world.calm();
    world.check().unwrap();
}

#[test]
fn a_node_that_was_away_for_long_is_told_everything() {
    let mut world = quiet([rule(1, 1, Some(1)), port(1, &[1])], &[(1, 0)]);
    for number in 0..20 {
        world.clc_tells(vec![put(port(2, &[1, number % 2 + 2]))]);
        world.clc_tells(vec![put(port(4 + number, &[1]))]);
    }
    world.calm();
    world.check().unwrap();
    assert_eq!(world.nodes[0].receiver.at().at >> PART_BITS, 23u64.div_ceil(3), "in as many pages");
}

#[test]
fn numbers_of_an_epoch_do_not_run_out() {
    let mut world = quiet([rule(1, 1, Some(1)), port(1, &[1])], &[(1, 0)]);
    let stood = world.nodes[0].receiver.at();
    let last = FactsAt { epoch: stood.epoch, at: stood.at | (u64::MAX << PART_BITS) };
    world.nodes[0].receiver.settled(last);
    world.restart();
    world.calm();
    world.check().unwrap();
    assert!(world.nodes[0].receiver.at().epoch > stood.epoch);
}

#[test]
fn a_clock_that_was_set_back_keeps_nobody_from_being_told() {
    let mut world = World::new();
    world.now_ms = 1 << 45; // a thousand years
    world.clc_tells(vec![put(rule(1, 1, Some(1))), put(port(1, &[1]))]);
    world.place(1, 0);
    world.calm();
    world.call(0, 0);
    world.facts.node_doubted(&name(0));
    world.call(0, 2); // it has seen a question of then
    world.now_ms = 1;
    world.clc_tells(vec![put(port(2, &[1]))]);
    world.restart();
    world.calm();
    world.check().unwrap();
}

/// Else what is late of the first is taken for the second, by a node that lost what it had of the first.
#[test]
fn two_tellings_of_everything_within_a_millisecond_are_told_apart() {
    let mut world = World::new();
    let facts = [rule(1, 1, None), rule(1, 2, None), rule(1, 3, None), port(1, &[1])];
    world.clc_tells(facts.map(put).to_vec());
    world.place(1, 0);
    world.call(0, 0); // where it stands: everything is to be told, in two pages
    world.call_at_once(0, 4);
    let (_, late) = world.late.pop().unwrap();
    assert!(late.from.is_none() && !late.caught_up && late.changes.contains(&put(rule(1, 1, None))));

    world.clc_tells(vec![FactChange::Gone(rule(1, 1, None).key()), put(rule(1, 4, None))]);
    world.act(Act::NodeDies(0));
    world.call_at_once(0, 0); // it does not know the first page any more: everything is to be told again
    world.nodes[0].told(late);
    world.calm();
    world.check().unwrap();
}

#[test]
fn a_full_telling_of_the_clc_changes_only_what_differs() {
    let mut world = quiet([rule(1, 1, Some(1)), port(1, &[1]), port(2, &[1])], &[(1, 0)]);
    let page = FactsPage {
        epoch: 9,
        from: None,
        to: 5,
        caught_up: true,
        changes: [rule(1, 1, Some(1)), port(1, &[1]), port(3, &[1])].map(put).to_vec(),
    };
    world.facts.put(page).unwrap();
    let changes = world.facts.take_changes();
    let keys: Vec<&FactKey> = changes.values.keys().collect();
    assert_eq!(keys, [&port(2, &[]).key(), &port(3, &[]).key()]);
    assert_eq!(changes.at, Some(FactsAt { epoch: 9, at: 5 }));
}
