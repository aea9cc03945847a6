//! A VPC of one's own with a way to the internet.

use super::{Client, until};

pub struct Routed {
    pub vpc: String,
    pub subnet: String,
    pub gateway: String,
    /// The VPC's main one.
    pub table: String,
}

/// The value of the only element of that name.
pub async fn told(client: &Client, action: &str, parameters: &[(&str, &str)], name: &str) -> String {
    client.ec2(action, parameters).await.ok().one(name)
}

/// A subnet of a VPC, in any zone.
pub async fn subnet(client: &Client, vpc: &str, cidr: &str) -> String {
    told(client, "CreateSubnet", &[("VpcId", vpc), ("CidrBlock", cidr)], "subnetId").await
}

pub async fn main_table(client: &Client, vpc: &str) -> String {
    let main = [
        ("Filter.1.Name", "vpc-id"),
        ("Filter.1.Value.1", vpc),
        ("Filter.2.Name", "association.main"),
        ("Filter.2.Value.1", "true"),
    ];
    client.ec2("DescribeRouteTables", &main).await.ok().first("routeTableId").unwrap()
}

/// 10.0.0.0/16 with one subnet, 10.0.0.0/24.
pub async fn routed(client: &Client) -> Routed {
    let vpc = client.ec2("CreateVpc", &[("CidrBlock", "10.0.0.0/16")]).await.ok().first("vpcId").unwrap();
    let subnet = subnet(client, &vpc, "10.0.0.0/24").await;
    let gateway = told(client, "CreateInternetGateway", &[], "internetGatewayId").await;
    let attach = [("InternetGatewayId", gateway.as_str()), ("VpcId", vpc.as_str())];
    client.ec2("AttachInternetGateway", &attach).await.ok();
    let table = main_table(client, &vpc).await;
    Routed { vpc, subnet, gateway, table }
}

pub async fn allocated(client: &Client) -> (String, String) {
    let address = client.ec2("AllocateAddress", &[("Domain", "vpc")]).await.ok();
    (address.one("allocationId"), address.one("publicIp"))
}

pub async fn nat_state(client: &Client, id: &str, state: &str) {
    until(&format!("{id} {state}"), || async {
        let told = client.ec2("DescribeNatGateways", &[("NatGatewayId.1", id)]).await.ok();
        (told.first("state").as_deref() == Some(state)).then_some(())
    })
    .await;
}
