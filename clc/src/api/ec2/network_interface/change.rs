//! Network interfaces made, given to instances, and taken away.

use super::asked::{addresses, description, parse_ip, secondary};
use super::{KIND, shape};
use crate::api::cx::{Answer, Cx};
use crate::api::ec2::tag::specified;
use crate::api::ec2::token::token;
use crate::api::permit::{Asks, Target, grant, not_dry};
use crate::app::network_interface::{AssignOrder, AttachOrder, InterfaceOrder, Joined};
use crate::app::tag::Taggable;
use karri_proto::aws::ec2::{
    AssignPrivateIpAddressesRequest, AssignPrivateIpAddressesResult, AssignedPrivateIpAddress,
    AttachNetworkInterfaceRequest, AttachNetworkInterfaceResult, CreateNetworkInterfaceRequest,
    CreateNetworkInterfaceResult, DeleteNetworkInterfaceRequest, DetachNetworkInterfaceRequest,
    UnassignPrivateIpAddressesRequest,
};
use karri_proto::aws::{Done, WireFault};
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::NetworkInterfaceAttachmentId;

fn unsupported(sentence: &'static str) -> Fault {
    Fault::new(FaultCode::UnsupportedOperation, sentence)
}

pub fn create_asks(_: &Cx, request: &CreateNetworkInterfaceRequest) -> Asks {
    let groups = request.groups.iter().map(|id| Target::new("security-group", id));
    let made = [Target::new(KIND, "*"), Target::new("subnet", &request.subnet_id)];
    Asks::On(made.into_iter().chain(groups).collect())
}

fn refuse_unsupported(request: &CreateNetworkInterfaceRequest) -> Result<(), Fault> {
    let some = |count: Option<i32>| count.is_some_and(|count| count > 0);
    let ipv6 = !request.ipv6_addresses.is_empty()
        || some(request.ipv6_address_count)
        || request.enable_primary_ipv6 == Some(true);
    let prefixes = !request.ipv4_prefixes.is_empty()
        || !request.ipv6_prefixes.is_empty()
        || some(request.ipv4_prefix_count)
        || some(request.ipv6_prefix_count);
    for (wanted, sentence) in [
        (ipv6, "IPv6 is not supported"),
        (prefixes, "Address prefixes are not supported"),
        (
            request.interface_type.as_deref().is_some_and(|kind| kind != "interface"),
            "Interfaces of special types are not supported",
        ),
        (
            request.connection_tracking_specification.is_some(),
            "Timeouts of connection tracking are not supported",
        ),
        (request.operator.is_some(), "Operators are not supported"),
    ] {
        if wanted {
            return Err(unsupported(sentence));
        }
    }
    Ok(())
}

pub async fn create_network_interface(
    cx: Cx,
    request: CreateNetworkInterfaceRequest,
) -> Answer<CreateNetworkInterfaceResult> {
    refuse_unsupported(&request)?;
    let (private_ip, secondary) = addresses(
        request.private_ip_address.as_deref(),
        &request.private_ip_addresses,
        request.secondary_private_ip_address_count,
    )?;
    let order = InterfaceOrder {
        subnet: request.subnet_id.clone(),
        groups: request.groups.clone(),
        private_ip,
        secondary,
        description: description(request.description.as_deref())?,
        tags: specified(&request.tag_specifications, Taggable::NetworkInterface)?,
    };
    let used = token(&cx, &request)?;
    let made = cx.app.interface_create(cx.caller(), &order, &used, request.dry_run == Some(true)).await?;
    not_dry(&request)?;
    let tags = cx.app.store.tags_of_resource(&made.account, made.port.id.as_str()).await?;
    let public = shape::addresses(&cx, &made.account).await?;
    let network_interface = Some(shape::describe(&cx, &made, &public, &tags));
    Ok(CreateNetworkInterfaceResult { client_token: request.client_token, network_interface })
}

pub fn delete_asks(_: &Cx, request: &DeleteNetworkInterfaceRequest) -> Asks {
    Asks::On(vec![Target::new(KIND, &request.network_interface_id)])
}

pub async fn delete_network_interface(cx: Cx, request: DeleteNetworkInterfaceRequest) -> Answer<Done> {
    let id = request.network_interface_id.parse()?;
    cx.app.interface_delete(cx.caller(), &id, request.dry_run == Some(true)).await?;
    not_dry(&request)?;
    Ok(Done)
}

pub fn attach_asks(_: &Cx, request: &AttachNetworkInterfaceRequest) -> Asks {
    let interface = Target::new(KIND, &request.network_interface_id);
    Asks::On(vec![interface, Target::new("instance", &request.instance_id)])
}

fn index(name: &'static str, value: i32) -> Result<u32, Fault> {
    let wrong = || WireFault::invalid(name, &value.to_string(), "Expecting a number from 0.").into();
    u32::try_from(value).map_err(|_| wrong())
}

pub async fn attach_network_interface(
    cx: Cx,
    request: AttachNetworkInterfaceRequest,
) -> Answer<AttachNetworkInterfaceResult> {
    if request.ena_queue_count.is_some() || request.ena_srd_specification.is_some() {
        return Err(unsupported("ENA options are not supported"));
    }
    let order = AttachOrder {
        interface: request.network_interface_id.parse()?,
        instance: request.instance_id.parse()?,
        device_index: index("deviceIndex", request.device_index)?,
        network_card: index("networkCardIndex", request.network_card_index.unwrap_or(0))?,
    };
    let id = cx.app.interface_attach(cx.caller(), &order, request.dry_run == Some(true)).await?;
    not_dry(&request)?;
    Ok(AttachNetworkInterfaceResult { attachment_id: Some(id), network_card_index: Some(0) })
}

/// The interface and its instance have to be looked up first.
pub fn detach_asks(_: &Cx, _: &DetachNetworkInterfaceRequest) -> Asks {
    Asks::Nothing
}

pub async fn detach_network_interface(cx: Cx, request: DetachNetworkInterfaceRequest) -> Answer<Done> {
    let id: NetworkInterfaceAttachmentId = request.attachment_id.parse()?;
    let Joined { instance, interface } = cx.app.attached(cx.caller(), &id).await?;
    let targets = vec![Target::new(KIND, interface.as_str()), Target::new("instance", instance.as_str())];
    grant(&cx, &request, Asks::On(targets)).await?;
    let (force, dry) = (request.force == Some(true), request.dry_run == Some(true));
    cx.app.interface_detach(cx.caller(), &id, force, dry).await?;
    not_dry(&request)?;
    Ok(Done)
}

pub fn assign_asks(_: &Cx, request: &AssignPrivateIpAddressesRequest) -> Asks {
    Asks::On(vec![Target::new(KIND, &request.network_interface_id)])
}

pub async fn assign_private_ip_addresses(
    cx: Cx,
    request: AssignPrivateIpAddressesRequest,
) -> Answer<AssignPrivateIpAddressesResult> {
    if !request.ipv4_prefixes.is_empty() || request.ipv4_prefix_count.is_some_and(|count| count > 0) {
        return Err(unsupported("Address prefixes are not supported"));
    }
    let asked =
        request.private_ip_addresses.iter().map(|text| parse_ip(text)).collect::<Result<Vec<_>, _>>()?;
    let count = request.secondary_private_ip_address_count;
    if asked.is_empty() == count.is_none() {
        let (code, sentence) = match count {
            None => (
                FaultCode::MissingParameter,
                "Either privateIpAddresses or secondaryPrivateIpAddressCount must be specified.",
            ),
            Some(_) => (
                FaultCode::InvalidParameterCombination,
                "privateIpAddresses and secondaryPrivateIpAddressCount cannot be specified together.",
            ),
        };
        return Err(Fault::new(code, sentence));
    }
    let order = AssignOrder {
        interface: request.network_interface_id.parse()?,
        secondary: secondary(asked, count)?,
        reassign: request.allow_reassignment == Some(true),
    };
    let assigned = cx.app.addresses_assign(cx.caller(), &order).await?;
    let told = assigned
        .addresses
        .iter()
        .map(|address| AssignedPrivateIpAddress { private_ip_address: Some(address.to_string()) });
    Ok(AssignPrivateIpAddressesResult {
        assigned_private_ip_addresses: told.collect(),
        network_interface_id: Some(request.network_interface_id),
        ..Default::default()
    })
}

pub fn unassign_asks(_: &Cx, request: &UnassignPrivateIpAddressesRequest) -> Asks {
    Asks::On(vec![Target::new(KIND, &request.network_interface_id)])
}

pub async fn unassign_private_ip_addresses(
    cx: Cx,
    request: UnassignPrivateIpAddressesRequest,
) -> Answer<Done> {
    if !request.ipv4_prefixes.is_empty() {
        return Err(unsupported("Address prefixes are not supported"));
    }
    if request.private_ip_addresses.is_empty() {
        let sentence = "The request must contain the parameter privateIpAddresses";
        return Err(Fault::new(FaultCode::MissingParameter, sentence));
    }
    let addresses =
        request.private_ip_addresses.iter().map(|text| parse_ip(text)).collect::<Result<Vec<_>, _>>()?;
    let id = request.network_interface_id.parse()?;
    cx.app.addresses_unassign(cx.caller(), &id, &addresses).await?;
    Ok(Done)
}
