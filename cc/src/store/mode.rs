//! The network mode that the cluster's instances were made under.

use super::{Store, StoreError, instance::instance_list};
use karri_proto::network::NetworkMode;
use sqlx::Row as _;

#[derive(Debug, thiserror::Error)]
pub enum ModeError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "network.mode = \"{wanted}\": this cluster has {living} instances that were made under \"{present}\"; terminate \
         them before it is changed, or set it back"
    )]
    InUse { wanted: &'static str, present: String, living: usize },
}

impl Store {
    /// Takes over another mode, unless there are instances.
    pub async fn mode_settle(&mut self, wanted: &NetworkMode) -> Result<(), ModeError> {
        let wanted = wanted.name();
        let row = sqlx::query("SELECT mode FROM numbering").fetch_one(&mut self.connection).await;
        let present: String = row.and_then(|row| row.try_get("mode")).map_err(StoreError::from)?;
        if present == wanted {
            return Ok(());
        }
        let rows = instance_list(&mut self.connection).await?;
        let living = rows.iter().filter(|row| !row.phase.is_final()).count();
        if living > 0 {
            return Err(ModeError::InUse { wanted, present, living });
        }
        let update = sqlx::query("UPDATE numbering SET mode = ?").bind(wanted);
        update.execute(&mut self.connection).await.map_err(StoreError::from)?;
        tracing::info!(before = present, now = wanted, "the cluster's network mode is another");
        Ok(())
    }
}
