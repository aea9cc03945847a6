//! Where the hosts of the cluster exchange frames of segments, as the cc told last. Kept, so that a node that starts
//! while its cc is away sends frames where it did before.

use super::PortError;
use karri_proto::runtime::files::write_durably;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const FILE: &str = "tunnels.json";

#[derive(Debug)]
pub struct Tunnels {
    path: PathBuf,
    known: Mutex<Vec<Ipv4Addr>>,
}

impl Tunnels {
    /// A file that cannot be understood is as good as none: the cc tells all of it in a moment.
    pub fn open(state_dir: &Path) -> Self {
        let path = state_dir.join(FILE);
        let read = std::fs::read(&path).ok().and_then(|json| serde_json::from_slice(&json).ok());
        Self { path, known: Mutex::new(read.unwrap_or_default()) }
    }

    pub fn known(&self) -> Vec<Ipv4Addr> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Durable when it returns. False: they were known.
    pub fn put(&self, tunnels: &[Ipv4Addr]) -> Result<bool, PortError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == tunnels {
            return Ok(false);
        }
        let failed =
            |error: &dyn std::fmt::Display| PortError::Later(format!("{}: {error}", self.path.display()));
        let json = serde_json::to_vec(tunnels).map_err(|e| failed(&e))?;
        write_durably(&self.path, &json).map_err(|e| failed(&e))?;
        *known = tunnels.to_vec();
        Ok(true)
    }

    pub fn forget(&self) -> Result<(), PortError> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(PortError::Later(format!("{}: {error}", self.path.display())))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_cc_told_last_is_known_in_the_next_life() {
        let directory = tempfile::tempdir().unwrap();
        let hosts = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)];
        let tunnels = Tunnels::open(directory.path());
        assert!(tunnels.put(&hosts).unwrap() && !tunnels.put(&hosts).unwrap());
        assert_eq!(Tunnels::open(directory.path()).known(), hosts);
        std::fs::write(directory.path().join(FILE), "nonsense").unwrap();
        assert_eq!(Tunnels::open(directory.path()).known(), Vec::<Ipv4Addr>::new());
        tunnels.forget().unwrap();
        tunnels.forget().unwrap();
    }
}
