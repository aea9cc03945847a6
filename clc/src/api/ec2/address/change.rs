//! Elastic addresses allocated, led to something, and given back: by the ids of today and by the addresses that
//! EC2-Classic's clients name.

use super::{DOMAIN, POOL};
use crate::api::cx::{Answer, Cx};
use crate::api::ec2::tag::specified;
use crate::api::permit::{Asks, Target, grant, not_dry};
use crate::app::public_address::{Goal, Named, Order, ip_not_found};
use crate::app::tag::Taggable;
use karri_proto::aws::ec2::{
    AllocateAddressRequest, AllocateAddressResult, AssociateAddressRequest, AssociateAddressResult,
    DisassociateAddressRequest, ReleaseAddressRequest,
};
use karri_proto::aws::{Action, Done};
use karri_proto::fault::{Fault, FaultCode, shown};
use std::net::Ipv4Addr;

const KIND: &str = "elastic-ip";

fn ip(text: &str) -> Result<Ipv4Addr, Fault> {
    text.parse().map_err(|_| Fault::invalid_parameter(format!("Invalid IPv4 address: {}", shown(text))))
}

pub fn allocate_asks(_: &Cx, _: &AllocateAddressRequest) -> Asks {
    Asks::On(vec![Target::new(KIND, "*")])
}

/// Everyone's addresses are of the one pool, and there is one border.
fn refuse_elsewhere(cx: &Cx, request: &AllocateAddressRequest) -> Result<(), Fault> {
    if let Some(group) = request.network_border_group.as_ref().filter(|group| **group != cx.app.region) {
        let sentence = format!("Invalid value '{}' for NetworkBorderGroup.", shown(group));
        return Err(Fault::invalid_parameter(sentence));
    }
    if let Some(pool) = request.public_ipv4_pool.as_ref().filter(|pool| **pool != POOL) {
        let sentence = format!("The public IPv4 pool '{}' does not exist", shown(pool));
        return Err(Fault::invalid_parameter(sentence));
    }
    if request.customer_owned_ipv4_pool.is_some() || request.ipam_pool_id.is_some() {
        let sentence = "Pools of one's own are not supported";
        return Err(Fault::new(FaultCode::UnsupportedOperation, sentence));
    }
    Ok(())
}

pub async fn allocate_address(cx: Cx, request: AllocateAddressRequest) -> Answer<AllocateAddressResult> {
    refuse_elsewhere(&cx, &request)?;
    let tags = specified(&request.tag_specifications, Taggable::ElasticIp)?;
    let asked = request.address.as_deref().map(ip).transpose()?;
    let row = cx.app.address_allocate(cx.account(), asked, &tags, request.dry_run == Some(true)).await?;
    not_dry(&request)?;
    Ok(AllocateAddressResult {
        allocation_id: row.allocation_id,
        domain: Some(DOMAIN.to_owned()),
        network_border_group: Some(cx.app.region.clone()),
        public_ip: Some(row.ip.to_string()),
        public_ipv4_pool: Some(POOL.to_owned()),
        ..Default::default()
    })
}

fn missing(sentence: &'static str) -> Fault {
    Fault::new(FaultCode::MissingParameter, sentence)
}

/// An address by its id, or by itself.
fn named(allocation: Option<&str>, public: Option<&str>) -> Result<Named, Fault> {
    match (allocation, public) {
        (Some(id), None) => Ok(Named::Allocation(id.parse()?)),
        // EC2 finds no address that is none.
        (None, Some(text)) => text.parse().map(Named::Ip).map_err(|_| ip_not_found(shown(text))),
        (Some(_), Some(_)) => {
            let sentence = "You may specify public IP or allocation id, but not both in the same call";
            Err(Fault::new(FaultCode::InvalidParameterCombination, sentence))
        }
        (None, None) => Err(missing("Either 'AllocationId' or 'PublicIp' must be provided.")),
    }
}

/// One that is named otherwise than by its id has to be looked up first.
async fn grant_named<A: Action>(cx: &Cx, request: &A, named: &Named) -> Result<(), Fault> {
    if matches!(named, Named::Allocation(_)) {
        return Ok(());
    }
    let mut tx = cx.app.store.begin().await?;
    let row = cx.app.public_address_seen_in_txn(&mut tx, cx.caller(), named).await?;
    drop(tx);
    let id = row.allocation_id.unwrap_or_default();
    grant(cx, request, Asks::On(vec![Target::new(KIND, &id)])).await
}

fn of_allocation(id: Option<&str>) -> Vec<Target> {
    id.map(|id| Target::new(KIND, id)).into_iter().collect()
}

pub fn associate_asks(_: &Cx, request: &AssociateAddressRequest) -> Asks {
    let mut targets = of_allocation(request.allocation_id.as_deref());
    targets.extend(request.instance_id.iter().map(|id| Target::new("instance", id)));
    targets.extend(request.network_interface_id.iter().map(|id| Target::new("network-interface", id)));
    Asks::On(targets)
}

pub async fn associate_address(cx: Cx, request: AssociateAddressRequest) -> Answer<AssociateAddressResult> {
    let address = named(request.allocation_id.as_deref(), request.public_ip.as_deref())?;
    let goal = match (&request.instance_id, &request.network_interface_id) {
        (Some(id), None) => Goal::Instance(id.parse()?),
        (None, Some(id)) => Goal::Interface(id.parse()?),
        (Some(_), Some(_)) => {
            let sentence =
                "You may specify instance ID or network interface ID, but not both in the same call";
            return Err(Fault::new(FaultCode::InvalidParameterCombination, sentence));
        }
        (None, None) => return Err(missing("Either instance ID or network interface id must be specified")),
    };
    grant_named(&cx, &request, &address).await?;
    let order = Order {
        address,
        goal,
        private_ip: request.private_ip_address.as_deref().map(ip).transpose()?,
        reassociate: request.allow_reassociation != Some(false),
    };
    let id = cx.app.address_associate(cx.caller(), &order, request.dry_run == Some(true)).await?;
    not_dry(&request)?;
    Ok(AssociateAddressResult { association_id: Some(id) })
}

/// The address has to be looked up first.
pub fn disassociate_asks(_: &Cx, _: &DisassociateAddressRequest) -> Asks {
    Asks::Nothing
}

pub async fn disassociate_address(cx: Cx, request: DisassociateAddressRequest) -> Answer<Done> {
    let named = match (&request.association_id, &request.public_ip) {
        (Some(id), None) => Named::Association(id.parse()?),
        (None, Some(text)) => named(None, Some(text))?,
        (Some(_), Some(_)) => {
            let sentence = "You may specify public IP or association id, but not both in the same call";
            return Err(Fault::new(FaultCode::InvalidParameterCombination, sentence));
        }
        (None, None) => return Err(missing("Either 'AssociationId' or 'PublicIp' must be provided.")),
    };
    grant_named(&cx, &request, &named).await?;
    cx.app.address_disassociate(cx.caller(), &named, request.dry_run == Some(true)).await?;
    not_dry(&request)?;
    Ok(Done)
}

pub fn release_asks(_: &Cx, request: &ReleaseAddressRequest) -> Asks {
    Asks::On(of_allocation(request.allocation_id.as_deref()))
}

pub async fn release_address(cx: Cx, request: ReleaseAddressRequest) -> Answer<Done> {
    let named = named(request.allocation_id.as_deref(), request.public_ip.as_deref())?;
    grant_named(&cx, &request, &named).await?;
    cx.app.address_release(cx.caller(), &named, request.dry_run == Some(true)).await?;
    not_dry(&request)?;
    Ok(Done)
}
