//! Every instance, in memory: what Describe calls and the loops read.
//!
//! A copy of the rows, never ahead of them: it is fed with what a transaction has written, after its
//! commit. Change numbers make feeding idempotent and order-free. Each account has a counter that moves
//! with every change of its instances; a kept answer is good as long as it stands still.

use super::model::Instance;
use super::plan::{Step, plan};
use super::state::State;
use karri_proto::ids::InstanceId;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Sorts an account's instances: by reservation, then by place in the launch.
pub type SortKey = String;

#[derive(Debug, Default)]
pub struct View {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    all: HashMap<InstanceId, Arc<Instance>>,
    accounts: HashMap<String, Owned>,
    /// Moves with every change of any account.
    changes: u64,
    /// By cluster: what the cluster is still to be told.
    unsettled: HashMap<String, HashSet<InstanceId>>,
    states: BTreeMap<State, u64>,
    followed: i64,
    newest: i64,
}

#[derive(Debug, Default)]
struct Owned {
    changes: u64,
    /// Those that are not terminated.
    alive: usize,
    sorted: BTreeMap<SortKey, Arc<Instance>>,
}

pub fn sort_key(instance: &Instance) -> SortKey {
    format!("{}:{:06}:{}", instance.reservation, instance.spec.launch_index, instance.id)
}

impl View {
    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over rows as they were committed. Returns those that were news.
    pub fn apply(&self, instances: Vec<Instance>) -> Vec<Arc<Instance>> {
        let mut inner = self.write();
        let news =
            |inner: &Inner, one: &Instance| inner.all.get(&one.id).is_none_or(|k| k.change < one.change);
        let mut applied = Vec::with_capacity(instances.len());
        for instance in instances {
            if news(&inner, &instance) {
                let instance = Arc::new(instance);
                inner.insert(instance.clone());
                applied.push(instance);
            }
        }
        applied
    }

    pub fn remove(&self, ids: &[InstanceId]) {
        let mut inner = self.write();
        for id in ids {
            inner.remove(id);
        }
    }

    pub fn get(&self, id: &InstanceId) -> Option<Arc<Instance>> {
        self.read().all.get(id).cloned()
    }

    /// An account's instances in their order.
    pub fn of_account(&self, account: &str) -> Vec<Arc<Instance>> {
        let inner = self.read();
        inner.accounts.get(account).map(|owned| owned.sorted.values().cloned().collect()).unwrap_or_default()
    }

    /// Everyone's, in their order.
    pub fn everyones(&self) -> Vec<Arc<Instance>> {
        let mut all: Vec<Arc<Instance>> = self.read().all.values().cloned().collect();
        all.sort_by_cached_key(|instance| sort_key(instance));
        all
    }

    /// Those that `wanted` picks, in no particular order.
    pub fn select(&self, wanted: impl Fn(&Instance) -> bool) -> Vec<Arc<Instance>> {
        self.read().all.values().filter(|instance| wanted(instance)).cloned().collect()
    }

    /// How many an account has that are not terminated.
    pub fn count_of_account(&self, account: &str) -> usize {
        self.read().accounts.get(account).map_or(0, |owned| owned.alive)
    }

    /// Moves whenever one of the account's instances does; of all accounts when none is named.
    pub fn changes(&self, account: Option<&str>) -> u64 {
        let inner = self.read();
        match account {
            Some(account) => inner.accounts.get(account).map_or(0, |owned| owned.changes),
            None => inner.changes,
        }
    }

    /// What a cluster is still to be told.
    pub fn unsettled(&self, cluster: &str) -> Vec<Arc<Instance>> {
        let inner = self.read();
        let Some(ids) = inner.unsettled.get(cluster) else { return Vec::new() };
        ids.iter().filter_map(|id| inner.all.get(id).cloned()).collect()
    }

    /// Everything up to this change is here, whoever made it. Our own changes may be ahead of it.
    pub fn followed(&self) -> i64 {
        self.read().followed
    }

    pub fn followed_to(&self, change: Option<i64>) {
        let mut inner = self.write();
        inner.followed = inner.followed.max(change.unwrap_or(0));
    }

    /// The highest change number that has come here.
    pub fn newest(&self) -> i64 {
        self.read().newest
    }

    /// How many there are in each state.
    pub fn states(&self) -> BTreeMap<State, u64> {
        self.read().states.clone()
    }
}

impl Inner {
    fn insert(&mut self, instance: Arc<Instance>) {
        self.newest = self.newest.max(instance.change);
        let before = self.all.insert(instance.id.clone(), instance.clone());
        if let Some(before) = &before {
            self.count(before, -1);
        }
        self.count(&instance, 1);
        let owned = self.accounts.entry(instance.account.clone()).or_default();
        owned.sorted.insert(sort_key(&instance), instance.clone());
        let unsettled = self.unsettled.entry(instance.cluster.clone()).or_default();
        match plan(&instance) {
            Step::Rest => unsettled.remove(&instance.id),
            Step::Put | Step::Forget => unsettled.insert(instance.id.clone()),
        };
    }

    fn remove(&mut self, id: &InstanceId) {
        let Some(instance) = self.all.remove(id) else { return };
        self.count(&instance, -1);
        if let Some(owned) = self.accounts.get_mut(&instance.account) {
            owned.sorted.remove(&sort_key(&instance));
        }
        if let Some(unsettled) = self.unsettled.get_mut(&instance.cluster) {
            unsettled.remove(id);
        }
    }

    /// Every change passes here.
    fn count(&mut self, instance: &Instance, step: i8) {
        self.changes += 1;
        let owned = self.accounts.entry(instance.account.clone()).or_default();
        owned.changes += 1;
        if instance.state != State::Terminated {
            owned.alive = owned.alive.saturating_add_signed(isize::from(step));
        }
        let count = self.states.entry(instance.state).or_default();
        *count = count.saturating_add_signed(i64::from(step));
    }
}
