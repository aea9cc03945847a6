//! Launches: reservations with their instances, and the client tokens that they are remembered by.
//!
//! A client token answers for [`TOKEN_KEEP_MS`] after the last of its instances was purged. Until then their
//! rows stay, hidden from everything but the answer to that token.

use super::instance::{COLUMNS, instance_insert, instance_of, parsed, port_insert};
use super::network_change::network_touch;
use super::public_address::own_address_insert;
use super::tag::{Tags, tags_drop_in_txn, tags_of_in_txn, tags_put};
use super::together::{Statement, each_touched_one_row};
use super::{Engine, Store, StoreError, Tx};
use crate::app::address::network_of;
use crate::app::instance::Instance;
use crate::app::tag::Taggable;
use crate::app::volume::root_volume_id;
use karri_proto::ids::{InstanceId, NetworkInterfaceId, ReservationId};
use karri_proto::instance::PortSpec;
use karri_proto::network::ShapeKey;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row as _};
use std::net::Ipv4Addr;

/// As long as EC2 does at least.
const TOKEN_KEEP_MS: i64 = 24 * 3600 * 1000;

/// A launch, ready to be written. `instances` carry their tags.
#[derive(Debug, Clone)]
pub struct Launch {
    pub reservation: ReservationId,
    pub account: String,
    pub client_token: Option<String>,
    pub request_digest: String,
    pub created_ms: i64,
    pub user_data_base64: Option<String>,
    /// Of every root disk and every port.
    pub disk_tags: Tags,
    pub port_tags: Tags,
    pub instances: Vec<Instance>,
    /// Interfaces of theirs that have their rows already.
    pub taken: Vec<NetworkInterfaceId>,
    /// The number of the networks' turn, when any of them has a public address.
    pub networks_change: Option<i64>,
}

impl Launch {
    fn new_ports<'a>(&'a self, instance: &'a Instance) -> impl Iterator<Item = &'a PortSpec> {
        instance.spec.ports.iter().filter(|port| !self.taken.contains(&port.id))
    }
}

#[derive(Debug)]
pub enum Launched {
    /// The instances with their change numbers. Nothing is written before the caller commits.
    New(Vec<Instance>),
    /// The client token was used before: by this reservation, for a request of this digest.
    Before(Earlier),
    /// It was deleted meanwhile.
    AccountGone,
    /// So was this one of its security groups.
    GroupGone(String),
    /// So was this one of the subnets that it may lie in.
    SubnetGone(String),
    /// Somebody else has this address.
    AddressTaken { network: String, address: Ipv4Addr },
}

/// What an earlier request with the same client token led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earlier {
    pub reservation: ReservationId,
    pub request_digest: String,
}

/// Touches no row where the client token was used before, or where the account is gone.
fn reservation_insert(launch: &Launch) -> Statement {
    let statement = "INSERT INTO reservations (id, account, client_token, request_digest, created_at) \
         SELECT CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS TEXT), CAST($5 AS BIGINT) \
         WHERE EXISTS (SELECT 1 FROM accounts WHERE id = $2) ON CONFLICT (account, client_token) DO NOTHING";
    Statement::new(statement)
        .bind(launch.reservation.as_str())
        .bind(&launch.account)
        .bind(&launch.client_token)
        .bind(&launch.request_digest)
        .bind(launch.created_ms)
}

fn tags_insert(launch: &Launch, instance: &Instance) -> Vec<Statement> {
    let (account, id) = (&instance.account, instance.id.as_str());
    let disk = root_volume_id(&instance.id);
    let mut statements: Vec<Statement> = tags_put(account, Taggable::Instance, id, &instance.tags).collect();
    statements.extend(tags_put(account, Taggable::Volume, &disk, &launch.disk_tags));
    for port in launch.new_ports(instance) {
        let kind = Taggable::NetworkInterface;
        statements.extend(tags_put(account, kind, port.id.as_str(), &launch.port_tags));
    }
    statements
}

/// The public addresses that were found for it, in the turn in which nobody else takes one.
fn addresses_insert(launch: &Launch, instance: &Instance) -> Vec<Statement> {
    let Some(change) = launch.networks_change else { return Vec::new() };
    let ports = launch.new_ports(instance).filter_map(|port| Some((port, port.public.as_ref()?.address)));
    let written = |(port, ip)| {
        let told = network_touch(change, &ShapeKey::Address(ip));
        [own_address_insert(instance, port, ip), told]
    };
    ports.flat_map(written).collect()
}

fn earlier_of(row: &AnyRow) -> Result<Earlier, StoreError> {
    Ok(Earlier {
        reservation: parsed(row, "id", |text| text.parse().ok())?,
        request_digest: row.try_get("request_digest")?,
    })
}

const EARLIER: &str = "SELECT id, request_digest FROM reservations WHERE account = $1 AND client_token = $2";

async fn earlier_in_txn(tx: &mut Tx, account: &str, token: &str) -> Result<Option<Earlier>, StoreError> {
    let row = sqlx::query(EARLIER).bind(account).bind(token).fetch_optional(&mut **tx).await?;
    row.as_ref().map(earlier_of).transpose()
}

/// Writes a whole launch, or nothing that the caller should commit. `change` is the next number of the
/// `instances` counter, taken in this transaction.
pub async fn launch_insert_in_txn(
    tx: &mut Tx,
    engine: Engine,
    change: i64,
    mut launch: Launch,
) -> Result<Launched, StoreError> {
    launch.instances.iter_mut().for_each(|instance| instance.change = change);
    if engine == Engine::Sqlite && each_touched_one_row(tx, whole(&launch)?).await? {
        return Ok(Launched::New(launch.instances));
    }
    if reservation_insert(&launch).execute(tx).await? == 0 {
        let token = launch.client_token.as_deref().unwrap_or_default();
        let earlier = earlier_in_txn(tx, &launch.account, token).await?;
        return Ok(earlier.map_or(Launched::AccountGone, Launched::Before));
    }
    for instance in &launch.instances {
        instance_insert(instance, launch.user_data_base64.as_deref())?.execute(tx).await?;
        for port in launch.new_ports(instance) {
            if port_insert(instance, port).execute(tx).await? == 0 {
                let (network, address) = (network_of(port, &instance.cluster), port.private_ip);
                return Ok(Launched::AddressTaken { network, address });
            }
        }
        for statement in tags_insert(&launch, instance).into_iter().chain(addresses_insert(&launch, instance))
        {
            statement.execute(tx).await?;
        }
    }
    Ok(Launched::New(launch.instances))
}

/// Every statement of a launch that meets nothing in its way.
fn whole(launch: &Launch) -> Result<Vec<Statement>, StoreError> {
    let mut statements = vec![reservation_insert(launch)];
    for instance in &launch.instances {
        statements.push(instance_insert(instance, launch.user_data_base64.as_deref())?);
        statements.extend(launch.new_ports(instance).map(|port| port_insert(instance, port)));
        statements.extend(tags_insert(launch, instance));
        statements.extend(addresses_insert(launch, instance));
    }
    Ok(statements)
}

impl Store {
    pub async fn launch_earlier(&self, account: &str, token: &str) -> Result<Option<Earlier>, StoreError> {
        let row = sqlx::query(EARLIER).bind(account).bind(token).fetch_optional(self.reader()).await?;
        row.as_ref().map(earlier_of).transpose()
    }

    /// Those that are purged, too: terminated, as they were.
    pub async fn instances_of_reservation(&self, id: &ReservationId) -> Result<Vec<Instance>, StoreError> {
        let statement = format!("SELECT {COLUMNS} FROM instances WHERE reservation_id = $1 ORDER BY id");
        let mut tx = self.begin().await?;
        let rows = sqlx::query(AssertSqlSafe(statement)).bind(id.as_str()).fetch_all(&mut *tx).await?;
        let ids = rows.iter().map(|row| row.try_get::<String, _>("id")).collect::<Result<Vec<_>, _>>()?;
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let mut tags = tags_of_in_txn(&mut tx, &ids).await?;
        rows.iter().map(|row| instance_of(row, &mut tags)).collect()
    }

    /// Whether an account has so many client tokens, or more.
    pub async fn client_tokens_reach(&self, account: &str, count: usize) -> Result<bool, StoreError> {
        let Some(before) = count.checked_sub(1) else { return Ok(true) };
        let statement = "SELECT client_token FROM reservations WHERE account = $1 AND client_token IS NOT NULL \
             LIMIT 1 OFFSET $2";
        let before = i64::try_from(before).unwrap_or(i64::MAX);
        let one = sqlx::query(statement).bind(account).bind(before).fetch_optional(self.reader()).await?;
        Ok(one.is_some())
    }

    /// Every client token that is remembered, with its account.
    pub async fn client_tokens(&self) -> Result<Vec<(String, String)>, StoreError> {
        let statement = "SELECT account, client_token FROM reservations WHERE client_token IS NOT NULL";
        let rows = sqlx::query(statement).fetch_all(self.reader()).await?;
        rows.iter().map(|row| Ok((row.try_get("account")?, row.try_get("client_token")?))).collect()
    }

    /// Hides what was terminated for long enough and is forgotten below. Returns the ids.
    pub async fn instances_purge(&self, now_ms: i64) -> Result<Vec<InstanceId>, StoreError> {
        let statement =
            "SELECT id FROM instances WHERE forgotten <> 0 AND purged_at IS NULL AND purge_at <= $1";
        let over: Vec<String> = sqlx::query_scalar(statement).bind(now_ms).fetch_all(self.reader()).await?;
        if over.is_empty() {
            return Ok(Vec::new());
        }
        // In turn: who tags several of them at the same moment would wait for this, and this for them.
        let (mut tx, _) = self.begin_numbered().await?;
        let ids: Vec<String> = sqlx::query_scalar(statement).bind(now_ms).fetch_all(&mut *tx).await?;
        for id in &ids {
            tags_drop_in_txn(&mut tx, id).await?;
            let statement = "UPDATE instances SET purged_at = $1, user_data = NULL WHERE id = $2";
            sqlx::query(statement).bind(now_ms).bind(id).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(ids.iter().filter_map(|id| id.parse().ok()).collect())
    }

    /// Removes for good what no client token answers with any more, and reservations that are empty then.
    /// Returns the tokens that are free again, with their accounts.
    pub async fn reservations_purge(&self, now_ms: i64) -> Result<Vec<(String, String)>, StoreError> {
        let mut tx = self.begin().await?;
        let statement = "DELETE FROM instances WHERE purged_at IS NOT NULL AND (client_token IS NULL OR NOT EXISTS \
             (SELECT 1 FROM instances AS one WHERE one.reservation_id = instances.reservation_id \
             AND (one.purged_at IS NULL OR one.purged_at > $1)))";
        sqlx::query(statement).bind(now_ms - TOKEN_KEEP_MS).execute(&mut *tx).await?;
        let statement = "DELETE FROM reservations WHERE NOT EXISTS \
             (SELECT 1 FROM instances WHERE instances.reservation_id = reservations.id) \
             RETURNING account, client_token";
        let rows = sqlx::query(statement).fetch_all(&mut *tx).await?;
        tx.commit().await?;
        let mut free = Vec::new();
        for row in &rows {
            if let Some(token) = row.try_get::<Option<String>, _>("client_token")? {
                free.push((row.try_get("account")?, token));
            }
        }
        Ok(free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::instance::sample;
    use crate::config::DatabaseConfig;
    use crate::store::account::{account_delete_in_txn, account_insert_in_txn};
    use karri_proto::internal::admin::Account;

    #[tokio::test]
    async fn an_account_that_is_deleted_before_the_launch_is_written_gets_no_instance() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/clc.sqlite", directory.path().display());
        let store = Store::open(&DatabaseConfig { url, connections: 2 }).await.unwrap();
        let instance = sample::instance();
        let launch = Launch {
            reservation: instance.reservation.clone(),
            account: instance.account.clone(),
            client_token: Some("token".into()),
            request_digest: String::new(),
            created_ms: 0,
            user_data_base64: None,
            disk_tags: Vec::new(),
            port_tags: Vec::new(),
            taken: Vec::new(),
            instances: vec![instance],
            networks_change: None,
        };
        let (id, name) = (launch.account.clone(), "acme".to_owned());
        let account = Account { id, name, administrator: false, email: None, created_at_unix_ms: 0 };
        // As `each_touched_one_row` and as one statement after the other.
        for engine in [Engine::Sqlite, Engine::Postgres] {
            let mut tx = store.begin().await.unwrap();
            account_insert_in_txn(&mut tx, &account).await.unwrap();
            account_delete_in_txn(&mut tx, &account.id).await.unwrap();
            let launched = launch_insert_in_txn(&mut tx, engine, 1, launch.clone()).await.unwrap();
            assert!(matches!(launched, Launched::AccountGone), "{launched:?}");
            account_insert_in_txn(&mut tx, &account).await.unwrap();
            let launched = launch_insert_in_txn(&mut tx, engine, 1, launch.clone()).await.unwrap();
            assert!(matches!(launched, Launched::New(_)), "{launched:?}");
            let launched = launch_insert_in_txn(&mut tx, engine, 1, launch.clone()).await.unwrap();
            assert!(matches!(launched, Launched::Before(_)), "{launched:?}");
        }
    }
}
