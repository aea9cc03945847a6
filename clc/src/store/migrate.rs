//! Brings the schema up to date. Forward only: a file that was released is never edited.

use super::security_group::rules_of_default_groups_insert_in_txn;
use super::{Engine, StoreError, Tx};
use sqlx::AnyPool;

/// In order; a file's version is its place in this list, from 1.
const MIGRATIONS: &[(&str, &str)] = &[
    ("0001_foundation", include_str!("../../../migrations/clc/0001_foundation.sql")),
    ("0002_image_names", include_str!("../../../migrations/clc/0002_image_names.sql")),
    ("0003_what_launches_said", include_str!("../../../migrations/clc/0003_what_launches_said.sql")),
    ("0004_signing_certificates", include_str!("../../../migrations/clc/0004_signing_certificates.sql")),
    ("0005_names_and_tokens", include_str!("../../../migrations/clc/0005_names_and_tokens.sql")),
    ("0006_images_from_bundles", include_str!("../../../migrations/clc/0006_images_from_bundles.sql")),
    ("0007_tags_per_account", include_str!("../../../migrations/clc/0007_tags_per_account.sql")),
    ("0008_images_to_delete", include_str!("../../../migrations/clc/0008_images_to_delete.sql")),
    ("0009_node_certificates", include_str!("../../../migrations/clc/0009_node_certificates.sql")),
    ("0010_image_tasks", include_str!("../../../migrations/clc/0010_image_tasks.sql")),
    ("0011_blob_releases", include_str!("../../../migrations/clc/0011_blob_releases.sql")),
    (GROUP_RULES, include_str!("../../../migrations/clc/0012_security_group_rules.sql")),
    ("0013_snapshots", include_str!("../../../migrations/clc/0013_snapshots.sql")),
    ("0014_image_requests", include_str!("../../../migrations/clc/0014_image_requests.sql")),
    ("0015_networks", include_str!("../../../migrations/clc/0015_networks.sql")),
    ("0016_bundle_tasks", include_str!("../../../migrations/clc/0016_bundle_tasks.sql")),
    ("0017_public_addresses", include_str!("../../../migrations/clc/0017_public_addresses.sql")),
    ("0018_prefix_lists", include_str!("../../../migrations/clc/0018_prefix_lists.sql")),
    ("0019_network_modes", include_str!("../../../migrations/clc/0019_network_modes.sql")),
    ("0020_network_interfaces", include_str!("../../../migrations/clc/0020_network_interfaces.sql")),
    ("0021_interfaces_leaving", include_str!("../../../migrations/clc/0021_interfaces_leaving.sql")),
    (
        "0022_zones_of_several_clusters",
        include_str!("../../../migrations/clc/0022_zones_of_several_clusters.sql"),
    ),
    ("0023_vlans", include_str!("../../../migrations/clc/0023_vlans.sql")),
];

/// What it is to write as well is computed; see `security_group`.
const GROUP_RULES: &str = "0012_security_group_rules";

/// Any number: several controllers that start together on one PostgreSQL take turns.
const POSTGRES_LOCK: i64 = 0x6b61_7272_6901;

pub async fn run(pool: &AnyPool, engine: Engine) -> Result<(), StoreError> {
    let mut tx = Tx::new(match engine {
        Engine::Sqlite => pool.begin_with("BEGIN IMMEDIATE").await?,
        Engine::Postgres => pool.begin().await?,
    });
    if engine == Engine::Postgres {
        let lock = "SELECT CAST(pg_advisory_xact_lock($1) AS TEXT)";
        sqlx::query(lock).bind(POSTGRES_LOCK).execute(&mut *tx).await?;
    }
    let found = version(&mut tx).await?;
    let known = MIGRATIONS.len();
    let done = usize::try_from(found).unwrap_or(0);
    if done > known {
        return Err(StoreError::NewerSchema { found, known: known as i64 });
    }
    for (at, (name, text)) in MIGRATIONS.iter().enumerate().skip(done) {
        let failed = |source| StoreError::Migration { name, source };
        sqlx::raw_sql(*text).execute(&mut *tx).await.map_err(failed)?;
        if *name == GROUP_RULES {
            rules_of_default_groups_insert_in_txn(&mut tx).await?;
        }
        let record = "INSERT INTO schema_versions (version, name) VALUES ($1, $2)";
        sqlx::query(record).bind(at as i64 + 1).bind(*name).execute(&mut *tx).await?;
        tracing::info!(migration = name, "database schema brought forward");
    }
    tx.commit().await?;
    Ok(())
}

async fn version(tx: &mut Tx) -> Result<i64, StoreError> {
    let create =
        "CREATE TABLE IF NOT EXISTS schema_versions (version BIGINT PRIMARY KEY, name TEXT NOT NULL)";
    sqlx::query(create).execute(&mut **tx).await?;
    let newest = "SELECT COALESCE(MAX(version), 0) FROM schema_versions";
    Ok(sqlx::query_scalar(newest).fetch_one(&mut **tx).await?)
}
