//! Route tables: where the packets of subnets go.
//!
//! A route names its target for good. What it names may go: then the route is a black hole until it is replaced,
//! deleted, or an internet gateway comes back.

mod association;
mod destination;

pub use destination::Destination;

use super::App;
use super::creation::{made_before_in_txn, made_in_txn};
use super::image::task::Token;
use super::instance::State;
use super::instance::control::Caller;
use super::tag::{Taggable, Tags};
use super::vpc::flat::Flat;
use crate::app::security_group::terms::net4;
use crate::store::Tx;
use crate::store::creation_token::creation_token_drop_in_txn;
use crate::store::nat_gateway::{NatGateway, nat_gateway_fetch_in_txn};
use crate::store::network_change::networks_turn_in_txn;
use crate::store::route_table::{
    Route, RouteTable, route_delete_in_txn, route_fetch_in_txn, route_insert_in_txn,
    route_table_delete_in_txn, route_table_fetch_in_txn, route_table_insert_in_txn, route_table_user_in_txn,
    route_tables_of_vpc_in_txn, route_target_update_in_txn, routes_weigh_in_txn,
};
use crate::store::tag::tags_put_in_txn;
use crate::store::told::{gone_in_txn, touched_in_txn};
use crate::store::vpc::vpc_fetch_in_txn;
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::{InstanceId, NatGatewayId, NetworkInterfaceId, RouteTableId, VpnGatewayId};
use karri_proto::instance::PortSpec;
use karri_proto::network::{Net4, ShapeKey};
use std::convert::Infallible;

/// EC2's words for where a route comes from.
pub const BY_CREATE_ROUTE: &str = "CreateRoute";
pub const BY_CREATE_ROUTE_TABLE: &str = "CreateRouteTable";

/// Where a route is to lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An internet or VPN gateway.
    Gateway(String),
    NatGateway(String),
    Interface(String),
    Instance(String),
}

/// Whether there is to be such a route already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    New,
    InPlace,
}

impl App {
    pub async fn route_table_seen_in_txn(
        &self,
        tx: &mut Tx,
        caller: Caller<'_>,
        id: &str,
    ) -> Result<RouteTable, Fault> {
        let id: RouteTableId = id.parse()?;
        let found = route_table_fetch_in_txn(tx, id.as_str()).await?;
        found.filter(|table| caller.may_touch_of(&table.account)).ok_or_else(|| id.not_found())
    }

    pub async fn route_table_create(
        &self,
        caller: Caller<'_>,
        vpc: &str,
        token: &Token,
        tags: &Tags,
        dry: bool,
    ) -> Result<RouteTable, Fault> {
        let mut tx = self.store.begin().await?;
        let change = networks_turn_in_txn(&mut tx).await?;
        if let Some(earlier) = made_before_in_txn(&mut tx, caller.account, token).await? {
            return self.route_table_seen_in_txn(&mut tx, caller, &earlier).await;
        }
        let vpc = self.vpc_seen_in_txn(&mut tx, caller, vpc).await?;
        let limit = self.limits.route_tables_per_vpc;
        if route_tables_of_vpc_in_txn(&mut tx, &vpc.id).await?.len() >= limit {
            let sentence = format!("The maximum number of route tables has been reached ({limit}).");
            return Err(Fault::new(FaultCode::RouteTableLimitExceeded, sentence));
        }
        let id = RouteTableId::random(&mut rand::thread_rng()).to_string();
        let table = RouteTable { id, account: vpc.account, vpc_id: vpc.id };
        route_table_insert_in_txn(&mut tx, &table).await?;
        tags_put_in_txn(&mut tx, &table.account, Taggable::RouteTable, &table.id, tags).await?;
        made_in_txn(&mut tx, caller.account, token, &table.id).await?;
        touched_in_txn(&mut tx, change, ShapeKey::RouteTable, &table.id).await?;
        self.networks_commit(tx, dry).await?;
        Ok(table)
    }

    /// Not while a subnet goes by it, or it is the main one.
    pub async fn route_table_delete(&self, caller: Caller<'_>, id: &str, dry: bool) -> Result<(), Fault> {
        let mut tx = self.store.begin().await?;
        let change = networks_turn_in_txn(&mut tx).await?;
        let table = self.route_table_seen_in_txn(&mut tx, caller, id).await?;
        if route_table_user_in_txn(&mut tx, &table.id).await?.is_some() {
            let sentence = format!("The routeTable '{id}' has dependencies and cannot be deleted.");
            return Err(Fault::new(FaultCode::DependencyViolation, sentence));
        }
        route_table_delete_in_txn(&mut tx, &table.id).await?;
        creation_token_drop_in_txn(&mut tx, &table.id).await?;
        gone_in_txn(&mut tx, change, ShapeKey::RouteTable, &table.id).await?;
        self.networks_commit(tx, dry).await
    }

    pub async fn route_put(
        &self,
        caller: Caller<'_>,
        table: &str,
        destination: &Destination,
        target: &Target,
        put: Put,
        dry: bool,
    ) -> Result<(), Fault> {
        let mut tx = self.store.begin().await?;
        let change = networks_turn_in_txn(&mut tx).await?;
        let table = self.route_table_seen_in_txn(&mut tx, caller, table).await?;
        self.destination_in_txn(&mut tx, &table, destination, put).await?;
        let route = Route {
            route_table_id: table.id.clone(),
            destination: destination.to_string(),
            target: self.target_in_txn(&mut tx, caller, &table, target).await?,
            origin: BY_CREATE_ROUTE.to_owned(),
        };
        let there = route_fetch_in_txn(&mut tx, &table.id, &route.destination).await?.is_some();
        let flat = Flat::before_in_txn(&mut tx, &table.vpc_id).await?;
        match (put, there) {
            (Put::New, true) => return Err(already(destination)),
            (Put::InPlace, false) => {
                return Err(Fault::invalid_parameter(format!(
                    "There is no route defined for '{destination}' in the route table. Use CreateRoute instead."
                )));
            }
            (Put::InPlace, true) => route_target_update_in_txn(&mut tx, &route).await?,
            (Put::New, false) => {
                route_insert_in_txn(&mut tx, &route).await?;
                let limit = self.limits.routes_per_table;
                if routes_weigh_in_txn(&mut tx, &table.id).await? > limit {
                    let sentence = format!("The maximum number of routes has been reached ({limit}).");
                    return Err(Fault::new(FaultCode::RouteLimitExceeded, sentence));
                }
            }
        }
        flat.check_in_txn(&mut tx).await?;
        touched_in_txn(&mut tx, change, ShapeKey::RouteTable, &table.id).await?;
        self.networks_commit(tx, dry).await
    }

    pub async fn route_delete(
        &self,
        caller: Caller<'_>,
        table: &str,
        destination: &Destination,
        dry: bool,
    ) -> Result<(), Fault> {
        let mut tx = self.store.begin().await?;
        let change = networks_turn_in_txn(&mut tx).await?;
        let table = self.route_table_seen_in_txn(&mut tx, caller, table).await?;
        let ranges = self.ranges_in_txn(&mut tx, &table.vpc_id).await?;
        if matches!(destination, Destination::Net(net) if ranges.contains(net)) {
            let sentence = format!("cannot remove local route {destination} in route table {}", table.id);
            return Err(Fault::invalid_parameter(sentence));
        }
        let flat = Flat::before_in_txn(&mut tx, &table.vpc_id).await?;
        if !route_delete_in_txn(&mut tx, &table.id, &destination.to_string()).await? {
            let (word, table) = (destination.word(), &table.id);
            let sentence = format!("no route with {word} {destination} in route table {table}");
            return Err(Fault::new(FaultCode::InvalidRouteNotFound, sentence));
        }
        flat.check_in_txn(&mut tx).await?;
        touched_in_txn(&mut tx, change, ShapeKey::RouteTable, &table.id).await?;
        self.networks_commit(tx, dry).await
    }

    /// Nobody has a VPN gateway: there is no success.
    pub async fn route_propagation_refused(
        &self,
        caller: Caller<'_>,
        table: &str,
        gateway: &str,
    ) -> Result<Infallible, Fault> {
        let mut tx = self.store.begin().await?;
        let table = self.route_table_seen_in_txn(&mut tx, caller, table).await?;
        if gateway.starts_with("igw-") {
            self.internet_gateway_seen_in_txn(&mut tx, caller, gateway).await?;
            return Err(super::internet_gateway::not_attached(gateway, &table.vpc_id));
        }
        Err(gateway.parse::<VpnGatewayId>()?.not_found())
    }

    async fn ranges_in_txn(&self, tx: &mut Tx, vpc: &str) -> Result<Vec<Net4>, Fault> {
        let Some(vpc) = vpc_fetch_in_txn(tx, vpc).await? else { return Ok(Vec::new()) };
        vpc.ranges().map(net4).collect()
    }

    /// The id of what takes the packets: of the table's own VPC.
    async fn target_in_txn(
        &self,
        tx: &mut Tx,
        caller: Caller<'_>,
        table: &RouteTable,
        target: &Target,
    ) -> Result<String, Fault> {
        let elsewhere = |what: &str, id: &str| {
            let sentence = format!("route table {} and {what} {id} belong to different networks", table.id);
            Fault::invalid_parameter(sentence)
        };
        match target {
            Target::Gateway(id) if id.starts_with("vgw-") => Err(id.parse::<VpnGatewayId>()?.not_found()),
            Target::Gateway(id) => {
                let gateway = self.internet_gateway_seen_in_txn(tx, caller, id).await?;
                let own = gateway.vpc_id.as_ref() == Some(&table.vpc_id);
                if own { Ok(gateway.id) } else { Err(elsewhere("network gateway", id)) }
            }
            Target::NatGateway(id) => {
                let gateway = nat_gateway_seen_in_txn(tx, caller, id).await?;
                let own = gateway.vpc_id == table.vpc_id;
                if own { Ok(gateway.id) } else { Err(elsewhere("NAT gateway", id)) }
            }
            Target::Interface(id) => {
                let id: NetworkInterfaceId = id.parse()?;
                let port = self.interface_in_txn(tx, caller, &id).await?.port;
                port_target(&port, table, elsewhere)
            }
            Target::Instance(id) => {
                let id: InstanceId = id.parse()?;
                let interface = self.sole_interface_in_txn(tx, caller, &id).await?;
                let over = interface.holder.as_ref().is_some_and(|one| one.state == State::Terminated);
                if over { Err(id.not_found()) } else { port_target(&interface.port, table, elsewhere) }
            }
        }
    }
}

fn port_target(
    port: &PortSpec,
    table: &RouteTable,
    elsewhere: impl Fn(&str, &str) -> Fault,
) -> Result<String, Fault> {
    if port.vpc_id.as_str() != table.vpc_id {
        return Err(elsewhere("interface", port.id.as_str()));
    }
    Ok(port.id.to_string())
}

fn already(destination: &Destination) -> Fault {
    let sentence = format!("The route identified by {destination} already exists.");
    Fault::new(FaultCode::RouteAlreadyExists, sentence)
}

/// One that works, for a route: EC2 has a code of its own for that.
async fn nat_gateway_seen_in_txn(tx: &mut Tx, caller: Caller<'_>, id: &str) -> Result<NatGateway, Fault> {
    let id: NatGatewayId = id.parse()?;
    let found = nat_gateway_fetch_in_txn(tx, id.as_str()).await?;
    found.filter(|one| one.is_there() && caller.may_touch_of(&one.account)).ok_or_else(|| {
        let sentence = format!("The natGateway ID '{id}' does not exist");
        Fault::new(FaultCode::InvalidNatGatewayIdNotFound, sentence)
    })
}
