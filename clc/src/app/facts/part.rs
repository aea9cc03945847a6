//! What one cluster needs of all facts. Pure; a change costs what it touches.
//!
//! Beside the shapes of all VPCs: its own ports, the rules of the groups that those are in, and the ports elsewhere that such rules let through by
//! their group.

use super::beside::Beside;
use super::telling::Telling;
use karri_proto::ids::{NetworkInterfaceId, SecurityGroupId};
use karri_proto::network::{FactKey, FactTable, GroupRule, Peer, PortFact, ShapeKey};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// By port: whose it is.
pub type Homes = HashMap<NetworkInterfaceId, Arc<str>>;

#[derive(Debug, Default)]
pub struct Part {
    pub told: Telling,
    /// How many of the cluster's own ports are in a group.
    own: HashMap<SecurityGroupId, usize>,
    /// How many rules of those groups name a group.
    named: HashMap<SecurityGroupId, usize>,
}

/// All facts as they are now, and whose ports they are.
#[derive(Clone, Copy)]
pub struct All<'a> {
    pub facts: &'a FactTable,
    pub homes: &'a Homes,
    pub beside: &'a Beside,
    pub cluster: &'a str,
}

impl All<'_> {
    fn is_own(&self, port: &PortFact) -> bool {
        self.homes.get(&port.id).is_some_and(|home| **home == *self.cluster)
    }
}

/// True: the first.
fn count_up(counts: &mut HashMap<SecurityGroupId, usize>, group: &SecurityGroupId) -> bool {
    let count = counts.entry(group.clone()).or_default();
    *count += 1;
    *count == 1
}

/// True: the last.
fn count_down(counts: &mut HashMap<SecurityGroupId, usize>, group: &SecurityGroupId) -> bool {
    let Some(count) = counts.get_mut(group) else { return false };
    *count -= 1;
    let last = *count == 0;
    if last {
        counts.remove(group);
    }
    last
}

impl Part {
    /// A port of the cluster's own came into this group.
    pub fn joined(&mut self, group: &SecurityGroupId, all: All<'_>) {
        if count_up(&mut self.own, group) {
            for rule in all.facts.rules_of(group) {
                self.rule_comes(rule, all);
            }
        }
    }

    /// A port of the cluster's own left it.
    pub fn left(&mut self, group: &SecurityGroupId, all: All<'_>) {
        if count_down(&mut self.own, group) {
            for rule in all.facts.rules_of(group) {
                self.rule_goes(rule, all);
            }
        }
    }

    /// A port is now so, wherever it is; None: it is no more.
    pub fn port(&mut self, id: &NetworkInterfaceId, now: Option<&PortFact>, all: All<'_>) {
        match now.filter(|port| self.needs(port, all)) {
            Some(_) => self.told.put(FactKey::Port(id.clone())),
            None => self.told.remove(&FactKey::Port(id.clone())),
        }
    }

    fn needs(&self, port: &PortFact, all: All<'_>) -> bool {
        all.is_own(port) || port.groups.iter().any(|group| self.named.contains_key(group))
    }

    /// `old` is what `new` takes the place of.
    pub fn rule(&mut self, old: Option<&GroupRule>, new: Option<&GroupRule>, all: All<'_>) {
        let Some(rule) = new.or(old) else { return };
        if !self.own.contains_key(&rule.group) {
            return;
        }
        // The new one first: what both need is not told of twice.
        if let Some(new) = new {
            self.rule_comes(new, all);
        }
        match (old, new) {
            (Some(old), Some(_)) => self.unnames(old, all),
            (Some(old), None) => self.rule_goes(old, all),
            (None, _) => {}
        }
    }

    /// Of the other clusters of its zone it is told this and no more.
    pub fn beside(&mut self, all: All<'_>) {
        let now: HashSet<FactKey> = all.beside.keys(all.cluster).collect();
        let is_of_them = |key: &&FactKey| matches!(key, FactKey::Hosts(_) | FactKey::Shape(ShapeKey::Far(_)));
        let before = self.told.keys().filter(is_of_them).filter(|key| !now.contains(*key));
        let gone: Vec<FactKey> = before.cloned().collect();
        gone.iter().for_each(|key| self.told.remove(key));
        // A port is told when it changes; of hosts it is not known here whether they have.
        let news = |key: &FactKey| matches!(key, FactKey::Hosts(_)) || !self.told.tells(key);
        let news: Vec<FactKey> = now.into_iter().filter(news).collect();
        news.into_iter().for_each(|key| self.told.put(key));
    }

    fn rule_comes(&mut self, rule: &GroupRule, all: All<'_>) {
        self.told.put(FactKey::Rule { group: rule.group.clone(), rule: rule.id.clone() });
        if let Peer::Group(peer) = &rule.peer
            && count_up(&mut self.named, peer)
        {
            for member in all.facts.members_of(peer) {
                let key = FactKey::Port(member.id.clone());
                if !self.told.tells(&key) {
                    self.told.put(key);
                }
            }
        }
    }

    fn rule_goes(&mut self, rule: &GroupRule, all: All<'_>) {
        self.told.remove(&FactKey::Rule { group: rule.group.clone(), rule: rule.id.clone() });
        self.unnames(rule, all);
    }

    fn unnames(&mut self, rule: &GroupRule, all: All<'_>) {
        if let Peer::Group(peer) = &rule.peer
            && count_down(&mut self.named, peer)
        {
            for member in all.facts.members_of(peer) {
                if !self.needs(member, all) {
                    self.told.remove(&FactKey::Port(member.id.clone()));
                }
            }
        }
    }
}
