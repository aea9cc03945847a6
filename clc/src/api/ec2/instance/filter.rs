//! What the filters of DescribeInstances and DescribeInstanceStatus look at.

use super::shape::{address_owner, boot_mode, metadata_state, public_of};
use crate::api::ec2::listing::{time_of, time_text};
use crate::app::instance::launch::private_dns_name;
use crate::app::instance::{Instance, State};
use crate::app::tag::Tags;
use crate::app::volume::root_volume_id;
use karri_proto::aws::filter::Filterable;
use karri_proto::instance::{PortSpec, PublicPort};
use std::collections::HashMap;

/// An instance, as filters see it.
pub struct Subject<'a>(pub &'a Instance);

impl Subject<'_> {
    /// None once it is terminated.
    fn ports(&self) -> &[PortSpec] {
        if self.0.state == State::Terminated { &[] } else { &self.0.spec.ports }
    }

    /// Values that come with the network: those of interfaces of each, the instance's own of the first.
    fn network(&self, name: &str, each: &mut dyn FnMut(&str)) {
        match name.strip_prefix("network-interface.") {
            Some(part) => self.ports().iter().for_each(|port| self.of_port(port, part, each)),
            None => self.ports().iter().take(1).for_each(|port| self.of_port(port, name, each)),
        }
    }

    fn of_port(&self, port: &PortSpec, name: &str, each: &mut dyn FnMut(&str)) {
        if let Some(part) = name.strip_prefix("addresses.") {
            return self.of_addresses(port, part, each);
        }
        if let Some(part) = name.strip_prefix("attachment.") {
            return self.of_attachment(port, part, each);
        }
        let public = public_of(self.0, port);
        let public = public.as_ref();
        match name {
            "association.public-ip" | "ip-address" => self.of_public(public, "public-ip", each),
            "association.ip-owner-id" => self.of_public(public, "ip-owner-id", each),
            "association.public-dns-name" | "dns-name" | "public-dns-name" => {
                self.of_public(public, "public-dns-name", each);
            }
            "private-ip-address" => each(&port.private_ip.to_string()),
            "source-dest-check" => each(if port.source_dest_check { "true" } else { "false" }),
            "ipv6-native" | "operator.managed" | "requester-managed" => each("false"),
            "owner-id" => each(&self.0.account),
            "availability-zone" => each(&self.0.zone),
            "description" => each(&self.0.about(port).description),
            "group-id" | "instance.group-id" => port.groups.iter().for_each(|(id, _)| each(id.as_str())),
            "group-name" | "instance.group-name" => port.groups.iter().for_each(|(_, name)| each(name)),
            "mac-address" => each(&port.mac),
            "network-interface-id" => each(port.id.as_str()),
            "private-dns-name" => each(&private_dns_name(port.private_ip, &self.0.spec.region)),
            "status" => each("in-use"),
            "subnet-id" => each(port.subnet_id.as_str()),
            "vpc-id" => each(port.vpc_id.as_str()),
            _ => {}
        }
    }

    fn of_public(&self, public: Option<&PublicPort>, part: &str, each: &mut dyn FnMut(&str)) {
        let Some(public) = public else { return };
        match part {
            "public-ip" => each(&public.address.to_string()),
            "ip-owner-id" | "owner-id" => each(address_owner(&self.0.account, public)),
            "public-dns-name" => public.name.iter().for_each(|name| each(name)),
            _ => {}
        }
    }

    fn of_addresses(&self, port: &PortSpec, part: &str, each: &mut dyn FnMut(&str)) {
        for (address, public) in port.addresses() {
            match part.strip_prefix("association.") {
                Some(part) => self.of_public(public, part, each),
                None => match part {
                    "private-ip-address" => each(&address.to_string()),
                    "private-dns-name" => each(&private_dns_name(address, &self.0.spec.region)),
                    "primary" => each(if address == port.private_ip { "true" } else { "false" }),
                    _ => {}
                },
            }
        }
    }

    fn of_attachment(&self, port: &PortSpec, part: &str, each: &mut dyn FnMut(&str)) {
        match part {
            "attach-time" => each(&stamp(self.0.attached_ms(port))),
            "attachment-id" => each(&self.0.attachment_id(port)),
            "delete-on-termination" => each(if self.0.about(port).keep { "false" } else { "true" }),
            "device-index" => each(&port.device_index.to_string()),
            "network-card-index" => each("0"),
            "instance-id" => each(self.0.id.as_str()),
            "instance-owner-id" => each(&self.0.account),
            "status" => each(self.0.attachment_status(port)),
            _ => {}
        }
    }

    fn disk(&self, name: &str, each: &mut dyn FnMut(&str)) {
        if self.0.state == State::Terminated {
            return;
        }
        match name {
            "attach-time" => each(&stamp(self.0.spec.launched_at_unix_ms)),
            "delete-on-termination" => each("true"),
            "device-name" => each(&self.0.spec.root_device_name),
            "status" => each(if self.0.state == State::Pending { "attaching" } else { "attached" }),
            "volume-id" => each(&root_volume_id(&self.0.id)),
            _ => {}
        }
    }

    fn metadata(&self, name: &str, each: &mut dyn FnMut(&str)) {
        let options = &self.0.spec.metadata;
        match name {
            "http-protocol-ipv4" => each("enabled"),
            "http-protocol-ipv6" => each("disabled"),
            "state" => each(metadata_state(self.0)),
            "http-endpoint" => each(if options.enabled { "enabled" } else { "disabled" }),
            "http-tokens" => each(if options.tokens_required { "required" } else { "optional" }),
            "http-put-response-hop-limit" => each(&options.hop_limit.to_string()),
            "instance-metadata-tags" => each(if options.tags_shown { "enabled" } else { "disabled" }),
            _ => {}
        }
    }
}

fn stamp(ms: i64) -> String {
    time_text(time_of(ms))
}

impl Filterable for Subject<'_> {
    const FILTERS: &'static [&'static str] = &[
        "affinity",
        "architecture",
        "availability-zone",
        "availability-zone-id",
        "block-device-mapping.attach-time",
        "block-device-mapping.delete-on-termination",
        "block-device-mapping.device-name",
        "block-device-mapping.status",
        "block-device-mapping.volume-id",
        "boot-mode",
        "capacity-reservation-id",
        "capacity-reservation-specification.capacity-reservation-preference",
        "capacity-reservation-specification.capacity-reservation-target.capacity-reservation-id",
        "capacity-reservation-specification.capacity-reservation-target.capacity-reservation-resource-group-arn",
        "client-token",
        "current-instance-boot-mode",
        "dns-name",
        "ebs-optimized",
        "ena-support",
        "enclave-options.enabled",
        "group-id",
        "group-name",
        "hibernation-options.configured",
        "host-id",
        "hypervisor",
        "iam-instance-profile.arn",
        "iam-instance-profile.id",
        "image-id",
        "instance-id",
        "instance-lifecycle",
        "instance-state-code",
        "instance-state-name",
        "instance-type",
        "instance.group-id",
        "instance.group-name",
        "ip-address",
        "ipv6-address",
        "kernel-id",
        "key-name",
        "launch-index",
        "launch-time",
        "maintenance-options.auto-recovery",
        "metadata-options.http-endpoint",
        "metadata-options.http-protocol-ipv4",
        "metadata-options.http-protocol-ipv6",
        "metadata-options.http-put-response-hop-limit",
        "metadata-options.http-tokens",
        "metadata-options.instance-metadata-tags",
        "metadata-options.state",
        "monitoring-state",
        "network-interface.addresses.association.allocation-id",
        "network-interface.addresses.association.association-id",
        "network-interface.addresses.association.carrier-ip",
        "network-interface.addresses.association.customer-owned-ip",
        "network-interface.addresses.association.ip-owner-id",
        "network-interface.addresses.association.public-dns-name",
        "network-interface.addresses.association.public-ip",
        "network-interface.addresses.primary",
        "network-interface.addresses.private-dns-name",
        "network-interface.addresses.private-ip-address",
        "network-interface.association.allocation-id",
        "network-interface.association.association-id",
        "network-interface.association.carrier-ip",
        "network-interface.association.customer-owned-ip",
        "network-interface.association.ip-owner-id",
        "network-interface.association.public-dns-name",
        "network-interface.association.public-ip",
        "network-interface.attachment.attach-time",
        "network-interface.attachment.attachment-id",
        "network-interface.attachment.delete-on-termination",
        "network-interface.attachment.device-index",
        "network-interface.attachment.instance-id",
        "network-interface.attachment.instance-owner-id",
        "network-interface.attachment.network-card-index",
        "network-interface.attachment.status",
        "network-interface.availability-zone",
        "network-interface.deny-all-igw-traffic",
        "network-interface.description",
        "network-interface.group-id",
        "network-interface.group-name",
        "network-interface.ipv4-prefixes.ipv4-prefix",
        "network-interface.ipv6-address",
        "network-interface.ipv6-addresses.ipv6-address",
        "network-interface.ipv6-addresses.is-primary-ipv6",
        "network-interface.ipv6-native",
        "network-interface.ipv6-prefixes.ipv6-prefix",
        "network-interface.mac-address",
        "network-interface.network-interface-id",
        "network-interface.operator.managed",
        "network-interface.operator.principal",
        "network-interface.outpost-arn",
        "network-interface.owner-id",
        "network-interface.private-dns-name",
        "network-interface.private-ip-address",
        "network-interface.public-dns-name",
        "network-interface.requester-id",
        "network-interface.requester-managed",
        "network-interface.source-dest-check",
        "network-interface.status",
        "network-interface.subnet-id",
        "network-interface.tag-key",
        "network-interface.tag-value",
        "network-interface.vpc-id",
        "network-performance-options.bandwidth-weighting",
        "operator.managed",
        "operator.principal",
        "outpost-arn",
        "owner-id",
        "placement-group-name",
        "placement-partition-number",
        "platform",
        "platform-details",
        "private-dns-name",
        "private-dns-name-options.enable-resource-name-dns-a-record",
        "private-dns-name-options.enable-resource-name-dns-aaaa-record",
        "private-dns-name-options.hostname-type",
        "private-ip-address",
        "product-code",
        "product-code.type",
        "ramdisk-id",
        "reason",
        "requester-id",
        "reservation-id",
        "root-device-name",
        "root-device-type",
        "source-dest-check",
        "spot-instance-request-id",
        "state-reason-code",
        "state-reason-message",
        "subnet-id",
        "tenancy",
        "tpm-support",
        "usage-operation",
        "usage-operation-update-time",
        "virtualization-type",
        "vpc-id",
    ];

    fn filter_values(&self, name: &str, each: &mut dyn FnMut(&str)) {
        let (one, spec) = (self.0, &self.0.spec);
        match name {
            "architecture" => each(&spec.architecture),
            "availability-zone" | "availability-zone-id" => each(&one.zone),
            "client-token" => one.client_token.iter().for_each(|token| each(token)),
            "current-instance-boot-mode" => each(boot_mode(one)),
            "ebs-optimized" | "ena-support" | "operator.managed" => each("false"),
            "enclave-options.enabled" | "hibernation-options.configured" => each("false"),
            "hypervisor" => each("xen"),
            "image-id" => each(spec.image_id.as_str()),
            "instance-id" => each(one.id.as_str()),
            "instance-state-code" => each(&one.state.code().to_string()),
            "instance-state-name" => each(one.state.as_str()),
            "instance-type" => each(&spec.instance_type),
            "kernel-id" => spec.kernel_id.iter().for_each(|id| each(id)),
            "key-name" => spec.key.iter().for_each(|key| each(&key.name)),
            "launch-index" => each(&spec.launch_index.to_string()),
            "launch-time" => each(&stamp(one.launched_ms)),
            "maintenance-options.auto-recovery" => each(one.said.auto_recovery()),
            "monitoring-state" => each("disabled"),
            "owner-id" => each(&one.account),
            "platform-details" => each("Linux/UNIX"),
            "network-performance-options.bandwidth-weighting" => each("default"),
            "private-dns-name-options.enable-resource-name-dns-a-record"
            | "private-dns-name-options.enable-resource-name-dns-aaaa-record" => each("false"),
            "private-dns-name-options.hostname-type" => each("ip-name"),
            "ramdisk-id" => spec.ramdisk_id.iter().for_each(|id| each(id)),
            "reason" => each(&one.transition),
            "reservation-id" => each(one.reservation.as_str()),
            "root-device-name" => each(&spec.root_device_name),
            "root-device-type" => each("ebs"),
            "state-reason-code" => one.reason.iter().for_each(|reason| each(&reason.code)),
            "state-reason-message" => one.reason.iter().for_each(|reason| each(&reason.message)),
            "tenancy" => each("default"),
            "usage-operation" => each("RunInstances"),
            "usage-operation-update-time" => each(&stamp(one.launched_ms)),
            "virtualization-type" => each(one.said.virtualization_type()),
            // What an instance never has, such as a host of its own, falls through all of these.
            _ => match name.split_once('.') {
                Some(("block-device-mapping", part)) => self.disk(part, each),
                Some(("metadata-options", part)) => self.metadata(part, each),
                _ => self.network(name, each),
            },
        }
    }

    fn filter_tags(&self, each: &mut dyn FnMut(&str, &str)) {
        self.0.tags.iter().for_each(|(key, value)| each(key, value));
    }
}

/// An instance with the tags of its ports, which only these filters look at.
pub struct WithPortTags<'a> {
    pub subject: Subject<'a>,
    pub tags: &'a HashMap<String, Tags>,
}

impl WithPortTags<'_> {
    pub const NAMES: [&'static str; 2] = ["network-interface.tag-key", "network-interface.tag-value"];
}

impl Filterable for WithPortTags<'_> {
    const FILTERS: &'static [&'static str] = Subject::FILTERS;

    fn filter_values(&self, name: &str, each: &mut dyn FnMut(&str)) {
        if !Self::NAMES.contains(&name) {
            return self.subject.filter_values(name, each);
        }
        let tags = self.subject.ports().iter().filter_map(|port| self.tags.get(port.id.as_str()));
        for (key, value) in tags.flatten() {
            each(if name.ends_with("key") { key } else { value });
        }
    }

    fn filter_tags(&self, each: &mut dyn FnMut(&str, &str)) {
        self.subject.filter_tags(each);
    }
}

/// What is known about how an instance does.
pub struct Health<'a> {
    pub instance: &'a Instance,
    /// `ok`, `insufficient-data` or `not-applicable`.
    pub status: &'static str,
}

impl Health<'_> {
    pub fn reachability(&self) -> Option<&'static str> {
        match self.status {
            "ok" => Some("passed"),
            "insufficient-data" => Some("insufficient-data"),
            _ => None,
        }
    }
}

impl Filterable for Health<'_> {
    const FILTERS: &'static [&'static str] = &[
        "application-status.status",
        "attached-ebs-status.status",
        "availability-zone",
        "availability-zone-id",
        "event.code",
        "event.description",
        "event.instance-event-id",
        "event.not-after",
        "event.not-before",
        "event.not-before-deadline",
        "instance-state-code",
        "instance-state-name",
        "instance-status.reachability",
        "instance-status.status",
        "operator.managed",
        "operator.principal",
        "system-status.reachability",
        "system-status.status",
    ];
    /// EC2 finds no health by tags.
    const TAGGED: bool = false;

    fn filter_values(&self, name: &str, each: &mut dyn FnMut(&str)) {
        match name {
            "availability-zone" | "availability-zone-id" => each(&self.instance.zone),
            "operator.managed" => each("false"),
            "instance-state-code" => each(&self.instance.state.code().to_string()),
            "instance-state-name" => each(self.instance.state.as_str()),
            "instance-status.status" | "system-status.status" => each(self.status),
            "instance-status.reachability" | "system-status.reachability" => {
                self.reachability().into_iter().for_each(each);
            }
            _ => {} // no event was ever scheduled, no status of a volume or an application looked at
        }
    }
}
