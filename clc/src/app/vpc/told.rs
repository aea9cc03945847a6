//! A VPC's ranges as its instances are told them in their metadata.

use crate::app::App;
use crate::app::instance::control::Caller;
use crate::app::instance::{Instance, State};
use crate::store::instance::instances_change_in_txn;
use crate::store::vpc::{Vpc, vpc_fetch_in_txn};
use crate::store::{StoreError, Tx};
use karri_proto::fault::Fault;
use karri_proto::ids::InstanceId;
use std::sync::Arc;

impl App {
    /// They are others now. `number` is that of the instances' turn. Returns the instances to adopt after the commit.
    pub(super) async fn ranges_told_in_txn(
        &self,
        tx: &mut Tx,
        number: i64,
        caller: Caller<'_>,
        id: &str,
    ) -> Result<Vec<Instance>, Fault> {
        let Some(vpc) = vpc_fetch_in_txn(tx, id).await? else { return Ok(Vec::new()) };
        self.catch_up_in_txn(tx, number).await?;
        let within = |one: &Instance| {
            one.state != State::Terminated && one.spec.ports.iter().any(|port| port.vpc_id.as_str() == vpc.id)
        };
        let ids: Vec<InstanceId> = self.instances.select(within).iter().map(|one| one.id.clone()).collect();
        let tell = |instances: &mut [Instance]| {
            let changed = instances.iter_mut().map(|one| {
                let there = one.state != State::Terminated;
                if there {
                    ranges_put(one, &vpc);
                    one.advance(caller.request_id);
                }
                there
            });
            Ok::<_, StoreError>(changed.collect())
        };
        Ok(instances_change_in_txn(tx, number, &ids, tell).await?)
    }

    /// A launch found the VPC before it had its turn; it may have other ranges since. A default VPC has no further ones.
    pub async fn ranges_anew_in_txn(
        &self,
        tx: &mut Tx,
        seen: &Vpc,
        instances: &mut [Instance],
    ) -> Result<(), Fault> {
        if !seen.is_default
            && let Some(vpc) = vpc_fetch_in_txn(tx, &seen.id).await?
        {
            instances.iter_mut().for_each(|one| ranges_put(one, &vpc));
        }
        Ok(())
    }
}

/// All interfaces of an instance are in one VPC.
fn ranges_put(instance: &mut Instance, vpc: &Vpc) {
    for port in &mut Arc::make_mut(&mut instance.spec).ports {
        port.more_vpc_cidrs = vpc.further_ranges();
    }
}
