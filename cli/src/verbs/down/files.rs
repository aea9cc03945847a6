//! The state directory's own files: exactly those that `home` names, and the directory once it is empty.

use crate::facts::Facts;
use crate::home::{Home, RUN};
use crate::up::join::NAME;
use crate::up::trust::{cc_name, nc_name};
use anyhow::Context;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What was removed.
pub fn remove(home: &Home, facts: Option<&Facts>) -> anyhow::Result<Vec<PathBuf>> {
    let mut names: Vec<String> =
        ["clc", "walrus", NAME, "tls", "config", "logs", "run", "ca", "keys"].map(str::to_owned).into();
    let zones = facts.map(|facts| facts.zones.as_slice()).unwrap_or_default();
    names.extend(zones.iter().flat_map(|zone| [cc_name(zone), nc_name(zone)]));
    let mut paths: Vec<PathBuf> = names.into_iter().map(|name| home.root().join(name)).collect();
    // The facts last but for the lock: an interrupted removal can be taken up again.
    paths.extend([home.cloud_certificate(), home.user_certificate(), home.user_key()]);
    paths.extend([home.s3cfg(), home.credentials(), home.facts_file(), home.lock_file()]);
    let mut removed = Vec::new();
    for path in paths {
        if remove_one(&path).with_context(|| path.display().to_string())? {
            removed.push(path);
        }
    }
    // Emptied by the controllers' own removal; another cloud's directory is not empty.
    for directory in [home.run_directory(), PathBuf::from(RUN)] {
        if std::fs::remove_dir(&directory).is_ok() {
            removed.push(directory);
        }
    }
    match std::fs::remove_dir(home.root()) {
        Ok(()) => removed.push(home.root().to_owned()),
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {
            eprintln!("{} holds something else and stays", home.root().display());
        }
        Err(error) => return Err(error).with_context(|| home.root().display().to_string()),
    }
    Ok(removed)
}

/// A link is removed, never followed.
fn remove_one(path: &Path) -> std::io::Result<bool> {
    let removed = match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Up;

    #[test]
    fn what_is_not_ours_stays() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("karri");
        let home = Home::at(root.clone());
        let wanted =
            Up { sim: Some(1), port_base: None, address: None, region: None, zones: vec![], images: None };
        let facts = Facts::new(&wanted).unwrap();
        let fill = || {
            for name in [
                "clc/db",
                "cc-karri-1a/db",
                "nc-karri-1a/x/y",
                "tls/clc/key.pem",
                "logs/clc.log",
                "keys/s3-master.keys",
            ] {
                std::fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
                std::fs::write(root.join(name), "x").unwrap();
            }
            for name in ["cloud-cert.pem", "euca-user-cert.pem", "euca-user-pk.pem", "s3cfg", "credentials"] {
                std::fs::write(root.join(name), "x").unwrap();
            }
            facts.write(&home.facts_file()).unwrap();
        };
        let elsewhere = directory.path().join("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        std::fs::write(elsewhere.join("precious"), "x").unwrap();

        fill();
        std::fs::write(root.join("mine"), "x").unwrap();
        std::os::unix::fs::symlink(&elsewhere, root.join("walrus")).unwrap();
        remove(&home, Some(&facts)).unwrap();
        assert_eq!(std::fs::read_dir(&root).unwrap().count(), 1, "only what is not ours");
        assert!(elsewhere.join("precious").exists(), "a link is not followed");

        fill();
        std::fs::remove_file(root.join("mine")).unwrap();
        remove(&home, Some(&facts)).unwrap();
        assert!(!root.exists());
    }
}
