//! Routes to prefix lists, as clusters are told of them: one to each entry.
//!
//! A route to a range by itself goes before an entry of that range. What lies in the VPC is reached within it, whatever a
//! list has.

use super::{range, rows_of};
use crate::app::security_group::Lists;
use crate::store::StoreError;
use crate::store::prefix_list::lists_read;
use karri_proto::ids::PrefixListId;
use karri_proto::network::{Net4, Peer, Route, RouteTarget};
use sqlx::{AnyConnection, Row as _};
use std::collections::HashMap;

/// What is needed of the lists that some tables have routes to.
#[derive(Debug, Default)]
pub struct Listed {
    lists: Lists,
    /// By VPC.
    ranges: HashMap<String, Vec<Net4>>,
}

impl Listed {
    pub async fn read(connection: &mut AnyConnection, tables: &[&str]) -> Result<Self, StoreError> {
        let statement = "SELECT DISTINCT prefix_lists.id, route_tables.vpc_id FROM routes \
             JOIN prefix_lists ON prefix_lists.id = routes.destination \
             JOIN route_tables ON route_tables.id = routes.route_table_id WHERE routes.route_table_id";
        let (mut lists, mut vpcs) = (Vec::new(), Vec::new());
        for row in &rows_of(connection, statement, tables, "").await? {
            lists.push(super::id(&row.try_get::<String, _>("id")?)?);
            vpcs.push(row.try_get::<String, _>("vpc_id")?);
        }
        if lists.is_empty() {
            return Ok(Self::default());
        }
        let vpcs: Vec<&str> = vpcs.iter().map(String::as_str).collect();
        let mut ranges = HashMap::new();
        for vpc in super::vpcs_by_id(connection, &vpcs).await? {
            let own = vpc.ranges().map(range).collect::<Result<Vec<_>, _>>()?;
            ranges.insert(vpc.id.clone(), own);
        }
        Ok(Self { lists: lists_read(connection, &lists).await?, ranges })
    }

    /// The routes of one list, beside those that a table of this VPC has already.
    pub fn add(&self, vpc: &str, list: &PrefixListId, target: &RouteTarget, routes: &mut Vec<Route>) {
        let own: &[Net4] = self.ranges.get(vpc).map_or(&[], Vec::as_slice);
        for entry in self.lists.get(list).into_iter().flatten() {
            let Peer::V4(to) = *entry else { continue };
            let taken = routes.iter().any(|route| route.to == to);
            if !taken && !own.iter().any(|range| to.is_within(range)) {
                routes.push(Route { to, target: target.clone() });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::security_group::terms::{net_of, net4};

    #[test]
    fn an_entry_gives_way_to_routes_of_its_own_and_to_the_vpc() {
        let list: PrefixListId = "pl-0123456789abcdef0".parse().unwrap();
        let entries = ["10.0.0.0/16", "10.0.1.0/24", "192.0.2.0/24", "198.51.100.0/24", "2001:db8::/32"];
        let entries = entries.iter().map(|text| net_of(text).unwrap()).collect();
        let ranges = HashMap::from([("vpc".to_owned(), vec![net4("10.0.0.0/16").unwrap()])]);
        let listed = Listed { lists: Lists::from([(list.clone(), entries)]), ranges };
        let own = Route { to: net4("192.0.2.0/24").unwrap(), target: RouteTarget::Blackhole };
        let mut routes = vec![own.clone()];
        listed.add("vpc", &list, &RouteTarget::Internet, &mut routes);
        let more = Route { to: net4("198.51.100.0/24").unwrap(), target: RouteTarget::Internet };
        assert_eq!(routes, [own, more]);
    }
}
