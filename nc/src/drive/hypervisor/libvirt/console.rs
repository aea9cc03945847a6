//! Consoles of guests whose driver keeps no log of them (Xen): a thread per guest copies the stream
//! into the same file that QEMU's guests have.

use super::pool::Connection;
use crate::app::owner_tag::{domain_name, named_instance};
use karri_proto::ids::InstanceId;
use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use virt::domain::Domain;
use virt::error::Error;
use virt::stream::Stream;

const FILE_BYTES_MAX: u64 = 1 << 20;
const READ_BYTES: usize = 4096;

pub struct Consoles {
    /// `DIRECTORY/INSTANCE/console.log`
    directory: PathBuf,
    /// Domains by name and run whose console is being followed.
    followed: Arc<Mutex<HashSet<(String, u32)>>>,
}

impl Consoles {
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), followed: Arc::default() }
    }

    /// Follows the console of a running domain of ours, unless somebody already does.
    pub fn follow(&self, uri: &str, domain: &Domain) {
        let (Ok(name), Some(run)) = (domain.get_name(), domain.get_id()) else { return };
        let Some(id) = named_instance(&name) else { return };
        let key = (name, run);
        if !lock(&self.followed).insert(key.clone()) {
            return;
        }
        let (uri, followed) = (uri.to_owned(), self.followed.clone());
        let path = self.directory.join(id.as_str()).join("console.log");
        let spawned = std::thread::Builder::new().name("console".to_owned()).spawn(move || {
            if let Err(error) = copy(&uri, &id, &path) {
                tracing::debug!(instance_id = %id, %error, "the console ended");
            }
            lock(&followed).remove(&key);
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "a console cannot be followed");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Until the guest goes off or the connection breaks. Blocking.
fn copy(uri: &str, id: &InstanceId, path: &Path) -> Result<(), Error> {
    let connect = Connection::open(uri)?;
    let domain = Domain::lookup_by_name(&connect, &domain_name(id))?;
    let stream = Stream::new(&connect, 0)?;
    domain.open_console(None, &stream, 0)?;
    let mut buffer = [0; READ_BYTES];
    loop {
        let count = stream.recv(&mut buffer)?;
        if count == 0 || append(path, &buffer[..count]).is_err() {
            return Ok(());
        }
    }
}

fn append(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::options().append(true).create(true).open(path)?;
    if file.metadata()?.len() > FILE_BYTES_MAX {
        std::fs::rename(path, path.with_extension("log.0"))?;
        file = File::options().append(true).create(true).open(path)?;
    }
    file.write_all(bytes)
}
