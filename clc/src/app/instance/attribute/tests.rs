//! What may be changed in which state, and what the node hears of it.

use super::*;
use crate::config::Limits;
use karri_proto::instance::{BlobFormat, BootSource, Desired, Digest, Firmware, PortSpec};
use karri_proto::resources::Need;

const SUBNET: &str = "subnet-0123456789abcdef0";

fn blob() -> BlobRef {
    let digest = Digest::from_sha256([1; 32]);
    BlobRef { digest, format: BlobFormat::Raw, bytes: 1, virtual_bytes: 1 }
}

fn spec() -> InstanceSpec {
    let port = PortSpec {
        id: "eni-0123456789abcdef0".parse().unwrap(),
        mac: "02:00:00:00:00:01".into(),
        private_ip: [172, 31, 0, 4].into(),
        subnet_id: SUBNET.parse().unwrap(),
        subnet_cidr: "172.31.0.0/20".into(),
        vpc_id: "vpc-0123456789abcdef0".parse().unwrap(),
        vpc_cidr: "172.31.0.0/16".into(),
        gateway: [172, 31, 0, 1].into(),
        groups: vec![("sg-0123456789abcdef0".parse().unwrap(), "default".into())],
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
        reservation_id: "r-0123456789abcdef0".parse().unwrap(),
        launch_index: 0,
        launched_at_unix_ms: 0,
        region: "karri-1".into(),
        zone: "zone-a".into(),
        root_device_name: "/dev/sda1".into(),
        tags: Vec::new(),
    }
}

fn instance(state: State) -> Instance {
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
        force: false,
        request_id: "before".into(),
        state,
        acknowledged: 3,
        forgotten: false,
        node: None,
        reason: None,
        transition: String::new(),
        deadline_ms: None,
        purge_ms: None,
    }
}

fn apply(state: State, wanted: &Change) -> Result<(bool, Instance), Fault> {
    let limits = Limits::default();
    let order = Order { request_id: "now", now_ms: 1, limits: &limits };
    let mut instance = instance(state);
    let changed = change(&mut instance, wanted, order)?;
    Ok((changed, instance))
}

fn larger() -> Change {
    Change::InstanceType { name: "m5.large".into(), vcpus: 2, memory_mib: 8192 }
}

#[test]
fn what_a_guest_starts_with_changes_only_while_it_is_stopped() {
    let kernel = Change::Kernel { id: "aki-0123456789abcdef0".into(), blob: blob() };
    let ramdisk = Change::Ramdisk { id: "ari-0123456789abcdef0".into(), blob: blob() };
    for wanted in [larger(), Change::UserData { present: true }, kernel, ramdisk] {
        for state in State::ALL {
            let outcome = apply(state, &wanted);
            match state {
                State::Stopped => assert!(outcome.unwrap().0, "{wanted:?}"),
                _ => {
                    assert_eq!(outcome.unwrap_err().code(), "IncorrectInstanceState", "{state:?} {wanted:?}")
                }
            }
        }
    }
}

#[test]
fn another_type_keeps_the_disk_and_waits_for_the_next_start() {
    let (_, changed) = apply(State::Stopped, &larger()).unwrap();
    assert_eq!(changed.spec.need, Need { vcpus: 2, memory_mib: 8192, disk_gib: 8 });
    assert_eq!((changed.spec.instance_type.as_str(), changed.generation), ("m5.large", 3));
}

#[test]
fn protection_changes_in_every_state_but_at_the_end_and_concerns_no_node() {
    for state in State::ALL {
        let outcome = apply(state, &Change::DisableApiTermination(true));
        match state {
            State::ShuttingDown | State::Terminated => {
                assert_eq!(outcome.unwrap_err().code(), "IncorrectInstanceState", "{state:?}");
            }
            _ => {
                let (changed, instance) = outcome.unwrap();
                assert!(changed && instance.disable_api_termination && instance.generation == 3, "{state:?}");
            }
        }
    }
}

#[test]
fn metadata_options_reach_a_running_guest_by_a_new_generation() {
    let wish = MetadataWish { tokens_required: Some(true), hop_limit: Some(2), ..MetadataWish::default() };
    let (changed, instance) = apply(State::Running, &Change::Metadata(wish)).unwrap();
    assert!(changed);
    let expected = MetadataOptions { tokens_required: true, hop_limit: 2, ..MetadataOptions::default() };
    assert_eq!(instance.spec.metadata, expected);
    assert_eq!((instance.generation, instance.request_id.as_str()), (4, "now"));
}

#[test]
fn what_changes_nothing_is_not_written() {
    let group = ("sg-0123456789abcdef0".parse().unwrap(), "default".into());
    for wanted in [
        Change::AsItIs,
        Change::Metadata(MetadataWish::default()),
        Change::Groups(vec![group]),
        Change::ShutdownBehavior(ShutdownBehavior::Stop),
    ] {
        let (changed, instance) = apply(State::Running, &wanted).unwrap();
        assert!(!changed && instance.generation == 3, "{wanted:?}");
    }
}
