//! Instances.

use crate::api::cx::{Answer, Cx};
use axum::body::Bytes;
use karri_proto::aws::ec2::DescribeInstancesRequest;

pub async fn describe_instances(_cx: Cx, _request: DescribeInstancesRequest) -> Answer<Bytes> {
    Ok(Bytes::from_static(b"<reservationSet/>"))
}
