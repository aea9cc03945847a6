//! Elastic addresses.

mod attribute;
mod change;

pub use attribute::{
    describe_addresses_attribute, modify_address_attribute, modify_asks, reset_address_attribute, reset_asks,
};
pub use change::{
    allocate_address, allocate_asks, associate_address, associate_asks, disassociate_address,
    disassociate_asks, release_address, release_asks,
};

use super::listing::{Shown, absent, filtered, named, tell, tell_tags};
use super::tag::shown;
use crate::api::cx::{Answer, Cx};
use crate::app::tag::{Taggable, Tags};
use crate::store::public_address::PublicAddress as Row;
use karri_proto::aws::ec2::{Address, DescribeAddressesRequest, DescribeAddressesResult};
use karri_proto::aws::filter::Filterable;
use karri_proto::fault::{Fault, FaultCode, shown_list};
use karri_proto::ids::AllocationId;

/// Where EC2's own addresses are from.
pub const POOL: &str = "amazon";
pub const DOMAIN: &str = "vpc";

/// The account's, by address.
async fn rows(cx: &Cx) -> Result<Vec<Row>, Fault> {
    let mut rows = cx.app.store.public_address_list(cx.account()).await?;
    rows.retain(|row| row.allocation_id.is_some());
    Ok(rows)
}

fn allocation(row: &Row) -> &str {
    row.allocation_id.as_deref().unwrap_or_default()
}

fn of_allocations(ids: &[String], rows: Vec<Row>) -> Result<Vec<Row>, Fault> {
    for id in ids {
        id.parse::<AllocationId>()?;
    }
    let missing = |ids: &[&str]| absent(FaultCode::InvalidAllocationIdNotFound, "allocation ID", ids);
    named(ids, rows, allocation, missing)
}

pub async fn describe_addresses(
    cx: Cx,
    request: DescribeAddressesRequest,
) -> Answer<DescribeAddressesResult> {
    let rows = of_allocations(&request.allocation_ids, rows(&cx).await?)?;
    let missing = |ips: &[&str]| {
        Fault::new(FaultCode::InvalidAddressNotFound, format!("Address '{}' not found.", shown_list(ips)))
    };
    let rows: Vec<(String, Row)> = rows.into_iter().map(|row| (row.ip.to_string(), row)).collect();
    let rows = named(&request.public_ips, rows, |(ip, _)| ip, missing)?;
    let mut tags = cx.app.store.tags_of_account(cx.account(), Taggable::ElasticIp).await?;
    let described = rows.into_iter().map(|(_, row)| {
        let tags = tags.remove(allocation(&row)).unwrap_or_default();
        describe(&cx, row, &tags)
    });
    Ok(DescribeAddressesResult { addresses: filtered(&request, described.collect())? })
}

fn describe(cx: &Cx, row: Row, tags: &Tags) -> Address {
    let address = Address {
        allocation_id: row.allocation_id,
        domain: Some(DOMAIN.to_owned()),
        network_border_group: Some(cx.app.region.clone()),
        public_ip: Some(row.ip.to_string()),
        public_ipv4_pool: Some(POOL.to_owned()),
        tags: shown(tags),
        ..Default::default()
    };
    let Some(to) = row.leads_to else { return address };
    Address {
        association_id: to.association_id,
        instance_id: to.instance_id,
        network_interface_id: Some(to.port_id),
        network_interface_owner_id: Some(row.account),
        private_ip_address: Some(to.private_ip.to_string()),
        subnet_id: Some(to.subnet_id),
        ..address
    }
}

impl Filterable for Shown<Address> {
    const FILTERS: &'static [&'static str] = &[
        "allocation-id",
        "association-id",
        "domain",
        "instance-id",
        "network-border-group",
        "network-interface-id",
        "network-interface-owner-id",
        "private-ip-address",
        "public-ip",
    ];

    fn filter_values(&self, name: &str, each: &mut dyn FnMut(&str)) {
        let address = &self.0;
        match name {
            "allocation-id" => tell(each, &address.allocation_id),
            "association-id" => tell(each, &address.association_id),
            "domain" => tell(each, &address.domain),
            "instance-id" => tell(each, &address.instance_id),
            "network-border-group" => tell(each, &address.network_border_group),
            "network-interface-id" => tell(each, &address.network_interface_id),
            "network-interface-owner-id" => tell(each, &address.network_interface_owner_id),
            "private-ip-address" => tell(each, &address.private_ip_address),
            "public-ip" => tell(each, &address.public_ip),
            _ => {}
        }
    }

    fn filter_tags(&self, each: &mut dyn FnMut(&str, &str)) {
        tell_tags(each, &self.0.tags);
    }
}
