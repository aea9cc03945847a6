//! Facts of the simulated nodes of one process: each fact once, however many nodes have it, and a bit per
//! node for having it. With real nodes, each keeps its own.

use karri_proto::network::{Fact, FactChange, FactKey};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
pub struct FactPool {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By its number: the fact, and how many nodes have it.
    slots: Vec<Option<(Fact, u32)>>,
    free: Vec<usize>,
    /// The numbers of what some node has under that key. They are few: all nodes are told the same, some later.
    by_key: HashMap<FactKey, Vec<usize>>,
}

/// What one node has of a pool.
#[derive(Debug)]
pub struct PooledFacts {
    pool: Arc<FactPool>,
    bits: Vec<u64>,
}

impl FactPool {
    pub fn node(self: &Arc<Self>) -> PooledFacts {
        PooledFacts { pool: self.clone(), bits: Vec::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Different facts that some node has.
    pub fn len(&self) -> usize {
        let inner = self.lock();
        inner.slots.len() - inner.free.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Inner {
    fn take(&mut self, fact: &Fact) -> usize {
        let known = self.by_key.entry(fact.key()).or_default();
        let found = known
            .iter()
            .copied()
            .find(|number| self.slots[*number].as_ref().is_some_and(|(kept, _)| kept == fact));
        if let Some(number) = found {
            if let Some((_, nodes)) = &mut self.slots[number] {
                *nodes += 1;
            }
            return number;
        }
        let slot = Some((fact.clone(), 1));
        let number = match self.free.pop() {
            Some(number) => {
                self.slots[number] = slot;
                number
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        known.push(number);
        number
    }

    fn give_back(&mut self, number: usize) {
        let Some((fact, nodes)) = &mut self.slots[number] else { return };
        *nodes -= 1;
        if *nodes > 0 {
            return;
        }
        let key = fact.key();
        if let Some(numbers) = self.by_key.get_mut(&key) {
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                self.by_key.remove(&key);
            }
        }
        self.slots[number] = None;
        self.free.push(number);
    }
}

const BITS: usize = u64::BITS as usize;

impl PooledFacts {
    pub fn apply(&mut self, changes: &[FactChange]) {
        let pool = self.pool.clone();
        let mut inner = pool.lock();
        for change in changes {
            let key = change.key();
            let before = inner.by_key.get(&key).into_iter().flatten().copied();
            let before: Option<usize> = before.into_iter().find(|number| self.has(*number));
            // First the new one: what is put again must not be given up in between.
            if let FactChange::Put(fact) = change {
                let number = inner.take(fact);
                self.set(number, true);
                if before == Some(number) {
                    inner.give_back(number);
                    continue;
                }
            }
            if let Some(number) = before {
                self.set(number, false);
                inner.give_back(number);
            }
        }
    }

    pub fn replace(&mut self, changes: &[FactChange]) {
        let before = std::mem::take(&mut self.bits);
        self.apply(changes);
        let pool = self.pool.clone();
        let mut inner = pool.lock();
        numbers(&before).for_each(|number| inner.give_back(number));
    }

    /// In no order.
    pub fn facts(&self) -> Vec<Fact> {
        let inner = self.pool.lock();
        numbers(&self.bits).filter_map(|number| Some(inner.slots.get(number)?.as_ref()?.0.clone())).collect()
    }

    fn has(&self, number: usize) -> bool {
        self.bits.get(number / BITS).is_some_and(|word| word >> (number % BITS) & 1 == 1)
    }

    fn set(&mut self, number: usize, has: bool) {
        if self.bits.len() <= number / BITS {
            self.bits.resize(number / BITS + 1, 0);
        }
        let bit = 1 << (number % BITS);
        let word = &mut self.bits[number / BITS];
        *word = if has { *word | bit } else { *word & !bit };
    }
}

fn numbers(bits: &[u64]) -> impl Iterator<Item = usize> {
    let ones = |(place, word): (usize, &u64)| {
        let word = *word;
        (0..BITS).filter(move |bit| word >> bit & 1 == 1).map(move |bit| place * BITS + bit)
    };
    bits.iter().enumerate().flat_map(ones)
}

impl Drop for PooledFacts {
    fn drop(&mut self) {
        self.replace(&[]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use karri_proto::network::{FactTable, PortFact};
    use proptest::prelude::*;

    fn port(number: u8, address: u8) -> Fact {
        Fact::Port(PortFact {
            id: format!("eni-{number:08x}").parse().unwrap(),
            vpc: "vpc-00000001".parse().unwrap(),
            addresses: vec![[10, 0, 0, address].into()],
            groups: Vec::new(),
        })
    }

    fn sorted(facts: impl IntoIterator<Item = Fact>) -> Vec<Fact> {
        let mut facts: Vec<Fact> = facts.into_iter().collect();
        facts.sort_by_key(Fact::key);
        facts
    }

    fn changes() -> impl Strategy<Value = Vec<FactChange>> {
        let one = (0u8..6, 0u8..3, any::<bool>()).prop_map(|(number, address, put)| match put {
            true => FactChange::Put(port(number, address)),
            false => FactChange::Gone(port(number, address).key()),
        });
        proptest::collection::vec(one, 0..8)
    }

    fn resident_bytes() -> u64 {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    }

    #[test]
    fn another_node_with_the_same_facts_costs_a_bit_for_each() {
        const NODES: usize = 40;
        const FACTS: u32 = 10_000;
        let member = |number: u32| {
            FactChange::Put(Fact::Port(PortFact {
                id: format!("eni-{number:017x}").parse().unwrap(),
                vpc: "vpc-0000000000000001a".parse().unwrap(),
                addresses: vec![number.into()],
                groups: vec!["sg-0000000000000001a".parse().unwrap()],
            }))
        };
        let changes: Vec<FactChange> = (0..FACTS).map(member).collect();
        let pool = Arc::new(FactPool::default());
        let mut nodes: Vec<PooledFacts> = (0..NODES).map(|_| pool.node()).collect();
        let empty = resident_bytes();
        nodes[0].replace(&changes);
        let first = resident_bytes().saturating_sub(empty);
        nodes[1..].iter_mut().for_each(|node| node.replace(&changes));
        let others = resident_bytes().saturating_sub(empty + first);
        println!("{FACTS} facts: {first} bytes, and {others} for {} more nodes", NODES - 1);
        let bits: usize = nodes.iter().map(|node| node.bits.len() * size_of::<u64>()).sum();
        assert!(bits <= NODES * (FACTS as usize / 8 + 8), "{bits}");
        assert!(pool.len() == FACTS as usize && nodes[NODES - 1].facts().len() == FACTS as usize);
    }

    proptest! {
        #[test]
        fn every_node_has_what_it_was_told_and_the_pool_nothing_else(
            told in proptest::collection::vec((0usize..3, any::<bool>(), changes()), 0..30),
        ) {
            let pool = Arc::new(FactPool::default());
            let mut nodes: Vec<PooledFacts> = (0..3).map(|_| pool.node()).collect();
            let mut models = vec![FactTable::default(); 3];
            for (node, whole, changes) in told {
                if whole {
                    models[node] = FactTable::default();
                    nodes[node].replace(&changes);
                } else {
                    nodes[node].apply(&changes);
                }
                changes.into_iter().for_each(|change| drop(models[node].apply(change)));
                for (node, model) in nodes.iter().zip(&models) {
                    prop_assert_eq!(sorted(node.facts()), sorted(model.facts()));
                }
                let mut all = Vec::new();
                for fact in models.iter().flat_map(FactTable::facts) {
                    if !all.contains(&fact) {
                        all.push(fact);
                    }
                }
                prop_assert_eq!(pool.len(), all.len());
            }
            drop(nodes);
            prop_assert!(pool.is_empty());
        }
    }
}
