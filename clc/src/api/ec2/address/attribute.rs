//! The one attribute that an elastic address can have is its name in reverse DNS, which is nobody's to set here.

use super::{of_allocations, rows};
use crate::api::cx::{Answer, Cx};
use crate::api::ec2::listing::{Shown, page, tell};
use crate::api::permit::{Asks, Target, not_dry};
use crate::app::public_address::Named;
use crate::store::public_address::PublicAddress as Row;
use karri_proto::aws::ec2::{
    AddressAttribute, DescribeAddressesAttributeRequest, DescribeAddressesAttributeResult,
    ModifyAddressAttributeRequest, ModifyAddressAttributeResult, ResetAddressAttributeRequest,
    ResetAddressAttributeResult,
};
use karri_proto::aws::filter::Filterable;
use karri_proto::fault::{Fault, FaultCode};

fn attribute(row: &Row) -> AddressAttribute {
    AddressAttribute {
        allocation_id: row.allocation_id.clone(),
        public_ip: Some(row.ip.to_string()),
        ..Default::default()
    }
}

pub async fn describe_addresses_attribute(
    cx: Cx,
    request: DescribeAddressesAttributeRequest,
) -> Answer<DescribeAddressesAttributeResult> {
    let rows = of_allocations(&request.allocation_ids, rows(&cx).await?)?;
    let key = |one: &AddressAttribute| one.allocation_id.clone().unwrap_or_default();
    let (addresses, next_token) = page(&request, rows.iter().map(attribute).collect(), key)?;
    Ok(DescribeAddressesAttributeResult { addresses, next_token })
}

pub fn modify_asks(_: &Cx, request: &ModifyAddressAttributeRequest) -> Asks {
    Asks::On(vec![Target::new("elastic-ip", &request.allocation_id)])
}

/// Who resolves an address asks the site's servers of names, which nothing here writes to: a name would be told, and not
/// be found.
pub async fn modify_address_attribute(
    cx: Cx,
    request: ModifyAddressAttributeRequest,
) -> Answer<ModifyAddressAttributeResult> {
    let named = Named::Allocation(request.allocation_id.parse()?);
    let mut tx = cx.app.store.begin().await?;
    cx.app.public_address_seen_in_txn(&mut tx, cx.caller(), &named).await?;
    let sentence = "Names of elastic IP addresses in reverse DNS are not supported";
    Err(Fault::new(FaultCode::UnsupportedOperation, sentence))
}

pub fn reset_asks(_: &Cx, request: &ResetAddressAttributeRequest) -> Asks {
    Asks::On(vec![Target::new("elastic-ip", &request.allocation_id)])
}

/// There is no name, and so none to take away.
pub async fn reset_address_attribute(
    cx: Cx,
    request: ResetAddressAttributeRequest,
) -> Answer<ResetAddressAttributeResult> {
    let named = Named::Allocation(request.allocation_id.parse()?);
    let mut tx = cx.app.store.begin().await?;
    let row = cx.app.public_address_seen_in_txn(&mut tx, cx.caller(), &named).await?;
    not_dry(&request)?;
    Ok(ResetAddressAttributeResult { address: Some(attribute(&row)) })
}

impl Filterable for Shown<AddressAttribute> {
    const FILTERS: &'static [&'static str] = &["allocation-id", "public-ip"];
    const TAGGED: bool = false;

    fn filter_values(&self, name: &str, each: &mut dyn FnMut(&str)) {
        match name {
            "allocation-id" => tell(each, &self.0.allocation_id),
            "public-ip" => tell(each, &self.0.public_ip),
            _ => {}
        }
    }
}
