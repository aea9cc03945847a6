//! Values that tests begin with.

use karri_proto::ids::InstanceId;
use karri_proto::instance::{
    BlobFormat, BlobRef, BootSource, Desired, Digest, Firmware, InstanceIntent, InstanceSpec, PortSpec,
};
use karri_proto::resources::{Need, NodeFacts};

pub fn instance_id(number: u32) -> InstanceId {
    format!("i-{number:017x}").parse().unwrap()
}

pub fn need(vcpus: u32) -> Need {
    Need { vcpus, memory_mib: u64::from(vcpus) * 1024, disk_gib: u64::from(vcpus) * 8 }
}

pub fn facts(name: &str, vcpus: u32) -> NodeFacts {
    NodeFacts {
        name: name.to_owned(),
        total: need(vcpus),
        accelerator: "sim".to_owned(),
        hypervisor: "sim".to_owned(),
        version: "0".to_owned(),
        foreign_guests: Vec::new(),
    }
}

/// The first generation of an instance that wants one vCPU, running.
pub fn intent(number: u32) -> InstanceIntent {
    let [_, b, c, d] = number.to_be_bytes();
    let root = BlobRef {
        digest: Digest::from_sha256([1; 32]),
        format: BlobFormat::Qcow2,
        bytes: 1 << 20,
        virtual_bytes: 1 << 30,
    };
    let port = PortSpec {
        id: format!("eni-{number:017x}").parse().unwrap(),
        mac: format!("02:00:00:{b:02x}:{c:02x}:{d:02x}"),
        private_ip: [172, 31, c, d].into(),
        subnet_id: "subnet-0000000000000001a".parse().unwrap(),
        segment: 0,
        subnet_cidr: "172.31.0.0/20".to_owned(),
        vpc_id: "vpc-0000000000000001a".parse().unwrap(),
        vpc_cidr: "172.31.0.0/16".to_owned(),
        more_vpc_cidrs: Vec::new(),
        gateway: [172, 31, 0, 1].into(),
        groups: Vec::new(),
        public: None,
        learns_address: false,
        forwarded: Vec::new(),
        device_index: 0,
        secondary: Vec::new(),
        source_dest_check: true,
    };
    InstanceIntent {
        id: instance_id(number),
        account: "000000000001".to_owned(),
        generation: 1,
        attempt: 0,
        desired: Desired::Running,
        reboots: 0,
        force: false,
        capture: None,
        request_id: format!("req-{number}"),
        spec: InstanceSpec {
            instance_type: "t3.micro".to_owned(),
            need: need(1),
            boot: BootSource { root, kernel: None, ramdisk: None, firmware: Firmware::Bios },
            ports: vec![port],
            user_data_base64: None,
            key: None,
            hostname: format!("ip-172-31-{c}-{d}"),
            metadata: Default::default(),
            image_id: "ami-0000000000000001a".parse().unwrap(),
            kernel_id: None,
            ramdisk_id: None,
            architecture: "x86_64".to_owned(),
            paravirtual: false,
            reservation_id: "r-0000000000000001a".parse().unwrap(),
            launch_index: 0,
            launched_at_unix_ms: 0,
            region: "karri".to_owned(),
            zone: "zone-a".to_owned(),
            root_device_name: "/dev/vda".to_owned(),
            tags: Vec::new(),
        },
    }
}

pub fn next(intent: &InstanceIntent, desired: Desired) -> InstanceIntent {
    InstanceIntent { generation: intent.generation + 1, desired, ..intent.clone() }
}
