//! Network interfaces: those of the account's instances.

use super::instance::{address_owner, private_address};
use super::listing::{
    Shown, absent, ids_or_page, named, page, tell, tell_flag, tell_number, tell_tags, tell_time, time_of,
};
use super::tag::shown;
use crate::api::cx::{Answer, Cx};
use crate::api::permit::{Asks, Target, not_dry};
use crate::app::address::mac_of;
use crate::app::instance::attribute::Wish;
use crate::app::instance::launch::private_dns_name;
use crate::app::instance::{Instance, State};
use crate::app::tag::{Taggable, Tags};
use crate::store::nat_gateway::NatGateway;
use crate::store::public_address::PublicAddress;
use karri_proto::aws::Done;
use karri_proto::aws::ec2::{
    DescribeNetworkInterfacesRequest, DescribeNetworkInterfacesResult, GroupIdentifier,
    ModifyNetworkInterfaceAttributeRequest, NetworkInterface, NetworkInterfaceAssociation,
    NetworkInterfaceAttachment, NetworkInterfacePrivateIpAddress,
};
use karri_proto::aws::filter::Filterable;
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::NetworkInterfaceId;
use karri_proto::instance::{PortSpec, PublicPort};
use std::collections::HashMap;

pub async fn describe_network_interfaces(
    cx: Cx,
    request: DescribeNetworkInterfacesRequest,
) -> Answer<DescribeNetworkInterfacesResult> {
    ids_or_page(&request.network_interface_ids, request.max_results, "networkInterfaceIdSet")?;
    for id in &request.network_interface_ids {
        id.parse::<NetworkInterfaceId>()?;
    }
    let mut tags = cx.app.store.tags_of_account(cx.account(), Taggable::NetworkInterface).await?;
    let mut interfaces = Vec::new();
    let addresses = cx.app.store.public_address_list(cx.account()).await?;
    let addresses: HashMap<std::net::Ipv4Addr, PublicAddress> =
        addresses.into_iter().map(|address| (address.ip, address)).collect();
    for gateway in cx.app.store.nat_gateway_list(cx.account()).await? {
        if gateway.is_there() {
            interfaces.push((gateway.port_id.clone(), of_nat_gateway(&cx, &gateway)));
        }
    }
    for instance in cx.app.instances.of_account(cx.account()) {
        if instance.state == State::Terminated {
            continue;
        }
        for (port, index) in instance.spec.ports.iter().zip(0..) {
            let tags = tags.remove(port.id.as_str()).unwrap_or_default();
            interfaces.push((port.id.to_string(), describe(&instance, port, index, &addresses, &tags)));
        }
    }
    let code = FaultCode::InvalidNetworkInterfaceIdNotFound;
    let missing = |ids: &[&str]| absent(code, "networkInterface ID", ids);
    let interfaces = named(&request.network_interface_ids, interfaces, |(id, _)| id, missing)?;
    let interfaces = interfaces.into_iter().map(|(_, interface)| interface).collect();
    let key = |interface: &NetworkInterface| interface.network_interface_id.clone().unwrap_or_default();
    let (network_interfaces, next_token) = page(&request, interfaces, key)?;
    Ok(DescribeNetworkInterfacesResult { network_interfaces, next_token })
}

/// EC2 makes it and keeps it, and nobody else changes it.
fn of_nat_gateway(cx: &Cx, gateway: &NatGateway) -> NetworkInterface {
    let association = gateway.public.as_ref().map(|public| NetworkInterfaceAssociation {
        allocation_id: Some(public.allocation_id.clone()),
        association_id: Some(public.association_id.clone()),
        ip_owner_id: Some(gateway.account.clone()),
        public_dns_name: Some(String::new()),
        public_ip: Some(public.ip.to_string()),
        ..Default::default()
    });
    let address = gateway.private_ip.to_string();
    NetworkInterface {
        association: association.clone(),
        attachment: Some(NetworkInterfaceAttachment {
            attach_time: Some(time_of(gateway.created_ms)),
            attachment_id: Some(gateway.port_id.replacen("eni-", "ela-attach-", 1)),
            delete_on_termination: Some(false),
            device_index: Some(1),
            instance_owner_id: Some("amazon-aws".to_owned()),
            status: Some("attached".to_owned()),
            ..Default::default()
        }),
        availability_zone: Some(gateway.zone.clone()),
        availability_zone_id: Some(gateway.zone.clone()),
        description: Some(format!("Interface for NAT Gateway {}", gateway.id)),
        interface_type: Some("nat_gateway".to_owned()),
        mac_address: Some(mac_of(gateway.private_ip)),
        network_interface_id: Some(gateway.port_id.clone()),
        owner_id: Some(gateway.account.clone()),
        private_dns_name: Some(private_dns_name(gateway.private_ip, &cx.app.region)),
        private_ip_address: Some(address.clone()),
        private_ip_addresses: vec![NetworkInterfacePrivateIpAddress {
            association,
            primary: Some(true),
            private_dns_name: Some(private_dns_name(gateway.private_ip, &cx.app.region)),
            private_ip_address: Some(address),
        }],
        requester_id: Some(gateway.account.clone()),
        requester_managed: Some(true),
        source_dest_check: Some(false),
        status: Some("in-use".to_owned()),
        subnet_id: Some(gateway.subnet_id.clone()),
        vpc_id: Some(gateway.vpc_id.clone()),
        ..Default::default()
    }
}

fn association(
    instance: &Instance,
    public: &PublicPort,
    addresses: &HashMap<std::net::Ipv4Addr, PublicAddress>,
) -> NetworkInterfaceAssociation {
    let row = addresses.get(&public.address);
    NetworkInterfaceAssociation {
        allocation_id: row.and_then(|row| row.allocation_id.clone()),
        association_id: row.and_then(|row| row.leads_to.as_ref()?.association_id.clone()),
        ip_owner_id: Some(address_owner(instance, public).to_owned()),
        public_dns_name: Some(public.name.clone().unwrap_or_default()),
        public_ip: Some(public.address.to_string()),
        ..Default::default()
    }
}

fn describe(
    instance: &Instance,
    port: &PortSpec,
    index: i32,
    addresses: &HashMap<std::net::Ipv4Addr, PublicAddress>,
    tags: &Tags,
) -> NetworkInterface {
    let association = port.public.as_ref().map(|public| association(instance, public, addresses));
    let address = private_address(port);
    let name = Some(instance.spec.hostname.clone());
    let group = |(id, name): &(karri_proto::ids::SecurityGroupId, String)| GroupIdentifier {
        group_id: Some(id.to_string()),
        group_name: Some(name.clone()),
    };
    NetworkInterface {
        association: association.clone(),
        attachment: Some(attachment(instance, port, index)),
        availability_zone: Some(instance.zone.clone()),
        availability_zone_id: Some(instance.zone.clone()),
        description: Some(instance.said.port_description.clone()),
        groups: port.groups.iter().map(group).collect(),
        interface_type: Some("interface".to_owned()),
        mac_address: Some(port.mac.clone()),
        network_interface_id: Some(port.id.to_string()),
        owner_id: Some(instance.account.clone()),
        private_dns_name: name.clone(),
        private_ip_address: address.clone(),
        private_ip_addresses: vec![NetworkInterfacePrivateIpAddress {
            association,
            primary: Some(true),
            private_dns_name: name,
            private_ip_address: address,
        }],
        requester_managed: Some(false),
        source_dest_check: Some(true),
        status: Some("in-use".to_owned()),
        subnet_id: Some(port.subnet_id.to_string()),
        tag_set: shown(tags),
        vpc_id: Some(port.vpc_id.to_string()),
        ..Default::default()
    }
}

fn attachment(instance: &Instance, port: &PortSpec, index: i32) -> NetworkInterfaceAttachment {
    NetworkInterfaceAttachment {
        attach_time: Some(time_of(instance.spec.launched_at_unix_ms)),
        attachment_id: Some(port.id.as_str().replacen("eni-", "eni-attach-", 1)),
        delete_on_termination: Some(true),
        device_index: Some(index),
        instance_id: Some(instance.id.to_string()),
        instance_owner_id: Some(instance.account.clone()),
        network_card_index: Some(0),
        status: Some(if instance.state == State::Pending { "attaching" } else { "attached" }.to_owned()),
        ..Default::default()
    }
}

pub fn of_modify_attribute(_: &Cx, request: &ModifyNetworkInterfaceAttributeRequest) -> Asks {
    let mut targets = vec![Target::new("network-interface", &request.network_interface_id)];
    targets.extend(request.groups.iter().map(|id| Target::new("security-group", id)));
    Asks::On(targets)
}

/// One attribute at a time, as EC2 has it. An instance's interface has what it has, but for its groups.
pub async fn modify_network_interface_attribute(
    cx: Cx,
    request: ModifyNetworkInterfaceAttributeRequest,
) -> Answer<Done> {
    let instance = cx.app.instance_of_port(cx.caller(), &request.network_interface_id).await?;
    let as_it_is = [
        request.source_dest_check.as_ref().map(|check| check.value != Some(false)),
        request.attachment.as_ref().map(|attachment| attachment.delete_on_termination != Some(false)),
    ];
    let refused = [
        request.description.is_some(),
        request.associate_public_ip_address.is_some(),
        request.connection_tracking_specification.is_some(),
        request.ena_srd_specification.is_some(),
        request.enable_primary_ipv6.is_some(),
        !request.associated_subnet_ids.is_empty(),
    ];
    if refused.contains(&true) || as_it_is.contains(&Some(false)) {
        let sentence = "Of a network interface, only the security groups can be modified";
        return Err(Fault::new(FaultCode::UnsupportedOperation, sentence));
    }
    match (request.groups.is_empty(), as_it_is.iter().flatten().count()) {
        (false, 0) => {
            let wish = Wish::Groups(request.groups.clone());
            cx.app.interface_groups_check(&instance, &request.groups).await?;
            not_dry(&request)?;
            cx.app.instance_modify(cx.caller(), &instance.id, wish).await?;
        }
        (true, 1) => {}
        (true, 0) => {
            let sentence = "No attributes specified.";
            return Err(Fault::new(FaultCode::InvalidParameterCombination, sentence));
        }
        _ => {
            let sentence = "Fields for multiple attribute types specified";
            return Err(Fault::new(FaultCode::InvalidParameterCombination, sentence));
        }
    }
    not_dry(&request)?;
    Ok(Done)
}

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
        if let (Some(part), Some(attachment)) = (name.strip_prefix("attachment."), &one.attachment) {
            return attachment_values(attachment, part, each);
        }
        if let Some(part) = name.strip_prefix("association.") {
            return association_values(one.association.as_ref(), part, each);
        }
        match name {
            "addresses.association.owner-id" => {
                association_values(one.association.as_ref(), "ip-owner-id", each)
            }
            "addresses.association.public-ip" => {
                association_values(one.association.as_ref(), "public-ip", each)
            }
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
