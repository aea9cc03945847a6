//! Numbers that the store remembers about itself.

use super::Objects;
use super::error::StoreError;
use super::writer::Work;
use super::writer::batch::Batch;

/// Blobs from here on may have been left by a run that was cut short.
pub(super) const ORPHANS_FROM: &str = "orphans_from";
pub(super) const SCRUB_STAGE: &str = "scrub_stage";
pub(super) const SCRUB_PLACE: &str = "scrub_place";
pub(super) const SCRUB_ENDED: &str = "scrub_ended";

impl Objects {
    pub(super) async fn meta_fetch(&self, name: &str) -> Result<i64, StoreError> {
        let found = sqlx::query_scalar("SELECT value FROM meta WHERE name = ?").bind(name);
        Ok(found.fetch_optional(&self.0.reader).await?.unwrap_or(0))
    }

    pub(super) async fn meta_put(&self, values: &[(&'static str, i64)]) -> Result<(), StoreError> {
        self.write(MetaPut(values.to_vec())).await
    }
}

struct MetaPut(Vec<(&'static str, i64)>);

impl Work for MetaPut {
    type Answer = ();

    async fn run(&mut self, batch: &mut Batch<'_>) -> Result<(), StoreError> {
        for (name, value) in &self.0 {
            let sql = "INSERT INTO meta (name, value) VALUES (?, ?) \
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value";
            sqlx::query(sql).bind(*name).bind(value).execute(&mut *batch.connection).await?;
        }
        Ok(())
    }
}
