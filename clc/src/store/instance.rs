//! Instances with their ports. What a terminated one leaves behind is in `launch`.
//!
//! Every change takes the next number of the `instances` counter first. That makes writers wait for each
//! other, so a change is decided on the row as it is, and whoever copies rows into memory can tell newer
//! from older by the number alone.

use super::leave::networks_leave_in_txn;
use super::port::{PortAddress, port_address_insert};
use super::tag::{Tags, tags_drop_in_txn, tags_of_in_txn};
use super::together::Statement;
use super::{IDS_PER_STATEMENT_MAX, Store, StoreError, Tx, placeholders};
use crate::app::address::network_of;
use crate::app::instance::{Instance, ShutdownBehavior, State};
use crate::app::tag::Taggable;
use crate::app::volume::root_volume_id;
use karri_proto::ids::InstanceId;
use karri_proto::instance::{Desired, PortSpec, StateReason};
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row as _};
use std::collections::HashMap;
use std::sync::Arc;

pub(super) const COLUMNS: &str = "id, change_number, account, reservation_id, cluster, zone, client_token, \
     CASE WHEN user_data IS NULL THEN 0 ELSE 1 END AS has_user_data, spec, shutdown_behavior, \
     disable_api_stop, disable_api_termination, said, launched_at, desired, generation, reboots, force_stop, \
     request_id, state, acknowledged, forgotten, node, reason_code, reason_message, transition, \
     deadline_at, purge_at, capture, captured";

fn number(row: &AnyRow, column: &str) -> Result<u64, StoreError> {
    u64::try_from(row.try_get::<i64, _>(column)?).map_err(|e| StoreError::corrupt("number", e))
}

fn flag(row: &AnyRow, column: &str) -> Result<bool, StoreError> {
    Ok(row.try_get::<i64, _>(column)? != 0)
}

pub(super) fn parsed<T>(
    row: &AnyRow,
    column: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, StoreError> {
    let text: String = row.try_get(column)?;
    parse(&text).ok_or_else(|| StoreError::corrupt(column, text))
}

fn optional<T>(
    row: &AnyRow,
    column: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, StoreError> {
    let text: Option<String> = row.try_get(column)?;
    text.map(|text| parse(&text).ok_or_else(|| StoreError::corrupt(column, text))).transpose()
}

pub(super) fn instance_of(row: &AnyRow, tags: &mut HashMap<String, Tags>) -> Result<Instance, StoreError> {
    let id: InstanceId = parsed(row, "id", |text| text.parse().ok())?;
    let spec: String = row.try_get("spec")?;
    let spec =
        serde_json::from_str(&spec).map_err(|e| StoreError::corrupt("specification of an instance", e))?;
    let reason: (Option<String>, Option<String>) =
        (row.try_get("reason_code")?, row.try_get("reason_message")?);
    Ok(Instance {
        change: row.try_get("change_number")?,
        account: row.try_get("account")?,
        reservation: parsed(row, "reservation_id", |text| text.parse().ok())?,
        cluster: row.try_get("cluster")?,
        zone: row.try_get("zone")?,
        client_token: row.try_get("client_token")?,
        spec: Arc::new(spec),
        has_user_data: flag(row, "has_user_data")?,
        tags: tags.remove(id.as_str()).unwrap_or_default(),
        shutdown_behavior: parsed(row, "shutdown_behavior", ShutdownBehavior::parse)?,
        disable_api_stop: flag(row, "disable_api_stop")?,
        disable_api_termination: flag(row, "disable_api_termination")?,
        said: parsed(row, "said", |text| serde_json::from_str(text).ok())?,
        launched_ms: row.try_get("launched_at")?,
        desired: parsed(row, "desired", desired_of)?,
        generation: number(row, "generation")?,
        reboots: number(row, "reboots")?,
        force: flag(row, "force_stop")?,
        request_id: row.try_get("request_id")?,
        capture: optional(row, "capture", |text| text.parse().ok())?,
        captured: optional(row, "captured", |text| serde_json::from_str(text).ok())?,
        state: parsed(row, "state", State::parse)?,
        acknowledged: number(row, "acknowledged")?,
        forgotten: flag(row, "forgotten")?,
        node: row.try_get("node")?,
        reason: reason.0.zip(reason.1).map(|(code, message)| StateReason { code, message }),
        transition: row.try_get("transition")?,
        deadline_ms: row.try_get("deadline_at")?,
        purge_ms: row.try_get("purge_at")?,
        id,
    })
}

fn desired_text(desired: Desired) -> &'static str {
    match desired {
        Desired::Running => "running",
        Desired::Stopped => "stopped",
        Desired::Terminated => "terminated",
    }
}

fn desired_of(text: &str) -> Option<Desired> {
    [Desired::Running, Desired::Stopped, Desired::Terminated]
        .into_iter()
        .find(|desired| desired_text(*desired) == text)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn said_text(instance: &Instance) -> Result<String, StoreError> {
    serde_json::to_string(&instance.said).map_err(|e| StoreError::corrupt("said of an instance", e))
}

pub(super) fn instance_insert(instance: &Instance, user_data: Option<&str>) -> Result<Statement, StoreError> {
    let spec = serde_json::to_string(&*instance.spec)
        .map_err(|e| StoreError::corrupt("specification of an instance", e))?;
    let statement = "INSERT INTO instances (id, change_number, account, reservation_id, cluster, zone, \
         client_token, user_data, spec, shutdown_behavior, disable_api_stop, disable_api_termination, \
         launched_at, desired, generation, reboots, force_stop, request_id, state, acknowledged, forgotten, \
         node, transition, deadline_at, said) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, \
         $21, $22, $23, $24, $25)";
    Ok(Statement::new(statement)
        .bind(instance.id.as_str())
        .bind(instance.change)
        .bind(&instance.account)
        .bind(instance.reservation.as_str())
        .bind(&instance.cluster)
        .bind(&instance.zone)
        .bind(&instance.client_token)
        .bind(user_data)
        .bind(spec)
        .bind(instance.shutdown_behavior.as_str())
        .bind(i64::from(instance.disable_api_stop))
        .bind(i64::from(instance.disable_api_termination))
        .bind(instance.launched_ms)
        .bind(desired_text(instance.desired))
        .bind(signed(instance.generation))
        .bind(signed(instance.reboots))
        .bind(i64::from(instance.force))
        .bind(&instance.request_id)
        .bind(instance.state.as_str())
        .bind(signed(instance.acknowledged))
        .bind(i64::from(instance.forgotten))
        .bind(&instance.node)
        .bind(&instance.transition)
        .bind(instance.deadline_ms)
        .bind(said_text(instance)?))
}

/// The first address of a port that comes with a launch. Touches no row where it is taken.
pub(super) fn port_insert(instance: &Instance, port: &PortSpec) -> Statement {
    port_address_insert(PortAddress {
        port: port.id.as_str(),
        cluster: &instance.cluster,
        network: &network_of(port, &instance.cluster),
        address: port.private_ip,
        instance: Some(instance.id.as_str()),
    })
}

async fn instance_update_in_txn(tx: &mut Tx, instance: &Instance) -> Result<(), StoreError> {
    let spec = serde_json::to_string(&*instance.spec)
        .map_err(|e| StoreError::corrupt("specification of an instance", e))?;
    let statement = "UPDATE instances SET change_number = $1, spec = $2, shutdown_behavior = $3, \
         disable_api_stop = $4, disable_api_termination = $5, launched_at = $6, desired = $7, \
         generation = $8, reboots = $9, force_stop = $10, request_id = $11, state = $12, \
         acknowledged = $13, forgotten = $14, node = $15, reason_code = $16, reason_message = $17, \
         transition = $18, deadline_at = $19, purge_at = $20, capture = $21, captured = $22, said = $23 \
         WHERE id = $24";
    let captured = instance.captured.as_ref().map(serde_json::to_string).transpose();
    let captured = captured.map_err(|e| StoreError::corrupt("capture of an instance", e))?;
    sqlx::query(statement)
        .bind(instance.change)
        .bind(spec)
        .bind(instance.shutdown_behavior.as_str())
        .bind(i64::from(instance.disable_api_stop))
        .bind(i64::from(instance.disable_api_termination))
        .bind(instance.launched_ms)
        .bind(desired_text(instance.desired))
        .bind(signed(instance.generation))
        .bind(signed(instance.reboots))
        .bind(i64::from(instance.force))
        .bind(&instance.request_id)
        .bind(instance.state.as_str())
        .bind(signed(instance.acknowledged))
        .bind(i64::from(instance.forgotten))
        .bind(&instance.node)
        .bind(instance.reason.as_ref().map(|reason| reason.code.clone()))
        .bind(instance.reason.as_ref().map(|reason| reason.message.clone()))
        .bind(&instance.transition)
        .bind(instance.deadline_ms)
        .bind(instance.purge_ms)
        .bind(instance.capture.as_ref().map(|task| task.as_str().to_owned()))
        .bind(captured)
        .bind(said_text(instance)?)
        .bind(instance.id.as_str())
        .execute(&mut **tx)
        .await?;
    if instance.state == State::Terminated {
        // Its disk and ports are gone, and with them their tags.
        let ports = "DELETE FROM tags WHERE resource_id IN (SELECT id FROM ports WHERE instance_id = $1)";
        sqlx::query(ports).bind(instance.id.as_str()).execute(&mut **tx).await?;
        tags_drop_in_txn(tx, &root_volume_id(&instance.id)).await?;
        // Its addresses are free again.
        let statement = "DELETE FROM ports WHERE instance_id = $1";
        sqlx::query(statement).bind(instance.id.as_str()).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Those of the ids that exist, in no particular order.
pub async fn instances_fetch_in_txn(tx: &mut Tx, ids: &[InstanceId]) -> Result<Vec<Instance>, StoreError> {
    let texts: Vec<&str> = ids.iter().map(InstanceId::as_str).collect();
    let mut tags = tags_of_in_txn(tx, &texts).await?;
    let mut found = Vec::with_capacity(ids.len());
    for ids in texts.chunks(IDS_PER_STATEMENT_MAX) {
        let statement = format!(
            "SELECT {COLUMNS} FROM instances WHERE purged_at IS NULL AND id IN {}",
            placeholders(1, ids.len())
        );
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for id in ids {
            query = query.bind(*id);
        }
        for row in query.fetch_all(&mut **tx).await? {
            found.push(instance_of(&row, &mut tags)?);
        }
    }
    Ok(found)
}

/// How many instances an account has that are not over.
pub async fn instances_living_in_txn(tx: &mut Tx, account: &str) -> Result<i64, StoreError> {
    let statement = "SELECT COUNT(*) FROM instances WHERE account = $1 AND state <> $2";
    let query = sqlx::query_scalar(statement).bind(account).bind(State::Terminated.as_str());
    Ok(query.fetch_one(&mut **tx).await?)
}

fn changed_after() -> String {
    format!(
        "SELECT {COLUMNS} FROM instances WHERE purged_at IS NULL AND change_number > $1 ORDER BY change_number"
    )
}

/// As `instances_changed_after`: with the next change number taken, all that there is.
pub async fn instances_changed_after_in_txn(tx: &mut Tx, change: i64) -> Result<Vec<Instance>, StoreError> {
    let rows = sqlx::query(AssertSqlSafe(changed_after())).bind(change).fetch_all(&mut **tx).await?;
    let ids = rows.iter().map(|row| row.try_get::<String, _>("id")).collect::<Result<Vec<_>, _>>()?;
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let mut tags = tags_of_in_txn(tx, &ids).await?;
    rows.iter().map(|row| instance_of(row, &mut tags)).collect()
}

/// Lets `decide` look at each of these instances as it is now and change it. It says whether it did; after an
/// error the caller must not commit. Returns the changed ones. `change` is the next number of the counter, taken
/// in this transaction.
pub async fn instances_change_in_txn<E: From<StoreError>>(
    tx: &mut Tx,
    change: i64,
    ids: &[InstanceId],
    decide: impl FnOnce(&mut [Instance]) -> Result<Vec<bool>, E>,
) -> Result<Vec<Instance>, E> {
    let mut instances = instances_fetch_in_txn(tx, ids).await?;
    let changed = decide(&mut instances)?;
    let mut written = Vec::new();
    for (mut instance, changed) in instances.into_iter().zip(changed) {
        if changed {
            instance.change = change;
            networks_leave_in_txn(tx, &mut instance).await?;
            instance_update_in_txn(tx, &instance).await?;
            written.push(instance);
        }
    }
    Ok(written)
}

/// Instances whose tags the transaction has changed take its change number, and a new generation where
/// the guest is shown its tags. Returns them as they are now.
pub async fn instances_retag_in_txn(
    tx: &mut Tx,
    ids: &[InstanceId],
    change: i64,
    request_id: &str,
) -> Result<Vec<Instance>, StoreError> {
    let mut instances = instances_fetch_in_txn(tx, ids).await?;
    for instance in &mut instances {
        instance.change = change;
        if instance.spec.metadata.tags_shown && instance.state != State::Terminated {
            instance.advance(request_id);
        }
        instance_update_in_txn(tx, instance).await?;
    }
    Ok(instances)
}

impl Store {
    /// As `instances_change_in_txn`, on its own.
    pub async fn instances_change<E: From<StoreError>>(
        &self,
        ids: &[InstanceId],
        decide: impl FnOnce(&mut [Instance]) -> Result<Vec<bool>, E>,
    ) -> Result<Vec<Instance>, E> {
        let (mut tx, change) = self.begin_numbered().await?;
        let written = instances_change_in_txn(&mut tx, change, ids, decide).await?;
        if !written.is_empty() {
            tx.commit().await.map_err(StoreError::from)?;
        }
        Ok(written)
    }

    /// Puts other user data beside an instance if `decide` lets it. None: there is no such instance.
    pub async fn instance_user_data_put<E: From<StoreError>>(
        &self,
        id: &InstanceId,
        user_data_base64: Option<&str>,
        decide: impl FnOnce(&mut Instance) -> Result<bool, E>,
    ) -> Result<Option<Instance>, E> {
        let (mut tx, change) = self.begin_numbered().await?;
        let mut found = instances_fetch_in_txn(&mut tx, std::slice::from_ref(id)).await?;
        let Some(mut instance) = found.pop() else { return Ok(None) };
        decide(&mut instance)?;
        instance.change = change;
        instance_update_in_txn(&mut tx, &instance).await?;
        let statement = "UPDATE instances SET user_data = $1 WHERE id = $2";
        let query = sqlx::query(statement).bind(user_data_base64).bind(id.as_str());
        query.execute(&mut *tx).await.map_err(StoreError::from)?;
        tx.commit().await.map_err(StoreError::from)?;
        Ok(Some(instance))
    }

    /// Every instance that changed after a number; all of them after 0.
    pub async fn instances_changed_after(&self, change: i64) -> Result<Vec<Instance>, StoreError> {
        let rows = sqlx::query(AssertSqlSafe(changed_after())).bind(change).fetch_all(self.reader()).await?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut tags = self.tags_of_type(Taggable::Instance).await?;
        rows.iter().map(|row| instance_of(row, &mut tags)).collect()
    }

    pub async fn instance_user_data(&self, id: &InstanceId) -> Result<Option<String>, StoreError> {
        let statement = "SELECT user_data FROM instances WHERE id = $1";
        let row = sqlx::query_scalar::<_, Option<String>>(statement).bind(id.as_str());
        Ok(row.fetch_optional(self.reader()).await?.flatten())
    }
}
