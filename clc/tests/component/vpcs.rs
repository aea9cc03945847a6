//! VPCs as users make them: what they have, what may become of them, what is refused.

use crate::support::groups::made as group;
use crate::support::networks::{default_group, only, subnet, vpc};
use crate::support::{Cloud, Database};
use karri_clc::config::{Limits, NetworkConfig};

on_both! {
    a_vpc_is_made_described_and_deleted
    ranges_that_no_vpc_may_have_are_refused
    what_is_not_done_is_refused_and_named
    vpcs_are_found_by_what_they_are_told_to_have
    attributes_are_changed_one_at_a_time
    further_ranges_come_and_go
    a_vpc_with_something_in_it_is_not_deleted
    the_default_vpc_is_made_once
    a_default_vpc_that_was_deleted_is_made_again
    a_vpc_of_another_account_does_not_exist
    a_vpc_is_tagged_as_it_is_made
    classic_link_is_nowhere_and_endpoints_there_are_none
}

async fn a_vpc_is_made_described_and_deleted(cloud: Cloud) {
    let alice = cloud.owner().await;
    let made = alice.ec2("CreateVpc", &[("CidrBlock", "10.1.2.3/16")]).await.ok();
    let id = made.one("vpcId");
    assert_eq!(made.all("cidrBlock"), ["10.1.0.0/16"; 2], "the bits behind the prefix are taken off");
    assert_eq!(made.one("isDefault"), "false");
    assert_eq!(made.one("ownerId"), alice.account);
    assert_eq!(made.one("instanceTenancy"), "default");
    let told = alice.ec2("DescribeVpcs", &[("VpcId.1", &id)]).await.ok();
    assert_eq!(told.one("associationId"), id.replacen("vpc-", "vpc-cidr-assoc-", 1));
    assert_eq!(told.all("state"), ["associated", "available"]);
    for (attribute, value) in [
        ("enableDnsSupport", "true"),
        ("enableDnsHostnames", "false"),
        ("enableNetworkAddressUsageMetrics", "false"),
    ] {
        let asked = [("VpcId", id.as_str()), ("Attribute", attribute)];
        assert_eq!(alice.ec2("DescribeVpcAttribute", &asked).await.ok().one("value"), value, "{attribute}");
    }
    // From its beginning it has a group with two rules, and the account's default options.
    let of_group = default_group(&alice, &id).await;
    let rules = [("Filter.1.Name", "group-id"), ("Filter.1.Value.1", of_group.as_str())];
    let mut egress = alice.ec2("DescribeSecurityGroupRules", &rules).await.ok().all("isEgress");
    egress.sort();
    assert_eq!(egress, ["false", "true"]);
    let options = told.one("dhcpOptionsId");
    let described = alice.ec2("DescribeDhcpOptions", &[("DhcpOptionsId.1", &options)]).await.ok();
    assert_eq!(described.all("value"), ["karri-1.compute.internal", "AmazonProvidedDNS"]);
    // Names of groups are each VPC's own.
    let words = [("GroupName", "web"), ("GroupDescription", "d"), ("VpcId", id.as_str())];
    let web = alice.ec2("CreateSecurityGroup", &words).await.ok().one("groupId");
    group(&alice, "web").await;
    alice.ec2("CreateSecurityGroup", &words).await.refused(400, "InvalidGroup.Duplicate");
    alice.ec2("DeleteSecurityGroup", &[("GroupId", &web)]).await.ok();
    alice.ec2("DeleteVpc", &[("VpcId", &id)]).await.ok();
    alice.ec2("DescribeVpcs", &[("VpcId.1", &id)]).await.refused(400, "InvalidVpcID.NotFound");
    alice
        .ec2("DescribeSecurityGroups", &[("GroupId.1", &of_group)])
        .await
        .refused(400, "InvalidGroup.NotFound");
    let again = alice.ec2("DeleteVpc", &[("VpcId", &id)]).await.refused(400, "InvalidVpcID.NotFound");
    assert_eq!(again.message(), format!("The vpc ID '{id}' does not exist"));
}

async fn ranges_that_no_vpc_may_have_are_refused(cloud: Cloud) {
    let alice = cloud.owner().await;
    for (cidr, code, message) in [
        ("10.0.0.0/15", "InvalidVpc.Range", "The CIDR '10.0.0.0/15' is invalid."),
        ("10.0.0.0/29", "InvalidVpc.Range", "The CIDR '10.0.0.0/29' is invalid."),
        ("169.254.0.0/16", "InvalidVpc.Range", "The CIDR '169.254.0.0/16' is invalid."),
        (
            "10.0.0.0",
            "InvalidParameterValue",
            "Value (10.0.0.0) for parameter cidrBlock is invalid. This is not a valid CIDR block.",
        ),
        ("", "MissingParameter", "Either 'cidrBlock' or 'ipv4IpamPoolId' should be provided."),
    ] {
        let answer = alice.ec2("CreateVpc", &[("CidrBlock", cidr)]).await.refused(400, code);
        assert_eq!(answer.message(), message);
    }
    alice.ec2("CreateVpc", &[]).await.refused(400, "MissingParameter");
}

async fn what_is_not_done_is_refused_and_named(cloud: Cloud) {
    let alice = cloud.owner().await;
    let range = ("CidrBlock", "10.0.0.0/16");
    for (name, value, code) in [
        ("AmazonProvidedIpv6CidrBlock", "true", "UnsupportedOperation"),
        ("Ipv6CidrBlock", "2001:db8::/56", "UnsupportedOperation"),
        ("Ipv4IpamPoolId", "ipam-pool-1", "UnsupportedOperation"),
        ("InstanceTenancy", "dedicated", "UnsupportedTenancy"),
        ("InstanceTenancy", "purple", "InvalidParameterValue"),
        ("VpcEncryptionControl.Mode", "monitor", "UnsupportedOperation"),
        ("TagSpecification.1.ResourceType", "subnet", "InvalidParameterValue"),
    ] {
        alice.ec2("CreateVpc", &[range, (name, value)]).await.refused(400, code);
    }
    alice
        .ec2("CreateVpc", &[range, ("AmazonProvidedIpv6CidrBlock", "false"), ("InstanceTenancy", "default")])
        .await
        .ok();
    // The default VPC's subnets share a network with everyone's.
    let default = only(&alice, "DescribeVpcs", ("is-default", "true"), "vpcId").await;
    let default = ("VpcId", default.as_str());
    for (action, more) in [
        ("ModifyVpcAttribute", ("EnableDnsSupport.Value", "false")),
        ("AssociateVpcCidrBlock", ("CidrBlock", "172.30.0.0/16")),
        ("CreateSubnet", ("CidrBlock", "172.31.240.0/24")),
    ] {
        alice.ec2(action, &[default, more]).await.refused(400, "UnsupportedOperation");
    }
    alice.ec2("ModifyVpcAttribute", &[default, ("EnableDnsSupport.Value", "true")]).await.ok();
}

async fn vpcs_are_found_by_what_they_are_told_to_have(cloud: Cloud) {
    let alice = cloud.owner().await;
    let (one, other) = (vpc(&alice, "10.0.0.0/16").await, vpc(&alice, "10.1.0.0/16").await);
    let more = [("VpcId", one.as_str()), ("CidrBlock", "10.9.0.0/24")];
    let association = alice.ec2("AssociateVpcCidrBlock", &more).await.ok().one("associationId");
    alice
        .ec2("CreateTags", &[("ResourceId.1", &one), ("Tag.1.Key", "Name"), ("Tag.1.Value", "x")])
        .await
        .ok();
    let options = alice.ec2("DescribeVpcs", &[("VpcId.1", &one)]).await.ok().one("dhcpOptionsId");
    for (name, value, expected) in [
        ("vpc-id", one.as_str(), 1),
        ("vpc-id", "vpc-*", 3),
        ("cidr", "10.0.0.0/16", 1),
        ("cidr-block-association.cidr-block", "10.9.0.0/24", 1),
        ("cidr-block-association.association-id", association.as_str(), 1),
        ("cidr-block-association.state", "associated", 3),
        ("cidr", "10.9.0.0/24", 0),
        ("isDefault", "false", 2),
        ("is-default", "true", 1),
        ("dhcp-options-id", options.as_str(), 3),
        ("owner-id", alice.account.as_str(), 3),
        ("state", "available", 3),
        ("tag:Name", "x", 1),
    ] {
        let filter = [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
        let found = alice.ec2("DescribeVpcs", &filter).await.ok().all("vpcId");
        assert_eq!(found.len(), expected, "{name}={value}: {found:?}");
    }
    let mut seen = Vec::new();
    let mut page = alice.ec2("DescribeVpcs", &[("MaxResults", "5")]).await.ok();
    loop {
        seen.extend(page.all("vpcId"));
        let Some(token) = page.first("nextToken") else { break };
        page = alice.ec2("DescribeVpcs", &[("MaxResults", "5"), ("NextToken", &token)]).await.ok();
    }
    assert!(seen.len() == 3 && seen.contains(&one) && seen.contains(&other));
}

async fn attributes_are_changed_one_at_a_time(cloud: Cloud) {
    let alice = cloud.owner().await;
    let id = vpc(&alice, "10.0.0.0/16").await;
    let id = ("VpcId", id.as_str());
    let told = async |attribute: &str| {
        alice.ec2("DescribeVpcAttribute", &[id, ("Attribute", attribute)]).await.ok().one("value")
    };
    for (parameter, attribute) in [
        ("EnableDnsHostnames.Value", "enableDnsHostnames"),
        ("EnableNetworkAddressUsageMetrics.Value", "enableNetworkAddressUsageMetrics"),
    ] {
        alice.ec2("ModifyVpcAttribute", &[id, (parameter, "true")]).await.ok();
        assert_eq!(told(attribute).await, "true");
        alice.ec2("ModifyVpcAttribute", &[id, (parameter, "false")]).await.ok();
        assert_eq!(told(attribute).await, "false");
    }
    alice.ec2("ModifyVpcAttribute", &[id, ("EnableDnsSupport.Value", "false")]).await.ok();
    assert_eq!(told("enableDnsSupport").await, "false");
    let names = ("EnableDnsHostnames.Value", "true");
    alice.ec2("ModifyVpcAttribute", &[id, names]).await.refused(400, "InvalidParameterValue");
    let both = [id, names, ("EnableDnsSupport.Value", "true")];
    alice.ec2("ModifyVpcAttribute", &both).await.refused(400, "InvalidParameterCombination");
    alice.ec2("ModifyVpcAttribute", &[id]).await.refused(400, "InvalidParameterCombination");
    let absent = [("VpcId", "vpc-0123456789abcdef0"), names];
    alice.ec2("ModifyVpcAttribute", &absent).await.refused(400, "InvalidVpcID.NotFound");
}

async fn further_ranges_come_and_go(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let id = vpc(&alice, "10.0.0.0/16").await;
    let vpc_id = ("VpcId", id.as_str());
    let added = alice.ec2("AssociateVpcCidrBlock", &[vpc_id, ("CidrBlock", "100.64.0.0/24")]).await.ok();
    let association = added.one("associationId");
    assert_eq!((added.one("state"), added.one("vpcId")), ("associating".to_owned(), id.clone()));
    for (cidr, code) in [
        ("100.64.0.0/28", "InvalidVpc.Range"),
        ("10.0.0.0/24", "InvalidVpc.Range"),
        ("192.168.0.0/24", "InvalidVpc.Range"),
        ("10.4.0.0/8", "InvalidVpc.Range"),
        ("x", "InvalidParameterValue"),
    ] {
        alice.ec2("AssociateVpcCidrBlock", &[vpc_id, ("CidrBlock", cidr)]).await.refused(400, code);
    }
    for number in 1..=3 {
        let cidr = format!("10.{number}.0.0/16");
        alice.ec2("AssociateVpcCidrBlock", &[vpc_id, ("CidrBlock", &cidr)]).await.ok();
    }
    let full = alice.ec2("AssociateVpcCidrBlock", &[vpc_id, ("CidrBlock", "10.4.0.0/16")]).await;
    let sentence = format!("This network '{id}' has met its maximum number of allowed CIDRs: 5");
    assert_eq!(full.refused(400, "CidrLimitExceeded").message(), sentence);
    let within = subnet(&alice, &id, "100.64.0.128/28", "zone-a").await;
    let association = ("AssociationId", association.as_str());
    let used = alice.ec2("DisassociateVpcCidrBlock", &[association]).await;
    let sentence = format!("The vpc {id} currently has a subnet within CIDR block 100.64.0.0/24");
    assert_eq!(used.refused(400, "InvalidCidrBlock.InUse").message(), sentence);
    alice.ec2("DeleteSubnet", &[("SubnetId", &within)]).await.ok();
    let gone = alice.ec2("DisassociateVpcCidrBlock", &[association]).await.ok();
    assert_eq!((gone.one("state"), gone.one("cidrBlock")), ("disassociating".into(), "100.64.0.0/24".into()));
    assert!(!alice.ec2("DescribeVpcs", &[("VpcId.1", &id)]).await.ok().text.contains("100.64"));
    let again = alice.ec2("DisassociateVpcCidrBlock", &[association]).await;
    again.refused(400, "InvalidVpcCidrBlockAssociationID.NotFound");
    let first = id.replacen("vpc-", "vpc-cidr-assoc-", 1);
    let first = alice.ec2("DisassociateVpcCidrBlock", &[("AssociationId", &first)]).await;
    assert!(
        first
            .refused(400, "OperationNotPermitted")
            .message()
            .ends_with("It is the primary IPv4 CIDR block of the VPC")
    );
    let bob = cloud.user("other", "bob", &["AdministratorAccess"]).await;
    let second = only(&alice, "DescribeVpcs", ("cidr", "10.0.0.0/16"), "cidrBlockAssociationSet").await;
    let second = second.split("<associationId>").nth(2).unwrap().split_once('<').unwrap().0.to_owned();
    let hers = bob.ec2("DisassociateVpcCidrBlock", &[("AssociationId", &second)]).await;
    hers.refused(400, "InvalidVpcCidrBlockAssociationID.NotFound");
}

async fn a_vpc_with_something_in_it_is_not_deleted(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let id = vpc(&alice, "10.0.0.0/16").await;
    let delete = async |dependency: &str| {
        let answer = alice.ec2("DeleteVpc", &[("VpcId", &id)]).await.refused(400, "DependencyViolation");
        let sentence = format!("The vpc '{id}' has dependencies and cannot be deleted.");
        assert!(answer.message().starts_with(&sentence), "{}", answer.message());
        assert!(answer.message().contains(dependency), "{}", answer.message());
    };
    let within = subnet(&alice, &id, "10.0.0.0/24", "zone-a").await;
    delete(&within).await;
    alice.ec2("DeleteSubnet", &[("SubnetId", &within)]).await.ok();
    let words = [("GroupName", "web"), ("GroupDescription", "d"), ("VpcId", id.as_str())];
    let web = alice.ec2("CreateSecurityGroup", &words).await.ok().one("groupId");
    delete(&web).await;
    alice.ec2("DeleteSecurityGroup", &[("GroupId", &web)]).await.ok();
    alice.ec2("DeleteVpc", &[("VpcId", &id)]).await.ok();
    // A default VPC is attached to the internet.
    let default = only(&alice, "DescribeVpcs", ("is-default", "true"), "vpcId").await;
    let zone = only(&alice, "DescribeSubnets", ("vpc-id", &default), "subnetId").await;
    alice.ec2("DeleteSubnet", &[("SubnetId", &zone)]).await.ok();
    let attached = alice.ec2("DeleteVpc", &[("VpcId", &default)]).await.refused(400, "DependencyViolation");
    assert!(attached.message().contains("internet gateway 'igw-"), "{}", attached.message());
}

async fn the_default_vpc_is_made_once(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let there = alice.ec2("CreateDefaultVpc", &[]).await.refused(400, "DefaultVpcAlreadyExists");
    assert_eq!(there.message(), "A Default VPC already exists for this account in this region.");
    let default = only(&alice, "DescribeVpcs", ("is-default", "true"), "vpcId").await;
    let zone = only(&alice, "DescribeSubnets", ("vpc-id", &default), "subnetId").await;
    let again = [("AvailabilityZone", "zone-a")];
    let sentence = format!("'{zone}' is already the default subnet in zone-a.");
    let refused = alice.ec2("CreateDefaultSubnet", &again).await;
    assert_eq!(refused.refused(400, "DefaultSubnetAlreadyExistsInAvailabilityZone").message(), sentence);
    alice.ec2("DeleteSubnet", &[("SubnetId", &zone)]).await.ok();
    let none = alice.run(1, &[]).await.refused(400, "MissingInput");
    assert_eq!(
        none.message(),
        format!("No subnets found for the default VPC '{default}'. Please specify a subnet.")
    );
    let made = alice.ec2("CreateDefaultSubnet", &again).await.ok();
    assert_eq!((made.one("defaultForAz"), made.one("vpcId")), ("true".to_owned(), default.clone()));
    assert_ne!(made.one("subnetId"), zone);
    alice.run(1, &[]).await.ok();
    for (words, code) in [
        (&[("AvailabilityZone", "zone-x")][..], "InvalidParameterValue"),
        (&[], "MissingParameter"),
        (&[("AvailabilityZone", "zone-a"), ("AvailabilityZoneId", "zone-a")], "InvalidParameterCombination"),
        (&[("AvailabilityZone", "zone-a"), ("Ipv6Native", "true")], "UnsupportedOperation"),
    ] {
        alice.ec2("CreateDefaultSubnet", words).await.refused(400, code);
    }
}

async fn a_default_vpc_that_was_deleted_is_made_again(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let _other = cloud.cluster_at("zone-b", 1, "172.31.16.0/20").await;
    let alice = cloud.owner().await;
    let before = only(&alice, "DescribeVpcs", ("is-default", "true"), "vpcId").await;
    for id in alice.ec2("DescribeSubnets", &[]).await.ok().all("subnetId") {
        alice.ec2("DeleteSubnet", &[("SubnetId", &id)]).await.ok();
    }
    let attached = ("attachment.vpc-id", before.as_str());
    let gateway = only(&alice, "DescribeInternetGateways", attached, "internetGatewayId").await;
    let gateway = [("InternetGatewayId", gateway.as_str()), ("VpcId", before.as_str())];
    alice.ec2("DetachInternetGateway", &gateway).await.ok();
    alice.ec2("DeleteInternetGateway", &gateway[..1]).await.ok();
    alice.ec2("DeleteVpc", &[("VpcId", &before)]).await.ok();
    alice.run(1, &[]).await.refused(400, "VPCIdNotSpecified");
    let words = [("GroupName", "web"), ("GroupDescription", "d")];
    alice.ec2("CreateSecurityGroup", &words).await.refused(400, "VPCIdNotSpecified");
    let zone = [("AvailabilityZone", "zone-a")];
    let none = alice.ec2("CreateDefaultSubnet", &zone).await.refused(400, "DefaultVpcDoesNotExist");
    assert_eq!(none.message(), "No default VPC exists for this account in this region.");
    let made = alice.ec2("CreateDefaultVpc", &[]).await.ok();
    assert_eq!(
        (made.one("isDefault"), made.all("cidrBlock")),
        ("true".into(), vec!["172.31.0.0/16".into(); 2])
    );
    let after = made.one("vpcId");
    assert_ne!(after, before);
    let mut zones = alice.ec2("DescribeSubnets", &[]).await.ok().all("availabilityZone");
    zones.sort();
    assert_eq!(zones, ["zone-a", "zone-b"]);
    let launched = alice.run(1, &[]).await.ok();
    assert!(launched.all("vpcId").iter().all(|vpc| *vpc == after));
    let told = |table: &karri_proto::network::FactTable| {
        let vpcs: std::collections::BTreeSet<String> =
            table.shapes().map(|shape| shape.vpc().to_string()).collect();
        vpcs.contains(&after) && !vpcs.contains(&before)
    };
    cluster.wait_for_facts("the new one alone", told).await;
}

async fn a_vpc_of_another_account_does_not_exist(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let (alice, bob) = (cloud.owner().await, cloud.user("other", "bob", &["AdministratorAccess"]).await);
    let hers = vpc(&alice, "10.0.0.0/16").await;
    let within = subnet(&alice, &hers, "10.0.0.0/24", "zone-a").await;
    let options = alice.ec2("DescribeVpcs", &[("VpcId.1", &hers)]).await.ok().one("dhcpOptionsId");
    let (hers, within) = (("VpcId", hers.as_str()), ("SubnetId", within.as_str()));
    let range = ("CidrBlock", "10.5.0.0/16");
    let (no_vpc, no_subnet) = ("InvalidVpcID.NotFound", "InvalidSubnetID.NotFound");
    for (action, words, code) in [
        ("DeleteVpc", &[hers][..], no_vpc),
        ("DescribeVpcAttribute", &[hers, ("Attribute", "enableDnsSupport")], no_vpc),
        ("ModifyVpcAttribute", &[hers, ("EnableDnsSupport.Value", "false")], no_vpc),
        ("AssociateVpcCidrBlock", &[hers, range], no_vpc),
        ("CreateSubnet", &[hers, range], no_vpc),
        ("AssociateDhcpOptions", &[hers, ("DhcpOptionsId", "default")], no_vpc),
        ("DeleteSubnet", &[within], no_subnet),
        ("ModifySubnetAttribute", &[within, ("MapPublicIpOnLaunch.Value", "true")], no_subnet),
        ("DescribeSubnets", &[("SubnetId.1", within.1)], no_subnet),
        ("DeleteDhcpOptions", &[("DhcpOptionsId", &options)], "InvalidDhcpOptionsID.NotFound"),
        ("DescribeDhcpOptions", &[("DhcpOptionsId.1", &options)], "InvalidDhcpOptionID.NotFound"),
    ] {
        bob.ec2(action, words).await.refused(400, code);
    }
    bob.run(1, &[within]).await.refused(400, no_subnet);
    // An administrator's users act on everyone's.
    let root = cloud.user("admin", "root", &["AdministratorAccess"]).await;
    root.ec2("DeleteSubnet", &[within]).await.ok();
    root.ec2("DeleteVpc", &[hers]).await.ok();
}

async fn a_vpc_is_tagged_as_it_is_made(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let tagged = |kind: &'static str| {
        [
            ("TagSpecification.1.ResourceType", kind),
            ("TagSpecification.1.Tag.1.Key", "Name"),
            ("TagSpecification.1.Tag.1.Value", "mine"),
        ]
    };
    let words = [&[("CidrBlock", "10.0.0.0/16")], &tagged("vpc")[..]].concat();
    let made = alice.ec2("CreateVpc", &words).await.ok();
    assert_eq!((made.one("key"), made.one("value")), ("Name".to_owned(), "mine".to_owned()));
    let id = made.one("vpcId");
    let words = [&[("VpcId", id.as_str()), ("CidrBlock", "10.0.0.0/24")], &tagged("subnet")[..]].concat();
    let within = alice.ec2("CreateSubnet", &words).await.ok();
    assert_eq!(within.one("value"), "mine");
    let words = [
        &[("DhcpConfiguration.1.Key", "domain-name"), ("DhcpConfiguration.1.Value.1", "example.com")],
        &tagged("dhcp-options")[..],
    ];
    let set = alice.ec2("CreateDhcpOptions", &words.concat()).await.ok().one("dhcpOptionsId");
    let mut kinds = alice.ec2("DescribeTags", &[]).await.ok().all("resourceType");
    kinds.sort();
    assert_eq!(kinds, ["dhcp-options", "subnet", "vpc"]);
    // They go with what they are on.
    alice.ec2("DeleteSubnet", &[("SubnetId", &within.one("subnetId"))]).await.ok();
    alice.ec2("DeleteVpc", &[("VpcId", &id)]).await.ok();
    alice.ec2("DeleteDhcpOptions", &[("DhcpOptionsId", &set)]).await.ok();
    assert!(alice.ec2("DescribeTags", &[]).await.ok().all("key").is_empty());
}

async fn classic_link_is_nowhere_and_endpoints_there_are_none(cloud: Cloud) {
    let alice = cloud.owner().await;
    for action in ["DescribeVpcClassicLink", "DescribeVpcClassicLinkDnsSupport"] {
        let answer = alice.ec2(action, &[]).await.refused(400, "UnsupportedOperation");
        assert_eq!(answer.message(), "The functionality you requested is not available in this region.");
    }
    let none =
        alice.ec2("DescribeVpcEndpoints", &[("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", "x")]).await;
    assert!(none.ok().text.contains("<vpcEndpointSet/>"));
    let named = [("VpcEndpointId.1", "vpce-0123456789abcdef0")];
    alice.ec2("DescribeVpcEndpoints", &named).await.refused(400, "InvalidVpcEndpointId.NotFound");
}

/// Small, so that each is reached.
async fn limits_are_reached(engine: Database) {
    let limits =
        Limits { vpcs_per_account: 3, subnets_per_vpc: 2, dhcp_options_per_account: 2, ..Limits::default() };
    let network = NetworkConfig { segment_tag_first: 100, segment_tag_last: 103, ..NetworkConfig::default() };
    let cloud = Cloud::start_as(engine, limits, network).await;
    let _cluster = cloud.cluster("zone-a", 1).await;
    let (alice, bob) = (cloud.owner().await, cloud.user("other", "bob", &["AdministratorAccess"]).await);
    let one = vpc(&alice, "10.0.0.0/16").await;
    let two = vpc(&alice, "10.0.0.0/16").await;
    let full = alice.ec2("CreateVpc", &[("CidrBlock", "10.0.0.0/16")]).await;
    let sentence = "The maximum number of VPCs has been reached.";
    assert_eq!(full.refused(400, "VpcLimitExceeded").message(), sentence);
    let first = subnet(&alice, &one, "10.0.0.0/24", "zone-a").await;
    subnet(&alice, &one, "10.0.1.0/24", "zone-a").await;
    let third = [("VpcId", one.as_str()), ("CidrBlock", "10.0.2.0/24")];
    alice.ec2("CreateSubnet", &third).await.refused(400, "SubnetLimitExceeded");
    // The cloud has no segment left, whose ever the others are.
    let words = [("VpcId", two.as_str()), ("CidrBlock", "10.0.0.0/24")];
    let none = alice.ec2("CreateSubnet", &words).await.refused(400, "SubnetLimitExceeded");
    assert!(none.message().starts_with("No segment is left in this cloud"), "{}", none.message());
    let none = bob.ec2("CreateVpc", &[("CidrBlock", "10.0.0.0/16")]).await.refused(400, "VpcLimitExceeded");
    assert!(none.message().starts_with("No segment is left in this cloud"), "{}", none.message());
    // One that goes gives its segment back.
    alice.ec2("DeleteSubnet", &[("SubnetId", &first)]).await.ok();
    let bobs = vpc(&bob, "10.0.0.0/16").await;
    alice.ec2("CreateSubnet", &words).await.refused(400, "SubnetLimitExceeded");
    bob.ec2("DeleteVpc", &[("VpcId", &bobs)]).await.ok();
    alice.ec2("CreateSubnet", &words).await.ok();
    let set = [("DhcpConfiguration.1.Key", "domain-name"), ("DhcpConfiguration.1.Value.1", "a")];
    alice.ec2("CreateDhcpOptions", &set).await.ok();
    alice.ec2("CreateDhcpOptions", &set).await.refused(400, "ResourceLimitExceeded");
}

/// An account that goes takes its networks along, and gives their segments back.
async fn networks_go_with_their_account(engine: Database) {
    let network = NetworkConfig { segment_tag_first: 1, segment_tag_last: 2, ..NetworkConfig::default() };
    let cloud = Cloud::start_as(engine, Limits::default(), network).await;
    let cluster = cloud.cluster("zone-a", 1).await;
    let (alice, bob) = (cloud.owner().await, cloud.user("other", "bob", &["AdministratorAccess"]).await);
    let hers = vpc(&alice, "10.0.0.0/16").await;
    subnet(&alice, &hers, "10.0.0.0/24", "zone-a").await;
    bob.ec2("CreateVpc", &[("CidrBlock", "10.0.0.0/16")]).await.refused(400, "VpcLimitExceeded");
    let of_hers = |table: &karri_proto::network::FactTable| {
        table.shapes().filter(|shape| shape.vpc().as_str() == hers).count()
    };
    cluster.wait_for_facts("hers", |table| of_hers(table) == 4).await;
    let (admin, caller) = cloud.admin();
    use karri_proto::internal::admin::AdminService as _;
    admin.account_delete(&caller, "acme", true).await.unwrap();
    cluster.wait_for_facts("none of hers", |table| of_hers(table) == 0).await;
    let his = vpc(&bob, "10.0.0.0/16").await;
    subnet(&bob, &his, "10.0.0.0/24", "zone-a").await;
}

mod limits_are_reached {
    use crate::support::Database;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_sqlite() {
        super::limits_are_reached(Database::Sqlite).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_postgres() {
        super::limits_are_reached(Database::Postgres).await;
    }
}

mod networks_go_with_their_account {
    use crate::support::Database;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_sqlite() {
        super::networks_go_with_their_account(Database::Sqlite).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_postgres() {
        super::networks_go_with_their_account(Database::Postgres).await;
    }
}
