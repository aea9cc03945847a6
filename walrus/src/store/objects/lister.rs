//! Connections for reading many small rows. sqlx copies each column of each row and passes every row from thread to
//! thread, which costs several times what finding a page's thousand rows does: here they are read where they lie.

use super::{BUSY_TIMEOUT, CACHE_SIZE, CONNECT_TIMEOUT, StoreError};
use rusqlite::{Connection, OpenFlags};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;

#[derive(Debug)]
pub(super) struct Lister {
    path: PathBuf,
    connections: u32,
    idle: Mutex<Vec<Connection>>,
    turns: Arc<Semaphore>,
}

impl Lister {
    /// Of the database at `path`, which is there when the first one reads.
    pub fn new(path: &Path, connections: u32) -> Self {
        let turns = Arc::new(Semaphore::new(connections as usize));
        Self { path: path.to_owned(), connections, idle: Mutex::default(), turns }
    }

    /// Runs `read` on a thread that may wait for the disk.
    pub async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = tokio::time::timeout(CONNECT_TIMEOUT, self.turns.clone().acquire_owned());
        let turn = turn.await.map_err(|_| StoreError::Busy)?.map_err(|_| StoreError::Closed)?;
        let lister = self.clone();
        let work = tokio::task::spawn_blocking(move || {
            let idle = lister.idle().pop();
            let connection = idle.map_or_else(|| lister.connect(), Ok)?;
            let answer = read(&connection);
            lister.idle().push(connection);
            drop(turn);
            answer
        });
        work.await.map_err(io::Error::other)?
    }

    /// Once nobody reads any more; who comes later is refused.
    pub async fn close(&self) {
        let all = self.turns.acquire_many(self.connections).await;
        self.turns.close();
        self.idle().clear();
        drop(all);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "cache_size", CACHE_SIZE)?;
        Ok(connection)
    }
}
