//! Encoded answers that are kept until what they tell changes.
//!
//! An answer belongs to a question and to a count of changes. When the count has moved, the next to ask
//! makes it anew, once, while others wait for it. It consists of parts, each of which tells a run of
//! instances; a part none of whose instances has changed is taken over as it is.
//!
//! Bounded by bytes. When they are used up, the longest unused answer goes of the account that keeps most: who asks
//! ever new questions pushes out answers of its own, not those of others. An age is no bound: an answer
//! is right until something changes, however long that takes.

use super::instance::Instance;
use bytes::Bytes;
use karri_proto::ids::InstanceId;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem::size_of;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An answer costs something, also when it is short.
const ANSWER_BYTES: usize = 256;

type Question = [u8; 32];

/// A run of instances as they are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    told: Vec<(InstanceId, i64)>,
    /// What else the text depends on.
    edges: Edges,
    pub text: Bytes,
}

/// Whether a run of instances begins and ends with its first and last reservation, or within them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edges {
    pub opens: bool,
    pub closes: bool,
}

impl Part {
    pub fn new(run: &[Arc<Instance>], edges: Edges, text: Bytes) -> Self {
        Self { told: run.iter().map(|one| (one.id.clone(), one.change)).collect(), edges, text }
    }

    /// Whether it still tells what is to be told. A row is known by its change number.
    fn tells(&self, run: &[Arc<Instance>], edges: Edges) -> bool {
        let same = |told: &(InstanceId, i64), one: &Arc<Instance>| told.1 == one.change && told.0 == one.id;
        self.edges == edges
            && self.told.len() == run.len()
            && self.told.iter().zip(run).all(|(told, one)| same(told, one))
    }

    fn bytes(&self) -> usize {
        let ids: usize = self.told.iter().map(|(id, _)| id.as_str().len()).sum();
        size_of::<Self>() + self.told.len() * size_of::<(InstanceId, i64)>() + ids + self.text.len()
    }
}

/// The parts of the answer before, to take from.
#[derive(Debug, Default)]
pub struct Before<'a>(HashMap<&'a InstanceId, &'a Part>);

impl<'a> Before<'a> {
    pub fn new(parts: &'a [Part]) -> Self {
        Self(parts.iter().filter_map(|part| Some((&part.told.first()?.0, part))).collect())
    }

    /// The part of this run, if nothing has happened to it.
    pub fn part(&self, run: &[Arc<Instance>], edges: Edges) -> Option<Part> {
        let part = self.0.get(&run.first()?.id)?;
        part.tells(run, edges).then(|| (*part).clone())
    }
}

#[derive(Debug, Default)]
struct Answer {
    /// None: not made yet.
    changes: Option<u64>,
    parts: Arc<[Part]>,
}

#[derive(Debug)]
struct Slot {
    account: Arc<str>,
    used: u64,
    bytes: usize,
    answer: Arc<Mutex<Answer>>,
}

/// What one account keeps.
#[derive(Debug, Default)]
struct Keeps {
    bytes: usize,
    /// By when they were last used, so that the longest unused is found at once.
    by_use: BTreeMap<u64, Question>,
}

#[derive(Debug, Default)]
struct Slots {
    clock: u64,
    bytes: usize,
    by_question: HashMap<Question, Slot>,
    by_account: HashMap<Arc<str>, Keeps>,
    /// The same accounts, so that the one that keeps most is found at once.
    by_bytes: BTreeSet<(usize, Arc<str>)>,
}

#[derive(Debug)]
pub struct KeptAnswers {
    bytes_max: usize,
    slots: Mutex<Slots>,
}

impl KeptAnswers {
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, slots: Mutex::default() }
    }

    /// The answer to an account's question, made by `make` unless it is there and as new as `changes` says. That is
    /// read before the rows are: an answer may be newer than its count, never older.
    pub fn get(
        &self,
        account: &str,
        question: Question,
        changes: impl FnOnce() -> u64,
        make: impl FnOnce(&Before<'_>) -> Vec<Part>,
    ) -> Arc<[Part]> {
        let slot = self.slots().answer(account, question);
        let mut answer = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = changes();
        if answer.changes.is_some_and(|made| made >= changes) {
            return answer.parts.clone();
        }
        answer.parts = make(&Before::new(&answer.parts)).into();
        answer.changes = Some(changes);
        let bytes = ANSWER_BYTES + answer.parts.iter().map(Part::bytes).sum::<usize>();
        self.slots().made(&question, &slot, bytes, self.bytes_max);
        answer.parts.clone()
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    fn answer(&mut self, account: &str, question: Question) -> Arc<Mutex<Answer>> {
        self.clock += 1;
        let used = self.clock;
        if let Entry::Vacant(place) = self.by_question.entry(question) {
            place.insert(Slot { account: account.into(), used, bytes: 0, answer: Arc::default() });
            self.count(&question, ANSWER_BYTES);
        }
        let Some(slot) = self.by_question.get_mut(&question) else { return Arc::default() };
        if let Some(keeps) = self.by_account.get_mut(&slot.account) {
            keeps.by_use.remove(&slot.used);
            keeps.by_use.insert(used, question);
        }
        slot.used = used;
        slot.answer.clone()
    }

    /// Counts an answer's bytes, unless it had to go while it was made.
    fn made(&mut self, question: &Question, answer: &Arc<Mutex<Answer>>, bytes: usize, bytes_max: usize) {
        if self.by_question.get(question).is_some_and(|slot| Arc::ptr_eq(&slot.answer, answer)) {
            self.count(question, bytes);
        }
        while self.bytes > bytes_max && self.drop_one() {}
    }

    /// An answer takes so much now.
    fn count(&mut self, question: &Question, bytes: usize) {
        let Some(slot) = self.by_question.get_mut(question) else { return };
        let before = std::mem::replace(&mut slot.bytes, bytes);
        let account = slot.account.clone();
        let keeps = self.by_account.entry(account.clone()).or_default();
        self.by_bytes.remove(&(keeps.bytes, account.clone()));
        keeps.bytes = keeps.bytes - before + bytes;
        self.bytes = self.bytes - before + bytes;
        self.by_bytes.insert((keeps.bytes, account));
    }

    /// The longest unused answer of the account that keeps most. False: there is none.
    fn drop_one(&mut self) -> bool {
        let Some((_, account)) = self.by_bytes.last().cloned() else { return false };
        let Some(keeps) = self.by_account.get_mut(&account) else { return false };
        let Some((_, question)) = keeps.by_use.pop_first() else { return false };
        let was_its_last = keeps.by_use.is_empty();
        self.count(&question, 0);
        self.by_question.remove(&question);
        if was_its_last {
            self.by_account.remove(&account);
            self.by_bytes.remove(&(0, account));
        }
        true
    }
}

#[cfg(test)]
mod tests;
