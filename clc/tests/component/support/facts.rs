//! What a simulated cluster is told of networks, as the contract has it, and what may go wrong on the way.

use super::FakeCluster;
use super::until;
use async_trait::async_trait;
use karri_proto::internal::facts::{FactService, FactsAt, FactsPage};
use karri_proto::internal::{ApiError, Caller};
use karri_proto::network::{Fact, FactTable};
use std::sync::Mutex;

#[derive(Default)]
pub struct FakeFacts(Mutex<State>);

#[derive(Default)]
struct State {
    stands: FactsAt,
    table: FactTable,
    /// Everything, on its way.
    coming: Option<(FactsAt, FactTable)>,
    /// So many answers are lost.
    lose: usize,
    pages: usize,
    changes: usize,
    /// How often everything was begun.
    whole: usize,
}

impl State {
    fn put(&mut self, page: &FactsPage) -> FactsAt {
        let begins = page.from.map(|at| FactsAt { epoch: page.epoch, at });
        let here = FactsAt { epoch: page.epoch, at: page.to };
        let apply = |table: &mut FactTable| {
            page.changes.iter().for_each(|change| drop(table.apply(change.clone())));
        };
        match (begins, self.coming.take()) {
            (None, _) => {
                self.whole += 1;
                let mut table = FactTable::default();
                apply(&mut table);
                self.coming = Some((here, table));
            }
            (Some(begins), Some((at, mut table))) if begins == at => {
                apply(&mut table);
                self.coming = Some((here, table));
            }
            (Some(begins), _) if begins == self.stands => {
                apply(&mut self.table);
                self.stands = here;
            }
            _ => return self.stands,
        }
        if page.caught_up
            && let Some((at, table)) = self.coming.take()
        {
            (self.stands, self.table) = (at, table);
        }
        here
    }
}

#[async_trait]
impl FactService for FakeFacts {
    async fn facts_put(&self, _: &Caller, page: FactsPage) -> Result<FactsAt, ApiError> {
        let mut state = self.0.lock().unwrap();
        state.pages += 1;
        state.changes += page.changes.len();
        let answer = state.put(&page);
        if state.lose > 0 {
            state.lose -= 1;
            return Err(ApiError::unreachable("the answer is lost"));
        }
        Ok(answer)
    }
}

impl FakeFacts {
    /// The next answers do not arrive.
    pub fn lose(&self, count: usize) {
        self.0.lock().unwrap().lose = count;
    }

    pub fn answers_lost(&self) -> bool {
        self.0.lock().unwrap().lose == 0
    }

    /// As if its disk had been replaced.
    pub fn forget(&self) {
        let mut state = self.0.lock().unwrap();
        (state.stands, state.table, state.coming) = Default::default();
    }

    pub fn table(&self) -> FactTable {
        self.0.lock().unwrap().table.clone()
    }

    pub fn whole(&self) -> usize {
        self.0.lock().unwrap().whole
    }

    pub fn changes(&self) -> usize {
        self.0.lock().unwrap().changes
    }
}

/// Of ports and rules there is nothing; shapes of VPCs everybody is told.
pub fn lets_nothing_through(table: &FactTable) -> bool {
    table.facts().all(|fact| matches!(fact, Fact::Shape(_)))
}

impl FakeCluster {
    pub async fn wait_for_facts(&self, what: &str, wanted: impl Fn(&FactTable) -> bool) -> FactTable {
        until(what, || async { Some(self.facts.table()).filter(&wanted) }).await
    }
}
