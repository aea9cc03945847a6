//! Blobs that are being let go, so that no image is registered on one at the same moment.
//!
//! ```text
//!   release                               register by digest
//!   begin: unused? then written down      is it there?
//!   the image store lets it go            insert, unless it is written down here
//!   end                                   is it still there? if not, the image goes again
//! ```
//!
//! `begin` and the insert take the same counter's turn, so that one sees what the other has written. Whoever inserts
//! after `end` finds out by looking again: from the insert on, nobody begins.

use super::{Store, StoreError, Tx, counter_next_in_txn};
use karri_proto::instance::Digest;

/// Of everything that decides about who needs a blob.
const COUNTER: &str = "blobs";

/// Takes the turn: whoever else decides about who needs a blob has decided, or waits.
pub(super) async fn blobs_turn_in_txn(tx: &mut Tx) -> Result<(), StoreError> {
    counter_next_in_txn(tx, COUNTER).await.map(drop)
}

/// Takes the turn; whether the blob is being let go.
pub(super) async fn blob_is_released_in_txn(tx: &mut Tx, digest: &Digest) -> Result<bool, StoreError> {
    blobs_turn_in_txn(tx).await?;
    let statement = "SELECT COUNT(*) FROM blob_releases WHERE digest = $1";
    let count: i64 = sqlx::query_scalar(statement).bind(digest.as_str()).fetch_one(&mut **tx).await?;
    Ok(count > 0)
}

impl Store {
    /// False: an image, a snapshot or an instance needs the blob. True: from now on none will, until `blob_release_end`.
    pub async fn blob_release_begin(&self, digest: &Digest) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        counter_next_in_txn(&mut tx, COUNTER).await?;
        if super::image::blob_users_in_txn(&mut tx, digest).await? > 0 {
            return Ok(false);
        }
        let statement = "INSERT INTO blob_releases (digest) VALUES ($1) ON CONFLICT (digest) DO NOTHING";
        sqlx::query(statement).bind(digest.as_str()).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(true)
    }

    pub async fn blob_release_end(&self, digest: &Digest) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let statement = "DELETE FROM blob_releases WHERE digest = $1";
        sqlx::query(statement).bind(digest.as_str()).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }

    /// Those that were begun and not ended: by a controller that is no more, perhaps.
    pub async fn blob_release_list(&self) -> Result<Vec<Digest>, StoreError> {
        let found: Vec<String> = sqlx::query_scalar("SELECT digest FROM blob_releases ORDER BY digest")
            .fetch_all(self.reader())
            .await?;
        let read = |text: String| text.parse().map_err(|e| StoreError::corrupt("digest of a blob", e));
        found.into_iter().map(read).collect()
    }
}
