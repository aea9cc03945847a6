//! What route tables can be filtered by: all that EC2 knows.

use crate::api::ec2::listing::{Shown, tell, tell_flag, tell_tags};
use karri_proto::aws::ec2::{Route, RouteTable, RouteTableAssociation};
use karri_proto::aws::filter::Filterable;

impl Filterable for Shown<RouteTable> {
    const FILTERS: &'static [&'static str] = &[
        "association.gateway-id",
        "association.main",
        "association.route-table-association-id",
        "association.route-table-id",
        "association.subnet-id",
        "owner-id",
        "route-table-id",
        "route.destination-cidr-block",
        "route.destination-ipv6-cidr-block",
        "route.destination-prefix-list-id",
        "route.egress-only-internet-gateway-id",
        "route.gateway-id",
        "route.instance-id",
        "route.nat-gateway-id",
        "route.network-interface-id",
        "route.origin",
        "route.state",
        "route.transit-gateway-id",
        "route.vpc-peering-connection-id",
        "vpc-id",
    ];

    fn filter_values(&self, name: &str, each: &mut dyn FnMut(&str)) {
        let table = &self.0;
        match (name, name.split_once('.')) {
            (_, Some(("association", part))) => {
                table.associations.iter().for_each(|one| association(one, part, each));
            }
            (_, Some(("route", part))) => table.routes.iter().for_each(|one| route(one, part, each)),
            ("owner-id", _) => tell(each, &table.owner_id),
            ("route-table-id", _) => tell(each, &table.route_table_id),
            ("vpc-id", _) => tell(each, &table.vpc_id),
            _ => {}
        }
    }

    fn filter_tags(&self, each: &mut dyn FnMut(&str, &str)) {
        tell_tags(each, &self.0.tags);
    }
}

fn association(one: &RouteTableAssociation, part: &str, each: &mut dyn FnMut(&str)) {
    match part {
        "gateway-id" => tell(each, &one.gateway_id),
        "main" => tell_flag(each, one.main),
        "route-table-association-id" => tell(each, &one.route_table_association_id),
        "route-table-id" => tell(each, &one.route_table_id),
        "subnet-id" => tell(each, &one.subnet_id),
        _ => {}
    }
}

fn route(one: &Route, part: &str, each: &mut dyn FnMut(&str)) {
    match part {
        "destination-cidr-block" => tell(each, &one.destination_cidr_block),
        "destination-prefix-list-id" => tell(each, &one.destination_prefix_list_id),
        "gateway-id" => tell(each, &one.gateway_id),
        "instance-id" => tell(each, &one.instance_id),
        "nat-gateway-id" => tell(each, &one.nat_gateway_id),
        "network-interface-id" => tell(each, &one.network_interface_id),
        "origin" => tell(each, &one.origin),
        "state" => tell(each, &one.state),
        _ => {} // nobody has such a route
    }
}
