//! What the filters of DescribeInstances and DescribeInstanceStatus look at.

use super::shape::at_ms;
use crate::app::instance::launch::private_dns_name;
use crate::app::instance::{Instance, State};
use crate::app::volume::root_volume_id;
use karri_proto::aws::filter::Filterable;
use karri_proto::instance::PortSpec;
use time::format_description::well_known::Rfc3339;

/// An instance, as filters see it.
pub struct Subject<'a>(pub &'a Instance);

impl Subject<'_> {
    fn port(&self) -> Option<&PortSpec> {
        self.0.spec.ports.first().filter(|_| self.0.state != State::Terminated)
    }

    /// Values that come with the network; none once it is terminated.
    fn network(&self, name: &str, each: &mut dyn FnMut(&str)) {
        let Some(port) = self.port() else { return };
        let name = name.strip_prefix("network-interface.").unwrap_or(name);
        match name {
            "addresses.private-ip-address" | "private-ip-address" => each(&port.private_ip.to_string()),
            "addresses.primary" | "attachment.delete-on-termination" => each("true"),
            "source-dest-check" => each("true"),
            "attachment.attachment-id" => each(&port.id.as_str().replacen("eni-", "eni-attach-", 1)),
            "attachment.device-index" => each("0"),
            "attachment.instance-id" => each(self.0.id.as_str()),
            "attachment.instance-owner-id" | "owner-id" => each(&self.0.account),
            "attachment.status" => {
                each(if self.0.state == State::Pending { "attaching" } else { "attached" })
            }
            "availability-zone" => each(&self.0.zone),
            "description" => each(&self.0.said.port_description),
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
            "http-endpoint" => each(if options.enabled { "enabled" } else { "disabled" }),
            "http-tokens" => each(if options.tokens_required { "required" } else { "optional" }),
            "http-put-response-hop-limit" => each(&options.hop_limit.to_string()),
            "instance-metadata-tags" => each(if options.tags_shown { "enabled" } else { "disabled" }),
            _ => {}
        }
    }
}

fn stamp(ms: i64) -> String {
    at_ms(ms).and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
}

impl Filterable for Subject<'_> {
    const FILTERS: &'static [&'static str] = &[
        "affinity",
        "architecture",
        "availability-zone",
        "block-device-mapping.attach-time",
        "block-device-mapping.delete-on-termination",
        "block-device-mapping.device-name",
        "block-device-mapping.status",
        "block-device-mapping.volume-id",
        "client-token",
        "dns-name",
        "hypervisor",
        "iam-instance-profile.arn",
        "image-id",
        "instance-id",
        "instance-lifecycle",
        "instance-state-code",
        "instance-state-name",
        "instance-type",
        "instance.group-id",
        "instance.group-name",
        "group-id",
        "group-name",
        "ip-address",
        "kernel-id",
        "key-name",
        "launch-index",
        "launch-time",
        "metadata-options.http-endpoint",
        "metadata-options.http-put-response-hop-limit",
        "metadata-options.http-tokens",
        "metadata-options.instance-metadata-tags",
        "monitoring-state",
        "network-interface.addresses.primary",
        "network-interface.addresses.private-ip-address",
        "network-interface.attachment.attachment-id",
        "network-interface.attachment.delete-on-termination",
        "network-interface.attachment.device-index",
        "network-interface.attachment.instance-id",
        "network-interface.attachment.instance-owner-id",
        "network-interface.attachment.status",
        "network-interface.availability-zone",
        "network-interface.description",
        "network-interface.group-id",
        "network-interface.group-name",
        "network-interface.mac-address",
        "network-interface.network-interface-id",
        "network-interface.owner-id",
        "network-interface.private-dns-name",
        "network-interface.private-ip-address",
        "network-interface.source-dest-check",
        "network-interface.status",
        "network-interface.subnet-id",
        "network-interface.vpc-id",
        "owner-id",
        "placement-group-name",
        "platform",
        "platform-details",
        "private-dns-name",
        "private-ip-address",
        "product-code",
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
        "usage-operation",
        "virtualization-type",
        "vpc-id",
    ];

    fn filter_values(&self, name: &str, each: &mut dyn FnMut(&str)) {
        let (one, spec) = (self.0, &self.0.spec);
        match name {
            "architecture" => each(&spec.architecture),
            "availability-zone" => each(&one.zone),
            "client-token" => one.client_token.iter().for_each(|token| each(token)),
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
            "monitoring-state" => each("disabled"),
            "owner-id" => each(&one.account),
            "platform-details" => each("Linux/UNIX"),
            "ramdisk-id" => spec.ramdisk_id.iter().for_each(|id| each(id)),
            "reason" => each(&one.transition),
            "reservation-id" => each(one.reservation.as_str()),
            "root-device-name" => each(&spec.root_device_name),
            "root-device-type" => each("ebs"),
            "state-reason-code" => one.reason.iter().for_each(|reason| each(&reason.code)),
            "state-reason-message" => one.reason.iter().for_each(|reason| each(&reason.message)),
            "tenancy" => each("default"),
            "usage-operation" => each("RunInstances"),
            "virtualization-type" => each("hvm"),
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
        "availability-zone",
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
        "system-status.reachability",
        "system-status.status",
    ];

    fn filter_values(&self, name: &str, each: &mut dyn FnMut(&str)) {
        match name {
            "availability-zone" => each(&self.instance.zone),
            "instance-state-code" => each(&self.instance.state.code().to_string()),
            "instance-state-name" => each(self.instance.state.as_str()),
            "instance-status.status" | "system-status.status" => each(self.status),
            "instance-status.reachability" | "system-status.reachability" => {
                self.reachability().into_iter().for_each(each);
            }
            _ => {} // no event was ever scheduled
        }
    }

    fn filter_tags(&self, each: &mut dyn FnMut(&str, &str)) {
        self.instance.tags.iter().for_each(|(key, value)| each(key, value));
    }
}
