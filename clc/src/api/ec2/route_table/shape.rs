//! Route tables in EC2's words.

use crate::api::cx::Cx;
use crate::api::ec2::tag::shown;
use crate::app::instance::State;
use crate::app::route_table::BY_CREATE_ROUTE_TABLE;
use crate::app::tag::Tags;
use crate::store::route_table::{
    Route as RouteRow, RouteTable as Row, RouteTableAssociation as AssociationRow,
};
use karri_proto::aws::ec2;
use karri_proto::fault::Fault;
use karri_proto::ids::PrefixListId;
use std::collections::{HashMap, HashSet};

const LOCAL: &str = "local";

/// What an account's tables are made of.
pub struct Shapes {
    routes: HashMap<String, Vec<RouteRow>>,
    associations: HashMap<String, Vec<AssociationRow>>,
    /// By VPC.
    ranges: HashMap<String, Vec<String>>,
    /// The internet gateway of each VPC that has one.
    gateways: HashSet<(String, String)>,
    nat_gateways: HashSet<String>,
    /// By port: the instance, and whose it is.
    ports: HashMap<String, (String, String)>,
}

fn grouped<T>(rows: Vec<T>, key: impl Fn(&T) -> &str) -> HashMap<String, Vec<T>> {
    let mut groups: HashMap<String, Vec<T>> = HashMap::new();
    for row in rows {
        groups.entry(key(&row).to_owned()).or_default().push(row);
    }
    groups
}

impl Shapes {
    pub async fn read(cx: &Cx, account: &str) -> Result<Self, Fault> {
        let store = &cx.app.store;
        let routes = store.route_list(account).await?;
        let mut ports = HashMap::new();
        if routes.iter().any(|route| route.target.starts_with("eni-")) {
            let living =
                |one: &std::sync::Arc<crate::app::instance::Instance>| one.state != State::Terminated;
            for one in cx.app.instances.of_account(account).into_iter().filter(living) {
                let holder = (one.id.to_string(), one.account.clone());
                ports.extend(one.spec.ports.iter().map(|port| (port.id.to_string(), holder.clone())));
            }
        }
        let vpcs = store.vpc_list(account).await?;
        let ranges = vpcs.iter().map(|vpc| (vpc.id.clone(), vpc.ranges().map(str::to_owned).collect()));
        let gateways = store.internet_gateway_list(account).await?;
        let nat_gateways = store.nat_gateway_list(account).await?;
        Ok(Self {
            routes: grouped(routes, |route| &route.route_table_id),
            associations: grouped(store.route_table_association_list(account).await?, |one| {
                &one.route_table_id
            }),
            ranges: ranges.collect(),
            gateways: gateways.into_iter().filter_map(|one| Some((one.vpc_id?, one.id))).collect(),
            nat_gateways: nat_gateways.into_iter().filter(|one| one.is_there()).map(|one| one.id).collect(),
            ports,
        })
    }

    pub fn table(&self, row: Row, tags: &Tags) -> ec2::RouteTable {
        let associations = self.associations.get(&row.id).into_iter().flatten();
        let local = self.ranges.get(&row.vpc_id).into_iter().flatten().map(|range| ec2::Route {
            destination_cidr_block: Some(range.clone()),
            gateway_id: Some(LOCAL.to_owned()),
            origin: Some(BY_CREATE_ROUTE_TABLE.to_owned()),
            state: Some("active".to_owned()),
            ..Default::default()
        });
        let routes = self.routes.get(&row.id).into_iter().flatten();
        ec2::RouteTable {
            associations: associations.map(association).collect(),
            routes: local.chain(routes.map(|route| self.route(&row.vpc_id, route))).collect(),
            owner_id: Some(row.account),
            propagating_vgws: Vec::new(),
            route_table_id: Some(row.id),
            tags: shown(tags),
            vpc_id: Some(row.vpc_id),
        }
    }

    fn route(&self, vpc: &str, row: &RouteRow) -> ec2::Route {
        let destination = |is_list| {
            Some(row.destination.clone()).filter(|text| is_list == text.starts_with(PrefixListId::PREFIX))
        };
        let mut told = ec2::Route {
            destination_cidr_block: destination(false),
            destination_prefix_list_id: destination(true),
            origin: Some(row.origin.clone()),
            ..Default::default()
        };
        let target = Some(row.target.clone());
        let there = match row.target.split_once('-').map(|(prefix, _)| prefix) {
            Some("nat") => {
                told.nat_gateway_id = target;
                self.nat_gateways.contains(&row.target)
            }
            Some("eni") => {
                told.network_interface_id = target;
                let holder = self.ports.get(&row.target);
                told.instance_id = holder.map(|(id, _)| id.clone());
                told.instance_owner_id = holder.map(|(_, owner)| owner.clone());
                holder.is_some()
            }
            _ => {
                told.gateway_id = target;
                self.gateways.contains(&(vpc.to_owned(), row.target.clone()))
            }
        };
        told.state = Some(if there { "active" } else { "blackhole" }.to_owned());
        told
    }
}

pub fn associated() -> ec2::RouteTableAssociationState {
    ec2::RouteTableAssociationState { state: Some("associated".to_owned()), status_message: None }
}

fn association(row: &AssociationRow) -> ec2::RouteTableAssociation {
    ec2::RouteTableAssociation {
        association_state: Some(associated()),
        main: Some(row.subnet_id.is_none()),
        route_table_association_id: Some(row.id.clone()),
        route_table_id: Some(row.route_table_id.clone()),
        subnet_id: row.subnet_id.clone(),
        ..Default::default()
    }
}
