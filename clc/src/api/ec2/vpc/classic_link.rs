//! ClassicLink, which joins VPCs with a network that there never was here. EC2 answers so where it never had one either,
//! and clients that ask go on.

use crate::api::cx::{Answer, Cx};
use karri_proto::aws::ec2::{
    DescribeVpcClassicLinkDnsSupportRequest, DescribeVpcClassicLinkDnsSupportResult,
    DescribeVpcClassicLinkRequest, DescribeVpcClassicLinkResult,
};
use karri_proto::fault::{Fault, FaultCode};

fn nowhere() -> Fault {
    let sentence = "The functionality you requested is not available in this region.";
    Fault::new(FaultCode::UnsupportedOperation, sentence)
}

pub async fn describe_vpc_classic_link(
    _: Cx,
    _: DescribeVpcClassicLinkRequest,
) -> Answer<DescribeVpcClassicLinkResult> {
    Err(nowhere())
}

pub async fn describe_vpc_classic_link_dns_support(
    _: Cx,
    _: DescribeVpcClassicLinkDnsSupportRequest,
) -> Answer<DescribeVpcClassicLinkDnsSupportResult> {
    Err(nowhere())
}
