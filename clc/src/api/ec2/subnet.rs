//! Subnets.

mod attribute;
mod change;

pub use attribute::{modify_asks, modify_subnet_attribute};
pub use change::{create_asks, create_default_subnet, create_subnet, delete_asks, delete_subnet};

use super::listing::{Shown, absent, ids_or_page, named, page, tell, tell_flag, tell_number, tell_tags};
use super::tag::shown;
use crate::api::cx::{Answer, Cx};
use crate::app::address::{Cidr, network_name};
use crate::app::tag::{Taggable, Tags};
use crate::store::subnet::Subnet as Row;
use karri_proto::aws::ec2::{
    DescribeSubnetsRequest, DescribeSubnetsResult, HostnameType, PrivateDnsNameOptionsOnLaunch, Subnet,
};
use karri_proto::aws::filter::Filterable;
use karri_proto::fault::FaultCode;
use karri_proto::ids::SubnetId;

const KIND: &str = "subnet";

pub async fn describe_subnets(cx: Cx, request: DescribeSubnetsRequest) -> Answer<DescribeSubnetsResult> {
    ids_or_page(&request.subnet_ids, request.max_results, "subnetSet")?;
    for id in &request.subnet_ids {
        id.parse::<SubnetId>()?;
    }
    let rows = cx.app.store.subnet_list(cx.account()).await?;
    let missing = |ids: &[&str]| absent(FaultCode::InvalidSubnetIdNotFound, "subnet ID", ids);
    let rows = named(&request.subnet_ids, rows, |row| &row.id, missing)?;
    let mut tags = cx.app.store.tags_of_account(cx.account(), Taggable::Subnet).await?;
    let described = rows.into_iter().map(|row| {
        let tags = tags.remove(&row.id).unwrap_or_default();
        describe(&cx, row, &tags)
    });
    let key = |subnet: &Subnet| subnet.subnet_id.clone().unwrap_or_default();
    let (subnets, next_token) = page(&request, described.collect(), key)?;
    Ok(DescribeSubnetsResult { next_token, subnets })
}

/// EC2's accounting: all addresses but five, less those in use. The accounts' default subnets of a zone share one
/// range, so what another account uses is not available either.
fn available(cx: &Cx, row: &Row) -> Option<i32> {
    let cluster = cx.app.clusters.by_zone(&row.zone).map(|link| link.name.clone()).unwrap_or_default();
    let network = network_name(row.tag, &row.id, &cluster);
    let free = cx.app.book().addresses.free_count(&network, Cidr::parse(&row.cidr)?);
    i32::try_from(free).ok()
}

fn describe(cx: &Cx, row: Row, tags: &Tags) -> Subnet {
    Subnet {
        assign_ipv6_address_on_creation: Some(false),
        available_ip_address_count: Some(available(cx, &row).unwrap_or(0)),
        availability_zone_id: Some(row.zone.clone()),
        availability_zone: Some(row.zone),
        cidr_block: Some(row.cidr),
        default_for_az: Some(row.is_default),
        enable_dns64: Some(false),
        ipv6_native: Some(false),
        map_customer_owned_ip_on_launch: Some(false),
        map_public_ip_on_launch: Some(row.map_public_ip),
        owner_id: Some(row.account),
        private_dns_name_options_on_launch: Some(PrivateDnsNameOptionsOnLaunch {
            enable_resource_name_dns_aaaa_record: Some(false),
            enable_resource_name_dns_a_record: Some(false),
            hostname_type: Some(HostnameType::IP_NAME.to_owned()),
        }),
        state: Some("available".to_owned()),
        subnet_arn: Some(cx.arn("subnet", &row.id)),
        subnet_id: Some(row.id),
        tags: shown(tags),
        vpc_id: Some(row.vpc_id),
        ..Default::default()
    }
}

impl Filterable for Shown<Subnet> {
    const FILTERS: &'static [&'static str] = &[
        "availability-zone",
        "availability-zone-id",
        "availabilityZone",
        "availabilityZoneId",
        "available-ip-address-count",
        "cidr",
        "cidr-block",
        "cidrBlock",
        "customer-owned-ipv4-pool",
        "default-for-az",
        "defaultForAz",
        "enable-dns64",
        "enable-lni-at-device-index",
        "ipv6-cidr-block-association.association-id",
        "ipv6-cidr-block-association.ipv6-cidr-block",
        "ipv6-cidr-block-association.state",
        "ipv6-native",
        "map-customer-owned-ip-on-launch",
        "map-public-ip-on-launch",
        "outpost-arn",
        "owner-id",
        "private-dns-name-options-on-launch.enable-resource-name-dns-a-record",
        "private-dns-name-options-on-launch.enable-resource-name-dns-aaaa-record",
        "private-dns-name-options-on-launch.hostname-type",
        "state",
        "subnet-arn",
        "subnet-id",
        "vpc-id",
    ];

    fn filter_values(&self, name: &str, each: &mut dyn FnMut(&str)) {
        let subnet = &self.0;
        match name {
            "availability-zone" | "availabilityZone" => tell(each, &subnet.availability_zone),
            "availability-zone-id" | "availabilityZoneId" => tell(each, &subnet.availability_zone_id),
            "available-ip-address-count" => tell_number(each, subnet.available_ip_address_count),
            "cidr" | "cidr-block" | "cidrBlock" => tell(each, &subnet.cidr_block),
            "default-for-az" | "defaultForAz" => tell_flag(each, subnet.default_for_az),
            "enable-dns64" => tell_flag(each, subnet.enable_dns64),
            "ipv6-native" => tell_flag(each, subnet.ipv6_native),
            "map-customer-owned-ip-on-launch" => tell_flag(each, subnet.map_customer_owned_ip_on_launch),
            "map-public-ip-on-launch" => tell_flag(each, subnet.map_public_ip_on_launch),
            "owner-id" => tell(each, &subnet.owner_id),
            "private-dns-name-options-on-launch.hostname-type" => each(HostnameType::IP_NAME),
            "private-dns-name-options-on-launch.enable-resource-name-dns-a-record"
            | "private-dns-name-options-on-launch.enable-resource-name-dns-aaaa-record" => each("false"),
            "state" => tell(each, &subnet.state),
            "subnet-arn" => tell(each, &subnet.subnet_arn),
            "subnet-id" => tell(each, &subnet.subnet_id),
            "vpc-id" => tell(each, &subnet.vpc_id),
            _ => {}
        }
    }

    fn filter_tags(&self, each: &mut dyn FnMut(&str, &str)) {
        tell_tags(each, &self.0.tags);
    }
}
