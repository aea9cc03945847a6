//! VPCs and subnets as tests make them.

use super::Client;

pub async fn vpc(client: &Client, cidr: &str) -> String {
    client.ec2("CreateVpc", &[("CidrBlock", cidr)]).await.ok().one("vpcId")
}

pub async fn subnet(client: &Client, vpc: &str, cidr: &str, zone: &str) -> String {
    let words = [("VpcId", vpc), ("CidrBlock", cidr), ("AvailabilityZone", zone)];
    client.ec2("CreateSubnet", &words).await.ok().one("subnetId")
}

/// The id of the only thing that a Describe finds by one filter.
pub async fn only(client: &Client, action: &str, filter: (&str, &str), element: &str) -> String {
    let words = [("Filter.1.Name", filter.0), ("Filter.1.Value.1", filter.1)];
    let found = client.ec2(action, &words).await.ok();
    found.first(element).unwrap_or_else(|| panic!("no {element} by {filter:?} in {}", found.text))
}

/// The group that a VPC has from its beginning.
pub async fn default_group(client: &Client, vpc: &str) -> String {
    let words = [
        ("Filter.1.Name", "vpc-id"),
        ("Filter.1.Value.1", vpc),
        ("Filter.2.Name", "group-name"),
        ("Filter.2.Value.1", "default"),
    ];
    client.ec2("DescribeSecurityGroups", &words).await.ok().first("groupId").unwrap()
}

pub async fn free_addresses(client: &Client, subnet: &str) -> u32 {
    let found = client.ec2("DescribeSubnets", &[("SubnetId.1", subnet)]).await.ok();
    found.one("availableIpAddressCount").parse().unwrap()
}
