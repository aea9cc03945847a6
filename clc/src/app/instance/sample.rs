//! An instance for tests: running, with one port.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

use super::{Instance, ShutdownBehavior, State};
use karri_proto::instance::{
    BlobFormat, BlobRef, BootSource, Desired, Digest, Firmware, InstanceSpec, MetadataOptions, PortSpec,
};
use karri_proto::resources::Need;
use std::sync::Arc;

pub fn blob() -> BlobRef {
    let digest = Digest::from_sha256([1; 32]);
    BlobRef { digest, format: BlobFormat::Raw, bytes: 1, virtual_bytes: 1 }
}

fn spec() -> InstanceSpec {
    let port = PortSpec {
        id: "eni-0123456789abcdef0".parse().unwrap(),
        mac: "02:00:00:00:00:01".into(),
        private_ip: [172, 31, 0, 4].into(),
        subnet_id: "subnet-0123456789abcdef0".parse().unwrap(),
        segment: 0,
        subnet_cidr: "172.31.0.0/20".into(),
        vpc_id: "vpc-0123456789abcdef0".parse().unwrap(),
        vpc_cidr: "172.31.0.0/16".into(),
        more_vpc_cidrs: Vec::new(),
        gateway: [172, 31, 0, 1].into(),
        groups: vec![("sg-0123456789abcdef0".parse().unwrap(), "default".into())],
        public: None,
        learns_address: false,
        forwarded: Vec::new(),
        device_index: 0,
        secondary: Vec::new(),
        source_dest_check: true,
    };
    InstanceSpec {
        instance_type: "t3.micro".into(),
        need: Need { vcpus: 2, memory_mib: 1024, disk_gib: 8 },
        boot: BootSource { root: blob(), kernel: None, ramdisk: None, firmware: Firmware::Bios },
        ports: vec![port],
        user_data_base64: None,
        key: None,
        hostname: "ip-172-31-0-4".into(),
        metadata: MetadataOptions::default(),
        image_id: "ami-0123456789abcdef0".parse().unwrap(),
        kernel_id: None,
        ramdisk_id: None,
        architecture: "x86_64".into(),
        paravirtual: false,
        reservation_id: "r-0123456789abcdef0".parse().unwrap(),
        launch_index: 0,
        launched_at_unix_ms: 0,
        region: "karri-1".into(),
        zone: "zone-a".into(),
        root_device_name: "/dev/sda1".into(),
        tags: Vec::new(),
    }
}

pub fn instance() -> Instance {
    Instance {
        id: "i-0123456789abcdef0".parse().unwrap(),
        change: 1,
        account: "000000000001".into(),
        reservation: "r-0123456789abcdef0".parse().unwrap(),
        cluster: "a".into(),
        zone: "zone-a".into(),
        client_token: None,
        spec: Arc::new(spec()),
        has_user_data: false,
        tags: Vec::new(),
        shutdown_behavior: ShutdownBehavior::Stop,
        disable_api_stop: false,
        disable_api_termination: false,
        said: Default::default(),
        launched_ms: 0,
        desired: Desired::Running,
        generation: 3,
        reboots: 0,
        capture: None,
        captured: None,
        force: false,
        request_id: "before".into(),
        state: State::Running,
        acknowledged: 3,
        forgotten: false,
        node: None,
        reason: None,
        transition: String::new(),
        deadline_ms: None,
        purge_ms: None,
    }
}
