//! A network interface as EC2 tells of it.

use crate::api::cx::Cx;
use crate::api::ec2::instance::{address_owner, private_address, private_name};
use crate::api::ec2::listing::time_of;
use crate::api::ec2::tag::shown;
use crate::app::address::mac_of;
use crate::app::instance::Instance;
use crate::app::names::private_dns_name;
use crate::app::network_interface::Interface;
use crate::app::tag::Tags;
use crate::store::nat_gateway::NatGateway;
use crate::store::network_interface::Leaving;
use crate::store::public_address::PublicAddress;
use karri_proto::aws::ec2::{
    GroupIdentifier, NetworkInterface, NetworkInterfaceAssociation, NetworkInterfaceAttachment,
    NetworkInterfacePrivateIpAddress,
};
use karri_proto::fault::Fault;
use karri_proto::ids::SecurityGroupId;
use karri_proto::instance::{PortSpec, PublicPort};
use std::collections::HashMap;
use std::net::Ipv4Addr;

/// The type of a NAT gateway's interface, which nobody else can make.
pub const NAT_GATEWAY: &str = "nat_gateway";

/// How the description of a NAT gateway's interface begins, which is all that says whose it is; its id follows.
pub const FOR_NAT_GATEWAY: &str = "Interface for NAT Gateway ";

/// Public addresses of an account, by themselves.
pub type Addresses = HashMap<Ipv4Addr, PublicAddress>;

pub async fn addresses(cx: &Cx, account: &str) -> Result<Addresses, Fault> {
    let rows = cx.app.store.public_address_list(account).await?;
    Ok(rows.into_iter().map(|address| (address.ip, address)).collect())
}

/// EC2 makes it and keeps it, and nobody else changes it.
pub fn of_nat_gateway(cx: &Cx, gateway: &NatGateway) -> NetworkInterface {
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
        description: Some(format!("{FOR_NAT_GATEWAY}{}", gateway.id)),
        interface_type: Some(NAT_GATEWAY.to_owned()),
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

fn association(owner: &str, public: &PublicPort, addresses: &Addresses) -> NetworkInterfaceAssociation {
    let row = addresses.get(&public.address);
    NetworkInterfaceAssociation {
        allocation_id: row.and_then(|row| row.allocation_id.clone()),
        association_id: row.and_then(|row| row.leads_to.as_ref()?.association_id.clone()),
        ip_owner_id: Some(address_owner(owner, public).to_owned()),
        public_dns_name: Some(public.name.clone().unwrap_or_default()),
        public_ip: Some(public.address.to_string()),
        ..Default::default()
    }
}

pub fn group((id, name): &(SecurityGroupId, String)) -> GroupIdentifier {
    GroupIdentifier { group_id: Some(id.to_string()), group_name: Some(name.clone()) }
}

pub fn describe(cx: &Cx, one: &Interface, addresses: &Addresses, tags: &Tags) -> NetworkInterface {
    let port = &one.port;
    let name = |address| {
        let held = one.holder.as_ref().map(|instance| private_name(instance, port, address));
        Some(held.unwrap_or_else(|| private_dns_name(address, &cx.app.region)))
    };
    let private = |(address, public): (Ipv4Addr, Option<&PublicPort>)| NetworkInterfacePrivateIpAddress {
        association: public.map(|public| association(&one.account, public, addresses)),
        primary: Some(address == port.private_ip),
        private_dns_name: name(address),
        private_ip_address: Some(address.to_string()),
    };
    NetworkInterface {
        association: port.public.as_ref().map(|public| association(&one.account, public, addresses)),
        attachment: attachment_of(one),
        availability_zone: Some(one.zone.clone()),
        availability_zone_id: Some(one.zone.clone()),
        description: Some(one.about.description.clone()),
        groups: port.groups.iter().map(group).collect(),
        interface_type: Some("interface".to_owned()),
        mac_address: Some(port.mac.clone()),
        network_interface_id: Some(port.id.to_string()),
        owner_id: Some(one.account.clone()),
        private_dns_name: name(port.private_ip),
        private_ip_address: private_address(port),
        private_ip_addresses: port.addresses().map(private).collect(),
        requester_managed: Some(false),
        source_dest_check: Some(port.source_dest_check),
        status: Some(if one.is_in_use() { "in-use" } else { "available" }.to_owned()),
        subnet_id: Some(port.subnet_id.to_string()),
        tag_set: shown(tags),
        vpc_id: Some(port.vpc_id.to_string()),
        ..Default::default()
    }
}

/// None: nobody has it.
pub fn attachment_of(one: &Interface) -> Option<NetworkInterfaceAttachment> {
    let leaving = one.leaving.as_ref().map(|leaving| detaching(&one.account, leaving));
    one.holder.as_ref().map(|instance| attachment(instance, &one.port)).or(leaving)
}

fn detaching(owner: &str, leaving: &Leaving) -> NetworkInterfaceAttachment {
    NetworkInterfaceAttachment {
        attach_time: Some(time_of(leaving.attached_ms)),
        attachment_id: Some(leaving.attachment.clone()),
        delete_on_termination: Some(!leaving.keep),
        device_index: i32::try_from(leaving.device_index).ok(),
        instance_id: Some(leaving.instance.to_string()),
        instance_owner_id: Some(owner.to_owned()),
        network_card_index: Some(0),
        status: Some("detaching".to_owned()),
        ..Default::default()
    }
}

fn attachment(instance: &Instance, port: &PortSpec) -> NetworkInterfaceAttachment {
    NetworkInterfaceAttachment {
        attach_time: Some(time_of(instance.attached_ms(port))),
        attachment_id: Some(instance.attachment_id(port)),
        delete_on_termination: Some(!instance.about(port).keep),
        device_index: i32::try_from(port.device_index).ok(),
        instance_id: Some(instance.id.to_string()),
        instance_owner_id: Some(instance.account.clone()),
        network_card_index: Some(0),
        status: Some(instance.attachment_status(port).to_owned()),
        ..Default::default()
    }
}
