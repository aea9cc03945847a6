//! Sets of DHCP options: made, put on VPCs, told to clusters.

use crate::support::networks::{only, vpc};
use crate::support::{Client, Cloud, FakeCluster};
use karri_proto::network::{DhcpOptions, Shape, ShapeKey};

on_both! {
    a_set_is_made_described_associated_and_deleted
    what_guests_could_not_be_told_is_refused
    a_default_vpc_keeps_the_default_set
}

async fn made(client: &Client) -> String {
    let words = [
        ("DhcpConfiguration.1.Key", "domain-name"),
        ("DhcpConfiguration.1.Value.1", "example.com"),
        ("DhcpConfiguration.2.Key", "domain-name-servers"),
        ("DhcpConfiguration.2.Value.1", "10.0.0.10"),
        ("DhcpConfiguration.2.Value.2", "10.0.0.11"),
        ("DhcpConfiguration.3.Key", "ntp-servers"),
        ("DhcpConfiguration.3.Value.1", "10.0.0.12"),
    ];
    let made = client.ec2("CreateDhcpOptions", &words).await.ok();
    assert_eq!(made.all("key"), ["domain-name", "domain-name-servers", "ntp-servers"]);
    assert_eq!(made.one("ownerId"), client.account);
    made.one("dhcpOptionsId")
}

async fn wait_for_told(cluster: &FakeCluster, vpc: &str, wanted: &DhcpOptions) {
    let key = ShapeKey::Vpc(vpc.parse().unwrap());
    let told = |shape: &Shape| matches!(shape, Shape::Vpc(vpc) if vpc.dhcp == *wanted);
    cluster.wait_for_facts("the options", |table| table.shape(&key).is_some_and(told)).await;
}

async fn a_set_is_made_described_associated_and_deleted(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let (set, id) = (made(&alice).await, vpc(&alice, "10.0.0.0/16").await);
    for (name, value, expected) in [
        ("dhcp-options-id", set.as_str(), 1),
        ("key", "ntp-servers", 1),
        ("key", "domain-name", 2),
        ("value", "10.0.0.11", 1),
        ("value", "AmazonProvidedDNS", 1),
        ("owner-id", alice.account.as_str(), 2),
    ] {
        let filter = [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
        let found = alice.ec2("DescribeDhcpOptions", &filter).await.ok().all("dhcpOptionsId");
        assert_eq!(found.len(), expected, "{name}={value}");
    }
    wait_for_told(&cluster, &id, &DhcpOptions::default()).await;
    let associate = [("VpcId", id.as_str()), ("DhcpOptionsId", &set)];
    alice.ec2("AssociateDhcpOptions", &associate).await.ok();
    let told = DhcpOptions {
        domain_name: Some("example.com".to_owned()),
        name_servers: vec![[10, 0, 0, 10].into(), [10, 0, 0, 11].into()],
        time_servers: vec![[10, 0, 0, 12].into()],
        ..DhcpOptions::default()
    };
    wait_for_told(&cluster, &id, &told).await;
    assert_eq!(only(&alice, "DescribeVpcs", ("dhcp-options-id", &set), "vpcId").await, id);
    let used = alice.ec2("DeleteDhcpOptions", &[("DhcpOptionsId", &set)]).await;
    let sentence =
        format!("The dhcpOptions '{set}' has dependencies and cannot be deleted. One of them is VPC '{id}'.");
    assert_eq!(used.refused(400, "DependencyViolation").message(), sentence);
    alice.ec2("AssociateDhcpOptions", &[("VpcId", &id), ("DhcpOptionsId", "default")]).await.ok();
    assert_eq!(alice.ec2("DescribeVpcs", &[("VpcId.1", &id)]).await.ok().one("dhcpOptionsId"), "default");
    wait_for_told(&cluster, &id, &DhcpOptions::default()).await;
    alice.ec2("DeleteDhcpOptions", &[("DhcpOptionsId", &set)]).await.ok();
    let gone = alice.ec2("DeleteDhcpOptions", &[("DhcpOptionsId", &set)]).await;
    let sentence = format!("The dhcpOptions ID '{set}' does not exist");
    assert_eq!(gone.refused(400, "InvalidDhcpOptionsID.NotFound").message(), sentence);
    alice.ec2("AssociateDhcpOptions", &associate).await.refused(400, "InvalidDhcpOptionID.NotFound");
}

async fn what_guests_could_not_be_told_is_refused(cloud: Cloud) {
    let alice = cloud.owner().await;
    for (key, value, code) in [
        ("colour", "blue", "InvalidParameterValue"),
        ("domain-name", "a b", "InvalidParameterValue"),
        ("domain-name-servers", "2001:db8::1", "InvalidParameterValue"),
        ("netbios-node-type", "3", "InvalidParameterValue"),
    ] {
        let words = [("DhcpConfiguration.1.Key", key), ("DhcpConfiguration.1.Value.1", value)];
        alice.ec2("CreateDhcpOptions", &words).await.refused(400, code);
    }
    let empty = [("DhcpConfiguration.1.Key", "domain-name")];
    alice.ec2("CreateDhcpOptions", &empty).await.refused(400, "InvalidParameterValue");
    let nameless = [("DhcpConfiguration.1.Value.1", "x")];
    alice.ec2("CreateDhcpOptions", &nameless).await.refused(400, "MissingParameter");
    alice.ec2("CreateDhcpOptions", &[]).await.refused(400, "MissingParameter");
    let malformed = [("DhcpOptionsId", "nonsense")];
    alice.ec2("DeleteDhcpOptions", &malformed).await.refused(400, "InvalidDhcpOptionsId.Malformed");
}

/// Its subnets share their server of DHCP with everyone's.
async fn a_default_vpc_keeps_the_default_set(cloud: Cloud) {
    let alice = cloud.owner().await;
    let default = only(&alice, "DescribeVpcs", ("is-default", "true"), "vpcId").await;
    let own = alice.ec2("DescribeVpcs", &[("VpcId.1", &default)]).await.ok().one("dhcpOptionsId");
    let set = made(&alice).await;
    let associate = async |set: &str| {
        alice.ec2("AssociateDhcpOptions", &[("VpcId", &default), ("DhcpOptionsId", set)]).await
    };
    associate(&set).await.refused(400, "UnsupportedOperation");
    associate("default").await.ok();
    associate(&own).await.ok();
    associate("x").await.refused(400, "InvalidDhcpOptionsId.Malformed");
}
