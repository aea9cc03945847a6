//! Connections to libvirt: one that hears events, and some for calls, each used by one thread at a time.
//!
//! libvirt says that threads may share a connection. But before 10.3 (Debian 12 has 9.0) a thread that waits
//! there for an answer and is interrupted by another one leaves a pointer to its stack behind, and the next to
//! wait may follow it to its death (CVE-2024-4418). So no two threads meet on a connection: calls take one for
//! themselves, and the one of events is left to libvirt's own thread once it is open.

use super::events::Link;
use crate::drive::hypervisor::GuestChange;
use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::broadcast::Sender;
use virt::connect::Connect;
use virt::error::Error;

/// Closed when dropped, which the crate's own type is not.
pub struct Connection(Connect);

impl Connection {
    pub fn open(uri: &str) -> Result<Self, Error> {
        Connect::open(Some(uri)).map(Self)
    }

    pub fn is_alive(&self) -> bool {
        self.0.is_alive().unwrap_or(false)
    }
}

impl Deref for Connection {
    type Target = Connect;

    fn deref(&self) -> &Connect {
        &self.0
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let _ = self.0.close(); // a dead one has nothing to lose
    }
}

pub struct Pool {
    uri: String,
    /// None: nobody wants to hear of them.
    changes: Option<Sender<GuestChange>>,
    events: Mutex<Option<Link>>,
    idle: Mutex<Vec<Connection>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// Opens nothing yet.
    pub fn new(uri: &str, changes: Option<Sender<GuestChange>>) -> Self {
        Self { uri: uri.to_owned(), changes, events: Mutex::default(), idle: Mutex::default() }
    }

    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// A connection for the caller alone. Blocks for as long as libvirt does not answer.
    pub fn take(&self) -> Result<Connection, Error> {
        self.listen()?;
        loop {
            let idle = locked(&self.idle).pop();
            match idle {
                Some(connection) if connection.is_alive() => return Ok(connection),
                Some(dead) => drop(dead),
                None => return Connection::open(&self.uri),
            }
        }
    }

    /// One that is still of use.
    pub fn give_back(&self, connection: Connection) {
        locked(&self.idle).push(connection);
    }

    /// Before the first call, so that no change after its answer is missed.
    fn listen(&self) -> Result<(), Error> {
        let Some(changes) = &self.changes else { return Ok(()) };
        let mut events = locked(&self.events);
        match events.as_ref() {
            Some(link) if link.is_alive() => return Ok(()),
            Some(_) => tracing::warn!(uri = self.uri, "the connection to libvirt broke"),
            None => {}
        }
        *events = None;
        *events = Some(Link::open(&self.uri, changes)?);
        tracing::info!(uri = self.uri, "connected to libvirt");
        Ok(())
    }
}

impl Drop for Pool {
    /// The process ends. Closing the connection of events from here would meet libvirt's own thread on it;
    /// its socket goes with the process.
    fn drop(&mut self) {
        let events = self.events.get_mut().unwrap_or_else(PoisonError::into_inner);
        std::mem::forget(events.take());
    }
}
