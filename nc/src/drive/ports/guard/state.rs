//! What this node wants of the kernel, in parts, so that a change makes anew only the parts it touches.
//!
//! A part is there while another one leads to it: ports lead to their groups, groups to the members of groups
//! that their rules name.

use super::names::{Names, Way};
use super::text::{Step, Text, step};
use super::wanted::{Hosts, Part, groups_of, parts, peers_of, piece, shares_of};
use crate::drive::ports::Port;
use karri_proto::ids::{NetworkInterfaceId, SecurityGroupId};
use karri_proto::network::{FactKey, FactTable};
use std::collections::{BTreeMap, BTreeSet, HashMap};

#[derive(Debug)]
pub struct State {
    pub names: Names,
    hosts: Hosts,
    ports: BTreeMap<String, Port>,
    parts: HashMap<Part, Made>,
    /// Which parts lead to one.
    users: HashMap<Part, BTreeSet<Part>>,
    taps: HashMap<NetworkInterfaceId, String>,
    /// The groups that each port of the facts was in.
    groups: HashMap<NetworkInterfaceId, Vec<SecurityGroupId>>,
}

#[derive(Debug, Default)]
struct Made {
    text: Text,
    leads_to: BTreeSet<Part>,
}

/// A step in the kernel, and the ports whose packets it may concern.
#[derive(Debug)]
pub struct Change {
    pub step: Step,
    pub taps: BTreeSet<String>,
}

impl State {
    pub fn new(names: Names) -> Self {
        let (parts, users) = (HashMap::new(), HashMap::new());
        let (hosts, ports) = (Hosts::default(), BTreeMap::new());
        Self { names, hosts, ports, parts, users, taps: HashMap::new(), groups: HashMap::new() }
    }

    pub fn ports(&self) -> &BTreeMap<String, Port> {
        &self.ports
    }

    /// All that is wanted, as text.
    pub fn text(&self) -> Text {
        let mut all = Text::default();
        for made in self.parts.values() {
            all.join(made.text.clone());
        }
        all
    }

    /// Everything anew, from facts and ports alone.
    pub fn rebuild(&mut self, facts: &FactTable, ports: impl IntoIterator<Item = Port>) {
        *self = Self { hosts: std::mem::take(&mut self.hosts), ..Self::new(self.names.clone()) };
        self.groups = facts.ports().map(|port| (port.id.clone(), port.groups.clone())).collect();
        for port in ports {
            self.port_put(port);
        }
        let all = parts(facts, &self.ports);
        self.update(facts, all);
    }

    /// Of one port: its chains, those of its groups, and the sets that they look into.
    pub fn text_of(&self, tap: &str) -> Text {
        let mut all = Text::default();
        let mut left = vec![Part::Port(tap.to_owned())];
        while let Some(made) = left.pop().map(|part| self.parts.get(&part)) {
            let Some(made) = made else { continue };
            all.join(made.text.clone());
            left.extend(made.leads_to.iter().cloned());
        }
        all
    }

    /// By chain, what leads to those of one port.
    pub fn ways_to(&self, tap: &str) -> BTreeMap<String, Vec<String>> {
        let Some(port) = self.ports.get(tap) else { return BTreeMap::new() };
        let ends = [Way::From, Way::To].map(|way| format!("-j {}", Names::port(tap, way)));
        let chains =
            shares_of(port).filter_map(|part| self.parts.get(&part)).flat_map(|made| &made.text.chains);
        let mut ways = BTreeMap::new();
        for (chain, lines) in chains {
            let own: Vec<String> =
                lines.iter().filter(|line| ends.iter().any(|end| line.ends_with(end))).cloned().collect();
            if !own.is_empty() {
                ways.insert(chain.clone(), own);
            }
        }
        ways
    }

    pub fn set_sizes(&self) -> BTreeMap<String, usize> {
        let sets = self.parts.values().flat_map(|made| &made.text.sets);
        sets.map(|(name, set)| (name.clone(), set.members.len())).collect()
    }

    fn port_put(&mut self, port: Port) {
        self.taps.insert(port.id.clone(), port.tap.clone());
        self.ports.insert(port.tap.clone(), port);
    }

    pub fn plug(&mut self, facts: &FactTable, ports: &[Port]) -> Change {
        let mut dirty = BTreeSet::new();
        for port in ports {
            if let Some(before) = self.ports.get(&port.tap) {
                dirty.extend(shares_of(before));
            }
            dirty.extend(shares_of(port));
            dirty.insert(Part::Port(port.tap.clone()));
            self.port_put(port.clone());
        }
        self.update(facts, dirty)
    }

    pub fn unplug(&mut self, facts: &FactTable, taps: &[String]) -> Change {
        let mut dirty = BTreeSet::new();
        for tap in taps {
            if let Some(port) = self.ports.remove(tap) {
                self.taps.remove(&port.id);
                dirty.extend(shares_of(&port));
                dirty.insert(Part::Port(port.tap));
            }
        }
        self.update(facts, dirty)
    }

    pub fn hosts_put(&mut self, facts: &FactTable, hosts: Hosts) -> Change {
        let dirty = if self.hosts == hosts { BTreeSet::new() } else { BTreeSet::from([Part::Ways]) };
        self.hosts = hosts;
        self.update(facts, dirty)
    }

    /// After the facts of these keys have changed.
    pub fn told(&mut self, facts: &FactTable, keys: &[FactKey]) -> Change {
        let mut dirty = BTreeSet::new();
        for key in keys {
            match key {
                FactKey::Shape(_) | FactKey::Hosts(_) => {} // a node is not told of any
                FactKey::Rule { group, .. } => {
                    dirty.insert(Part::Group(group.clone()));
                }
                FactKey::Port(id) => {
                    dirty.extend(self.taps.get(id).cloned().map(Part::Port));
                    let now = facts.port(id).map(|port| port.groups.clone());
                    dirty.extend(now.iter().flatten().cloned().map(Part::Members));
                    let before = match now {
                        Some(groups) => self.groups.insert(id.clone(), groups),
                        None => self.groups.remove(id),
                    };
                    dirty.extend(before.into_iter().flatten().map(Part::Members));
                }
            }
        }
        self.update(facts, dirty)
    }

    fn is_wanted(&self, part: &Part) -> bool {
        match part {
            Part::Ways | Part::Taps(_) | Part::Addresses(_) => true,
            Part::Port(tap) => self.ports.contains_key(tap),
            Part::Group(_) | Part::Members(_) => self.users.contains_key(part),
        }
    }

    fn leads_to(&self, facts: &FactTable, part: &Part) -> BTreeSet<Part> {
        match part {
            Part::Port(tap) => {
                let groups = self.ports.get(tap).map_or(&[][..], |port| groups_of(facts, port));
                groups.iter().cloned().map(Part::Group).collect()
            }
            Part::Group(group) => peers_of(facts, group).map(Part::Members).collect(),
            Part::Ways | Part::Taps(_) | Part::Addresses(_) | Part::Members(_) => BTreeSet::new(),
        }
    }

    /// Parts are ordered so that one comes before those that it leads to: each is made once.
    fn update(&mut self, facts: &FactTable, mut dirty: BTreeSet<Part>) -> Change {
        let (mut before, mut after) = (Text::default(), Text::default());
        let mut taps = BTreeSet::new();
        while let Some(part) = dirty.pop_first() {
            let is_wanted = self.is_wanted(&part);
            self.users_of(&part, &mut taps);
            let old = self.parts.remove(&part).unwrap_or_default();
            let mut made = Made::default();
            if is_wanted {
                made.text = piece(facts, &self.names, &self.ports, &self.hosts, &part).into();
                made.leads_to = self.leads_to(facts, &part);
            }
            for gone in old.leads_to.difference(&made.leads_to) {
                self.unused(gone, &part);
                dirty.insert(gone.clone());
            }
            for new in made.leads_to.difference(&old.leads_to) {
                self.users.entry(new.clone()).or_default().insert(part.clone());
                dirty.insert(new.clone());
            }
            before.join(old.text);
            if is_wanted {
                after.join(made.text.clone());
                self.parts.insert(part, made);
            }
        }
        Change { step: step(&before, &after), taps }
    }

    fn unused(&mut self, part: &Part, by: &Part) {
        if let Some(users) = self.users.get_mut(part) {
            users.remove(by);
            if users.is_empty() {
                self.users.remove(part);
            }
        }
    }

    fn users_of(&self, part: &Part, taps: &mut BTreeSet<String>) {
        if let Part::Port(tap) = part {
            taps.insert(tap.clone());
        }
        for user in self.users.get(part).into_iter().flatten() {
            self.users_of(user, taps);
        }
    }
}
