//! What this node has made of its host's network, written down before it is made, so that cleaning takes away
//! exactly that, also after a crash. A reboot takes all of it away by itself.

use super::PortError;
use karri_proto::network::SegmentTag;
use karri_proto::runtime::files::write_durably;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const FILE: &str = "network.json";

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Made {
    boot_id: String,
    /// The bridge itself: nobody else had made one of this name.
    pub bridge: bool,
    /// The address of the metadata listener.
    pub address: bool,
    /// Where the metadata listener was last: the next life's is there too, so that the rules stay what they are.
    pub metadata_port: Option<u16>,
    /// That iptables sees what the bridge carries.
    pub filtered: bool,
    /// The link that was made a port of the bridge.
    pub uplink: Option<String>,
    /// Settings of connection tracking as they were before the shortcut between ports needed them otherwise.
    pub tracking: BTreeMap<String, String>,
    /// Segments that ports of this node are on, by what their connections are told apart by.
    pub segments: BTreeMap<SegmentTag, u16>,
}

#[derive(Debug)]
pub struct Notes {
    path: PathBuf,
    made: Mutex<Made>,
}

impl Notes {
    pub fn open(state_dir: &Path, boot_id: &str) -> Result<Self, PortError> {
        let path = state_dir.join(FILE);
        let failed =
            |error: &dyn std::fmt::Display| PortError::Broken(format!("{}: {error}", path.display()));
        let read: Made = match std::fs::read(&path) {
            Ok(json) => serde_json::from_slice(&json).map_err(|e| failed(&e))?,
            Err(error) if error.kind() == ErrorKind::NotFound => Made::default(),
            Err(error) => return Err(failed(&error)),
        };
        let fresh = || Made { boot_id: boot_id.to_owned(), ..Made::default() };
        let made = if read.boot_id == boot_id { read } else { fresh() };
        Ok(Self { path, made: Mutex::new(made) })
    }

    pub fn made(&self) -> Made {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Durable when it returns.
    pub fn note(&self, change: impl FnOnce(&mut Made)) -> Result<(), PortError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = made.clone();
        change(&mut next);
        if next != *made {
            let failed = |error: &dyn std::fmt::Display| {
                PortError::Broken(format!("{}: {error}", self.path.display()))
            };
            let json = serde_json::to_vec(&next).map_err(|e| failed(&e))?;
            write_durably(&self.path, &json).map_err(|e| failed(&e))?;
            *made = next;
        }
        Ok(())
    }

    /// All of it is taken away.
    pub fn forget(&self) {
        let _ = std::fs::remove_file(&self.path); // else it is taken away once more, which does nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_is_known_in_the_next_life_and_not_after_a_reboot() {
        let directory = tempfile::tempdir().unwrap();
        let notes = Notes::open(directory.path(), "boot-1").unwrap();
        notes.note(|made| made.bridge = true).unwrap();
        assert!(Notes::open(directory.path(), "boot-1").unwrap().made().bridge);
        assert!(!Notes::open(directory.path(), "boot-2").unwrap().made().bridge);
        notes.forget();
        assert!(!Notes::open(directory.path(), "boot-1").unwrap().made().bridge);
    }
}
