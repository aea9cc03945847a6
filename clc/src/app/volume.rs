//! Root disks, shown as the volumes that EC2 clients expect behind an instance.
//!
//! A root disk comes and goes with its instance, so its id follows from the instance's and is kept nowhere.

use karri_proto::ids::{InstanceId, VolumeId};

/// `i-0123…` has the root disk `vol-0123…`.
pub fn root_volume_id(instance: &InstanceId) -> String {
    let digits = instance.as_str().split_once('-').map_or("", |(_, digits)| digits);
    format!("{}-{digits}", VolumeId::PREFIX)
}

/// The instance that a root disk would be of.
pub fn instance_text(volume: &str) -> String {
    let digits = volume.split_once('-').map_or("", |(_, digits)| digits);
    format!("{}-{digits}", InstanceId::PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_disk_and_its_instance_name_each_other() {
        let instance = InstanceId::random(&mut rand::thread_rng());
        let volume = root_volume_id(&instance);
        assert!(volume.parse::<VolumeId>().is_ok());
        assert_eq!(instance_text(&volume), instance.as_str());
    }
}
