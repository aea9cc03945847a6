//! VPCs made and removed, and their ranges.

use super::{KIND, association, describe};
use crate::api::cx::{Answer, Cx};
use crate::api::ec2::tag::specified;
use crate::api::permit::{Asks, Target, not_dry};
use crate::app::tag::{Taggable, Tags};
use karri_proto::aws::Done;
use karri_proto::aws::ec2::{
    AssociateVpcCidrBlockRequest, AssociateVpcCidrBlockResult, CreateDefaultVpcRequest,
    CreateDefaultVpcResult, CreateVpcRequest, CreateVpcResult, DeleteVpcRequest,
    DisassociateVpcCidrBlockRequest, DisassociateVpcCidrBlockResult, Tenancy,
};
use karri_proto::fault::{Fault, FaultCode, shown};

fn unsupported(what: &str) -> Fault {
    Fault::new(FaultCode::UnsupportedOperation, format!("{what} is not supported"))
}

/// What two requests may ask for beside a range that they name.
struct Otherwise {
    ipv6: bool,
    from_pool: bool,
}

/// Two requests have the same parameters, under the same names.
macro_rules! otherwise {
    ($request:ident) => {
        Otherwise {
            ipv6: $request.amazon_provided_ipv6_cidr_block == Some(true)
                || $request.ipv6_cidr_block.is_some()
                || $request.ipv6_cidr_block_network_border_group.is_some()
                || $request.ipv6_ipam_pool_id.is_some()
                || $request.ipv6_netmask_length.is_some()
                || $request.ipv6_pool.is_some(),
            from_pool: $request.ipv4_ipam_pool_id.is_some() || $request.ipv4_netmask_length.is_some(),
        }
    };
}

fn named_range(cidr: Option<&String>, otherwise: &Otherwise) -> Result<String, Fault> {
    if otherwise.ipv6 {
        return Err(unsupported("IPv6"));
    }
    if otherwise.from_pool {
        return Err(unsupported("A CIDR block of an address pool"));
    }
    let missing = || {
        let sentence = "Either 'cidrBlock' or 'ipv4IpamPoolId' should be provided.";
        Fault::new(FaultCode::MissingParameter, sentence)
    };
    cidr.filter(|text| !text.is_empty()).cloned().ok_or_else(missing)
}

pub fn create_asks(_: &Cx, _: &CreateVpcRequest) -> Asks {
    Asks::On(vec![Target::new(KIND, "*")])
}

pub async fn create_vpc(cx: Cx, request: CreateVpcRequest) -> Answer<CreateVpcResult> {
    let tags = specified(&request.tag_specifications, Taggable::Vpc)?;
    let otherwise = otherwise!(request);
    let cidr = named_range(request.cidr_block.as_ref(), &otherwise)?;
    if let Some(tenancy) = request.instance_tenancy.as_deref().filter(|kind| *kind != Tenancy::DEFAULT) {
        let sentence = format!("The tenancy value {} is not supported.", shown(tenancy));
        return Err(Fault::new(FaultCode::UnsupportedTenancy, sentence));
    }
    if request.vpc_encryption_control.is_some() {
        return Err(unsupported("Encryption control of a VPC"));
    }
    let vpc = cx.app.vpc_create(cx.account(), &cidr, &tags, request.dry_run == Some(true)).await?;
    not_dry(&request)?;
    Ok(CreateVpcResult { vpc: Some(describe(vpc, &tags)) })
}

pub async fn create_default_vpc(cx: Cx, request: CreateDefaultVpcRequest) -> Answer<CreateDefaultVpcResult> {
    let vpc = cx.app.default_vpc_create(cx.account(), request.dry_run == Some(true)).await?;
    not_dry(&request)?;
    Ok(CreateDefaultVpcResult { vpc: Some(describe(vpc, &Tags::new())) })
}

pub fn delete_asks(_: &Cx, request: &DeleteVpcRequest) -> Asks {
    Asks::On(vec![Target::new(KIND, &request.vpc_id)])
}

pub async fn delete_vpc(cx: Cx, request: DeleteVpcRequest) -> Answer<Done> {
    cx.app.vpc_delete(cx.caller(), &request.vpc_id, request.dry_run == Some(true)).await?;
    not_dry(&request)?;
    Ok(Done)
}

pub fn associate_asks(_: &Cx, request: &AssociateVpcCidrBlockRequest) -> Asks {
    Asks::On(vec![Target::new(KIND, &request.vpc_id)])
}

pub async fn associate_vpc_cidr_block(
    cx: Cx,
    request: AssociateVpcCidrBlockRequest,
) -> Answer<AssociateVpcCidrBlockResult> {
    let otherwise = otherwise!(request);
    let cidr = named_range(request.cidr_block.as_ref(), &otherwise)?;
    let (vpc, range) = cx.app.vpc_range_associate(cx.caller(), &request.vpc_id, &cidr).await?;
    Ok(AssociateVpcCidrBlockResult {
        cidr_block_association: Some(association(range.association_id, range.cidr, "associating")),
        ipv6_cidr_block_association: None,
        vpc_id: Some(vpc.id),
    })
}

pub async fn disassociate_vpc_cidr_block(
    cx: Cx,
    request: DisassociateVpcCidrBlockRequest,
) -> Answer<DisassociateVpcCidrBlockResult> {
    let (vpc, range) = cx.app.vpc_range_disassociate(cx.caller(), &request.association_id).await?;
    Ok(DisassociateVpcCidrBlockResult {
        cidr_block_association: Some(association(range.association_id, range.cidr, "disassociating")),
        ipv6_cidr_block_association: None,
        vpc_id: Some(vpc.id),
    })
}
