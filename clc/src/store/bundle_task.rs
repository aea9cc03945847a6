//! Bundle tasks.

use super::{Store, StoreError};
use crate::app::bundle_task::{BundleError, BundleState, BundleTask};
use karri_proto::ids::BundleTaskId;
use sqlx::Row as _;
use sqlx::any::AnyRow;

fn task_of(row: &AnyRow) -> Result<BundleTask, StoreError> {
    let text = |column: &str| row.try_get::<String, _>(column);
    let (id, instance_id, state, work) = (text("id")?, text("instance_id")?, text("state")?, text("work")?);
    let digest: Option<String> = row.try_get("digest")?;
    let digest =
        digest.map(|text| text.parse().map_err(|e| StoreError::corrupt("digest of a bundle task", e)));
    let error: (Option<String>, Option<String>) = (row.try_get("error_code")?, row.try_get("error_message")?);
    Ok(BundleTask {
        id: id.parse().map_err(|_| StoreError::corrupt("id of a bundle task", id))?,
        account: text("account")?,
        instance_id: instance_id
            .parse()
            .map_err(|_| StoreError::corrupt("instance of a bundle task", instance_id))?,
        state: BundleState::parse(&state)
            .ok_or_else(|| StoreError::corrupt("state of a bundle task", state))?,
        progress_percent: u8::try_from(row.try_get::<i64, _>("progress")?).unwrap_or(0),
        work: serde_json::from_str(&work).map_err(|e| StoreError::corrupt("work of a bundle task", e))?,
        digest: digest.transpose()?,
        error: error.0.zip(error.1).map(|(code, message)| BundleError { code, message }),
        started_ms: row.try_get("started_at")?,
        updated_ms: row.try_get("updated_at")?,
        ended_ms: row.try_get("ended_at")?,
        request_id: text("request_id")?,
    })
}

impl Store {
    /// False: the instance has a task that is not over.
    pub async fn bundle_task_insert(&self, task: &BundleTask) -> Result<bool, StoreError> {
        let work =
            serde_json::to_string(&task.work).map_err(|e| StoreError::corrupt("work of a bundle task", e))?;
        let mut tx = self.begin().await?;
        let statement = "INSERT INTO bundle_tasks (id, account, instance_id, state, progress, work, started_at, \
             updated_at, request_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let inserted = sqlx::query(statement)
            .bind(task.id.as_str())
            .bind(&task.account)
            .bind(task.instance_id.as_str())
            .bind(task.state.as_str())
            .bind(i64::from(task.progress_percent))
            .bind(work)
            .bind(task.started_ms)
            .bind(task.updated_ms)
            .bind(&task.request_id)
            .execute(&mut *tx)
            .await
            .map_err(StoreError::from);
        match inserted {
            Err(error) if error.is_unique_violation() => return Ok(false),
            other => other?,
        };
        tx.commit().await?;
        Ok(true)
    }

    pub async fn bundle_task_fetch(&self, id: &BundleTaskId) -> Result<Option<BundleTask>, StoreError> {
        let row = sqlx::query("SELECT * FROM bundle_tasks WHERE id = $1").bind(id.as_str());
        row.fetch_optional(self.reader()).await?.as_ref().map(task_of).transpose()
    }

    pub async fn bundle_task_list(&self, account: &str) -> Result<Vec<BundleTask>, StoreError> {
        let rows = sqlx::query("SELECT * FROM bundle_tasks WHERE account = $1 ORDER BY id").bind(account);
        rows.fetch_all(self.reader()).await?.iter().map(task_of).collect()
    }

    /// Those that are not over, the oldest first.
    pub async fn bundle_task_list_open(&self) -> Result<Vec<BundleTask>, StoreError> {
        let statement = "SELECT * FROM bundle_tasks WHERE ended_at IS NULL ORDER BY started_at, id";
        let rows = sqlx::query(statement).fetch_all(self.reader()).await?;
        rows.iter().map(task_of).collect()
    }

    /// A task as it is from now on, if it is still in the state that `from` says.
    pub async fn bundle_task_settle(&self, from: BundleState, task: &BundleTask) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let statement = "UPDATE bundle_tasks SET state = $3, progress = $4, digest = $5, error_code = $6, \
             error_message = $7, updated_at = $8, ended_at = $9 WHERE id = $1 AND state = $2";
        let done = sqlx::query(statement)
            .bind(task.id.as_str())
            .bind(from.as_str())
            .bind(task.state.as_str())
            .bind(i64::from(task.progress_percent))
            .bind(task.digest.as_ref().map(|digest| digest.as_str().to_owned()))
            .bind(task.error.as_ref().map(|error| error.code.clone()))
            .bind(task.error.as_ref().map(|error| error.message.clone()))
            .bind(task.updated_ms)
            .bind(task.ended_ms)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    /// In whatever state it is by now; false: it is over.
    pub async fn bundle_task_cancel(&self, task: &BundleTask) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let statement =
            "UPDATE bundle_tasks SET state = $2, updated_at = $3 WHERE id = $1 AND ended_at IS NULL";
        let done = sqlx::query(statement)
            .bind(task.id.as_str())
            .bind(task.state.as_str())
            .bind(task.updated_ms)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    /// Forgets those that ended before then.
    pub async fn bundle_task_purge(&self, before_ms: i64) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query("DELETE FROM bundle_tasks WHERE ended_at < $1").bind(before_ms).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }
}
