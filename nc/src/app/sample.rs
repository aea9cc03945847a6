//! An intent with every field filled, for tests and fuzzing.

use karri_proto::instance::*;
use karri_proto::resources::Need;

fn id<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().expect("the sample's ids are well-formed")
}

fn blob(digit: char, format: BlobFormat) -> BlobRef {
    let digest = id(&format!("sha256:{}", digit.to_string().repeat(64)));
    BlobRef { digest, format, bytes: 1000, virtual_bytes: 1 << 20 }
}

pub fn intent() -> InstanceIntent {
    InstanceIntent {
        id: id("i-0123456789abcdef0"),
        account: "000000000001".to_owned(),
        generation: 1,
        attempt: 1,
        desired: Desired::Running,
        reboots: 0,
        force: false,
        capture: None,
        request_id: "req-1".to_owned(),
        spec: spec(),
    }
}

fn spec() -> InstanceSpec {
    InstanceSpec {
        instance_type: "t3.micro".to_owned(),
        need: Need { vcpus: 2, memory_mib: 1024, disk_gib: 8 },
        boot: BootSource {
            root: blob('a', BlobFormat::Raw),
            kernel: Some(blob('b', BlobFormat::Raw)),
            ramdisk: Some(blob('c', BlobFormat::Raw)),
            firmware: Firmware::Bios,
        },
        ports: vec![port()],
        user_data_base64: Some("IyEvYmluL3NoCg==".to_owned()),
        key: Some(PublicKey {
            name: "alice's <key>".to_owned(),
            openssh: "ssh-ed25519 AAAAC3Nz alice".to_owned(),
        }),
        hostname: "ip-172-31-0-5.karri.internal".to_owned(),
        metadata: MetadataOptions { tags_shown: true, ..MetadataOptions::default() },
        image_id: id("ami-0123456789abcdef0"),
        kernel_id: Some("aki-0123456789abcdef0".to_owned()),
        ramdisk_id: Some("ari-0123456789abcdef0".to_owned()),
        architecture: "x86_64".to_owned(),
        paravirtual: true,
        reservation_id: id("r-0123456789abcdef0"),
        launch_index: 0,
        launched_at_unix_ms: 1_700_000_000_000,
        region: "karri".to_owned(),
        zone: "zone-a".to_owned(),
        root_device_name: "/dev/sda1".to_owned(),
        tags: vec![
            ("Name".to_owned(), "web".to_owned()),
            ("not shown".to_owned(), "1".to_owned()),
            ("7=x".to_owned(), "2".to_owned()),
        ],
    }
}

fn port() -> PortSpec {
    PortSpec {
        id: id("eni-0123456789abcdef0"),
        mac: "02:00:00:00:00:05".to_owned(),
        private_ip: std::net::Ipv4Addr::new(172, 31, 0, 5),
        subnet_id: id("subnet-0123456789abcdef0"),
        segment: 0,
        subnet_cidr: "172.31.0.0/20".to_owned(),
        vpc_id: id("vpc-0123456789abcdef0"),
        vpc_cidr: "172.31.0.0/16".to_owned(),
        more_vpc_cidrs: Vec::new(),
        gateway: std::net::Ipv4Addr::new(172, 31, 0, 1),
        groups: vec![(id("sg-0123456789abcdef0"), "default".to_owned())],
        public: None,
        learns_address: false,
        forwarded: Vec::new(),
        device_index: 0,
        secondary: Vec::new(),
        source_dest_check: true,
    }
}
