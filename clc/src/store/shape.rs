//! The shape of VPCs, read from the rows that it follows from.

mod listed;

use super::dhcp_options::{Options, dhcp_options_of};
use super::nat_gateway::nat_gateway_of;
use super::network_acl::{NetworkAclEntry, entry_of};
use super::public_address::public_addresses_read;
use super::route_table::{Route as RouteRow, route_of};
use super::subnet::{Subnet as SubnetRow, subnet_of};
use super::vpc::{Vpc as VpcRow, vpcs_by_id};
use super::{IDS_PER_STATEMENT_MAX, StoreError, placeholders};
use crate::app::dhcp_options::told;
use crate::app::security_group::terms::net4;
use karri_proto::ids::PrefixListId;
use karri_proto::network::{
    Acl, Nat, Net4, PublicAddress, Route, RouteTable, RouteTarget, Shape, ShapeKey, Subnet, Vpc,
};
use listed::Listed;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Row as _};
use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

/// Those of the keys that are there, in no particular order.
pub(super) async fn shapes_read(
    connection: &mut AnyConnection,
    keys: &[ShapeKey],
) -> Result<Vec<Shape>, StoreError> {
    let mut ids = Ids::default();
    keys.iter().for_each(|key| ids.add(key));
    let mut shapes = Vec::with_capacity(keys.len());
    for some in ids.vpcs.chunks(IDS_PER_STATEMENT_MAX) {
        vpcs(connection, some, &mut shapes).await?;
    }
    for some in ids.subnets.chunks(IDS_PER_STATEMENT_MAX) {
        subnets(connection, some, &mut shapes).await?;
    }
    for some in ids.route_tables.chunks(IDS_PER_STATEMENT_MAX) {
        route_tables(connection, some, &mut shapes).await?;
    }
    for some in ids.acls.chunks(IDS_PER_STATEMENT_MAX) {
        acls(connection, some, &mut shapes).await?;
    }
    for some in ids.nats.chunks(IDS_PER_STATEMENT_MAX) {
        nats(connection, some, &mut shapes).await?;
    }
    for some in ids.addresses.chunks(IDS_PER_STATEMENT_MAX) {
        addresses(connection, some, &mut shapes).await?;
    }
    Ok(shapes)
}

#[derive(Default)]
struct Ids<'a> {
    vpcs: Vec<&'a str>,
    subnets: Vec<&'a str>,
    route_tables: Vec<&'a str>,
    acls: Vec<&'a str>,
    nats: Vec<&'a str>,
    addresses: Vec<Ipv4Addr>,
}

impl<'a> Ids<'a> {
    fn add(&mut self, key: &'a ShapeKey) {
        match key {
            ShapeKey::Vpc(id) => self.vpcs.push(id.as_str()),
            ShapeKey::Subnet(id) => self.subnets.push(id.as_str()),
            ShapeKey::RouteTable(id) => self.route_tables.push(id.as_str()),
            ShapeKey::Acl(id) => self.acls.push(id.as_str()),
            ShapeKey::Nat(id) => self.nats.push(id.as_str()),
            ShapeKey::Address(ip) => self.addresses.push(*ip),
            ShapeKey::Far(_) => {} // follows from an instance
        }
    }
}

/// `statement` ends where the list of ids begins, and `then` follows it.
pub(super) async fn rows_of(
    connection: &mut AnyConnection,
    statement: &str,
    ids: &[&str],
    then: &str,
) -> Result<Vec<AnyRow>, StoreError> {
    let text = format!("{statement} IN {}{then}", placeholders(1, ids.len()));
    let query = ids.iter().fold(sqlx::query(AssertSqlSafe(text)), |query, id| query.bind(*id));
    Ok(query.fetch_all(connection).await?)
}

fn id<T: std::str::FromStr>(text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::corrupt("id of a network", text))
}

fn range(text: &str) -> Result<Net4, StoreError> {
    net4(text).map_err(|_| StoreError::corrupt("range of a network", text))
}

async fn vpcs(
    connection: &mut AnyConnection,
    ids: &[&str],
    shapes: &mut Vec<Shape>,
) -> Result<(), StoreError> {
    let rows: Vec<VpcRow> = vpcs_by_id(connection, ids).await?;
    let mut gateways: HashMap<String, String> = HashMap::new();
    let statement = "SELECT id, vpc_id FROM internet_gateways WHERE vpc_id";
    for row in &rows_of(connection, statement, ids, "").await? {
        gateways.insert(row.try_get("vpc_id")?, row.try_get("id")?);
    }
    let mut options: HashMap<String, Options> = HashMap::new();
    let statement = "SELECT * FROM dhcp_options WHERE id IN (SELECT dhcp_options_id FROM vpcs WHERE id";
    for row in &rows_of(connection, statement, ids, ")").await? {
        let set = dhcp_options_of(row)?;
        options.insert(set.id, set.options);
    }
    for row in rows {
        let gateway = gateways.remove(&row.id);
        let chosen = row.dhcp_options_id.as_ref().and_then(|id| options.get(id));
        shapes.push(Shape::Vpc(Vpc {
            id: id(&row.id)?,
            ranges: row.ranges().map(range).collect::<Result<_, _>>()?,
            internet_gateway: gateway.as_deref().map(id).transpose()?,
            dhcp: chosen.map(told).unwrap_or_default(),
            dns_support: row.dns_support,
            dns_hostnames: row.dns_support && row.dns_hostnames,
            transit: row.transit,
        }));
    }
    Ok(())
}

async fn subnets(
    connection: &mut AnyConnection,
    ids: &[&str],
    shapes: &mut Vec<Shape>,
) -> Result<(), StoreError> {
    let statement = "SELECT subnets.*, COALESCE(own.route_table_id, main.route_table_id) AS route_table_id, \
         acl.acl_id AS acl_id FROM subnets \
         JOIN route_table_associations AS main ON main.vpc_id = subnets.vpc_id AND main.subnet_id IS NULL \
         JOIN network_acl_associations AS acl ON acl.subnet_id = subnets.id \
         LEFT JOIN route_table_associations AS own ON own.subnet_id = subnets.id WHERE subnets.id";
    for row in &rows_of(connection, statement, ids, "").await? {
        let subnet: SubnetRow = subnet_of(row)?;
        shapes.push(Shape::Subnet(Subnet {
            id: id(&subnet.id)?,
            vpc: id(&subnet.vpc_id)?,
            zone: subnet.zone,
            tag: subnet.tag,
            range: range(&subnet.cidr)?,
            route_table: id(&row.try_get::<String, _>("route_table_id")?)?,
            acl: id(&row.try_get::<String, _>("acl_id")?)?,
        }));
    }
    Ok(())
}

async fn route_tables(
    connection: &mut AnyConnection,
    ids: &[&str],
    shapes: &mut Vec<Shape>,
) -> Result<(), StoreError> {
    let statement = "SELECT internet_gateways.id FROM internet_gateways JOIN route_tables \
         ON route_tables.vpc_id = internet_gateways.vpc_id WHERE route_tables.id";
    let attached = rows_of(connection, statement, ids, "").await?;
    let attached: HashSet<String> =
        attached.iter().map(|row| row.try_get("id")).collect::<Result<_, sqlx::Error>>()?;
    let nats = targets_of(connection, NAT_TARGETS, ids).await?;
    let ports = targets_of(connection, PORT_TARGETS, ids).await?;
    let listed = Listed::read(connection, ids).await?;
    let mut routes: HashMap<String, Vec<Route>> = HashMap::new();
    let mut by_list: HashMap<String, Vec<(PrefixListId, RouteTarget)>> = HashMap::new();
    let statement = "SELECT * FROM routes WHERE route_table_id";
    for row in &rows_of(connection, statement, ids, " ORDER BY destination").await? {
        let RouteRow { route_table_id, destination, target, .. } = route_of(row)?;
        let target = if attached.contains(&target) {
            RouteTarget::Internet
        } else if nats.contains(&target) {
            RouteTarget::Nat(id(&target)?)
        } else if ports.contains(&target) {
            RouteTarget::Interface(id(&target)?)
        } else {
            RouteTarget::Blackhole
        };
        if destination.starts_with(PrefixListId::PREFIX) {
            by_list.entry(route_table_id).or_default().push((id(&destination)?, target));
            continue;
        }
        let route = Route { to: range(&destination)?, target };
        routes.entry(route_table_id).or_default().push(route);
    }
    for row in &rows_of(connection, "SELECT id, vpc_id FROM route_tables WHERE id", ids, "").await? {
        let (table, vpc): (String, String) = (row.try_get("id")?, row.try_get("vpc_id")?);
        let mut routes = routes.remove(&table).unwrap_or_default();
        for (list, target) in by_list.remove(&table).unwrap_or_default() {
            listed.add(&vpc, &list, &target, &mut routes);
        }
        shapes.push(Shape::RouteTable(RouteTable { id: id(&table)?, vpc: id(&vpc)?, routes }));
    }
    Ok(())
}

/// Targets of these tables' routes that are there: NAT gateways that work, and ports of instances.
const NAT_TARGETS: &str = "SELECT DISTINCT nat_gateways.id FROM nat_gateways JOIN routes \
     ON routes.target = nat_gateways.id WHERE nat_gateways.deleted_at IS NULL \
     AND nat_gateways.failure_code IS NULL AND routes.route_table_id";
const PORT_TARGETS: &str = "SELECT DISTINCT ports.id FROM ports JOIN routes ON routes.target = ports.id \
     WHERE ports.instance_id IS NOT NULL AND routes.route_table_id";

async fn targets_of(
    connection: &mut AnyConnection,
    statement: &str,
    tables: &[&str],
) -> Result<HashSet<String>, StoreError> {
    let rows = rows_of(connection, statement, tables, "").await?;
    Ok(rows.iter().map(|row| row.try_get("id")).collect::<Result<_, sqlx::Error>>()?)
}

async fn nats(
    connection: &mut AnyConnection,
    ids: &[&str],
    shapes: &mut Vec<Shape>,
) -> Result<(), StoreError> {
    for row in &rows_of(connection, "SELECT * FROM nat_gateways WHERE id", ids, "").await? {
        let gateway = nat_gateway_of(row)?;
        if gateway.is_there() {
            shapes.push(Shape::Nat(Nat {
                id: id(&gateway.id)?,
                vpc: id(&gateway.vpc_id)?,
                subnet: id(&gateway.subnet_id)?,
                private: gateway.private_ip,
                public: gateway.public.map(|public| public.ip),
            }));
        }
    }
    Ok(())
}

/// Those that lead to instances: those of NAT gateways are told with these.
async fn addresses(
    connection: &mut AnyConnection,
    ips: &[Ipv4Addr],
    shapes: &mut Vec<Shape>,
) -> Result<(), StoreError> {
    for one in public_addresses_read(connection, ips).await? {
        let Some(to) = one.leads_to.filter(|to| to.instance_id.is_some()) else { continue };
        shapes.push(Shape::Address(PublicAddress {
            public: one.ip,
            private: to.private_ip,
            port: id(&to.port_id)?,
            vpc: id(&to.vpc_id)?,
            subnet: id(&to.subnet_id)?,
        }));
    }
    Ok(())
}

async fn acls(
    connection: &mut AnyConnection,
    ids: &[&str],
    shapes: &mut Vec<Shape>,
) -> Result<(), StoreError> {
    let mut entries: HashMap<String, Vec<NetworkAclEntry>> = HashMap::new();
    let statement = "SELECT * FROM network_acl_entries WHERE acl_id";
    for row in &rows_of(connection, statement, ids, " ORDER BY number").await? {
        let entry = entry_of(row)?;
        entries.entry(entry.acl_id.clone()).or_default().push(entry);
    }
    for row in &rows_of(connection, "SELECT id, vpc_id FROM network_acls WHERE id", ids, "").await? {
        let (acl, vpc): (String, String) = (row.try_get("id")?, row.try_get("vpc_id")?);
        let (egress, ingress): (Vec<_>, Vec<_>) =
            entries.remove(&acl).unwrap_or_default().into_iter().partition(|entry| entry.egress);
        let entries = |all: Vec<NetworkAclEntry>| all.into_iter().map(|one| one.entry).collect();
        let (ingress, egress) = (entries(ingress), entries(egress));
        shapes.push(Shape::Acl(Acl { id: id(&acl)?, vpc: id(&vpc)?, ingress, egress }));
    }
    Ok(())
}
