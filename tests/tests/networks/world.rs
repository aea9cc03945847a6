//! What the database says, as the API tells it, and what the cluster was told: both beside what the model says.

pub mod facts;
mod lists;
mod reads;

pub use lists::list;
pub use reads::{associations, rules_of};

use crate::model::{Entry, List, Model, Nat, Port, Rule, Subnet};
use crate::support::Client;
use crate::xml::Element;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// As EC2 tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    pub vpcs: BTreeMap<String, String>,
    /// VPC, range, free addresses.
    pub subnets: BTreeMap<String, (String, String, usize)>,
    pub tables: BTreeMap<String, ToldTable>,
    pub nats: BTreeMap<String, Nat>,
    pub acls: BTreeMap<String, ToldAcl>,
    /// By group and their own ids.
    pub rules: BTreeMap<(String, String), Rule>,
    pub lists: BTreeMap<String, List>,
    pub ports: BTreeMap<String, ToldPort>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldTable {
    pub vpc: String,
    pub main: bool,
    /// With their associations.
    pub subnets: BTreeMap<String, String>,
    /// By which gateway, and whether that leads anywhere.
    pub routes: BTreeMap<String, (String, bool)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldAcl {
    pub vpc: String,
    pub default: bool,
    pub subnets: BTreeSet<String>,
    pub entries: BTreeMap<(bool, u16), Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldPort {
    pub subnet: String,
    /// With the public address of each.
    pub addresses: Vec<(Ipv4Addr, Option<Ipv4Addr>)>,
    pub groups: BTreeSet<String>,
    pub instance: Option<(String, u32)>,
}

impl Told {
    pub fn by(model: &Model) -> Self {
        let port = |(id, port): (&String, &Port)| {
            let addresses = port.addresses.iter().map(|one| (*one, model.public_of(id, *one))).collect();
            let groups = port.groups.iter().cloned().collect();
            (
                id.clone(),
                ToldPort { subnet: port.subnet.clone(), addresses, groups, instance: port.instance.clone() },
            )
        };
        let rules = model.groups.iter().flat_map(|(group, of)| {
            of.rules.iter().map(move |(id, rule)| ((group.clone(), id.clone()), rule.clone()))
        });
        let subnet = |(id, subnet): (&String, &Subnet)| {
            (id.clone(), (subnet.vpc.clone(), subnet.range.to_string(), model.free(id)))
        };
        Self {
            vpcs: model.vpcs.iter().map(|(id, vpc)| (id.clone(), vpc.range.to_string())).collect(),
            subnets: model.subnets.iter().map(subnet).collect(),
            tables: model.tables.keys().map(|id| (id.clone(), table(model, id))).collect(),
            nats: model.nats.clone(),
            acls: model.acls.keys().map(|id| (id.clone(), acl(model, id))).collect(),
            rules: rules.collect(),
            lists: model.lists.clone(),
            ports: model.ports.iter().map(port).collect(),
        }
    }

    pub async fn asked(client: &Client, model: &Model) -> Self {
        let own = [("Filter.1.Name", "is-default"), ("Filter.1.Value.1", "false")];
        let vpcs = read(client, "DescribeVpcs", &own).await;
        let subnets = read(client, "DescribeSubnets", &[]).await;
        let tables = read(client, "DescribeRouteTables", &[]).await;
        let nats = read(client, "DescribeNatGateways", &[]).await;
        let acls = read(client, "DescribeNetworkAcls", &[]).await;
        let rules = rules_of(&client.ec2("DescribeSecurityGroupRules", &[]).await.ok());
        let ports = read(client, "DescribeNetworkInterfaces", &[]).await;
        let vpcs: BTreeMap<_, _> =
            vpcs.items("vpcSet").iter().map(|vpc| (vpc.text("vpcId"), vpc.text("cidrBlock"))).collect();
        let of_own = |of: &&Element| vpcs.contains_key(&of.text("vpcId"));
        let known = |group: &String| model.groups.contains_key(group);
        let rules = rules.into_iter().filter(|(group, ..)| known(group));
        Self {
            subnets: subnets.items("subnetSet").iter().filter(of_own).map(reads::subnet).collect(),
            tables: tables.items("routeTableSet").iter().filter(of_own).map(reads::table).collect(),
            nats: nats.items("natGatewaySet").iter().filter_map(reads::nat).collect(),
            acls: acls.items("networkAclSet").iter().filter(of_own).map(reads::acl).collect(),
            rules: rules.map(|(group, id, rule)| ((group, id), rule)).collect(),
            lists: lists::all(client).await,
            ports: ports.items("networkInterfaceSet").iter().filter(of_own).filter_map(reads::port).collect(),
            vpcs,
        }
    }
}

async fn read(client: &Client, action: &str, words: &[(&str, &str)]) -> Element {
    Element::parse(&client.ec2(action, words).await.ok().text)
}

fn table(model: &Model, id: &String) -> ToldTable {
    let table = &model.tables[id];
    let vpc = &model.vpcs[&table.vpc];
    let associations = model.subnets.iter().filter_map(|(subnet, of)| {
        let (own, association) = of.table.as_ref()?;
        (own == id).then(|| (subnet.clone(), association.clone()))
    });
    let route = |(to, gateway): (&karri_proto::network::Net4, &String)| {
        (to.to_string(), (gateway.clone(), model.is_open(&table.vpc, gateway)))
    };
    let mut routes: BTreeMap<_, _> = table.routes.iter().map(route).collect();
    routes.insert(vpc.range.to_string(), ("local".to_owned(), true));
    ToldTable { vpc: table.vpc.clone(), main: vpc.main_table == *id, subnets: associations.collect(), routes }
}

fn acl(model: &Model, id: &String) -> ToldAcl {
    let acl = &model.acls[id];
    let subnets = model.subnets.iter().filter(|(_, subnet)| subnet.acl == *id);
    ToldAcl {
        vpc: acl.vpc.clone(),
        default: model.vpcs[&acl.vpc].default_acl == *id,
        subnets: subnets.map(|(subnet, _)| subnet.clone()).collect(),
        entries: acl.entries.clone(),
    }
}
