//! What a launch says of its network interfaces: the request's own network parameters, or a list of interfaces.

use super::unsupported::refuse_unsupported_interface;
use crate::api::ec2::network_interface::{addresses, description, parse_ip};
use crate::app::instance::launch::{First, More, PortOrder};
use crate::app::network_interface::Secondary;
use karri_proto::aws::WireFault;
use karri_proto::aws::ec2::{InstanceNetworkInterfaceSpecification, RunInstancesRequest};
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::NetworkInterfaceId;
use std::collections::HashSet;
use std::net::Ipv4Addr;

/// All of it, the interface at index 0 first.
#[derive(Debug, Default)]
pub struct Network {
    pub subnet_id: Option<String>,
    pub private_ip: Option<Ipv4Addr>,
    pub group_ids: Vec<String>,
    pub description: String,
    pub public_address: Option<bool>,
    pub first: First,
    pub more: Vec<More>,
}

fn combination(sentence: &'static str) -> Fault {
    Fault::new(FaultCode::InvalidParameterCombination, sentence)
}

pub fn network(request: &RunInstancesRequest) -> Result<Network, Fault> {
    let network = match request.network_interfaces.as_slice() {
        [] => Network {
            subnet_id: request.subnet_id.clone(),
            private_ip: request.private_ip_address.as_deref().map(parse_ip).transpose()?,
            group_ids: request.security_group_ids.clone(),
            ..Network::default()
        },
        list => of_list(request, list)?,
    };
    if network.subnet_id.is_some() && !request.security_groups.is_empty() {
        return Err(combination("The parameter groupName cannot be used with the parameter subnet"));
    }
    Ok(network)
}

fn of_list(
    request: &RunInstancesRequest,
    list: &[InstanceNetworkInterfaceSpecification],
) -> Result<Network, Fault> {
    let twice = request.subnet_id.is_some()
        || request.private_ip_address.is_some()
        || !request.security_group_ids.is_empty()
        || !request.security_groups.is_empty();
    if twice {
        let sentence = "Network interfaces and an instance-level subnet ID, private address or security groups may not \
                        be specified on the same request";
        return Err(combination(sentence));
    }
    let mut ports = Vec::with_capacity(list.len());
    for one in list {
        refuse_unsupported_interface(one)?;
        // Whoever says nothing of the only one means the first.
        let index = one.device_index.or((list.len() == 1).then_some(0));
        let index = index.ok_or_else(|| WireFault::missing("NetworkInterface.DeviceIndex"))?;
        let wrong = || Fault::invalid_parameter(format!("Invalid device index '{index}'."));
        ports.push((u32::try_from(index).map_err(|_| wrong())?, one));
    }
    ports.sort_by_key(|(index, _)| *index);
    let mut seen = HashSet::new();
    if !ports.iter().all(|(index, _)| seen.insert(*index)) {
        return Err(Fault::invalid_parameter("Each network interface requires a unique device index."));
    }
    let Some(((0, first), rest)) = ports.split_first() else {
        let sentence = "When specifying network interfaces, you must include a device at index 0.";
        return Err(Fault::invalid_parameter(sentence));
    };
    let public = list.iter().find_map(|one| one.associate_public_ip_address);
    if public == Some(true) && list.len() > 1 {
        let sentence = "The associatePublicIPAddress parameter cannot be specified when launching with multiple network \
                        interfaces.";
        return Err(combination(sentence));
    }
    let PortOrder { subnet_id, group_ids, private_ip, description, secondary, keep } = new(first)?;
    let existing = named(first)?;
    // A subnet gives public addresses to those that have one new interface.
    let none = list.len() > 1 || existing.is_some();
    let more = rest.iter().map(|(index, one)| {
        Ok(match named(one)? {
            Some(id) => More::Existing { device_index: *index, id, keep: keeps(one) },
            None => More::New { device_index: *index, order: new(one)? },
        })
    });
    Ok(Network {
        subnet_id,
        private_ip,
        group_ids,
        description,
        public_address: if none { Some(false) } else { public },
        first: First { existing, secondary, keep },
        more: more.collect::<Result<_, Fault>>()?,
    })
}

/// Those that were there before outlive their instances unless it is said.
fn keeps(one: &InstanceNetworkInterfaceSpecification) -> bool {
    one.delete_on_termination.map_or(one.network_interface_id.is_some(), |delete| !delete)
}

fn new(one: &InstanceNetworkInterfaceSpecification) -> Result<PortOrder, Fault> {
    let (private_ip, secondary) = addresses(
        one.private_ip_address.as_deref(),
        &one.private_ip_addresses,
        one.secondary_private_ip_address_count,
    )?;
    Ok(PortOrder {
        subnet_id: one.subnet_id.clone(),
        group_ids: one.groups.clone(),
        private_ip,
        description: description(one.description.as_deref())?,
        secondary,
        keep: keeps(one),
    })
}

/// One that is there has its own of everything.
fn named(one: &InstanceNetworkInterfaceSpecification) -> Result<Option<NetworkInterfaceId>, Fault> {
    let Some(id) = &one.network_interface_id else { return Ok(None) };
    let has_more = one.secondary_private_ip_address_count.is_some() || !one.private_ip_addresses.is_empty();
    for (said, what) in [
        (one.subnet_id.is_some(), "a subnet"),
        (!one.groups.is_empty(), "security groups"),
        (one.private_ip_address.is_some() || has_more, "private addresses"),
        (one.description.is_some(), "a description"),
        (one.associate_public_ip_address.is_some(), "a public address"),
        (one.delete_on_termination == Some(true), "delete on termination as true"),
    ] {
        if said {
            let sentence =
                format!("A network interface may not specify both a network interface ID and {what}");
            return Err(Fault::new(FaultCode::InvalidParameterCombination, sentence));
        }
    }
    id.parse().map(Some)
}

/// Of several instances each is to have its own.
pub fn check_count(network: &Network, count: usize) -> Result<(), Fault> {
    if count <= 1 {
        return Ok(());
    }
    let these = |secondary: &Secondary| matches!(secondary, Secondary::These(these) if !these.is_empty());
    let addresses = |more: &More| match more {
        More::Existing { .. } => false,
        More::New { order, .. } => order.private_ip.is_some() || these(&order.secondary),
    };
    if network.private_ip.is_some() || these(&network.first.secondary) || network.more.iter().any(addresses) {
        let sentence = "A private address can be asked for only when one instance is launched";
        return Err(combination(sentence));
    }
    let is_existing = |more: &More| matches!(more, More::Existing { .. });
    if network.first.existing.is_some() || network.more.iter().any(is_existing) {
        let sentence = "A network interface ID can be specified only when one instance is launched";
        return Err(combination(sentence));
    }
    Ok(())
}
