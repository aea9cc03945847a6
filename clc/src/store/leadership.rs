//! Who reconciles, when several controllers share one PostgreSQL: the holder of an advisory lock. The
//! lock belongs to a connection and is gone with it.

use super::{Store, StoreError};
use sqlx::Any;
use sqlx::pool::PoolConnection;
use std::time::Duration;

/// Any number, another than the migrations'.
const LOCK: i64 = 0x6b61_7272_6902;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

pub struct Leadership {
    connection: Option<PoolConnection<Any>>,
}

impl Store {
    /// None: another controller has it.
    pub async fn leadership_take(&self) -> Result<Option<Leadership>, StoreError> {
        let mut connection = self.reader().acquire().await?;
        let statement = "SELECT CAST(pg_try_advisory_lock($1) AS TEXT)";
        let taken: String = sqlx::query_scalar(statement).bind(LOCK).fetch_one(&mut *connection).await?;
        Ok((taken == "true").then(|| Leadership { connection: Some(connection) }))
    }
}

impl Leadership {
    /// The connection lives, so the lock is ours.
    pub async fn holds(&mut self) -> bool {
        let Some(connection) = &mut self.connection else { return false };
        let ping = sqlx::query("SELECT 1").execute(&mut **connection);
        matches!(tokio::time::timeout(ANSWER_TIMEOUT, ping).await, Ok(Ok(_)))
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        // Closed rather than given back, since the lock must not live on in the pool. Its place there is free again.
        if let Some(connection) = self.connection.take() {
            drop(connection.detach());
        }
    }
}
