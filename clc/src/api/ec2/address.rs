//! Elastic addresses. There are none to be had yet, so nobody has one; clients ask all the same.

use super::listing::{Shown, absent, filtered, named, tell, tell_tags};
use crate::api::cx::{Answer, Cx};
use karri_proto::aws::ec2::{Address, DescribeAddressesRequest, DescribeAddressesResult};
use karri_proto::aws::filter::Filterable;
use karri_proto::fault::{Fault, FaultCode, shown_list};

pub async fn describe_addresses(_: Cx, request: DescribeAddressesRequest) -> Answer<DescribeAddressesResult> {
    let addresses: Vec<(String, Address)> = Vec::new();
    let missing = |ips: &[&str]| {
        Fault::new(FaultCode::InvalidAddressNotFound, format!("Address '{}' not found.", shown_list(ips)))
    };
    let addresses = named(&request.public_ips, addresses, |(ip, _)| ip, missing)?;
    let missing = |ids: &[&str]| absent(FaultCode::InvalidAllocationIdNotFound, "allocation ID", ids);
    let addresses = named(&request.allocation_ids, addresses, |(id, _)| id, missing)?;
    let addresses = addresses.into_iter().map(|(_, address)| address).collect();
    Ok(DescribeAddressesResult { addresses: filtered(&request, addresses)? })
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
