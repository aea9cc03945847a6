//! Network interfaces: those of the account's instances and of its NAT gateways, and those that are attached to nothing.

mod asked;
mod attribute;
mod change;
mod filter;
mod shape;

pub use asked::{addresses, description, parse_ip};
pub use attribute::{
    describe_attribute_asks, describe_network_interface_attribute, modify_attribute_asks,
    modify_network_interface_attribute, reset_attribute_asks, reset_network_interface_attribute,
};
pub use change::{
    assign_asks, assign_private_ip_addresses, attach_asks, attach_network_interface, create_asks,
    create_network_interface, delete_asks, delete_network_interface, detach_asks, detach_network_interface,
    unassign_asks, unassign_private_ip_addresses,
};

use super::listing::{absent, ids_or_page, named, page};
use crate::api::cx::{Answer, Cx};
use crate::app::instance::State;
use crate::app::network_interface::Interface;
use crate::app::tag::Taggable;
use karri_proto::aws::ec2::{
    DescribeNetworkInterfacesRequest, DescribeNetworkInterfacesResult, NetworkInterface,
};
use karri_proto::fault::FaultCode;
use karri_proto::ids::NetworkInterfaceId;
use std::collections::HashSet;

const KIND: &str = "network-interface";

pub async fn describe_network_interfaces(
    cx: Cx,
    request: DescribeNetworkInterfacesRequest,
) -> Answer<DescribeNetworkInterfacesResult> {
    ids_or_page(&request.network_interface_ids, request.max_results, "networkInterfaceIdSet")?;
    for id in &request.network_interface_ids {
        id.parse::<NetworkInterfaceId>()?;
    }
    let mut tags = cx.app.store.tags_of_account(cx.account(), Taggable::NetworkInterface).await?;
    let addresses = shape::addresses(&cx, cx.account()).await?;
    let mut told = Vec::new();
    for gateway in cx.app.store.nat_gateway_list(cx.account()).await? {
        if gateway.is_there() {
            told.push((gateway.port_id.clone(), shape::of_nat_gateway(&cx, &gateway)));
        }
    }
    // First those of rows: one that is attached in between is in both, and told once.
    let alone = cx.app.store.network_interface_list(cx.account()).await?;
    let mut interfaces: Vec<Interface> = alone.into_iter().map(|row| cx.app.interface_of_row(row)).collect();
    for instance in cx.app.instances.of_account(cx.account()) {
        if instance.state != State::Terminated {
            let ids = instance.spec.ports.iter().map(|port| &port.id);
            interfaces.extend(ids.filter_map(|id| Interface::of((*instance).clone(), Some(id))));
        }
    }
    let mut seen = HashSet::new();
    for one in interfaces.iter().filter(|one| seen.insert(&one.port.id)) {
        let id = one.port.id.to_string();
        let tags = tags.remove(&id).unwrap_or_default();
        told.push((id, shape::describe(&cx, one, &addresses, &tags)));
    }
    let code = FaultCode::InvalidNetworkInterfaceIdNotFound;
    let missing = |ids: &[&str]| absent(code, "networkInterface ID", ids);
    let told = named(&request.network_interface_ids, told, |(id, _)| id, missing)?;
    let told = told.into_iter().map(|(_, interface)| interface).collect();
    let key = |interface: &NetworkInterface| interface.network_interface_id.clone().unwrap_or_default();
    let (network_interfaces, next_token) = page(&request, told, key)?;
    Ok(DescribeNetworkInterfacesResult { network_interfaces, next_token })
}
