//! One supervisor per state directory: an advisory lock that dies with its holder.

use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Held until dropped. Children do not inherit it: Rust opens files close-on-exec.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("{directory} is in use: karri runs there with pid {pid} (karri down stops it)")]
    Held { directory: String, pid: u32 },
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl Lock {
    pub fn take(path: &Path) -> Result<Self, LockError> {
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            // Its last holder may have removed it in between: a lock on that file keeps nobody out.
            Ok(()) if !is_still_there(&file, path)? => return Self::take(path),
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let directory = path.parent().unwrap_or(path).display().to_string();
                return Err(LockError::Held { directory, pid: read_pid(&mut file).unwrap_or(0) });
            }
            Err(error) => return Err(LockError::Io(error.into())),
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self { _file: file })
    }

    /// The pid of the holder, if there is one.
    pub fn holder(path: &Path) -> Result<Option<u32>, LockError> {
        let mut file = match File::options().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(None),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(Some(read_pid(&mut file).unwrap_or(0))),
            Err(error) => Err(LockError::Io(error.into())),
        }
    }
}

fn is_still_there(file: &File, path: &Path) -> std::io::Result<bool> {
    match path.metadata() {
        Ok(there) => Ok(there.ino() == file.metadata()?.ino()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_removed_meanwhile_is_no_lock() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let file = File::create(&path).unwrap();
        assert!(is_still_there(&file, &path).unwrap());
        std::fs::remove_file(&path).unwrap();
        assert!(!is_still_there(&file, &path).unwrap());
        std::fs::write(&path, "").unwrap();
        assert!(!is_still_there(&file, &path).unwrap(), "another file of the same name");
    }

    #[test]
    fn the_second_taker_hears_the_pid_of_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        assert!(Lock::holder(&path).unwrap().is_none());
        let first = Lock::take(&path).unwrap();
        let refused = Lock::take(&path).unwrap_err().to_string();
        assert!(refused.contains(&format!("pid {}", std::process::id())), "{refused}");
        assert_eq!(Lock::holder(&path).unwrap(), Some(std::process::id()));
        drop(first);
        assert_eq!(Lock::holder(&path).unwrap(), None);
        Lock::take(&path).unwrap();
    }
}
