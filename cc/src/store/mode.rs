//! The network mode and the driver of segments that the cluster's instances were made under.

use super::{Store, StoreError, instance::instance_list};
use karri_proto::network::{NetworkMode, SegmentDriver};
use sqlx::Row as _;

#[derive(Debug, thiserror::Error)]
pub enum ModeError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "network.{key} = \"{wanted}\": this cluster has {living} instances that were made under \"{present}\"; terminate \
         them before it is changed, or set it back"
    )]
    InUse { key: &'static str, wanted: &'static str, present: String, living: usize },
}

impl Store {
    /// Takes over another mode or driver, unless there are instances.
    pub async fn mode_settle(&mut self, mode: &NetworkMode, driver: SegmentDriver) -> Result<(), ModeError> {
        self.settle("mode", mode.name(), "UPDATE numbering SET mode = ?").await?;
        self.settle("driver", driver.name(), "UPDATE numbering SET driver = ?").await
    }

    async fn settle(
        &mut self,
        key: &'static str,
        wanted: &'static str,
        update: &'static str,
    ) -> Result<(), ModeError> {
        let row = sqlx::query("SELECT mode, driver FROM numbering").fetch_one(&mut self.connection).await;
        let present: String = row.and_then(|row| row.try_get(key)).map_err(StoreError::from)?;
        if present == wanted {
            return Ok(());
        }
        let rows = instance_list(&mut self.connection).await?;
        let living = rows.iter().filter(|row| !row.phase.is_final()).count();
        if living > 0 {
            return Err(ModeError::InUse { key, wanted, present, living });
        }
        let update = sqlx::query(update).bind(wanted);
        update.execute(&mut self.connection).await.map_err(StoreError::from)?;
        tracing::info!(key, before = present, now = wanted, "the cluster's network is of another kind");
        Ok(())
    }
}
