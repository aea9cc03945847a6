//! A table is what was told last under each key, and its indexes know it.

use super::samples::{changes, group, port_id};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Facts by key, and nothing else.
fn model(changes: &[FactChange]) -> BTreeMap<FactKey, Fact> {
    let mut facts = BTreeMap::new();
    for change in changes {
        match change {
            FactChange::Put(fact) => drop(facts.insert(fact.key(), fact.clone())),
            FactChange::Gone(key) => drop(facts.remove(key)),
        }
    }
    facts
}

fn table(changes: impl IntoIterator<Item = FactChange>) -> FactTable {
    let mut table = FactTable::default();
    changes.into_iter().for_each(|change| drop(table.apply(change)));
    table
}

proptest! {
    #[test]
    fn indexes_agree_with_a_look_at_every_fact(all in proptest::collection::vec(changes(), 0..40)) {
        let mut table = FactTable::default();
        for (count, change) in all.iter().enumerate() {
            let before = model(&all[..count]).remove(&change.key());
            prop_assert_eq!(table.apply(change.clone()), before, "what was there under the key");
        }
        let facts = model(&all);
        let ports: Vec<&PortFact> = facts.values().filter_map(|fact| match fact {
            Fact::Port(port) => Some(port),
            Fact::Rule(_) | Fact::Shape(_) | Fact::Hosts(_) => None,
        }).collect();
        let kept: BTreeMap<FactKey, Fact> = table.facts().map(|fact| (fact.key(), fact)).collect();
        prop_assert_eq!(&kept, &facts);
        prop_assert_eq!(table.facts().count(), facts.len());
        prop_assert_eq!(table.is_empty(), facts.is_empty());
        prop_assert_eq!(table.ports().count(), ports.len());
        for number in 0..4 {
            let known = ports.iter().copied().find(|port| port.id == port_id(number));
            prop_assert_eq!(table.port(&port_id(number)), known);
        }
        for group in (0..3).map(group) {
            let members: Vec<&PortFact> =
                ports.iter().copied().filter(|port| port.groups.contains(&group)).collect();
            prop_assert_eq!(table.members_of(&group).collect::<Vec<_>>(), members.clone());
            let addresses: Vec<Ipv4Addr> =
                members.iter().flat_map(|port| port.addresses.iter().copied()).collect();
            prop_assert_eq!(table.addresses_of(&group).collect::<Vec<_>>(), addresses);
            let rules: Vec<&GroupRule> = facts.values().filter_map(|fact| match fact {
                Fact::Rule(rule) if rule.group == group => Some(rule),
                _ => None,
            }).collect();
            prop_assert_eq!(table.rules_of(&group).collect::<Vec<_>>(), rules.clone());
            for direction in [Direction::Ingress, Direction::Egress] {
                let toward: Vec<&GroupRule> =
                    rules.iter().copied().filter(|rule| rule.direction == direction).collect();
                prop_assert_eq!(table.rules_toward(&group, direction).collect::<Vec<_>>(), toward);
            }
        }
    }

    /// The order among different keys does not matter; what is left over of what is gone would show.
    #[test]
    fn changes_in_any_order_that_ends_the_same_make_the_same_table(
        all in proptest::collection::vec(changes(), 0..40),
        order in proptest::collection::vec(any::<u16>(), 40),
    ) {
        let mut queues: BTreeMap<FactKey, Vec<FactChange>> = BTreeMap::new();
        for change in all.iter().rev() {
            queues.entry(change.key()).or_default().push(change.clone());
        }
        let mut shuffled = Vec::new();
        for pick in order {
            let open: Vec<FactKey> = queues.keys().cloned().collect();
            let Some(key) = open.get(usize::from(pick) % open.len().max(1)) else { break };
            let queue = queues.get_mut(key).unwrap();
            shuffled.extend(queue.pop());
            if queue.is_empty() {
                queues.remove(key);
            }
        }
        prop_assert_eq!(shuffled.len(), all.len());
        let end = table(model(&all).into_values().map(FactChange::Put));
        prop_assert_eq!(table(shuffled), end.clone());
        prop_assert_eq!(table(all), end);
    }
}

#[test]
fn keys_are_printed_as_they_are_stored() {
    let rule = FactKey::Rule { group: group(1), rule: samples::rule_id(2) };
    assert_eq!(rule.to_string(), "rule/sg-00000001/sgr-00000002");
    assert_eq!(FactKey::Port(port_id(3)).to_string(), "port/eni-00000003");
}
