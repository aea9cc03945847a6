//! What a node is told so that it has its new part instead of its old one.

use super::part::Interest;
use super::shelf::{Change, Entry, Shelf};
use super::teller::Told;
use karri_proto::ids::{NetworkInterfaceId, SecurityGroupId};
use karri_proto::network::FactKey;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Everything of a part, in the order of its keys.
pub fn whole(interest: &Interest, shelf: &Shelf) -> Vec<Told> {
    let rules = interest.groups.iter().flat_map(|group| shelf.rules_of(group));
    let own = interest.ports.iter().filter_map(|id| Some((id, shelf.port(id)?)));
    let members = interest.peers.iter().flat_map(|group| shelf.members_of(group));
    let ports: BTreeMap<&NetworkInterfaceId, &Arc<Entry>> = own.chain(members).collect();
    rules.chain(ports.into_values()).cloned().map(Told::Put).collect()
}

/// `recent` are all changes since the node had its part by `old`. They are told in their order, and then what
/// follows from the other interest; so what is told last of a fact is how it is now. That something is gone may
/// be told of what the node does not have. `came`: ports that were placed there meanwhile, perhaps not for the
/// first time: what became of them in between was nobody's concern there. `None`: it is more than `max`.
pub fn difference<'a>(
    old: &Interest,
    new: &Interest,
    came: &BTreeSet<NetworkInterfaceId>,
    recent: impl Iterator<Item = &'a Change>,
    shelf: &Shelf,
    max: usize,
) -> Option<Vec<Told>> {
    let changed = recent.filter_map(|change| told(old, new, change));
    let rules = added(&old.groups, &new.groups).flat_map(|group| shelf.rules_of(group)).map(put);
    let rules_gone = added(&new.groups, &old.groups).flat_map(|group| shelf.rules_of(group)).map(gone);
    let members = added(&old.peers, &new.peers).flat_map(|group| shelf.members_of(group));
    let members = members.map(|(_, entry)| put(entry));
    let own = new.ports.intersection(came).filter_map(|id| match shelf.port(id) {
        // A member of what was needed before is there, or among the recent.
        Some(entry) => (!old.has_member(entry.groups())).then(|| put(entry)),
        None => Some(Told::Gone(FactKey::Port(id.clone()))),
    });
    let left = added(&new.peers, &old.peers).flat_map(|group| shelf.members_of(group)).map(|(id, _)| id);
    let left = left.chain(old.ports.difference(&new.ports));
    let needed =
        |id: &NetworkInterfaceId| shelf.port(id).is_some_and(|entry| new.needs_port(id, entry.groups()));
    let left = left.filter(|id| !needed(id)).map(|id| Told::Gone(FactKey::Port(id.clone())));
    let all = changed.chain(rules).chain(rules_gone).chain(own).chain(members).chain(left);
    let all: Vec<Told> = all.take(max + 1).collect();
    (all.len() <= max).then_some(all)
}

/// What is in `after` and not in `before`.
fn added<'a>(
    before: &'a BTreeSet<SecurityGroupId>,
    after: &'a BTreeSet<SecurityGroupId>,
) -> impl Iterator<Item = &'a SecurityGroupId> {
    after.difference(before)
}

fn put(entry: &Arc<Entry>) -> Told {
    Told::Put(entry.clone())
}

fn gone(entry: &Arc<Entry>) -> Told {
    Told::Gone(entry.fact.key())
}

/// `None`: it did not concern the node, and does not.
fn told(old: &Interest, new: &Interest, change: &Change) -> Option<Told> {
    let groups = |entry: &Option<Arc<Entry>>, interest: &Interest| {
        entry.as_ref().is_some_and(|entry| interest.has_member(entry.groups()))
    };
    let (had, needs) = match &change.key {
        FactKey::Rule { group, .. } => (old.groups.contains(group), new.groups.contains(group)),
        FactKey::Port(id) => (
            // In the new part too: it may have come into it and left it again, both of them recently.
            old.ports.contains(id)
                || groups(&change.before, old)
                || groups(&change.before, new)
                || groups(&change.after, old),
            new.ports.contains(id) || groups(&change.after, new),
        ),
        FactKey::Shape(_) | FactKey::Hosts(_) => (false, false),
    };
    match &change.after {
        Some(entry) if needs => Some(put(entry)),
        _ if had || needs => Some(Told::Gone(change.key.clone())),
        _ => None,
    }
}
