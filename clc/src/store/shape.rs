//! The shape of VPCs, read from the rows that it follows from.

use super::dhcp_options::{Options, dhcp_options_of};
use super::network_acl::{NetworkAclEntry, entry_of};
use super::route_table::{Route as RouteRow, route_of};
use super::subnet::{Subnet as SubnetRow, subnet_of};
use super::vpc::{Vpc as VpcRow, vpcs_by_id};
use super::{IDS_PER_STATEMENT_MAX, StoreError, placeholders};
use crate::app::dhcp_options::told;
use crate::app::security_group::terms::net4;
use karri_proto::network::{Acl, Net4, Route, RouteTable, RouteTarget, Shape, ShapeKey, Subnet, Vpc};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Row as _};
use std::collections::{HashMap, HashSet};

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
    Ok(shapes)
}

#[derive(Default)]
struct Ids<'a> {
    vpcs: Vec<&'a str>,
    subnets: Vec<&'a str>,
    route_tables: Vec<&'a str>,
    acls: Vec<&'a str>,
}

impl<'a> Ids<'a> {
    fn add(&mut self, key: &'a ShapeKey) {
        match key {
            ShapeKey::Vpc(id) => self.vpcs.push(id.as_str()),
            ShapeKey::Subnet(id) => self.subnets.push(id.as_str()),
            ShapeKey::RouteTable(id) => self.route_tables.push(id.as_str()),
            ShapeKey::Acl(id) => self.acls.push(id.as_str()),
            // There are no such rows yet.
            ShapeKey::Nat(_) | ShapeKey::Address(_) => {}
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
            dhcp: chosen.map(|options| told(options)).unwrap_or_default(),
            dns_support: row.dns_support,
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
    let mut routes: HashMap<String, Vec<Route>> = HashMap::new();
    let statement = "SELECT * FROM routes WHERE route_table_id";
    for row in &rows_of(connection, statement, ids, " ORDER BY destination").await? {
        let RouteRow { route_table_id, destination, target, .. } = route_of(row)?;
        let target = match attached.contains(&target) {
            true => RouteTarget::Internet,
            false => RouteTarget::Blackhole,
        };
        let route = Route { to: range(&destination)?, target };
        routes.entry(route_table_id).or_default().push(route);
    }
    for row in &rows_of(connection, "SELECT id, vpc_id FROM route_tables WHERE id", ids, "").await? {
        let (table, vpc): (String, String) = (row.try_get("id")?, row.try_get("vpc_id")?);
        let routes = routes.remove(&table).unwrap_or_default();
        shapes.push(Shape::RouteTable(RouteTable { id: id(&table)?, vpc: id(&vpc)?, routes }));
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
