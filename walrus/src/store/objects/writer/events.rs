//! Events: writing down what a change gives cause to tell, and removing what has been heard.

use super::super::bucket::Bucket;
use super::super::error::StoreError;
use super::super::events::{Happened, Tell, What};
use super::super::facts::UnixMs;
use super::Work;
use super::batch::{Batch, Key};

/// After the change, which is done.
pub(super) fn tell(batch: &mut Batch<'_>, bucket: &Bucket, key: &Key, what: What<'_>, tell: Option<&Tell>) {
    let Some(tell) = tell else { return };
    let seq = match &what {
        What::Created(object) => object.seq,
        What::MarkerMade(_) | What::Removed(_) => batch.seq(),
    };
    let events = tell(&Happened { bucket, key: &key.1, what, seq, at: batch.now });
    batch.changes.events.extend(events);
}

pub(in super::super) struct EventsDone(pub Vec<i64>);

impl Work for EventsDone {
    type Answer = ();

    async fn run(&mut self, batch: &mut Batch<'_>) -> Result<(), StoreError> {
        for id in &self.0 {
            sqlx::query("DELETE FROM events WHERE id = ?").bind(id).execute(&mut *batch.connection).await?;
        }
        Ok(())
    }
}

pub(in super::super) struct EventsExpire(pub UnixMs);

impl Work for EventsExpire {
    type Answer = u64;

    async fn run(&mut self, batch: &mut Batch<'_>) -> Result<u64, StoreError> {
        let query = sqlx::query("DELETE FROM events WHERE at < ?").bind(self.0);
        Ok(query.execute(&mut *batch.connection).await?.rows_affected())
    }
}
