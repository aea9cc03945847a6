//! One controller per state directory: an advisory lock on the directory itself, which dies with its holder.

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Held until dropped. Children do not inherit it: Rust opens files close-on-exec.
#[derive(Debug)]
pub struct StateLock {
    _directory: File,
}

#[derive(Debug, thiserror::Error)]
pub enum StateLockError {
    #[error("{0}: another controller runs there")]
    Held(PathBuf),
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

impl StateLock {
    pub fn take(directory: &Path) -> Result<Self, StateLockError> {
        let failed = |source: io::Error| StateLockError::Io { path: directory.to_owned(), source };
        let opened = File::open(directory).map_err(failed)?;
        match flock(&opened, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _directory: opened }),
            Err(Errno::WOULDBLOCK) => Err(StateLockError::Held(directory.to_owned())),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// Whether a controller runs there. A directory that is not there is nobody's.
    pub fn is_held(directory: &Path) -> io::Result<bool> {
        match Self::take(directory) {
            Ok(_) => Ok(false),
            Err(StateLockError::Held(_)) => Ok(true),
            Err(StateLockError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(StateLockError::Io { source, .. }) => Err(source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_controller_of_a_directory_is_refused_while_the_first_lives() {
        let directory = tempfile::tempdir().unwrap();
        let first = StateLock::take(directory.path()).unwrap();
        let refused = StateLock::take(directory.path()).unwrap_err().to_string();
        assert!(refused.contains("another controller runs there"), "{refused}");
        assert!(StateLock::is_held(directory.path()).unwrap());
        drop(first);
        assert!(!StateLock::is_held(directory.path()).unwrap());
        assert!(!StateLock::is_held(&directory.path().join("nowhere")).unwrap());
    }
}
