//! VPC endpoints. There are none: no service of the cloud has an address inside of VPCs.

use super::listing::{Shown, absent, ids_or_page, named, page};
use crate::api::cx::{Answer, Cx};
use karri_proto::aws::ec2::{DescribeVpcEndpointsRequest, DescribeVpcEndpointsResult, VpcEndpoint};
use karri_proto::aws::filter::Filterable;
use karri_proto::fault::FaultCode;

pub async fn describe_vpc_endpoints(
    _: Cx,
    request: DescribeVpcEndpointsRequest,
) -> Answer<DescribeVpcEndpointsResult> {
    ids_or_page(&request.vpc_endpoint_ids, request.max_results, "vpcEndpointIdSet")?;
    let missing = |ids: &[&str]| absent(FaultCode::InvalidVpcEndpointIdNotFound, "Vpc Endpoint Id", ids);
    let none: Vec<VpcEndpoint> = Vec::new();
    let none = named(&request.vpc_endpoint_ids, none, |_| "", missing)?;
    let (vpc_endpoints, next_token) = page(&request, none, |_| String::new())?;
    Ok(DescribeVpcEndpointsResult { vpc_endpoints, next_token })
}

impl Filterable for Shown<VpcEndpoint> {
    const FILTERS: &'static [&'static str] = &[
        "ip-address-type",
        "service-name",
        "service-region",
        "vpc-endpoint-id",
        "vpc-endpoint-state",
        "vpc-endpoint-type",
        "vpc-id",
    ];

    fn filter_values(&self, _: &str, _: &mut dyn FnMut(&str)) {}
}
