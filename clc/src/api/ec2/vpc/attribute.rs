//! What a VPC has that may be changed, one at a time.

use super::KIND;
use crate::api::cx::{Answer, Cx};
use crate::api::permit::{Asks, Target};
use crate::app::vpc::attribute::Attribute;
use karri_proto::aws::Done;
use karri_proto::aws::ec2::{
    AttributeBooleanValue, DescribeVpcAttributeRequest, DescribeVpcAttributeResult,
    ModifyVpcAttributeRequest, VpcAttributeName,
};
use karri_proto::fault::{Fault, FaultCode};

pub fn describe_asks(_: &Cx, request: &DescribeVpcAttributeRequest) -> Asks {
    Asks::On(vec![Target::new(KIND, &request.vpc_id)])
}

pub async fn describe_vpc_attribute(
    cx: Cx,
    request: DescribeVpcAttributeRequest,
) -> Answer<DescribeVpcAttributeResult> {
    let vpc = cx.app.vpc_named(cx.caller(), &request.vpc_id).await?;
    let value = |value: bool| Some(AttributeBooleanValue { value: Some(value) });
    let mut result = DescribeVpcAttributeResult { vpc_id: Some(vpc.id), ..Default::default() };
    match request.attribute.as_str() {
        VpcAttributeName::ENABLEDNSSUPPORT => result.enable_dns_support = value(vpc.dns_support),
        VpcAttributeName::ENABLEDNSHOSTNAMES => result.enable_dns_hostnames = value(vpc.dns_hostnames),
        _ => result.enable_network_address_usage_metrics = value(vpc.usage_metrics),
    }
    Ok(result)
}

pub fn modify_asks(_: &Cx, request: &ModifyVpcAttributeRequest) -> Asks {
    Asks::On(vec![Target::new(KIND, &request.vpc_id)])
}

pub async fn modify_vpc_attribute(cx: Cx, request: ModifyVpcAttributeRequest) -> Answer<Done> {
    let value = |value: &Option<AttributeBooleanValue>| value.as_ref()?.value;
    let named = [
        value(&request.enable_dns_support).map(Attribute::DnsSupport),
        value(&request.enable_dns_hostnames).map(Attribute::DnsHostnames),
        value(&request.enable_network_address_usage_metrics).map(Attribute::UsageMetrics),
    ];
    let combination = |sentence: &'static str| Fault::new(FaultCode::InvalidParameterCombination, sentence);
    let mut named = named.into_iter().flatten();
    let attribute = named.next().ok_or_else(|| combination("No attributes specified."))?;
    if named.next().is_some() {
        return Err(combination("Fields for multiple attribute types specified"));
    }
    cx.app.vpc_modify(cx.caller(), &request.vpc_id, attribute).await?;
    Ok(Done)
}
