//! What routers were made on this host: written down before they are, so that all of it is found again, whatever
//! happened meanwhile. The file is in the run directory, which a reboot empties as it empties the kernel.

use crate::drive::DriveError;
use karri_proto::ids::VpcId;
use karri_proto::runtime::endpoint::write_durably;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// Link addresses end before those of the metadata service.
pub const ROUTERS_MAX: u16 = 0x7f00;

/// Routers, with the number that each has on this host.
#[derive(Debug)]
pub struct Made {
    file: PathBuf,
    numbers: BTreeMap<VpcId, u16>,
}

/// A router's own on its way up, from which it asks the host for names.
pub fn link_address(number: u16) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(crate::app::router::NEXT_HOP) + u32::from(number))
}

impl Made {
    pub fn read(run_dir: &Path) -> Self {
        let file = run_dir.join("routers.json");
        let read = std::fs::read(&file).ok().and_then(|json| serde_json::from_slice(&json).ok());
        Self { numbers: read.unwrap_or_default(), file }
    }

    pub fn routers(&self) -> Vec<VpcId> {
        self.numbers.keys().cloned().collect()
    }

    pub fn number(&self, vpc: &VpcId) -> Option<u16> {
        self.numbers.get(vpc).copied()
    }

    /// Each of them has a number, and the file says so.
    pub fn add<'a>(&mut self, vpcs: impl Iterator<Item = &'a VpcId>) -> Result<(), DriveError> {
        let mut taken: BTreeSet<u16> = self.numbers.values().copied().collect();
        let new: Vec<&VpcId> = vpcs.filter(|vpc| !self.numbers.contains_key(*vpc)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let mut numbers = self.numbers.clone();
        let mut free = 1..ROUTERS_MAX;
        for vpc in new {
            let number = free.find(|number| !taken.contains(number));
            let number =
                number.ok_or_else(|| DriveError::new("routers", "there are too many on this host"))?;
            taken.insert(number);
            numbers.insert(vpc.clone(), number);
        }
        self.write(numbers)
    }

    pub fn remove(&mut self, vpc: &VpcId) -> Result<(), DriveError> {
        let mut numbers = self.numbers.clone();
        if numbers.remove(vpc).is_some() { self.write(numbers) } else { Ok(()) }
    }

    fn write(&mut self, numbers: BTreeMap<VpcId, u16>) -> Result<(), DriveError> {
        let failed = |cause: String| DriveError::new(self.file.display().to_string(), cause);
        let json = serde_json::to_vec(&numbers).map_err(|cause| failed(cause.to_string()))?;
        write_durably(&self.file, &json).map_err(|cause| failed(cause.to_string()))?;
        self.numbers = numbers;
        Ok(())
    }

    pub fn forget(&mut self) {
        let _ = std::fs::remove_file(&self.file);
        self.numbers.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_a_routers_own_until_it_is_gone_and_survives_a_crash() {
        let directory = tempfile::tempdir().unwrap();
        let vpc = |number: u32| -> VpcId { format!("vpc-{number:08x}").parse().unwrap() };
        let mut made = Made::read(directory.path());
        made.add([vpc(1), vpc(2)].iter()).unwrap();
        made.remove(&vpc(1)).unwrap();
        let mut made = Made::read(directory.path());
        made.add([vpc(3), vpc(2)].iter()).unwrap();
        assert_eq!(
            (made.number(&vpc(1)), made.number(&vpc(2)), made.number(&vpc(3))),
            (None, Some(2), Some(1))
        );
        assert_eq!(link_address(2), Ipv4Addr::new(169, 254, 0, 3));
        assert!(link_address(ROUTERS_MAX) < Ipv4Addr::new(169, 254, 128, 0));
    }
}
