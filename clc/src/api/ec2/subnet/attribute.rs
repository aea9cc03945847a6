//! What a subnet has that may be changed, one at a time. What it has anyway may be said.

use super::KIND;
use crate::api::cx::{Answer, Cx};
use crate::api::permit::{Asks, Target};
use karri_proto::aws::Done;
use karri_proto::aws::ec2::{AttributeBooleanValue, HostnameType, ModifySubnetAttributeRequest};
use karri_proto::fault::{Fault, FaultCode};

pub fn modify_asks(_: &Cx, request: &ModifySubnetAttributeRequest) -> Asks {
    Asks::On(vec![Target::new(KIND, &request.subnet_id)])
}

pub async fn modify_subnet_attribute(cx: Cx, request: ModifySubnetAttributeRequest) -> Answer<Done> {
    let combination = |sentence: &'static str| Fault::new(FaultCode::InvalidParameterCombination, sentence);
    let as_it_is = as_it_is(&request);
    let map = flag(&request.map_public_ip_on_launch);
    let said = as_it_is.iter().filter(|(wanted, _)| wanted.is_some()).count();
    match said + usize::from(map.is_some()) {
        0 => return Err(combination("No attributes specified.")),
        1 => {}
        _ => return Err(combination("Fields for multiple attribute types specified")),
    }
    let subnet = cx.app.subnet_named(cx.caller(), &request.subnet_id).await?;
    if let Some((_, what)) = as_it_is.into_iter().find(|(wanted, _)| *wanted == Some(false)) {
        return Err(Fault::new(FaultCode::UnsupportedOperation, format!("{what} not supported")));
    }
    if let Some(value) = map {
        cx.app.subnet_map_public_ip(cx.caller(), &subnet.id, value).await?;
    }
    Ok(Done)
}

fn flag(value: &Option<AttributeBooleanValue>) -> Option<bool> {
    value.as_ref()?.value
}

/// Of each that cannot be otherwise: whether what is wanted is what the subnet has; None: nothing is said of it.
fn as_it_is(request: &ModifySubnetAttributeRequest) -> [(Option<bool>, &'static str); 8] {
    let off = |value: &Option<AttributeBooleanValue>| flag(value).map(|wanted| !wanted);
    let names = request.private_dns_hostname_type_on_launch.as_deref();
    [
        (off(&request.assign_ipv6_address_on_creation), "IPv6 is"),
        (off(&request.enable_dns64), "DNS64 is"),
        (names.map(|kind| kind == HostnameType::IP_NAME), "Resource names of hosts are"),
        (off(&request.enable_resource_name_dns_a_record_on_launch), "DNS records of resource names are"),
        (off(&request.enable_resource_name_dns_aaaa_record_on_launch), "DNS records of resource names are"),
        (off(&request.map_customer_owned_ip_on_launch), "Address pools of customers are"),
        (request.customer_owned_ipv4_pool.as_ref().map(|_| false), "Address pools of customers are"),
        (local_interfaces(request), "Local network interfaces are"),
    ]
}

fn local_interfaces(request: &ModifySubnetAttributeRequest) -> Option<bool> {
    match (request.enable_lni_at_device_index, flag(&request.disable_lni_at_device_index)) {
        (None, disabled) => disabled,
        (Some(_), _) => Some(false),
    }
}
