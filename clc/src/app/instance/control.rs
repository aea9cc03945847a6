//! Start, stop, reboot, terminate: which instances are meant, whether the caller may, and the commit.

use super::lifecycle::Order;
use super::model::Instance;
use super::state::State;
use crate::app::App;
use crate::store::instance::{instances_change_in_txn, instances_fetch_in_txn};
use crate::store::{StoreError, Tx};
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::InstanceId;
use karri_proto::internal::instances::{ConsoleOutput, InstanceService};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    pub account: &'a str,
    pub administrator: bool,
    pub request_id: &'a str,
}

impl Caller<'_> {
    /// What that account has.
    pub fn may_touch_of(&self, account: &str) -> bool {
        self.administrator || account == self.account
    }

    fn may_touch(&self, instance: &Instance) -> bool {
        self.may_touch_of(&instance.account)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    pub id: InstanceId,
    pub before: State,
    pub now: State,
}

fn not_found(ids: &[&InstanceId]) -> Fault {
    match ids {
        [one] => one.not_found(),
        several => {
            let names: Vec<&str> = several.iter().map(|id| id.as_str()).collect();
            let sentence = format!("The instance IDs '{}' do not exist", names.join(", "));
            Fault::new(FaultCode::InvalidInstanceIdNotFound, sentence)
        }
    }
}

impl App {
    /// The named instances, each of which the caller must be allowed to see.
    pub fn instances_named(
        &self,
        caller: Caller<'_>,
        ids: &[InstanceId],
    ) -> Result<Vec<Arc<Instance>>, Fault> {
        let mut found = Vec::with_capacity(ids.len());
        let mut missing = Vec::new();
        for id in ids {
            match self.instances.get(id).filter(|instance| caller.may_touch(instance)) {
                Some(instance) => found.push(instance),
                None => missing.push(id),
            }
        }
        if missing.is_empty() { Ok(found) } else { Err(not_found(&missing)) }
    }

    /// Does one thing to all of them, or nothing to any.
    pub async fn instances_order(
        &self,
        caller: Caller<'_>,
        ids: &[InstanceId],
        verb: impl Fn(&mut Instance, Order<'_>) -> Result<bool, Fault>,
    ) -> Result<Vec<StateChange>, Fault> {
        let (tx, change) = self.store.begin_numbered().await?;
        self.order_in_txn(tx, change, caller, ids, |_| Ok(()), verb).await
    }

    /// A stopped instance needs its vCPUs and memory back before it may start.
    ///
    /// They are reserved when nobody else can write, as a launch reserves: on the rows as they are, and with all
    /// that other controllers on the same database have given away.
    pub async fn instances_start(
        &self,
        caller: Caller<'_>,
        ids: &[InstanceId],
    ) -> Result<Vec<StateChange>, Fault> {
        let (mut tx, change) = self.store.begin_numbered().await?;
        self.catch_up_in_txn(&mut tx, change).await?;
        let admit = |instances: &[Instance]| {
            let stopped = instances.iter().filter(|one| one.state == State::Stopped);
            let stopped: Vec<Instance> = stopped.cloned().collect();
            // Whoever wrote a row may not have told the books yet, and must not do so after this.
            self.adopt(stopped.clone());
            self.room_for(&stopped)
        };
        let known = instances_fetch_in_txn(&mut tx, ids).await?;
        let public = self.own_addresses_of_started_in_txn(&mut tx, &known).await?;
        let start = |instance: &mut Instance, order: Order<'_>| {
            let started = super::lifecycle::start(instance, order)?;
            if let Some(own) = public.get(&instance.id).filter(|_| started)
                && let Some(port) = Arc::make_mut(&mut instance.spec).ports.first_mut()
            {
                port.public = Some(own.clone());
            }
            Ok(started)
        };
        let result = self.order_in_txn(tx, change, caller, ids, admit, start).await;
        if result.is_err() {
            self.observe_again(ids);
        }
        result
    }

    /// `change` is the next change number, taken in this transaction. Whoever writes waits, so `admit` reserves what
    /// nobody else can be given.
    pub(super) async fn order_in_txn(
        &self,
        mut tx: Tx,
        change: i64,
        caller: Caller<'_>,
        ids: &[InstanceId],
        admit: impl FnOnce(&[Instance]) -> Result<(), Fault>,
        verb: impl Fn(&mut Instance, Order<'_>) -> Result<bool, Fault>,
    ) -> Result<Vec<StateChange>, Fault> {
        let mut ids = ids.to_vec();
        let mut seen = HashSet::new();
        ids.retain(|id| seen.insert(id.clone()));
        let order = self.order(caller.request_id);
        let mut changes: HashMap<InstanceId, StateChange> = HashMap::new();
        let written = instances_change_in_txn(&mut tx, change, &ids, |instances| {
            let touched = instances.iter().filter(|instance| caller.may_touch(instance));
            let here: HashSet<&InstanceId> = touched.map(|instance| &instance.id).collect();
            let missing: Vec<&InstanceId> = ids.iter().filter(|id| !here.contains(id)).collect();
            if !missing.is_empty() {
                return Err(not_found(&missing));
            }
            admit(instances)?;
            let mut changed = Vec::with_capacity(instances.len());
            for instance in instances {
                let before = instance.state;
                changed.push(verb(instance, order)?);
                let change = StateChange { id: instance.id.clone(), before, now: instance.state };
                changes.insert(instance.id.clone(), change);
            }
            Ok(changed)
        });
        let written = written.await?;
        if !written.is_empty() {
            tx.commit().await.map_err(StoreError::from)?;
        }
        for instance in &written {
            tracing::info!(
                request_id = instance.request_id,
                instance_id = %instance.id,
                state = instance.state.as_str(),
                generation = instance.generation,
                "instance ordered"
            );
        }
        self.adopt(written);
        Ok(ids.iter().filter_map(|id| changes.remove(id)).collect())
    }

    fn room_for(&self, stopped: &[Instance]) -> Result<(), Fault> {
        let mut book = self.book();
        for instance in stopped {
            if !book.ledger.grow(&instance.id, instance.spec.need) {
                let kind = &instance.spec.instance_type;
                return Err(Fault::new(
                    FaultCode::InsufficientInstanceCapacity,
                    format!(
                        "Insufficient capacity to start {}: its node has no room for a {kind}",
                        instance.id
                    ),
                ));
            }
        }
        Ok(())
    }

    /// The end of what the guest wrote to its console.
    pub async fn instance_console(
        &self,
        instance: &Instance,
        request_id: &str,
    ) -> Result<Option<ConsoleOutput>, Fault> {
        use karri_proto::internal::error::ApiErrorKind;
        let Some(link) = self.clusters.get(&instance.cluster) else { return Ok(None) };
        match link.client().instance_console(&self.caller(request_id), &instance.id).await {
            Ok(output) => Ok(Some(output)),
            // Not placed yet, or gone already.
            Err(error) if matches!(error.kind, ApiErrorKind::NotFound | ApiErrorKind::Conflict) => Ok(None),
            Err(error) => {
                tracing::warn!(instance_id = %instance.id, cluster = link.name, %error, "console not to be had");
                let sentence = "The console is unavailable at the moment. Please try again later.";
                Err(Fault::new(FaultCode::Unavailable, sentence))
            }
        }
    }
}
