//! Room kept for records: on a full disk what is told last, above all that something goes, can still be
//! written down.

use std::io;
use std::path::{Path, PathBuf};

const FILE: &str = "reserve";
/// Some hundred records; the largest part of one is its user data.
const BYTES: usize = 1024 * 1024;

pub struct Reserve {
    path: PathBuf,
}

impl Reserve {
    pub fn open(directory: &Path) -> Self {
        let reserve = Self { path: directory.join(FILE) };
        reserve.fill();
        reserve
    }

    /// Takes the room, again if it was given up. Without any there is none to keep.
    pub fn fill(&self) {
        if self.path.metadata().is_ok_and(|facts| facts.len() == BYTES as u64) {
            return;
        }
        if std::fs::write(&self.path, vec![0; BYTES]).is_err() {
            self.give_up();
        }
    }

    /// True: there was some, and a write that failed may now succeed.
    pub fn give_up(&self) -> bool {
        std::fs::remove_file(&self.path).is_ok()
    }
}

pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_is_given_up_once_and_taken_again() {
        let directory = tempfile::tempdir().unwrap();
        let reserve = Reserve::open(directory.path());
        assert_eq!(directory.path().join(FILE).metadata().unwrap().len(), BYTES as u64);
        assert!(reserve.give_up());
        assert!(!reserve.give_up());
        reserve.fill();
        assert!(reserve.give_up());
    }
}
