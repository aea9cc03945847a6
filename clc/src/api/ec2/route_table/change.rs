//! Route tables, routes and associations made, changed and removed.

use super::shape::{Shapes, associated};
use crate::api::cx::{Answer, Cx};
use crate::api::ec2::tag::specified;
use crate::api::ec2::token::token;
use crate::api::permit::{Asks, Target as Asked, grant, not_dry};
use crate::app::route_table::{Destination, Put, Target};
use crate::app::security_group::terms::net4;
use crate::app::tag::Taggable;
use karri_proto::aws::Done;
use karri_proto::aws::ec2::{
    AssociateRouteTableRequest, AssociateRouteTableResult, CreateRouteRequest, CreateRouteResult,
    CreateRouteTableRequest, CreateRouteTableResult, DeleteRouteRequest, DeleteRouteTableRequest,
    DisableVgwRoutePropagationRequest, DisassociateRouteTableRequest, EnableVgwRoutePropagationRequest,
    ReplaceRouteRequest, ReplaceRouteTableAssociationRequest, ReplaceRouteTableAssociationResult,
};
use karri_proto::fault::{Fault, FaultCode, shown};

const KIND: &str = "route-table";

fn on(table: &str) -> Asks {
    Asks::On(vec![Asked::new(KIND, table)])
}

pub fn create_asks(_: &Cx, request: &CreateRouteTableRequest) -> Asks {
    Asks::On(vec![Asked::new(KIND, "*"), Asked::new("vpc", &request.vpc_id)])
}

pub async fn create_route_table(cx: Cx, request: CreateRouteTableRequest) -> Answer<CreateRouteTableResult> {
    let tags = specified(&request.tag_specifications, Taggable::RouteTable)?;
    let (used, dry) = (token(&cx, &request)?, request.dry_run == Some(true));
    let row = cx.app.route_table_create(cx.caller(), &request.vpc_id, &used, &tags, dry).await?;
    not_dry(&request)?;
    let shapes = Shapes::read(&cx, &row.account).await?;
    let tags = cx.app.store.tags_of_resource(&row.account, &row.id).await?;
    Ok(CreateRouteTableResult {
        client_token: request.client_token,
        route_table: Some(shapes.table(row, &tags)),
    })
}

pub fn delete_asks(_: &Cx, request: &DeleteRouteTableRequest) -> Asks {
    on(&request.route_table_id)
}

pub async fn delete_route_table(cx: Cx, request: DeleteRouteTableRequest) -> Answer<Done> {
    let dry = request.dry_run == Some(true);
    cx.app.route_table_delete(cx.caller(), &request.route_table_id, dry).await?;
    not_dry(&request)?;
    Ok(Done)
}

fn unsupported(what: &str) -> Fault {
    Fault::new(FaultCode::UnsupportedOperation, format!("Routes {what} are not supported"))
}

fn destination(four: Option<&str>, six: Option<&str>, list: Option<&str>) -> Result<Destination, Fault> {
    match (four, six, list) {
        (Some(text), None, None) => net4(text).map(Destination::Net).map_err(|_| {
            let sentence = format!(
                "Value ({}) for parameter destinationCidrBlock is invalid. This is not a valid CIDR block.",
                shown(text)
            );
            Fault::invalid_parameter(sentence)
        }),
        (None, Some(_), None) => Err(unsupported("of IPv6")),
        (None, None, Some(id)) => id.parse().map(Destination::List),
        (None, None, None) => {
            let sentence = "The request must contain the parameter destinationCidrBlock or \
                            destinationIpv6CidrBlock or destinationPrefixListId";
            Err(Fault::new(FaultCode::MissingParameter, sentence))
        }
        _ => {
            let sentence = "A route has exactly one of destinationCidrBlock, destinationIpv6CidrBlock and \
                            destinationPrefixListId";
            Err(Fault::new(FaultCode::InvalidParameterCombination, sentence))
        }
    }
}

/// Two requests have the same targets, under the same names.
macro_rules! target {
    ($request:ident) => {{
        let elsewhere = [
            &$request.carrier_gateway_id,
            &$request.core_network_arn,
            &$request.egress_only_internet_gateway_id,
            &$request.local_gateway_id,
            &$request.odb_network_arn,
            &$request.transit_gateway_id,
            &$request.vpc_endpoint_id,
            &$request.vpc_peering_connection_id,
        ];
        let known = [
            $request.gateway_id.clone().map(Target::Gateway),
            $request.nat_gateway_id.clone().map(Target::NatGateway),
            $request.network_interface_id.clone().map(Target::Interface),
            $request.instance_id.clone().map(Target::Instance),
        ];
        target(known, elsewhere.into_iter().flatten().count())
    }};
}

fn target(known: [Option<Target>; 4], elsewhere: usize) -> Result<Target, Fault> {
    let mut known = known.into_iter().flatten();
    match (known.next(), known.next(), elsewhere) {
        (Some(target), None, 0) => Ok(target),
        (None, None, 1) => Err(unsupported("to gateways other than internet and NAT gateways")),
        _ => {
            let sentence = "The request must contain exactly one of gatewayId, natGatewayId, networkInterfaceId, \
                            vpcPeeringConnectionId, egressOnlyInternetGatewayId, transitGatewayId, localGatewayId, \
                            carrierGatewayId, vpcEndpointId, coreNetworkArn or instanceId";
            Err(Fault::new(FaultCode::InvalidParameterCombination, sentence))
        }
    }
}

pub fn create_route_asks(_: &Cx, request: &CreateRouteRequest) -> Asks {
    on(&request.route_table_id)
}

pub async fn create_route(cx: Cx, request: CreateRouteRequest) -> Answer<CreateRouteResult> {
    let to = destination(
        request.destination_cidr_block.as_deref(),
        request.destination_ipv6_cidr_block.as_deref(),
        request.destination_prefix_list_id.as_deref(),
    )?;
    let (target, dry) = (target!(request)?, request.dry_run == Some(true));
    cx.app.route_put(cx.caller(), &request.route_table_id, &to, &target, Put::New, dry).await?;
    not_dry(&request)?;
    Ok(CreateRouteResult { r#return: Some(true) })
}

pub fn replace_route_asks(_: &Cx, request: &ReplaceRouteRequest) -> Asks {
    on(&request.route_table_id)
}

pub async fn replace_route(cx: Cx, request: ReplaceRouteRequest) -> Answer<Done> {
    let to = destination(
        request.destination_cidr_block.as_deref(),
        request.destination_ipv6_cidr_block.as_deref(),
        request.destination_prefix_list_id.as_deref(),
    )?;
    if request.local_target == Some(true) {
        return Err(unsupported("within a VPC"));
    }
    let (target, dry) = (target!(request)?, request.dry_run == Some(true));
    cx.app.route_put(cx.caller(), &request.route_table_id, &to, &target, Put::InPlace, dry).await?;
    not_dry(&request)?;
    Ok(Done)
}

pub fn delete_route_asks(_: &Cx, request: &DeleteRouteRequest) -> Asks {
    on(&request.route_table_id)
}

pub async fn delete_route(cx: Cx, request: DeleteRouteRequest) -> Answer<Done> {
    let to = destination(
        request.destination_cidr_block.as_deref(),
        request.destination_ipv6_cidr_block.as_deref(),
        request.destination_prefix_list_id.as_deref(),
    )?;
    cx.app.route_delete(cx.caller(), &request.route_table_id, &to, request.dry_run == Some(true)).await?;
    not_dry(&request)?;
    Ok(Done)
}

pub fn associate_asks(_: &Cx, request: &AssociateRouteTableRequest) -> Asks {
    let subnet = request.subnet_id.iter().map(|id| Asked::new("subnet", id));
    Asks::On([Asked::new(KIND, &request.route_table_id)].into_iter().chain(subnet).collect())
}

pub async fn associate_route_table(
    cx: Cx,
    request: AssociateRouteTableRequest,
) -> Answer<AssociateRouteTableResult> {
    if request.gateway_id.is_some() || request.public_ipv4_pool.is_some() {
        let sentence = "Route tables of gateways are not supported";
        return Err(Fault::new(FaultCode::UnsupportedOperation, sentence));
    }
    let Some(subnet) = &request.subnet_id else {
        let sentence = "The request must contain the parameter subnetId";
        return Err(Fault::new(FaultCode::MissingParameter, sentence));
    };
    let (table, dry) = (&request.route_table_id, request.dry_run == Some(true));
    let id = cx.app.route_table_associate(cx.caller(), table, subnet, dry).await?;
    not_dry(&request)?;
    Ok(AssociateRouteTableResult { association_id: Some(id), association_state: Some(associated()) })
}

/// The table has to be looked up first.
pub fn disassociate_asks(_: &Cx, _: &DisassociateRouteTableRequest) -> Asks {
    Asks::Nothing
}

pub async fn disassociate_route_table(cx: Cx, request: DisassociateRouteTableRequest) -> Answer<Done> {
    let dry = request.dry_run == Some(true);
    let table = cx.app.route_table_of_association(cx.caller(), &request.association_id).await?;
    grant(&cx, &request, on(&table)).await?;
    cx.app.route_table_disassociate(cx.caller(), &request.association_id, dry).await?;
    not_dry(&request)?;
    Ok(Done)
}

pub fn replace_association_asks(_: &Cx, request: &ReplaceRouteTableAssociationRequest) -> Asks {
    on(&request.route_table_id)
}

pub async fn replace_route_table_association(
    cx: Cx,
    request: ReplaceRouteTableAssociationRequest,
) -> Answer<ReplaceRouteTableAssociationResult> {
    let (id, table, dry) = (&request.association_id, &request.route_table_id, request.dry_run == Some(true));
    let new = cx.app.route_table_association_replace(cx.caller(), id, table, dry).await?;
    not_dry(&request)?;
    Ok(ReplaceRouteTableAssociationResult {
        association_state: Some(associated()),
        new_association_id: Some(new),
    })
}

pub fn enable_propagation_asks(_: &Cx, request: &EnableVgwRoutePropagationRequest) -> Asks {
    on(&request.route_table_id)
}

pub async fn enable_vgw_route_propagation(cx: Cx, request: EnableVgwRoutePropagationRequest) -> Answer<Done> {
    let (table, gateway) = (&request.route_table_id, &request.gateway_id);
    match cx.app.route_propagation_refused(cx.caller(), table, gateway).await? {}
}

pub fn disable_propagation_asks(_: &Cx, request: &DisableVgwRoutePropagationRequest) -> Asks {
    on(&request.route_table_id)
}

pub async fn disable_vgw_route_propagation(
    cx: Cx,
    request: DisableVgwRoutePropagationRequest,
) -> Answer<Done> {
    let (table, gateway) = (&request.route_table_id, &request.gateway_id);
    match cx.app.route_propagation_refused(cx.caller(), table, gateway).await? {}
}
