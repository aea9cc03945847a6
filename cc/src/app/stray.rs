//! The intent that ends a guest which should not be where it is.

use karri_proto::ids::InstanceId;
use karri_proto::instance::{
    BlobFormat, BlobRef, BootSource, Desired, Digest, Firmware, InstanceIntent, InstanceSpec,
};
use karri_proto::resources::Need;

/// Made from what is wanted of the instance elsewhere, if that is known.
pub fn stray_intent(
    stored: Option<InstanceIntent>,
    id: &InstanceId,
    generation: u64,
    attempt: u32,
) -> InstanceIntent {
    InstanceIntent {
        generation,
        attempt,
        desired: Desired::Terminated,
        force: true,
        ..stored.unwrap_or_else(|| unknown_intent(id))
    }
}

/// For a guest of which nothing is known here but its id. A node that has it goes by its own copy.
fn unknown_intent(id: &InstanceId) -> InstanceIntent {
    let nothing =
        BlobRef { digest: Digest::from_sha256([0; 32]), format: BlobFormat::Raw, bytes: 0, virtual_bytes: 0 };
    InstanceIntent {
        id: id.clone(),
        account: String::new(),
        generation: 0,
        attempt: 0,
        desired: Desired::Terminated,
        reboots: 0,
        force: true,
        capture: None,
        request_id: "stray".to_owned(),
        spec: InstanceSpec {
            instance_type: String::new(),
            need: Need::default(),
            boot: BootSource { root: nothing, kernel: None, ramdisk: None, firmware: Firmware::Bios },
            ports: Vec::new(),
            user_data_base64: None,
            key: None,
            hostname: String::new(),
            metadata: Default::default(),
            image_id: "ami-00000000".parse().expect("well-formed"),
            kernel_id: None,
            ramdisk_id: None,
            architecture: String::new(),
            paravirtual: false,
            reservation_id: "r-00000000".parse().expect("well-formed"),
            launch_index: 0,
            launched_at_unix_ms: 0,
            region: String::new(),
            zone: String::new(),
            root_device_name: String::new(),
            tags: Vec::new(),
        },
    }
}
