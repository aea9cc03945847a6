//! A transaction that may write, and the turn that it waits in.

use sqlx::{Any, AnyConnection, Transaction};
use std::ops::{Deref, DerefMut};
use tokio::sync::OwnedMutexGuard;

/// Dropped without a commit, it is as if nothing had been written.
pub struct Tx {
    transaction: Transaction<'static, Any>,
    /// Given on after the commit, or after the transaction was dropped.
    turn: Option<OwnedMutexGuard<()>>,
}

impl Tx {
    pub(super) fn new(transaction: Transaction<'static, Any>) -> Self {
        Self { transaction, turn: None }
    }

    pub(super) fn keeping(self, turn: Option<OwnedMutexGuard<()>>) -> Self {
        Self { turn, ..self }
    }

    pub async fn commit(self) -> Result<(), sqlx::Error> {
        let Self { transaction, turn: _turn } = self;
        transaction.commit().await
    }
}

impl Deref for Tx {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        &self.transaction
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.transaction
    }
}
