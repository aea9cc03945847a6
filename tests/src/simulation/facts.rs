//! What networks let through: rows of the cloud controller, told down as facts.
//!
//! The rows here are the simulation's own and as plain as can be: a fact by its key, with the number of its
//! last change, and that it is gone as one more change. Users change rules and the groups of ports; launches and
//! terminations make ports and take them away.

use super::Sim;
use super::cc::node_name;
use karri_cc::app::facts::part;
use karri_clc::app::instance::{Instance, State};
use karri_proto::ids::{NetworkInterfaceId, SecurityGroupId};
use karri_proto::internal::facts::{FactsAt, FactsPage};
use karri_proto::network::{
    Direction, Fact, FactChange, FactKey, FactTable, GroupRule, Net4, Peer, PortFact, Traffic,
};
use rand::Rng;
use std::collections::BTreeMap;

const GROUPS: u32 = 3;
const RULES_PER_GROUP: u32 = 2;
/// Small, so that there are several pages.
const CHANGES_PER_PAGE: usize = 4;
const EPOCH: u64 = 1;

/// On the cloud controller's disk.
#[derive(Debug)]
pub struct Rows {
    used: bool,
    by_key: BTreeMap<FactKey, (u64, Option<Fact>)>,
    newest: u64,
}

fn group(number: u32) -> SecurityGroupId {
    format!("sg-{number:08x}").parse().expect("well-formed")
}

fn rule(of: u32, number: u32, peer: Peer) -> GroupRule {
    let id = format!("sgr-{:08x}", of * RULES_PER_GROUP + number).parse().expect("well-formed");
    GroupRule {
        group: group(of),
        id,
        direction: Direction::Ingress,
        traffic: Traffic::All,
        peer,
        part_of: None,
    }
}

impl Rows {
    /// Unless they are `used`, there are none and nobody is told anything.
    pub fn new(used: bool) -> Self {
        Self { used, by_key: BTreeMap::new(), newest: 0 }
    }

    /// Asks a cluster where it stands.
    pub fn question(&self) -> Option<FactsPage> {
        let page = FactsPage { epoch: EPOCH, from: Some(0), to: 0, caught_up: true, changes: Vec::new() };
        self.used.then_some(page)
    }

    fn change(&mut self, key: FactKey, fact: Option<Fact>) {
        let known = self.by_key.get(&key).and_then(|(_, known)| known.as_ref());
        if known != fact.as_ref() {
            self.newest += 1;
            self.by_key.insert(key, (self.newest, fact));
        }
    }

    fn put(&mut self, fact: Fact) {
        self.change(fact.key(), Some(fact));
    }

    /// In the transaction that changes the instance.
    pub fn follow(&mut self, row: &Instance) {
        if !self.used {
            return;
        }
        for port in &row.spec.ports {
            let key = FactKey::Port(port.id.clone());
            if row.state == State::Terminated {
                self.change(key, None);
            } else if !self.by_key.contains_key(&key) {
                let number = u32::from(port.private_ip) % GROUPS;
                self.put(Fact::Port(PortFact {
                    id: port.id.clone(),
                    vpc: port.vpc_id.clone(),
                    addresses: vec![port.private_ip],
                    groups: vec![group(number)],
                }));
            }
        }
    }

    pub fn table(&self) -> FactTable {
        let facts = self.by_key.values().filter_map(|(_, fact)| fact.clone());
        let mut table = FactTable::default();
        facts.for_each(|fact| drop(table.apply(FactChange::Put(fact))));
        table
    }

    /// What to tell a cluster that stands there. `None`: it knows everything.
    pub fn page(&self, stands: FactsAt) -> Option<FactsPage> {
        let from = (stands.epoch == EPOCH).then_some(stands.at);
        let mut newer: Vec<(u64, FactChange)> = self
            .by_key
            .iter()
            .filter(|(_, (number, _))| from.is_none_or(|from| *number > from))
            .map(|(key, (number, fact))| {
                (*number, fact.clone().map_or(FactChange::Gone(key.clone()), FactChange::Put))
            })
            .collect();
        newer.sort_by_key(|(number, _)| *number);
        if from.is_some() && newer.is_empty() {
            return None;
        }
        let caught_up = newer.len() <= CHANGES_PER_PAGE;
        newer.truncate(CHANGES_PER_PAGE);
        let to = if caught_up { self.newest } else { newer.last().map_or(0, |(number, _)| *number) };
        let changes = newer.into_iter().map(|(_, change)| change).collect();
        Some(FactsPage { epoch: EPOCH, from, to, caught_up, changes })
    }
}

impl Sim {
    /// A user opens and closes what passes.
    pub(super) fn networks_change(&mut self) {
        let (of, number) = (self.rng.gen_range(0..GROUPS), self.rng.gen_range(0..RULES_PER_GROUP));
        let peer = match self.rng.gen_range(0..=GROUPS) {
            GROUPS => Peer::V4(Net4::EVERYWHERE),
            other => Peer::Group(group(other)),
        };
        let rule = rule(of, number, peer);
        let roll = self.rng.gen_range(0..10);
        let rows = &mut self.clc.networks;
        match roll {
            0..=3 => rows.put(Fact::Rule(rule.clone())),
            4..=6 => rows.change(Fact::Rule(rule.clone()).key(), None),
            _ => {
                let ports = rows.by_key.values().filter_map(|(_, fact)| match fact {
                    Some(Fact::Port(port)) => Some(port.clone()),
                    _ => None,
                });
                let Some(port) = ports.min_by_key(|port| (u32::from(port.addresses[0]) + of) % 7) else {
                    return;
                };
                let groups =
                    if roll == 7 { vec![group(of), group((of + 1) % GROUPS)] } else { vec![group(of)] };
                rows.put(Fact::Port(PortFact { groups, ..port }));
            }
        }
        self.say(|| format!("USER changes what passes: {roll} {rule:?}"));
    }
}

/// The cluster has all of it, and each node the part that its ports need: nothing is missing, and nothing
/// survives that was withdrawn.
pub fn rest(sim: &Sim) -> Result<(), String> {
    let wanted = sim.clc.networks.table();
    if sim.cc.disk.facts_table() != wanted {
        return Err("cc: its facts are not those of the clc".to_owned());
    }
    for node in sim.nodes.iter().filter(|node| !node.dead) {
        let name = node_name(node.number);
        let placed = sim.cc.disk.rows.values().filter(|row| row.node.as_ref() == Some(&name));
        let ports: Vec<&NetworkInterfaceId> = placed.flat_map(|row| row.ports.iter()).collect();
        let needed = part(&wanted, ports);
        if node.facts != needed {
            return Err(format!("{name}: it needs {needed:?} and has {:?}", node.facts));
        }
    }
    Ok(())
}
