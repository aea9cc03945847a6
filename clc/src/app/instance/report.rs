//! Carrying out what reports and deadlines decide: in one transaction for many, and told in the log.

use super::absorb::{absorb, forgotten, refused, untold};
use super::lifecycle::{Order, expire};
use super::model::Instance;
use super::state::State;
use crate::app::{App, now_ms, steady_ms};
use crate::store::StoreError;
use karri_proto::ids::InstanceId;
use karri_proto::instance::{InstanceReport, StateReason};
use std::collections::{HashMap, HashSet};

impl App {
    pub(super) fn order<'a>(&'a self, request_id: &'a str) -> Order<'a> {
        Order { request_id, now_ms: steady_ms(), wall_ms: now_ms(), limits: &self.limits }
    }

    /// Absorbs reports of one cluster. Returns those instances that the cluster should simply forget:
    /// over there they are final, and here nobody knows them any more. `counts` is asked within the
    /// transaction whether the reports are still worth something.
    pub async fn reports_absorb(
        &self,
        cluster: &str,
        reports: &[InstanceReport],
        counts: impl Fn() -> bool,
    ) -> Result<Vec<InstanceId>, StoreError> {
        let mut by_id = HashMap::with_capacity(reports.len());
        let mut unknown = Vec::new();
        for report in reports {
            match self.instances.get(&report.id) {
                Some(known) if known.cluster != cluster => {
                    tracing::warn!(instance_id = %report.id, cluster, "a cluster reports another's instance");
                }
                Some(known) if known.forgotten && report.phase.is_final() => unknown.push(report.id.clone()),
                // Most reports say nothing new; only those that do are worth a transaction.
                Some(known) if absorb(&mut (*known).clone(), report, self.order("")) => {
                    by_id.insert(report.id.clone(), report);
                }
                Some(_) => {}
                None if report.phase.is_final() => unknown.push(report.id.clone()),
                None => self.stranger(cluster, report),
            }
        }
        let ids: Vec<InstanceId> = by_id.keys().cloned().collect();
        self.instances_settle(&ids, |instance, order| {
            counts() && by_id.get(&instance.id).is_some_and(|report| absorb(instance, report, order))
        })
        .await?;
        Ok(unknown)
    }

    /// It runs over there and nobody here has ordered it: the database was set back. It is left alone.
    fn stranger(&self, cluster: &str, report: &InstanceReport) {
        let mut told = self.strangers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if told.len() < STRANGERS_MAX && told.insert(report.id.clone()) {
            tracing::warn!(instance_id = %report.id, cluster, "a cluster runs an instance that is not in the database");
        }
    }

    /// Lets `decide` change these instances, in one transaction; tells and adopts what changed.
    pub async fn instances_settle(
        &self,
        ids: &[InstanceId],
        decide: impl Fn(&mut Instance, Order<'_>) -> bool,
    ) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let mut before: HashMap<InstanceId, State> = HashMap::with_capacity(ids.len());
        let written = self.store.instances_change(ids, |instances| {
            let changed = instances.iter_mut().map(|instance| {
                before.insert(instance.id.clone(), instance.state);
                let request_id = instance.request_id.clone();
                decide(instance, self.order(&request_id))
            });
            Ok::<_, StoreError>(changed.collect())
        });
        let written = written.await?;
        for instance in &written {
            if before.get(&instance.id) != Some(&instance.state) {
                tell(instance);
            }
        }
        self.adopt(written);
        Ok(())
    }

    /// Ends transitional states whose time is over.
    pub async fn instances_expire(&self) -> Result<(), StoreError> {
        let order = self.order("");
        let due = self.instances.select(|one| one.deadline_ms.is_some_and(|at| at <= order.now_ms));
        let ids: Vec<InstanceId> = due.iter().map(|instance| instance.id.clone()).collect();
        for instance in &due {
            tracing::warn!(
                request_id = instance.request_id,
                instance_id = %instance.id,
                state = instance.state.as_str(),
                "instance is late"
            );
        }
        self.instances_settle(&ids, expire).await
    }

    /// Removes what has been terminated long enough and is forgotten below. `thoroughly`: also what is not in
    /// memory any more, and what client tokens were remembered by.
    pub async fn instances_purge(&self, thoroughly: bool) -> Result<(), StoreError> {
        let now = steady_ms();
        if thoroughly || !self.instances_over(now).is_empty() {
            self.store.instances_purge(now).await?;
            self.instances_drop_over();
        }
        if thoroughly {
            self.tokens.forget(&self.store.reservations_purge(now).await?);
            self.store.rules_sweep().await?;
            self.store.nat_gateways_purge(now).await?;
            self.store.networks_sweep().await?;
        }
        Ok(())
    }

    fn instances_over(&self, now_ms: i64) -> Vec<InstanceId> {
        let over = |one: &Instance| one.forgotten && one.purge_ms.is_some_and(|at| at <= now_ms);
        self.instances.select(over).iter().map(|one| one.id.clone()).collect()
    }

    /// Nobody is shown it any more; it is purged by whoever reconciles.
    pub fn instances_drop_over(&self) {
        let over = self.instances_over(steady_ms());
        if !over.is_empty() {
            self.instances.remove(&over);
        }
    }

    /// A cluster has told everything it knows: what it did not mention is unknown to it and is to be told
    /// again; what is over needs no forgetting any more. It began to tell after the change `since`.
    pub async fn instances_untold(
        &self,
        cluster: &str,
        told: &HashSet<InstanceId>,
        since: i64,
    ) -> Result<(), StoreError> {
        // Also those that it has not accepted as far as anyone here knows: its answer may just be on its way
        // into the row, and is worth nothing any more.
        let lost =
            self.instances.select(|one| one.cluster == cluster && !one.forgotten && !told.contains(&one.id));
        // What it accepted after it had begun to tell, it has not lost; nor what is over, and was to be forgotten.
        let is_lost =
            |one: &Instance| one.acknowledged > 0 && one.change <= since && one.state != State::Terminated;
        let accepted = lost.iter().filter(|one| is_lost(one)).count();
        if accepted > 0 {
            tracing::warn!(cluster, count = accepted, "a cluster lost instances; it is told of them again");
        }
        let ids: Vec<InstanceId> = lost.iter().map(|instance| instance.id.clone()).collect();
        self.instances_settle(&ids, |instance, _| untold(instance)).await
    }

    /// The cluster refuses it for good.
    pub async fn instance_refused(
        &self,
        id: &InstanceId,
        generation: u64,
        reason: StateReason,
    ) -> Result<(), StoreError> {
        self.instances_settle(std::slice::from_ref(id), |instance, order| {
            refused(instance, generation, &reason, order)
        })
        .await
    }

    pub async fn instance_forgotten(&self, ids: &[InstanceId]) -> Result<(), StoreError> {
        self.instances_settle(ids, |instance, _| forgotten(instance)).await
    }
}

/// Strangers that are remembered, so that each is told once.
const STRANGERS_MAX: usize = 1000;

fn tell(instance: &Instance) {
    tracing::info!(
        request_id = instance.request_id,
        instance_id = %instance.id,
        state = instance.state.as_str(),
        node = instance.node,
        reason = instance.reason.as_ref().map(|reason| reason.message.as_str()),
        "instance is {}",
        instance.state.as_str()
    );
}
