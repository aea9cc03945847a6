//! A running controller says where it answers: `endpoint.json` in its state directory.
//!
//! Supervisors and tests read it, which is how port 0 works. Where the disk is full it lies in memory
//! (`/run/karri`) instead: a controller that was killed must be able to start again then.

pub use super::files::write_durably;

use super::files::is_full;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io;
use std::path::{Path, PathBuf};

const RUN: &str = "/run/karri/endpoints";

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

    pub fn write(&self, state_dir: &Path) -> io::Result<()> {
        let json = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        keep(&Self::path(state_dir), spare(state_dir).as_deref(), |path| write_durably(path, &json))
    }

    pub fn read(state_dir: &Path) -> Option<Self> {
        let read = |path: &Path| serde_json::from_slice(&std::fs::read(path).ok()?).ok();
        read(&Self::path(state_dir)).or_else(|| read(&spare(state_dir)?))
    }

    pub fn remove(state_dir: &Path) {
        let _ = std::fs::remove_file(Self::path(state_dir));
        if let Some(spare) = spare(state_dir) {
            let _ = std::fs::remove_file(&spare);
            let _ = spare.parent().map(std::fs::remove_dir); // only if it was the last
        }
    }
}

/// Only root may make files there, and nobody else's word is taken.
fn spare(state_dir: &Path) -> Option<PathBuf> {
    let name = hex::encode(Sha256::digest(state_dir.as_os_str().as_encoded_bytes()));
    let run = Path::new(RUN).join(format!("{}.json", &name[..16]));
    rustix::process::geteuid().is_root().then_some(run)
}

fn keep(path: &Path, spare: Option<&Path>, write: impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    match (write(path), spare) {
        (Err(error), Some(spare)) if is_full(&error) => {
            let _ = std::fs::remove_file(path); // that of an earlier life
            spare.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            write(spare)
        }
        (written, _) => written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_does_not_keep_an_endpoint_from_being_told() {
        let directory = tempfile::tempdir().unwrap();
        let (path, spare) = (directory.path().join("endpoint.json"), directory.path().join("run/x.json"));
        std::fs::write(&path, "old").unwrap();
        let full = |to: &Path| match to.ends_with("endpoint.json") {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => write_durably(to, b"new"),
        };
        keep(&path, Some(&spare), full).unwrap();
        assert_eq!(std::fs::read(&spare).unwrap(), b"new");
        assert!(!path.exists(), "the old one would be read first");
        assert!(keep(&path, None, full).is_err());
    }
}
