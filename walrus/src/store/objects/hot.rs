//! A bounded memory of what was read or written last, which never shows what the database no longer says.
//!
//! This process is the only writer. Before a commit the writer takes the entries that it changes out and
//! holds their places (`hold`): readers ask the database meanwhile, where the change becomes visible at one
//! instant. After the commit it lets go (`release`), with the new value if it has it. A reader that puts in
//! what it has read shows the ticket that it drew before it read; if anything of the shard was held or
//! released since then, the value is not taken. So nothing old can appear after something new was seen.
//!
//! What was not used since the hand came round last is dropped first (CLOCK).

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

const SHARDS: usize = 64;

#[derive(Debug)]
pub(super) struct Hot<V> {
    hasher: RandomState,
    shards: Box<[Mutex<Shard<V>>]>,
}

#[derive(Debug)]
struct Shard<V> {
    bytes_max: usize,
    bytes: usize,
    /// Grows at every hold and release.
    age: u64,
    held: HashMap<u64, u32>,
    slots: Vec<Slot<V>>,
    by_hash: HashMap<u64, usize>,
    hand: usize,
}

#[derive(Debug)]
struct Slot<V> {
    hash: u64,
    value: V,
    bytes: usize,
    used: bool,
}

/// Drawn before reading what may be put in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    hash: u64,
    age: u64,
}

impl<V: Clone> Hot<V> {
    pub fn new(bytes_max: usize) -> Self {
        let shard = |_| {
            Mutex::new(Shard {
                bytes_max: bytes_max / SHARDS,
                bytes: 0,
                age: 0,
                held: HashMap::new(),
                slots: Vec::new(),
                by_hash: HashMap::new(),
                hand: 0,
            })
        };
        Self { hasher: RandomState::new(), shards: (0..SHARDS).map(shard).collect() }
    }

    fn hash(&self, key: impl Hash) -> u64 {
        self.hasher.hash_one(key)
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard<V>> {
        self.shards[hash as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is remembered under `key`; `is` tells it from another key of the same hash.
    pub fn get(&self, key: impl Hash, is: impl FnOnce(&V) -> bool) -> Option<V> {
        let hash = self.hash(key);
        let mut shard = self.shard(hash);
        let at = *shard.by_hash.get(&hash)?;
        let slot = &mut shard.slots[at];
        if !is(&slot.value) {
            return None;
        }
        slot.used = true;
        Some(slot.value.clone())
    }

    pub fn ticket(&self, key: impl Hash) -> Ticket {
        let hash = self.hash(key);
        Ticket { hash, age: self.shard(hash).age }
    }

    pub fn put(&self, ticket: Ticket, value: V, bytes: usize) {
        let mut shard = self.shard(ticket.hash);
        if shard.age == ticket.age && !shard.held.contains_key(&ticket.hash) {
            shard.insert(ticket.hash, value, bytes);
        }
    }

    /// What is remembered takes so many bytes by now; it goes if that is too much.
    pub fn reweigh(&self, key: impl Hash, is: impl FnOnce(&V) -> bool, bytes: usize) {
        let hash = self.hash(key);
        let mut shard = self.shard(hash);
        let Some(at) = shard.by_hash.get(&hash).copied() else { return };
        let value = shard.slots[at].value.clone();
        if is(&value) {
            shard.insert(hash, value, bytes);
        }
    }

    /// Before the commit.
    pub fn hold(&self, key: impl Hash) {
        let hash = self.hash(key);
        let mut shard = self.shard(hash);
        shard.age += 1;
        *shard.held.entry(hash).or_default() += 1;
        shard.remove(hash);
    }

    /// After the commit, or after it has failed; once for every `hold`.
    pub fn release(&self, key: impl Hash, value: Option<(V, usize)>) {
        let hash = self.hash(key);
        let mut shard = self.shard(hash);
        shard.age += 1;
        if let Some(count) = shard.held.get_mut(&hash) {
            *count -= 1;
            if *count == 0 {
                shard.held.remove(&hash);
            }
        }
        if let Some((value, bytes)) = value
            && !shard.held.contains_key(&hash)
        {
            shard.insert(hash, value, bytes);
        }
    }
}

impl<V> Shard<V> {
    fn insert(&mut self, hash: u64, value: V, bytes: usize) {
        self.remove(hash);
        if bytes > self.bytes_max {
            return;
        }
        while self.bytes + bytes > self.bytes_max {
            self.drop_one();
        }
        self.bytes += bytes;
        self.by_hash.insert(hash, self.slots.len());
        self.slots.push(Slot { hash, value, bytes, used: false });
    }

    fn drop_one(&mut self) {
        loop {
            self.hand = if self.hand >= self.slots.len() { 0 } else { self.hand };
            let Some(slot) = self.slots.get_mut(self.hand) else { return };
            if !std::mem::take(&mut slot.used) {
                let hash = slot.hash;
                return self.remove(hash);
            }
            self.hand += 1;
        }
    }

    fn remove(&mut self, hash: u64) {
        let Some(at) = self.by_hash.remove(&hash) else { return };
        let slot = self.slots.swap_remove(at);
        self.bytes -= slot.bytes;
        if let Some(moved) = self.slots.get(at) {
            self.by_hash.insert(moved.hash, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(_: &u32) -> bool {
        true
    }

    #[test]
    fn what_was_read_before_a_change_is_not_put_in_after_it() {
        let hot = Hot::new(64 * 1000);
        let early = hot.ticket("a");
        hot.put(hot.ticket("a"), 1, 10);
        assert_eq!(hot.get("a", is), Some(1));
        hot.hold("a");
        assert_eq!(hot.get("a", is), None, "readers ask the database during the commit");
        hot.put(early, 1, 10);
        hot.put(hot.ticket("a"), 1, 10);
        assert_eq!(hot.get("a", is), None, "nothing is put in during the commit");
        let during = hot.ticket("a");
        hot.release("a", Some((2, 10)));
        assert_eq!(hot.get("a", is), Some(2));
        hot.put(during, 1, 10);
        assert_eq!(hot.get("a", is), Some(2));
        hot.hold("a");
        hot.release("a", None);
        assert_eq!(hot.get("a", is), None);
    }

    #[test]
    fn a_place_that_is_held_twice_is_free_when_both_let_go() {
        let hot = Hot::new(64 * 1000);
        hot.hold("a");
        hot.hold("a");
        hot.release("a", Some((1, 10)));
        assert_eq!(hot.get("a", is), None);
        hot.release("a", Some((2, 10)));
        assert_eq!(hot.get("a", is), Some(2));
    }

    #[test]
    fn it_stays_within_its_bytes_and_keeps_what_is_used() {
        let hot = Hot::new(SHARDS * 100);
        for n in 0..10_000u32 {
            hot.put(hot.ticket("used"), 7, 10);
            assert_eq!(hot.get("used", is), Some(7));
            hot.put(hot.ticket(n), n, 10 + n as usize % 20);
        }
        hot.put(hot.ticket("huge"), 1, 101);
        assert_eq!(hot.get("huge", is), None);
        for shard in &hot.shards {
            let shard = shard.lock().unwrap();
            assert!(shard.bytes <= 100 && shard.bytes > 50);
            assert_eq!(shard.bytes, shard.slots.iter().map(|slot| slot.bytes).sum::<usize>());
            assert_eq!(shard.by_hash.len(), shard.slots.len());
        }
    }

    #[test]
    fn what_has_grown_is_counted_as_it_is() {
        let hot = Hot::new(SHARDS * 100);
        hot.put(hot.ticket("a"), 1, 10);
        hot.reweigh("a", |value| *value == 2, 101);
        hot.reweigh("a", is, 90);
        let hash = hot.hash("a");
        assert_eq!((hot.get("a", is), hot.shard(hash).bytes), (Some(1), 90));
        hot.reweigh("a", is, 101);
        assert_eq!((hot.get("a", is), hot.shard(hash).bytes), (None, 0));
        hot.reweigh("a", is, 10);
        assert_eq!(hot.get("a", is), None);
    }

    #[test]
    fn another_key_of_the_same_hash_is_not_answered() {
        let hot = Hot::new(64 * 1000);
        hot.put(hot.ticket("a"), 1, 10);
        assert_eq!(hot.get("a", |_| false), None);
    }
}
