//! What the filters of DescribeNetworkInterfaces look at.

use super::shape::{FOR_NAT_GATEWAY, NAT_GATEWAY};
use crate::api::ec2::listing::{Shown, tell, tell_flag, tell_number, tell_tags, tell_time};
use karri_proto::aws::ec2::{NetworkInterface, NetworkInterfaceAssociation, NetworkInterfaceAttachment};
use karri_proto::aws::filter::Filterable;

impl Filterable for Shown<NetworkInterface> {
    const FILTERS: &'static [&'static str] = &[
        "addresses.association.owner-id",
        "addresses.association.public-ip",
        "addresses.primary",
        "addresses.private-ip-address",
        "association.allocation-id",
        "association.association-id",
        "association.ip-owner-id",
        "association.public-dns-name",
        "association.public-ip",
        "attachment.attach-time",
        "attachment.attachment-id",
        "attachment.delete-on-termination",
        "attachment.device-index",
        "attachment.instance-id",
        "attachment.instance-owner-id",
        "attachment.nat-gateway-id",
        "attachment.status",
        "availability-zone",
        "availability-zone-id",
        "description",
        "group-id",
        "group-name",
        "interface-type",
        "ipv6-addresses.ipv6-address",
        "mac-address",
        "network-interface-id",
        "operator.managed",
        "operator.principal",
        "owner-id",
        "private-dns-name",
        "private-ip-address",
        "requester-id",
        "requester-managed",
        "source-dest-check",
        "status",
        "subnet-id",
        "vpc-id",
    ];

    fn filter_values(&self, name: &str, each: &mut dyn FnMut(&str)) {
        let one = &self.0;
        if name == "attachment.nat-gateway-id" {
            return nat_gateway(one).into_iter().for_each(each);
        }
        if let Some(part) = name.strip_prefix("attachment.") {
            return one.attachment.iter().for_each(|attachment| attachment_values(attachment, part, each));
        }
        if let Some(part) = name.strip_prefix("association.") {
            return association_values(one.association.as_ref(), part, each);
        }
        match name {
            "addresses.association.owner-id" => addresses_values(one, "ip-owner-id", each),
            "addresses.association.public-ip" => addresses_values(one, "public-ip", each),
            "addresses.primary" => one.private_ip_addresses.iter().for_each(|a| tell_flag(each, a.primary)),
            "addresses.private-ip-address" => {
                one.private_ip_addresses.iter().for_each(|a| tell(each, &a.private_ip_address));
            }
            "availability-zone" | "availability-zone-id" => tell(each, &one.availability_zone),
            "description" => tell(each, &one.description),
            "group-id" => one.groups.iter().for_each(|group| tell(each, &group.group_id)),
            "group-name" => one.groups.iter().for_each(|group| tell(each, &group.group_name)),
            "interface-type" => tell(each, &one.interface_type),
            "mac-address" => tell(each, &one.mac_address),
            "network-interface-id" => tell(each, &one.network_interface_id),
            "operator.managed" => each("false"),
            "owner-id" => tell(each, &one.owner_id),
            "private-dns-name" => tell(each, &one.private_dns_name),
            "private-ip-address" => tell(each, &one.private_ip_address),
            "requester-managed" => tell_flag(each, one.requester_managed),
            "source-dest-check" => tell_flag(each, one.source_dest_check),
            "status" => tell(each, &one.status),
            "subnet-id" => tell(each, &one.subnet_id),
            "vpc-id" => tell(each, &one.vpc_id),
            _ => {}
        }
    }

    fn filter_tags(&self, each: &mut dyn FnMut(&str, &str)) {
        tell_tags(each, &self.0.tag_set);
    }
}

/// The id of the NAT gateway whose interface it is.
fn nat_gateway(one: &NetworkInterface) -> Option<&str> {
    let is_its = one.interface_type.as_deref() == Some(NAT_GATEWAY);
    one.description.as_deref().filter(|_| is_its)?.strip_prefix(FOR_NAT_GATEWAY)
}

fn addresses_values(one: &NetworkInterface, part: &str, each: &mut dyn FnMut(&str)) {
    one.private_ip_addresses
        .iter()
        .for_each(|address| association_values(address.association.as_ref(), part, each));
}

fn association_values(one: Option<&NetworkInterfaceAssociation>, part: &str, each: &mut dyn FnMut(&str)) {
    let Some(one) = one else { return };
    match part {
        "allocation-id" => tell(each, &one.allocation_id),
        "association-id" => tell(each, &one.association_id),
        "ip-owner-id" => tell(each, &one.ip_owner_id),
        "public-dns-name" => tell(each, &one.public_dns_name),
        "public-ip" => tell(each, &one.public_ip),
        _ => {}
    }
}

fn attachment_values(one: &NetworkInterfaceAttachment, part: &str, each: &mut dyn FnMut(&str)) {
    match part {
        "attach-time" => tell_time(each, one.attach_time),
        "attachment-id" => tell(each, &one.attachment_id),
        "delete-on-termination" => tell_flag(each, one.delete_on_termination),
        "device-index" => tell_number(each, one.device_index),
        "instance-id" => tell(each, &one.instance_id),
        "instance-owner-id" => tell(each, &one.instance_owner_id),
        "status" => tell(each, &one.status),
        _ => {}
    }
}
