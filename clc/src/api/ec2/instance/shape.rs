//! An instance in EC2's words.

use super::control::state;
use crate::app::instance::{Instance, State};
use crate::app::names::private_dns_name;
use crate::app::volume::root_volume_id;
use karri_proto::aws::ec2;
use karri_proto::ids::SecurityGroupId;
use karri_proto::instance::{Firmware, PortSpec, PublicPort};
use std::net::Ipv4Addr;
use std::sync::Arc;
use time::OffsetDateTime;

pub fn at_ms(ms: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn group(group: &(SecurityGroupId, String)) -> ec2::GroupIdentifier {
    ec2::GroupIdentifier { group_id: Some(group.0.to_string()), group_name: Some(group.1.clone()) }
}

/// The instances of one reservation.
pub fn reservation(instances: &[Arc<Instance>]) -> ec2::Reservation {
    let hollow = instances.first().map(|one| reservation_of(one)).unwrap_or_default();
    ec2::Reservation { instances: instances.iter().map(|one| instance(one)).collect(), ..hollow }
}

/// The reservation of an instance, without instances.
pub fn reservation_of(one: &Instance) -> ec2::Reservation {
    ec2::Reservation {
        groups: Vec::new(), // of EC2-Classic
        instances: Vec::new(),
        owner_id: Some(one.account.clone()),
        requester_id: None,
        reservation_id: Some(one.reservation.to_string()),
    }
}

pub fn boot_mode(one: &Instance) -> &'static str {
    match one.spec.boot.firmware {
        Firmware::Bios => "legacy-bios",
        Firmware::Uefi => "uefi",
    }
}

pub fn instance(one: &Instance) -> ec2::Instance {
    let spec = &one.spec;
    ec2::Instance {
        ami_launch_index: i32::try_from(spec.launch_index).ok(),
        architecture: Some(spec.architecture.clone()),
        client_token: Some(one.client_token.clone().unwrap_or_default()),
        cpu_options: cpu_options(one),
        current_instance_boot_mode: some(boot_mode(one)),
        ebs_optimized: Some(false),
        ena_support: Some(false),
        enclave_options: Some(ec2::EnclaveOptions { enabled: Some(false) }),
        hibernation_options: Some(ec2::HibernationOptions { configured: Some(false) }),
        hypervisor: some("xen"), // what EC2 says of every instance, whatever it runs on
        image_id: Some(spec.image_id.to_string()),
        instance_id: Some(one.id.to_string()),
        instance_type: Some(spec.instance_type.clone()),
        kernel_id: spec.kernel_id.clone(),
        key_name: spec.key.as_ref().map(|key| key.name.clone()),
        launch_time: at_ms(one.launched_ms),
        maintenance_options: Some(ec2::InstanceMaintenanceOptions {
            auto_recovery: some(one.said.auto_recovery()),
            reboot_migration: some("default"),
        }),
        metadata_options: Some(metadata_options(one)),
        monitoring: Some(ec2::Monitoring { state: some("disabled"), ..Default::default() }),
        network_performance_options: Some(ec2::InstanceNetworkPerformanceOptions {
            bandwidth_weighting: some("default"),
        }),
        placement: Some(ec2::Placement {
            availability_zone: Some(one.zone.clone()),
            availability_zone_id: Some(one.zone.clone()),
            group_name: Some(String::new()),
            tenancy: some("default"),
            ..Default::default()
        }),
        platform_details: some("Linux/UNIX"),
        private_dns_name_options: Some(ec2::PrivateDnsNameOptionsResponse {
            enable_resource_name_dns_aaaa_record: Some(false),
            enable_resource_name_dns_a_record: Some(false),
            hostname_type: some("ip-name"),
        }),
        ramdisk_id: spec.ramdisk_id.clone(),
        root_device_name: Some(spec.root_device_name.clone()),
        root_device_type: some("ebs"),
        state: Some(state(one.state)),
        state_reason: one.reason.as_ref().map(|reason| ec2::StateReason {
            code: Some(reason.code.clone()),
            message: Some(reason.message.clone()),
        }),
        state_transition_reason: Some(one.transition.clone()),
        tags: tags(one),
        usage_operation: some("RunInstances"),
        usage_operation_update_time: at_ms(one.launched_ms),
        virtualization_type: some(one.said.virtualization_type()),
        ..attached(one)
    }
}

/// As DescribeInstanceTypes tells of the type.
fn cpu_options(one: &Instance) -> Option<ec2::CpuOptions> {
    let threads = one.said.threads_per_core.filter(|threads| *threads > 0)?;
    Some(ec2::CpuOptions {
        core_count: i32::try_from(one.spec.need.vcpus / threads).ok(),
        threads_per_core: i32::try_from(threads).ok(),
        ..Default::default()
    })
}

/// What a terminated instance has no more: disks and network.
fn attached(one: &Instance) -> ec2::Instance {
    let Some(port) = one.spec.ports.first().filter(|_| one.state != State::Terminated) else {
        let none = || Some(String::new());
        return ec2::Instance { private_dns_name: none(), public_dns_name: none(), ..Default::default() };
    };
    ec2::Instance {
        block_device_mappings: vec![ec2::InstanceBlockDeviceMapping {
            device_name: Some(one.spec.root_device_name.clone()),
            ebs: Some(ec2::EbsInstanceBlockDevice {
                attach_time: at_ms(one.spec.launched_at_unix_ms),
                delete_on_termination: Some(true),
                status: some(if one.state == State::Pending { "attaching" } else { "attached" }),
                volume_id: Some(root_volume_id(&one.id)),
                ..Default::default()
            }),
        }],
        network_interfaces: one.spec.ports.iter().map(|port| network_interface(one, port)).collect(),
        private_dns_name: Some(private_name(one, port, port.private_ip)),
        private_ip_address: private_address(port),
        public_dns_name: Some(public_of(one, port).and_then(|public| public.name).unwrap_or_default()),
        public_ip_address: public_of(one, port).map(|public| public.address.to_string()),
        security_groups: port.groups.iter().map(group).collect(),
        source_dest_check: Some(port.source_dest_check),
        subnet_id: Some(port.subnet_id.to_string()),
        vpc_id: Some(port.vpc_id.to_string()),
        ..Default::default()
    }
}

/// What leads to a port from outside. Ports of the host that are led to a guest are so only while it runs.
pub fn public_of(one: &Instance, port: &PortSpec) -> Option<PublicPort> {
    let led = port.forwarded.first().filter(|_| one.state != State::Stopped);
    let led = || led.map(|led| PublicPort { address: *led.host.ip(), name: None, elastic: false });
    port.public.clone().or_else(led)
}

/// None: the site has not given it yet.
pub fn private_address(port: &PortSpec) -> Option<String> {
    Some(port.private_ip).filter(|address| !address.is_unspecified()).map(|address| address.to_string())
}

/// Of one of the port's addresses. Where the site gives addresses, the first goes by the instance's name.
pub fn private_name(one: &Instance, port: &PortSpec, address: Ipv4Addr) -> String {
    match port.learns_address && address == port.private_ip {
        true => one.spec.hostname.clone(),
        false => private_dns_name(address, &one.spec.region),
    }
}

fn network_interface(one: &Instance, port: &PortSpec) -> ec2::InstanceNetworkInterface {
    let name = |address| Some(private_name(one, port, address));
    let first = public_of(one, port);
    let private = |(address, public): (Ipv4Addr, Option<&PublicPort>)| {
        let public = if address == port.private_ip { first.as_ref() } else { public };
        ec2::InstancePrivateIpAddress {
            association: public.map(|public| association(one, public)),
            primary: Some(address == port.private_ip),
            private_dns_name: name(address),
            private_ip_address: Some(address.to_string()),
        }
    };
    ec2::InstanceNetworkInterface {
        association: first.as_ref().map(|public| association(one, public)),
        attachment: Some(ec2::InstanceNetworkInterfaceAttachment {
            attach_time: at_ms(one.attached_ms(port)),
            attachment_id: Some(one.attachment_id(port)),
            delete_on_termination: Some(!one.about(port).keep),
            device_index: i32::try_from(port.device_index).ok(),
            network_card_index: Some(0),
            status: some(one.attachment_status(port)),
            ..Default::default()
        }),
        description: Some(one.about(port).description),
        groups: port.groups.iter().map(group).collect(),
        interface_type: some("interface"),
        mac_address: Some(port.mac.clone()),
        network_interface_id: Some(port.id.to_string()),
        owner_id: Some(one.account.clone()),
        private_dns_name: name(port.private_ip),
        private_ip_address: private_address(port),
        private_ip_addresses: port.addresses().map(private).collect(),
        source_dest_check: Some(port.source_dest_check),
        status: some("in-use"),
        subnet_id: Some(port.subnet_id.to_string()),
        vpc_id: Some(port.vpc_id.to_string()),
        ..Default::default()
    }
}

fn association(one: &Instance, public: &PublicPort) -> ec2::InstanceNetworkInterfaceAssociation {
    ec2::InstanceNetworkInterfaceAssociation {
        ip_owner_id: Some(address_owner(&one.account, public).to_owned()),
        public_dns_name: Some(public.name.clone().unwrap_or_default()),
        public_ip: Some(public.address.to_string()),
        ..Default::default()
    }
}

/// Addresses that are not elastic are EC2's own.
pub fn address_owner<'a>(account: &'a str, public: &PublicPort) -> &'a str {
    if public.elastic { account } else { "amazon" }
}

/// What its owner asked for counts once the cluster has durably accepted it, as EC2's word for it says.
pub fn metadata_state(one: &Instance) -> &'static str {
    if one.acknowledged < one.generation { "pending" } else { "applied" }
}

pub fn metadata_options(one: &Instance) -> ec2::InstanceMetadataOptionsResponse {
    let options = &one.spec.metadata;
    let switch = |on: bool| some(if on { "enabled" } else { "disabled" });
    ec2::InstanceMetadataOptionsResponse {
        http_endpoint: switch(options.enabled),
        http_protocol_ipv6: some("disabled"),
        http_put_response_hop_limit: Some(options.hop_limit.into()),
        http_tokens: some(if options.tokens_required { "required" } else { "optional" }),
        instance_metadata_tags: switch(options.tags_shown),
        state: some(metadata_state(one)),
    }
}

fn tags(one: &Instance) -> Vec<ec2::Tag> {
    let tag =
        |(key, value): &(String, String)| ec2::Tag { key: Some(key.clone()), value: Some(value.clone()) };
    one.tags.iter().map(tag).collect()
}
