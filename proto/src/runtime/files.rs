//! Files as controllers keep them: whole after a crash, and nobody else's to read.
//!
//! Processes run under [`private_umask`], so that what they make is theirs alone. The exceptions are made here:
//! a directory that another user must pass through, a file that another user must read.

use std::fs::{File, Permissions};
use std::io::{Error, ErrorKind, Result, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

const SECRET: u32 = 0o600;
/// The umask takes away what it must.
const ORDINARY: u32 = 0o666;
const READABLE: u32 = 0o644;
const PASSABLE: u32 = 0o711;

/// From here on nothing that this process makes can be read or listed by others.
pub fn private_umask() {
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
}

/// Makes the directory, and lets others pass through it to what they may see: not list it.
pub fn create_passable(directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory)?;
    let here = std::fs::metadata(directory)?.permissions().mode() & 0o777;
    if here & 0o077 != PASSABLE & 0o077 {
        std::fs::set_permissions(directory, Permissions::from_mode(PASSABLE))?;
    }
    Ok(())
}

/// Replaces a file so that after a crash it is whole: the old one or the new one. A failure leaves the old
/// one and nothing else.
pub fn write_durably(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, bytes, ORDINARY, false)
}

/// The same, readable by its owner only, from its first byte on.
pub fn write_secret(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, bytes, SECRET, true)
}

/// The same, for a program that runs as somebody else.
pub fn write_readable(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, bytes, READABLE, true)
}

fn replace(path: &Path, bytes: &[u8], mode: u32, exactly: bool) -> Result<()> {
    let directory = path.parent().ok_or_else(|| Error::other("a file needs a directory"))?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("file");
    let temporary = directory.join(format!(".{name}.new"));
    let written =
        write_new(&temporary, bytes, mode, exactly).and_then(|()| std::fs::rename(&temporary, path));
    if let Err(error) = written {
        let _ = std::fs::remove_file(&temporary); // on a full disk even half of it is missed
        return Err(error);
    }
    File::open(directory)?.sync_all()
}

fn write_new(path: &Path, bytes: &[u8], mode: u32, exactly: bool) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {} // what a crash has left may have another mode
    }
    let mut file = File::options().write(true).create(true).truncate(true).mode(mode).open(path)?;
    if exactly {
        file.set_permissions(Permissions::from_mode(mode))?;
    }
    file.write_all(bytes)?;
    file.sync_all()
}

/// Whether an error says that there is no room.
pub fn is_full(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_secret_is_one_whatever_was_there_before() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key");
        for left in [".key.new", "key"] {
            std::fs::write(directory.path().join(left), "old").unwrap();
            std::fs::set_permissions(directory.path().join(left), Permissions::from_mode(0o644)).unwrap();
        }
        write_secret(&file, b"secret").unwrap();
        assert_eq!((mode(&file), std::fs::read(&file).unwrap()), (0o600, b"secret".to_vec()));
        write_readable(&file, b"open").unwrap();
        assert_eq!(mode(&file), 0o644);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        write_durably(&file, b"old").unwrap();
        std::fs::create_dir(directory.path().join(".file.new")).unwrap(); // in the way
        assert!(write_durably(&file, b"new").is_err());
        assert_eq!(std::fs::read(&file).unwrap(), b"old");
    }

    #[test]
    fn a_passable_directory_is_not_listed_by_others() {
        let directory = tempfile::tempdir().unwrap();
        let open = directory.path().join("x");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, Permissions::from_mode(0o755)).unwrap();
        create_passable(&open).unwrap();
        assert_eq!(mode(&open), 0o711);
    }
}
