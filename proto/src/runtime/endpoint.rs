//! A running controller says where it answers: `endpoint.json` in its state directory.
//!
//! Supervisors and tests read it, which is how port 0 works.

use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    pub pid: u32,
    pub version: String,
    /// The internal API.
    pub url: String,
    /// What clients of the cloud speak to, where the controller has such a face.
    pub public_url: Option<String>,
    /// Plain HTTP `/healthz` and `/metrics`.
    pub observe_url: Option<String>,
}

impl Endpoint {
    pub fn path(state_dir: &Path) -> PathBuf {
        state_dir.join("endpoint.json")
    }

    pub fn write(&self, state_dir: &Path) -> std::io::Result<()> {
        let json = serde_json::to_vec_pretty(self).map_err(std::io::Error::other)?;
        write_durably(&Self::path(state_dir), &json)
    }

    pub fn read(state_dir: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(Self::path(state_dir)).ok()?).ok()
    }

    pub fn remove(state_dir: &Path) {
        let _ = std::fs::remove_file(Self::path(state_dir));
    }
}

/// Replaces a file so that after a crash it is whole: the old one or the new one. A failure leaves the old
/// one and nothing else.
pub fn write_durably(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let directory = path.parent().ok_or_else(|| std::io::Error::other("a file needs a directory"))?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("file");
    let temporary = directory.join(format!(".{name}.new"));
    let written = write_all_durably(&temporary, bytes).and_then(|()| std::fs::rename(&temporary, path));
    if let Err(error) = written {
        let _ = std::fs::remove_file(&temporary); // on a full disk even half of it is missed
        return Err(error);
    }
    std::fs::File::open(directory)?.sync_all()
}

fn write_all_durably(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
