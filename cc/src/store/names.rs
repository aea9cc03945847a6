//! How addresses are named in the region, as the cloud controller told it last.

use super::StoreError;
use karri_proto::network::RegionNames;
use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

pub async fn names_load(connection: &mut SqliteConnection) -> Result<Option<RegionNames>, StoreError> {
    let row = sqlx::query("SELECT value FROM region_names").fetch_optional(connection).await?;
    let Some(row) = row else { return Ok(None) };
    let value: String = row.try_get("value")?;
    serde_json::from_str(&value).map(Some).map_err(|cause| StoreError::content("the region's names", cause))
}

pub async fn names_put_in_txn(
    transaction: &mut SqliteConnection,
    names: &RegionNames,
) -> Result<(), StoreError> {
    let value =
        serde_json::to_string(names).map_err(|cause| StoreError::content("the region's names", cause))?;
    let statement = "INSERT INTO region_names (only, value) VALUES (1, ?) \
         ON CONFLICT (only) DO UPDATE SET value = excluded.value";
    sqlx::query(statement).bind(value).execute(transaction).await?;
    Ok(())
}
