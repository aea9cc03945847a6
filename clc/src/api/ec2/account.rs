//! What the account is and may.

use crate::api::cx::{Answer, Cx};
use karri_proto::aws::ec2::{
    AccountAttribute, AccountAttributeValue, DescribeAccountAttributesRequest,
    DescribeAccountAttributesResult,
};
use karri_proto::fault::{Fault, shown};

pub async fn describe_account_attributes(
    cx: Cx,
    request: DescribeAccountAttributesRequest,
) -> Answer<DescribeAccountAttributesResult> {
    let vpcs = cx.app.store.vpc_list(cx.account()).await?;
    let default_vpc = vpcs.into_iter().find(|vpc| vpc.is_default).map(|vpc| vpc.id);
    let limits = &cx.app.limits;
    let known = [
        ("supported-platforms", "VPC".to_owned()),
        ("default-vpc", default_vpc.unwrap_or_else(|| "none".to_owned())),
        ("max-instances", limits.instances_per_account.to_string()),
        ("max-elastic-ips", limits.elastic_addresses_per_account.to_string()),
        ("vpc-max-elastic-ips", limits.elastic_addresses_per_account.to_string()),
        ("vpc-max-security-groups-per-interface", limits.security_groups_per_interface.to_string()),
    ];
    if let Some(unknown) = request.attribute_names.iter().find(|name| known.iter().all(|(k, _)| k != name)) {
        let shown = shown(unknown);
        let sentence = format!("Value ({shown}) for parameter attributeName is invalid. Unknown attribute.");
        return Err(Fault::invalid_parameter(sentence));
    }
    let asked =
        |name: &str| request.attribute_names.is_empty() || request.attribute_names.iter().any(|n| n == name);
    let account_attributes = known
        .into_iter()
        .filter(|(name, _)| asked(name))
        .map(|(name, value)| AccountAttribute {
            attribute_name: Some(name.to_owned()),
            attribute_values: vec![AccountAttributeValue { attribute_value: Some(value) }],
        })
        .collect();
    Ok(DescribeAccountAttributesResult { account_attributes })
}
