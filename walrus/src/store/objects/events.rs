//! What is still to be told to somebody outside of what has become of keys. An event is written in the transaction
//! of the change that it tells of, so it is lost neither by a crash nor by a restart.

use super::Objects;
use super::bucket::Bucket;
use super::error::StoreError;
use super::facts::UnixMs;
use super::ids::VersionId;
use super::object::Object;
use super::writer::events::{EventsDone, EventsExpire};
use std::sync::Arc;
use tokio::sync::watch;

/// What has become of a key, in the transaction that did it.
#[derive(Debug)]
pub struct Happened<'a> {
    pub bucket: &'a Bucket,
    pub key: &'a str,
    pub what: What<'a>,
    /// Greater than that of all that happened to the key before.
    pub seq: u64,
    pub at: UnixMs,
}

#[derive(Debug)]
pub enum What<'a> {
    Created(&'a Object),
    /// What is there stays, hidden by this new delete marker.
    MarkerMade(VersionId),
    /// A version, or all that there was where versions are not kept.
    Removed(Option<VersionId>),
}

/// Whom to tell what. It runs inside the transaction and may run more than once.
pub type Tell = Arc<dyn Fn(&Happened<'_>) -> Vec<NewEvent> + Send + Sync>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    pub target: String,
    pub body: String,
}

/// One that has not been heard yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub id: i64,
    pub body: String,
}

impl Objects {
    /// In the order in which they happened.
    pub async fn event_list(&self, target: &str, limit: usize) -> Result<Vec<Event>, StoreError> {
        let sql = "SELECT id, body FROM events WHERE target = ? ORDER BY id LIMIT ?";
        let rows = sqlx::query_as(sql).bind(target).bind(limit as i64).fetch_all(&self.0.reader).await?;
        Ok(rows.into_iter().map(|(id, body)| Event { id, body }).collect())
    }

    /// They have been heard.
    pub async fn events_done(&self, ids: Vec<i64>) -> Result<(), StoreError> {
        self.write(EventsDone(ids)).await
    }

    /// Gives up what is older than `before`; answers how many that were.
    pub async fn events_expire(&self, before: UnixMs) -> Result<u64, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM events WHERE at < ?)";
        let any: bool = sqlx::query_scalar(sql).bind(before).fetch_one(&self.0.reader).await?;
        if any { self.write(EventsExpire(before)).await } else { Ok(0) }
    }

    /// Changes when there are new ones.
    pub fn events_news(&self) -> watch::Receiver<u64> {
        self.0.events.subscribe()
    }
}
