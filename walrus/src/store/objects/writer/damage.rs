//! A blob did not verify: its row says so until its object is gone, or until it does verify.

use super::super::error::StoreError;
use super::Work;
use super::batch::Batch;
use crate::store::keeper::BlobId;

pub(in super::super) struct Damage(pub BlobId);

impl Work for Damage {
    type Answer = ();

    async fn run(&mut self, batch: &mut Batch<'_>) -> Result<(), StoreError> {
        batch.flush().await?;
        let query =
            sqlx::query("UPDATE blobs SET state = 2 WHERE id = ? AND state = 0").bind(self.0.0 as i64);
        query.execute(&mut *batch.connection).await?;
        Ok(())
    }
}

pub(in super::super) struct Sound(pub BlobId);

impl Work for Sound {
    type Answer = ();

    async fn run(&mut self, batch: &mut Batch<'_>) -> Result<(), StoreError> {
        batch.flush().await?;
        let query =
            sqlx::query("UPDATE blobs SET state = 0 WHERE id = ? AND state = 2").bind(self.0.0 as i64);
        query.execute(&mut *batch.connection).await?;
        Ok(())
    }
}
