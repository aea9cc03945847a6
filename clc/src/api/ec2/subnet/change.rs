//! Subnets made and removed.

use super::{KIND, describe};
use crate::api::cx::{Answer, Cx};
use crate::api::ec2::tag::specified;
use crate::api::permit::{Asks, Target, not_dry};
use crate::app::subnet::NewSubnet;
use crate::app::tag::{Taggable, Tags};
use karri_proto::aws::Done;
use karri_proto::aws::ec2::{
    CreateDefaultSubnetRequest, CreateDefaultSubnetResult, CreateSubnetRequest, CreateSubnetResult,
    DeleteSubnetRequest,
};
use karri_proto::fault::{Fault, FaultCode};

fn unsupported(what: &str) -> Fault {
    Fault::new(FaultCode::UnsupportedOperation, format!("{what} is not supported"))
}

/// A zone's id is its name here.
fn zone<'r>(name: Option<&'r String>, id: Option<&'r String>) -> Result<Option<&'r str>, Fault> {
    match (name, id) {
        (Some(_), Some(_)) => {
            let sentence = "The parameters availabilityZone and availabilityZoneId cannot be used together";
            Err(Fault::new(FaultCode::InvalidParameterCombination, sentence))
        }
        (name, id) => Ok(name.or(id).map(String::as_str).filter(|zone| !zone.is_empty())),
    }
}

pub fn create_asks(_: &Cx, request: &CreateSubnetRequest) -> Asks {
    Asks::On(vec![Target::new(KIND, "*"), Target::new("vpc", &request.vpc_id)])
}

pub async fn create_subnet(cx: Cx, request: CreateSubnetRequest) -> Answer<CreateSubnetResult> {
    let tags = specified(&request.tag_specifications, Taggable::Subnet)?;
    let ipv6 = request.ipv6_cidr_block.is_some()
        || request.ipv6_native == Some(true)
        || request.ipv6_ipam_pool_id.is_some()
        || request.ipv6_netmask_length.is_some();
    if ipv6 {
        return Err(unsupported("IPv6"));
    }
    if request.ipv4_ipam_pool_id.is_some() || request.ipv4_netmask_length.is_some() {
        return Err(unsupported("A CIDR block of an address pool"));
    }
    if request.outpost_arn.is_some() {
        return Err(unsupported("A subnet of an outpost"));
    }
    let missing = || {
        let sentence = "Either 'cidrBlock' or 'ipv6CidrBlock' should be provided.";
        Fault::new(FaultCode::MissingParameter, sentence)
    };
    let cidr = request.cidr_block.as_deref().filter(|text| !text.is_empty()).ok_or_else(missing)?;
    let zone = zone(request.availability_zone.as_ref(), request.availability_zone_id.as_ref())?;
    let new = NewSubnet { vpc_id: &request.vpc_id, cidr, zone, tags: &tags };
    let subnet = cx.app.subnet_create(cx.caller(), new, request.dry_run == Some(true)).await?;
    not_dry(&request)?;
    Ok(CreateSubnetResult { subnet: Some(describe(&cx, subnet, &tags)) })
}

pub async fn create_default_subnet(
    cx: Cx,
    request: CreateDefaultSubnetRequest,
) -> Answer<CreateDefaultSubnetResult> {
    if request.ipv6_native == Some(true) {
        return Err(unsupported("IPv6"));
    }
    let zone = zone(request.availability_zone.as_ref(), request.availability_zone_id.as_ref())?;
    let missing = || {
        let sentence = "The request must contain the parameter availabilityZone or availabilityZoneId";
        Fault::new(FaultCode::MissingParameter, sentence)
    };
    let zone = zone.ok_or_else(missing)?;
    let subnet = cx.app.default_subnet_create(cx.account(), zone, request.dry_run == Some(true)).await?;
    not_dry(&request)?;
    Ok(CreateDefaultSubnetResult { subnet: Some(describe(&cx, subnet, &Tags::new())) })
}

pub fn delete_asks(_: &Cx, request: &DeleteSubnetRequest) -> Asks {
    Asks::On(vec![Target::new(KIND, &request.subnet_id)])
}

pub async fn delete_subnet(cx: Cx, request: DeleteSubnetRequest) -> Answer<Done> {
    cx.app.subnet_delete(cx.caller(), &request.subnet_id, request.dry_run == Some(true)).await?;
    not_dry(&request)?;
    Ok(Done)
}
