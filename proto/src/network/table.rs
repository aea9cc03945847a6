//! Facts by what is asked of them. Pure; a change costs what it touches.

use super::{ClusterHosts, Direction, Fact, FactChange, FactKey, GroupRule, PortFact, Shape, ShapeKey};
use crate::ids::{NetworkInterfaceId, SecurityGroupId, SecurityGroupRuleId};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FactTable {
    rules: HashMap<SecurityGroupId, BTreeMap<SecurityGroupRuleId, GroupRule>>,
    ports: HashMap<NetworkInterfaceId, PortFact>,
    members: HashMap<SecurityGroupId, BTreeSet<NetworkInterfaceId>>,
    shapes: BTreeMap<ShapeKey, Shape>,
    hosts: BTreeMap<String, ClusterHosts>,
}

impl FactTable {
    /// What was there under the change's key before.
    pub fn apply(&mut self, change: FactChange) -> Option<Fact> {
        match change {
            FactChange::Put(Fact::Rule(rule)) => {
                let of_group = self.rules.entry(rule.group.clone()).or_default();
                of_group.insert(rule.id.clone(), rule).map(Fact::Rule)
            }
            FactChange::Put(Fact::Port(port)) => {
                let before = self.port_remove(&port.id);
                for group in &port.groups {
                    self.members.entry(group.clone()).or_default().insert(port.id.clone());
                }
                self.ports.insert(port.id.clone(), port);
                before.map(Fact::Port)
            }
            FactChange::Gone(FactKey::Rule { group, rule }) => {
                let of_group = self.rules.get_mut(&group)?;
                let before = of_group.remove(&rule);
                if of_group.is_empty() {
                    self.rules.remove(&group);
                }
                before.map(Fact::Rule)
            }
            FactChange::Gone(FactKey::Port(id)) => self.port_remove(&id).map(Fact::Port),
            FactChange::Put(Fact::Shape(shape)) => self.shapes.insert(shape.key(), shape).map(Fact::Shape),
            FactChange::Gone(FactKey::Shape(key)) => self.shapes.remove(&key).map(Fact::Shape),
            FactChange::Put(Fact::Hosts(hosts)) => {
                self.hosts.insert(hosts.cluster.clone(), hosts).map(Fact::Hosts)
            }
            FactChange::Gone(FactKey::Hosts(cluster)) => self.hosts.remove(&cluster).map(Fact::Hosts),
        }
    }

    fn port_remove(&mut self, id: &NetworkInterfaceId) -> Option<PortFact> {
        let port = self.ports.remove(id)?;
        for group in &port.groups {
            if let Some(members) = self.members.get_mut(group) {
                members.remove(id);
                if members.is_empty() {
                    self.members.remove(group);
                }
            }
        }
        Some(port)
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.ports.is_empty() && self.shapes.is_empty() && self.hosts.is_empty()
    }

    /// In the order of their ids.
    pub fn rules_of(&self, group: &SecurityGroupId) -> impl Iterator<Item = &GroupRule> {
        self.rules.get(group).into_iter().flat_map(BTreeMap::values)
    }

    pub fn rule(&self, group: &SecurityGroupId, id: &SecurityGroupRuleId) -> Option<&GroupRule> {
        self.rules.get(group)?.get(id)
    }

    pub fn rules_toward(
        &self,
        group: &SecurityGroupId,
        direction: Direction,
    ) -> impl Iterator<Item = &GroupRule> {
        self.rules_of(group).filter(move |rule| rule.direction == direction)
    }

    pub fn port(&self, id: &NetworkInterfaceId) -> Option<&PortFact> {
        self.ports.get(id)
    }

    pub fn ports(&self) -> impl Iterator<Item = &PortFact> {
        self.ports.values()
    }

    pub fn members_of(&self, group: &SecurityGroupId) -> impl Iterator<Item = &PortFact> {
        let ids = self.members.get(group).into_iter().flatten();
        ids.filter_map(|id| self.ports.get(id))
    }

    pub fn addresses_of(&self, group: &SecurityGroupId) -> impl Iterator<Item = Ipv4Addr> {
        self.members_of(group).flat_map(|port| port.addresses.iter().copied())
    }

    /// In the order of their keys.
    pub fn shapes(&self) -> impl Iterator<Item = &Shape> {
        self.shapes.values()
    }

    pub fn shape(&self, key: &ShapeKey) -> Option<&Shape> {
        self.shapes.get(key)
    }

    /// Of a cluster that is told of.
    pub fn hosts(&self, cluster: &str) -> Option<&ClusterHosts> {
        self.hosts.get(cluster)
    }

    /// Every fact, in no order.
    pub fn facts(&self) -> impl Iterator<Item = Fact> {
        let rules = self.rules.values().flat_map(BTreeMap::values).cloned().map(Fact::Rule);
        let shapes = self.shapes.values().cloned().map(Fact::Shape);
        let hosts = self.hosts.values().cloned().map(Fact::Hosts);
        rules.chain(self.ports.values().cloned().map(Fact::Port)).chain(shapes).chain(hosts)
    }
}
