//! Imports and exports of images.

use super::image::image_insert_in_txn;
use super::snapshot::snapshot_insert_in_txn;
use super::tag::{tags_drop_in_txn, tags_put_in_txn};
use super::{Store, StoreError};
use crate::app::image::Image;
use crate::app::image::task::{ACTIVE_MAX, ImageTask, TaskState};
use crate::app::snapshot::Snapshot;
use crate::app::tag::{Taggable, Tags};
use sqlx::Row as _;
use sqlx::any::AnyRow;

/// What came of a task.
#[derive(Debug, Clone, Copy)]
pub enum Made<'a> {
    Nothing,
    Image(&'a Image),
    Snapshot(&'a Snapshot),
}

/// What became of a task that was to be written.
#[derive(Debug)]
pub enum TaskInserted {
    New,
    /// The token was used before, for this one.
    Before(ImageTask),
    TooMany,
}

fn task_of(row: &AnyRow) -> Result<ImageTask, StoreError> {
    let state: String = row.try_get("state")?;
    let work: String = row.try_get("work")?;
    Ok(ImageTask {
        id: row.try_get("id")?,
        account: row.try_get("account")?,
        state: TaskState::parse(&state).ok_or_else(|| StoreError::corrupt("state of image task", state))?,
        message: row.try_get("message")?,
        progress_percent: u8::try_from(row.try_get::<i64, _>("progress")?).unwrap_or(0),
        work: serde_json::from_str(&work).map_err(|e| StoreError::corrupt("work of an image task", e))?,
        client_token: row.try_get("client_token")?,
        request_digest: row.try_get("request_digest")?,
        created_ms: row.try_get("created_at")?,
        ended_ms: row.try_get("ended_at")?,
        request_id: row.try_get("request_id")?,
    })
}

fn work_text(task: &ImageTask) -> Result<String, StoreError> {
    serde_json::to_string(&task.work).map_err(|e| StoreError::corrupt("work of an image task", e))
}

impl Store {
    /// Writes a task with its tags, unless its token has one or the account has as many as it may.
    pub async fn image_task_insert(
        &self,
        task: &ImageTask,
        kind: Taggable,
        tags: &Tags,
    ) -> Result<TaskInserted, StoreError> {
        if let Some(token) = &task.client_token
            && let Some(earlier) = self.image_task_by_token(&task.account, token).await?
        {
            return Ok(TaskInserted::Before(earlier));
        }
        let mut tx = self.begin().await?;
        let count = "SELECT COUNT(*) FROM image_tasks WHERE account = $1 AND ended_at IS NULL";
        let active: i64 = sqlx::query_scalar(count).bind(&task.account).fetch_one(&mut *tx).await?;
        if active >= ACTIVE_MAX {
            return Ok(TaskInserted::TooMany);
        }
        let statement = "INSERT INTO image_tasks (id, account, state, message, progress, work, client_token, \
             request_digest, created_at, ended_at, request_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
        let inserted = sqlx::query(statement)
            .bind(&task.id)
            .bind(&task.account)
            .bind(task.state.as_str())
            .bind(&task.message)
            .bind(i64::from(task.progress_percent))
            .bind(work_text(task)?)
            .bind(&task.client_token)
            .bind(&task.request_digest)
            .bind(task.created_ms)
            .bind(task.ended_ms)
            .bind(&task.request_id)
            .execute(&mut *tx)
            .await
            .map_err(StoreError::from);
        match (inserted, &task.client_token) {
            (Err(error), Some(token)) if error.is_unique_violation() => {
                drop(tx); // another controller was told the same at the same time
                let earlier = self.image_task_by_token(&task.account, token).await?;
                return earlier.map(TaskInserted::Before).ok_or(error);
            }
            (inserted, _) => inserted?,
        };
        tags_put_in_txn(&mut tx, &task.account, kind, &task.id, tags).await?;
        tx.commit().await?;
        Ok(TaskInserted::New)
    }

    pub async fn image_task_by_token(
        &self,
        account: &str,
        token: &str,
    ) -> Result<Option<ImageTask>, StoreError> {
        let statement = "SELECT * FROM image_tasks WHERE account = $1 AND client_token = $2";
        let row = sqlx::query(statement).bind(account).bind(token);
        row.fetch_optional(self.reader()).await?.as_ref().map(task_of).transpose()
    }

    pub async fn image_task_fetch(&self, id: &str) -> Result<Option<ImageTask>, StoreError> {
        let row = sqlx::query("SELECT * FROM image_tasks WHERE id = $1").bind(id);
        row.fetch_optional(self.reader()).await?.as_ref().map(task_of).transpose()
    }

    /// Of one kind, which the ids say.
    pub async fn image_task_list(&self, account: &str, prefix: &str) -> Result<Vec<ImageTask>, StoreError> {
        let statement = "SELECT * FROM image_tasks WHERE account = $1 AND id LIKE $2 ORDER BY id";
        let rows = sqlx::query(statement).bind(account).bind(format!("{prefix}-%"));
        rows.fetch_all(self.reader()).await?.iter().map(task_of).collect()
    }

    /// Those that are not over, the oldest first.
    pub async fn image_task_list_open(&self) -> Result<Vec<ImageTask>, StoreError> {
        let statement = "SELECT * FROM image_tasks WHERE ended_at IS NULL ORDER BY created_at, id";
        let rows = sqlx::query(statement).fetch_all(self.reader()).await?;
        rows.iter().map(task_of).collect()
    }

    pub async fn image_task_progress(&self, id: &str, percent: u8, doing: &str) -> Result<(), StoreError> {
        let statement =
            "UPDATE image_tasks SET progress = $2, message = $3 WHERE id = $1 AND state = 'active'";
        let mut tx = self.begin().await?;
        sqlx::query(statement).bind(id).bind(i64::from(percent)).bind(doing).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }

    /// A task as it is from now on, with what came of it, if it is still in the state that `from` says.
    pub async fn image_task_settle(
        &self,
        from: TaskState,
        task: &ImageTask,
        made: Made<'_>,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let statement = "UPDATE image_tasks SET state = $3, message = $4, work = $5, ended_at = $6 \
             WHERE id = $1 AND state = $2";
        let done = sqlx::query(statement)
            .bind(&task.id)
            .bind(from.as_str())
            .bind(task.state.as_str())
            .bind(&task.message)
            .bind(work_text(task)?)
            .bind(task.ended_ms)
            .execute(&mut *tx)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        match made {
            Made::Nothing => {}
            Made::Image(image) => image_insert_in_txn(&mut tx, image, true).await?,
            Made::Snapshot(snapshot) => snapshot_insert_in_txn(&mut tx, snapshot).await?,
        }
        self.commit_and_forget(tx).await?;
        Ok(true)
    }

    /// Forgets those that ended before then.
    pub async fn image_task_purge(&self, before_ms: i64) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let statement = "DELETE FROM image_tasks WHERE ended_at < $1 RETURNING id";
        let gone: Vec<String> = sqlx::query_scalar(statement).bind(before_ms).fetch_all(&mut *tx).await?;
        for id in gone {
            tags_drop_in_txn(&mut tx, &id).await?;
        }
        Ok(tx.commit().await?)
    }
}
