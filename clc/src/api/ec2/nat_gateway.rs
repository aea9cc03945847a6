//! NAT gateways.

use super::listing::{Shown, ids_or_page, named, page, tell, tell_tags, time_of};
use super::tag::{shown, specified};
use super::token::token;
use crate::api::cx::{Answer, Cx};
use crate::api::permit::{Asks, Target, not_dry};
use crate::app::nat_gateway::{NatOrder, NatState, nat_state};
use crate::app::steady_ms;
use crate::app::tag::{Taggable, Tags};
use crate::store::nat_gateway::NatGateway as Row;
use karri_proto::aws::ec2::{
    CreateNatGatewayRequest, CreateNatGatewayResult, DeleteNatGatewayRequest, DeleteNatGatewayResult,
    DescribeNatGatewaysRequest, DescribeNatGatewaysResult, NatGateway, NatGatewayAddress,
};
use karri_proto::aws::filter::Filterable;
use karri_proto::fault::{Fault, FaultCode, shown as cut, shown_list};
use karri_proto::ids::NatGatewayId;

const KIND: &str = "natgateway";
const PRIVATE: &str = "private";

pub fn create_asks(_: &Cx, request: &CreateNatGatewayRequest) -> Asks {
    let address = request.allocation_id.iter().map(|id| Target::new("elastic-ip", id));
    let subnet = request.subnet_id.iter().map(|id| Target::new("subnet", id));
    Asks::On([Target::new(KIND, "*")].into_iter().chain(subnet).chain(address).collect())
}

/// One address and one subnet is what a gateway has here.
fn refuse_unsupported(request: &CreateNatGatewayRequest) -> Result<(), Fault> {
    let more = !request.secondary_allocation_ids.is_empty()
        || !request.secondary_private_ip_addresses.is_empty()
        || request.secondary_private_ip_address_count.is_some();
    let regional = !request.availability_zone_addresses.is_empty()
        || request.availability_mode.as_deref().is_some_and(|mode| mode != "zonal")
        || request.vpc_id.is_some();
    let sentence = match (more, regional) {
        (true, _) => "NAT gateways with secondary addresses are not supported",
        (_, true) => "Regional NAT gateways are not supported",
        (false, false) => return Ok(()),
    };
    Err(Fault::new(FaultCode::UnsupportedOperation, sentence))
}

fn order(request: &CreateNatGatewayRequest) -> Result<NatOrder, Fault> {
    refuse_unsupported(request)?;
    let subnet = request.subnet_id.clone().ok_or_else(|| {
        let sentence = "The request must contain the parameter subnetId";
        Fault::new(FaultCode::MissingParameter, sentence)
    })?;
    let private = request.connectivity_type.as_deref() == Some(PRIVATE);
    let allocation = match (&request.allocation_id, private) {
        (Some(id), false) => Some(id.parse()?),
        (None, true) => None,
        (None, false) => {
            let sentence = "The request must include the AllocationId parameter. Add the required parameter and retry the \
                 request.";
            return Err(Fault::new(FaultCode::MissingParameter, sentence));
        }
        (Some(_), true) => {
            let sentence = "The AllocationId parameter is not supported for private NAT gateways.";
            return Err(Fault::new(FaultCode::InvalidParameterCombination, sentence));
        }
    };
    let private_ip = request.private_ip_address.as_ref().map(|text| {
        let wrong = || Fault::invalid_parameter(format!("Invalid IPv4 address: {}", cut(text)));
        text.parse().map_err(|_| wrong())
    });
    let tags = specified(&request.tag_specifications, Taggable::NatGateway)?;
    Ok(NatOrder { subnet, allocation, private_ip: private_ip.transpose()?, tags })
}

pub async fn create_nat_gateway(cx: Cx, request: CreateNatGatewayRequest) -> Answer<CreateNatGatewayResult> {
    let (order, used) = (order(&request)?, token(&cx, &request)?);
    let row = cx.app.nat_gateway_create(cx.caller(), &order, &used, request.dry_run == Some(true)).await?;
    not_dry(&request)?;
    let tags = cx.app.store.tags_of_resource(&row.account, &row.id).await?;
    Ok(CreateNatGatewayResult { client_token: request.client_token, nat_gateway: Some(describe(row, &tags)) })
}

pub fn delete_asks(_: &Cx, request: &DeleteNatGatewayRequest) -> Asks {
    Asks::On(vec![Target::new(KIND, &request.nat_gateway_id)])
}

pub async fn delete_nat_gateway(cx: Cx, request: DeleteNatGatewayRequest) -> Answer<DeleteNatGatewayResult> {
    let dry = request.dry_run == Some(true);
    cx.app.nat_gateway_delete(cx.caller(), &request.nat_gateway_id, dry).await?;
    not_dry(&request)?;
    Ok(DeleteNatGatewayResult { nat_gateway_id: Some(request.nat_gateway_id) })
}

pub async fn describe_nat_gateways(
    cx: Cx,
    request: DescribeNatGatewaysRequest,
) -> Answer<DescribeNatGatewaysResult> {
    ids_or_page(&request.nat_gateway_ids, request.max_results, "natGatewayIdSet")?;
    for id in &request.nat_gateway_ids {
        id.parse::<NatGatewayId>()?;
    }
    let now = steady_ms();
    let mut rows = cx.app.store.nat_gateway_list(cx.account()).await?;
    rows.retain(|row| row.purge_ms.is_none_or(|at| at > now));
    let missing = |ids: &[&str]| {
        let sentence = format!("NatGateway {} was not found", shown_list(ids));
        Fault::new(FaultCode::NatGatewayNotFound, sentence)
    };
    let rows = named(&request.nat_gateway_ids, rows, |row| &row.id, missing)?;
    let mut tags = cx.app.store.tags_of_account(cx.account(), Taggable::NatGateway).await?;
    let described = rows.into_iter().map(|row| {
        let tags = tags.remove(&row.id).unwrap_or_default();
        describe(row, &tags)
    });
    let key = |one: &NatGateway| one.nat_gateway_id.clone().unwrap_or_default();
    let (nat_gateways, next_token) = page(&request, described.collect(), key)?;
    Ok(DescribeNatGatewaysResult { nat_gateways, next_token })
}

fn describe(row: Row, tags: &Tags) -> NatGateway {
    let state = nat_state(&row, steady_ms());
    let kind = match (&row.public, &row.failure) {
        (None, None) => PRIVATE,
        _ => "public", // only those of a public address can fail
    };
    let (failure_code, failure_message) = match row.failure.clone().filter(|_| state != NatState::Pending) {
        Some(failure) => (Some(failure.code), Some(failure.message)),
        None => (None, None),
    };
    NatGateway {
        connectivity_type: Some(kind.to_owned()),
        create_time: Some(time_of(row.created_ms)),
        delete_time: row.deleted_ms.map(time_of),
        failure_code,
        failure_message,
        nat_gateway_addresses: address(&row, state).into_iter().collect(),
        nat_gateway_id: Some(row.id),
        state: Some(state.as_str().to_owned()),
        subnet_id: Some(row.subnet_id),
        tags: shown(tags),
        vpc_id: Some(row.vpc_id),
        ..Default::default()
    }
}

fn address(row: &Row, state: NatState) -> Option<NatGatewayAddress> {
    if row.failure.is_some() {
        return None;
    }
    let status = match state {
        NatState::Pending => "associating",
        NatState::Available | NatState::Failed => "succeeded",
        NatState::Deleting | NatState::Deleted => "disassociating",
    };
    Some(NatGatewayAddress {
        allocation_id: row.public.as_ref().map(|public| public.allocation_id.clone()),
        association_id: row.public.as_ref().map(|public| public.association_id.clone()),
        is_primary: Some(true),
        network_interface_id: Some(row.port_id.clone()),
        private_ip: Some(row.private_ip.to_string()),
        public_ip: row.public.as_ref().map(|public| public.ip.to_string()),
        status: Some(status.to_owned()),
        ..Default::default()
    })
}

impl Filterable for Shown<NatGateway> {
    const FILTERS: &'static [&'static str] =
        &["connectivity-type", "nat-gateway-id", "state", "subnet-id", "vpc-id"];

    fn filter_values(&self, name: &str, each: &mut dyn FnMut(&str)) {
        let one = &self.0;
        match name {
            "connectivity-type" => tell(each, &one.connectivity_type),
            "nat-gateway-id" => tell(each, &one.nat_gateway_id),
            "state" => tell(each, &one.state),
            "subnet-id" => tell(each, &one.subnet_id),
            "vpc-id" => tell(each, &one.vpc_id),
            _ => {}
        }
    }

    fn filter_tags(&self, each: &mut dyn FnMut(&str, &str)) {
        tell_tags(each, &self.0.tags);
    }
}
