//! Whose image is worked at next: so many at once, and between accounts in turn.
//!
//! ```text
//!   take ──► free? ──► Slot ──► dropped ──► to the account that has the fewest at work,
//!              └─────► waits                of these to the one that was served the longest ago
//! ```
//!
//! One account's hundred images do not keep another's waiting: the other's first is next.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

#[derive(Debug, Clone)]
pub struct Slots(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    working: HashMap<String, usize>,
    waiting: VecDeque<Waiting>,
    /// When accounts that work or wait were served last, counted in slots.
    served: HashMap<String, u64>,
    count: u64,
}

#[derive(Debug)]
struct Waiting {
    account: String,
    tell: oneshot::Sender<Slot>,
}

/// Held by whoever works.
#[derive(Debug)]
pub struct Slot {
    account: String,
    slots: Slots,
}

impl Slots {
    pub fn new(count: usize) -> Self {
        let (working, waiting, served) = (HashMap::new(), VecDeque::new(), HashMap::new());
        Self(Arc::new(Mutex::new(State { free: count, working, waiting, served, count: 0 })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for its turn; who stops waiting loses it. None: this process ends.
    pub async fn take(&self, account: &str) -> Option<Slot> {
        let turn = {
            let mut state = self.lock();
            let (tell, turn) = oneshot::channel();
            state.waiting.push_back(Waiting { account: account.to_owned(), tell });
            turn
        };
        self.hand_out();
        turn.await.ok()
    }

    /// Gives out what is free. Whoever has gone meanwhile is passed over.
    fn hand_out(&self) {
        loop {
            let mut state = self.lock();
            state.waiting.retain(|one| !one.tell.is_closed());
            if state.free == 0 {
                return;
            }
            let Some(next) = state.next().and_then(|at| state.waiting.remove(at)) else { return };
            state.free -= 1;
            state.count += 1;
            let count = state.count;
            state.served.insert(next.account.clone(), count);
            *state.working.entry(next.account.clone()).or_default() += 1;
            drop(state); // a slot that nobody takes gives itself back
            let _ = next.tell.send(Slot { account: next.account, slots: self.clone() });
        }
    }

    fn give_back(&self, account: &str) {
        let mut state = self.lock();
        state.free += 1;
        if let Some(count) = state.working.get_mut(account) {
            *count -= 1;
            if *count == 0 {
                state.working.remove(account);
            }
        }
        let State { served, working, waiting, .. } = &mut *state;
        served.retain(|account, _| {
            working.contains_key(account) || waiting.iter().any(|one| one.account == *account)
        });
    }
}

impl State {
    /// The place of the one whose turn it is.
    fn next(&self) -> Option<usize> {
        let rank = |one: &Waiting| {
            let at_work = self.working.get(&one.account).copied().unwrap_or(0);
            (at_work, self.served.get(&one.account).copied().unwrap_or(0))
        };
        (0..self.waiting.len()).min_by_key(|at| rank(&self.waiting[*at])) // the first of equals
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.give_back(&self.account);
        self.slots.hand_out();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    /// Those of `waiting` that have got their turn, in the order they are given.
    async fn served(
        waiting: &mut [(&'static str, tokio::task::JoinHandle<Option<Slot>>)],
    ) -> Vec<&'static str> {
        tokio::task::yield_now().await;
        let done = waiting.iter_mut().filter(|(_, task)| task.is_finished());
        done.map(|(name, _)| *name).collect()
    }

    #[tokio::test]
    async fn a_hundred_of_one_account_do_not_keep_another_waiting() {
        let slots = Slots::new(1);
        let first = slots.take("a").await.unwrap();
        let mut greedy: Vec<_> = (0..100).map(|_| Box::pin(slots.clone().taken("a"))).collect();
        for one in &mut greedy {
            assert!(one.as_mut().now_or_never().is_none());
        }
        let mut others = ["b", "c"].map(|account| Box::pin(slots.clone().taken(account)));
        for one in &mut others {
            assert!(one.as_mut().now_or_never().is_none());
        }
        drop(first);
        for mut one in others {
            let turn = one.as_mut().now_or_never().flatten(); // and given back
            assert!(turn.is_some_and(|slot| slot.slots.lock().free == 0));
        }
        assert!(greedy[0].as_mut().now_or_never().flatten().is_some());
    }

    impl Slots {
        async fn taken(self, account: &'static str) -> Option<Slot> {
            self.take(account).await
        }
    }

    #[tokio::test]
    async fn who_has_the_fewest_at_work_is_next() {
        let slots = Slots::new(3);
        let mut held = Vec::new();
        for account in ["a", "a", "b"] {
            held.push(slots.take(account).await.unwrap());
        }
        let mut waiting: Vec<_> = ["a", "b", "c"]
            .map(|account| (account, tokio::spawn(slots.clone().taken(account))))
            .into_iter()
            .collect();
        assert_eq!(served(&mut waiting).await, [""; 0]);
        drop(held.remove(0)); // a has one at work, b one, c none
        assert_eq!(served(&mut waiting).await, ["c"]);
    }

    #[tokio::test]
    async fn who_stops_waiting_keeps_nothing() {
        let slots = Slots::new(1);
        let first = slots.take("a").await.unwrap();
        let mut gone = Box::pin(slots.take("b"));
        assert!(gone.as_mut().now_or_never().is_none());
        drop(gone);
        drop(first);
        let next = slots.take("c").now_or_never().flatten();
        assert!(next.is_some_and(|slot| slot.account == "c"));
        let state = slots.lock();
        assert_eq!((state.free, state.working.len(), state.served.len()), (1, 0, 0), "all is given back");
    }
}
