//! Instances that an older version launched, which did not tell all that this one tells: they are told it when the
//! controller starts.

use super::{Instance, State};
use crate::app::{App, request_id};
use crate::store::StoreError;
use crate::store::instance::instances_change_in_txn;
use crate::store::vpc::further_ranges_in_txn;
use karri_proto::ids::{InstanceId, VpcId};
use std::collections::HashMap;
use std::sync::Arc;

/// By VPC, where there are any.
type FurtherRanges = HashMap<String, Vec<String>>;

impl App {
    /// Nothing is written where there is nothing to tell.
    pub async fn older_instances_told(&self) -> Result<(), StoreError> {
        let (mut tx, number) = self.store.begin_numbered().await?;
        self.catch_up_in_txn(&mut tx, number).await?;
        let ranges = further_ranges_in_txn(&mut tx).await?;
        let behind = self.instances.select(|one| is_behind(one, &ranges));
        if behind.is_empty() {
            return Ok(());
        }
        let ids: Vec<InstanceId> = behind.iter().map(|one| one.id.clone()).collect();
        let request_id = request_id();
        let tell = |instances: &mut [Instance]| {
            let told = instances.iter_mut().map(|one| {
                let is_behind = is_behind(one, &ranges);
                if is_behind {
                    tell(one, &ranges);
                    one.advance(&request_id);
                }
                is_behind
            });
            Ok::<_, StoreError>(told.collect())
        };
        let hearers = instances_change_in_txn(&mut tx, number, &ids, tell).await?;
        self.store.commit_and_forget(tx).await?;
        tracing::info!(instances = hearers.len(), "told what an older version did not tell");
        self.adopt(hearers);
        Ok(())
    }
}

fn further<'a>(ranges: &'a FurtherRanges, vpc: &VpcId) -> &'a [String] {
    ranges.get(vpc.as_str()).map_or(&[], Vec::as_slice)
}

fn is_behind(instance: &Instance, ranges: &FurtherRanges) -> bool {
    let Instance { spec, said, .. } = instance;
    let is_other =
        spec.ports.iter().any(|port| port.more_vpc_cidrs.as_slice() != further(ranges, &port.vpc_id));
    instance.state != State::Terminated && (is_other || spec.paravirtual != said.paravirtual)
}

fn tell(instance: &mut Instance, ranges: &FurtherRanges) {
    let spec = Arc::make_mut(&mut instance.spec);
    spec.paravirtual = instance.said.paravirtual;
    for port in &mut spec.ports {
        port.more_vpc_cidrs = further(ranges, &port.vpc_id).to_vec();
    }
}
