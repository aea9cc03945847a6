//! Subnets as users make them, and instances in them.

use crate::support::networks::{default_group, free_addresses, only, subnet, vpc};
use crate::support::{Cloud, Database};

on_both! {
    a_subnet_is_made_described_and_deleted
    ranges_that_no_subnet_may_have_are_refused
    what_is_not_done_is_refused_and_named
    subnets_are_found_by_what_they_are_told_to_have
    attributes_are_changed_one_at_a_time
    an_instance_lies_in_the_subnet_that_is_named
    two_vpcs_have_the_same_addresses
    a_full_subnet_says_so
    groups_are_of_the_vpc_that_the_instance_is_in
    a_subnet_with_an_instance_in_it_is_not_deleted
    a_deleted_default_subnet_stays_away_until_it_is_made_again
}

async fn a_subnet_is_made_described_and_deleted(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-b", 1).await;
    let _other = cloud.cluster_at("zone-a", 1, "172.31.16.0/20").await;
    let alice = cloud.owner().await;
    let id = vpc(&alice, "10.0.0.0/16").await;
    let made = alice.ec2("CreateSubnet", &[("VpcId", &id), ("CidrBlock", "10.0.1.7/24")]).await.ok();
    assert_eq!(made.one("availabilityZone"), "zone-a", "the first zone, where none is named");
    let subnet_id = made.one("subnetId");
    for (element, value) in [
        ("cidrBlock", "10.0.1.0/24"),
        ("availableIpAddressCount", "251"),
        ("defaultForAz", "false"),
        ("mapPublicIpOnLaunch", "false"),
        ("assignIpv6AddressOnCreation", "false"),
        ("enableDns64", "false"),
        ("hostnameType", "ip-name"),
        ("state", "available"),
        ("vpcId", &id),
        ("ownerId", &alice.account),
        ("availabilityZoneId", "zone-a"),
    ] {
        assert_eq!(made.one(element), value, "{element}");
    }
    assert!(made.one("subnetArn").ends_with(&format!(":subnet/{subnet_id}")));
    let there = [("VpcId", id.as_str()), ("CidrBlock", "10.0.2.0/28"), ("AvailabilityZoneId", "zone-b")];
    let small = alice.ec2("CreateSubnet", &there).await.ok();
    assert_eq!(
        (small.one("availabilityZone"), small.one("availableIpAddressCount")),
        ("zone-b".into(), "11".into())
    );
    alice.ec2("DeleteSubnet", &[("SubnetId", &subnet_id)]).await.ok();
    alice
        .ec2("DescribeSubnets", &[("SubnetId.1", &subnet_id)])
        .await
        .refused(400, "InvalidSubnetID.NotFound");
    alice.ec2("DeleteSubnet", &[("SubnetId", &subnet_id)]).await.refused(400, "InvalidSubnetID.NotFound");
    // Its range is free again.
    subnet(&alice, &id, "10.0.1.0/24", "zone-b").await;
}

async fn ranges_that_no_subnet_may_have_are_refused(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let id = vpc(&alice, "10.0.0.0/20").await;
    subnet(&alice, &id, "10.0.4.0/24", "zone-a").await;
    for (cidr, code, message) in [
        ("10.0.4.0/24", "InvalidSubnet.Conflict", "The CIDR '10.0.4.0/24' conflicts with another subnet"),
        ("10.0.4.128/28", "InvalidSubnet.Conflict", "The CIDR '10.0.4.128/28' conflicts with another subnet"),
        ("10.0.0.0/20", "InvalidSubnet.Conflict", "The CIDR '10.0.0.0/20' conflicts with another subnet"),
        ("10.0.0.0/19", "InvalidSubnet.Range", "The CIDR '10.0.0.0/19' is invalid."),
        ("10.1.0.0/24", "InvalidSubnet.Range", "The CIDR '10.1.0.0/24' is invalid."),
        ("10.0.0.0/29", "InvalidSubnet.Range", "The CIDR '10.0.0.0/29' is invalid."),
        (
            "10.0.0.0/33",
            "InvalidParameterValue",
            "Value (10.0.0.0/33) for parameter cidrBlock is invalid. This is not a valid CIDR block.",
        ),
        ("", "MissingParameter", "Either 'cidrBlock' or 'ipv6CidrBlock' should be provided."),
    ] {
        let answer =
            alice.ec2("CreateSubnet", &[("VpcId", &id), ("CidrBlock", cidr)]).await.refused(400, code);
        assert_eq!(answer.message(), message);
    }
}

async fn what_is_not_done_is_refused_and_named(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let id = vpc(&alice, "10.0.0.0/16").await;
    let words = [("VpcId", id.as_str()), ("CidrBlock", "10.0.0.0/24")];
    for (name, value, code) in [
        ("Ipv6CidrBlock", "2001:db8::/64", "UnsupportedOperation"),
        ("Ipv6Native", "true", "UnsupportedOperation"),
        ("Ipv4NetmaskLength", "24", "UnsupportedOperation"),
        ("OutpostArn", "arn:aws:outposts:x", "UnsupportedOperation"),
        ("TagSpecification.1.ResourceType", "vpc", "InvalidParameterValue"),
    ] {
        alice.ec2("CreateSubnet", &[&words[..], &[(name, value)]].concat()).await.refused(400, code);
    }
    let zone = [&words[..], &[("AvailabilityZone", "zone-x")]].concat();
    let refused = alice.ec2("CreateSubnet", &zone).await.refused(400, "InvalidParameterValue");
    let sentence = "Value (zone-x) for parameter availabilityZone is invalid. Subnets can currently only be created in \
                    the following availability zones: zone-a.";
    assert_eq!(refused.message(), sentence);
    let absent = [("VpcId", "vpc-0123456789abcdef0"), words[1]];
    alice.ec2("CreateSubnet", &absent).await.refused(400, "InvalidVpcID.NotFound");
    alice.ec2("CreateSubnet", &[("VpcId", "x"), words[1]]).await.refused(400, "InvalidVpcID.Malformed");
}

async fn subnets_are_found_by_what_they_are_told_to_have(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let id = vpc(&alice, "10.0.0.0/16").await;
    let one = subnet(&alice, &id, "10.0.0.0/24", "zone-a").await;
    subnet(&alice, &id, "10.0.1.0/28", "zone-a").await;
    for (name, value, expected) in [
        ("subnet-id", one.as_str(), 1),
        ("vpc-id", id.as_str(), 2),
        ("cidrBlock", "10.0.1.0/28", 1),
        ("available-ip-address-count", "251", 1),
        ("available-ip-address-count", "11", 1),
        ("default-for-az", "false", 2),
        ("map-public-ip-on-launch", "false", 3),
        ("availabilityZone", "zone-a", 3),
        ("state", "available", 3),
        ("ipv6-native", "false", 3),
    ] {
        let filter = [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
        let found = alice.ec2("DescribeSubnets", &filter).await.ok().all("subnetId");
        assert_eq!(found.len(), expected, "{name}={value}: {found:?}");
    }
}

async fn attributes_are_changed_one_at_a_time(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let id = vpc(&alice, "10.0.0.0/16").await;
    let id = subnet(&alice, &id, "10.0.0.0/24", "zone-a").await;
    let id = ("SubnetId", id.as_str());
    let map = ("MapPublicIpOnLaunch.Value", "true");
    alice.ec2("ModifySubnetAttribute", &[id, map]).await.ok();
    let told =
        async || alice.ec2("DescribeSubnets", &[("SubnetId.1", id.1)]).await.ok().one("mapPublicIpOnLaunch");
    assert_eq!(told().await, "true");
    alice.ec2("ModifySubnetAttribute", &[id, ("MapPublicIpOnLaunch.Value", "false")]).await.ok();
    assert_eq!(told().await, "false");
    for (name, value, code) in [
        ("AssignIpv6AddressOnCreation.Value", "true", "UnsupportedOperation"),
        ("EnableDns64.Value", "true", "UnsupportedOperation"),
        ("PrivateDnsHostnameTypeOnLaunch", "resource-name", "UnsupportedOperation"),
        ("PrivateDnsHostnameTypeOnLaunch", "nonsense", "InvalidParameterValue"),
        ("EnableResourceNameDnsARecordOnLaunch.Value", "true", "UnsupportedOperation"),
        ("EnableResourceNameDnsAAAARecordOnLaunch.Value", "true", "UnsupportedOperation"),
        ("MapCustomerOwnedIpOnLaunch.Value", "true", "UnsupportedOperation"),
        ("CustomerOwnedIpv4Pool", "pool", "UnsupportedOperation"),
        ("EnableLniAtDeviceIndex", "1", "UnsupportedOperation"),
    ] {
        alice.ec2("ModifySubnetAttribute", &[id, (name, value)]).await.refused(400, code);
    }
    for (name, value) in [
        ("AssignIpv6AddressOnCreation.Value", "false"),
        ("EnableDns64.Value", "false"),
        ("PrivateDnsHostnameTypeOnLaunch", "ip-name"),
        ("EnableResourceNameDnsARecordOnLaunch.Value", "false"),
        ("DisableLniAtDeviceIndex.Value", "true"),
    ] {
        alice.ec2("ModifySubnetAttribute", &[id, (name, value)]).await.ok();
    }
    alice.ec2("ModifySubnetAttribute", &[id]).await.refused(400, "InvalidParameterCombination");
    let both = [id, map, ("EnableDns64.Value", "false")];
    alice.ec2("ModifySubnetAttribute", &both).await.refused(400, "InvalidParameterCombination");
}

async fn an_instance_lies_in_the_subnet_that_is_named(cloud: Cloud) {
    let _elsewhere = cloud.cluster("zone-a", 2).await;
    let cluster = cloud.cluster_at("zone-b", 8, "172.31.16.0/20").await;
    let alice = cloud.owner().await;
    let id = vpc(&alice, "10.0.0.0/16").await;
    let within = subnet(&alice, &id, "10.0.4.0/24", "zone-b").await;
    let by_interface = [
        ("NetworkInterface.1.DeviceIndex", "0"),
        ("NetworkInterface.1.SubnetId", within.as_str()),
        ("NetworkInterface.1.PrivateIpAddress", "10.0.4.77"),
    ];
    let one = alice.run(1, &by_interface).await.ok();
    assert_eq!(one.first("privateIpAddress").unwrap(), "10.0.4.77");
    assert_eq!(one.first("availabilityZone").unwrap(), "zone-b", "the zone follows");
    let many = alice.run(2, &[("SubnetId", &within)]).await.ok();
    assert_eq!(many.all("vpcId"), vec![id.clone(); 4]);
    assert_eq!(free_addresses(&alice, &within).await, 248);
    let intent = cluster.wait_for_intent(&many.instances()[0], |_| true).await;
    let port = &intent.spec.ports[0];
    assert_eq!((port.subnet_cidr.as_str(), port.vpc_cidr.as_str()), ("10.0.4.0/24", "10.0.0.0/16"));
    assert_eq!(port.gateway.to_string(), "10.0.4.1");
    assert!(port.segment >= 4096, "{}", port.segment);
    assert_eq!(intent.spec.zone, "zone-b");
    let other = cluster.wait_for_intent(&many.instances()[1], |_| true).await;
    assert_eq!(other.spec.ports[0].segment, port.segment);
    assert_ne!(other.spec.ports[0].mac, port.mac);
    let group = default_group(&alice, &id).await;
    assert_eq!(port.groups[0].0.as_str(), group, "its VPC's own, where none is named");
    // Who names none means the default VPC.
    let default = alice.run(1, &[("Placement.AvailabilityZone", "zone-b")]).await.ok().one("instanceId");
    let intent = cluster.wait_for_intent(&default, |_| true).await;
    assert_eq!(
        (intent.spec.ports[0].segment, intent.spec.ports[0].subnet_cidr.as_str()),
        (0, "172.31.16.0/20")
    );
    for (words, code) in [
        (&[("SubnetId", within.as_str()), ("PrivateIpAddress", "10.0.4.77")][..], "InvalidIPAddress.InUse"),
        (&[("SubnetId", &within), ("PrivateIpAddress", "10.0.4.3")], "InvalidParameterValue"),
        (&[("SubnetId", &within), ("PrivateIpAddress", "10.0.4.255")], "InvalidParameterValue"),
        (&[("SubnetId", &within), ("PrivateIpAddress", "10.0.5.4")], "InvalidParameterValue"),
        (&[("SubnetId", &within), ("Placement.AvailabilityZone", "zone-a")], "InvalidParameterValue"),
        (&[("SubnetId", "subnet-0123456789abcdef0")], "InvalidSubnetID.NotFound"),
        (&[("SubnetId", &within), ("SecurityGroup.1", "default")], "InvalidParameterCombination"),
    ] {
        alice.run(1, words).await.refused(400, code);
    }
    let told =
        only(&alice, "DescribeNetworkInterfaces", ("private-ip-address", "10.0.4.77"), "subnetId").await;
    assert_eq!(told, within);
}

async fn two_vpcs_have_the_same_addresses(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 2).await;
    let alice = cloud.owner().await;
    let mut segments = Vec::new();
    for _ in 0..2 {
        let id = vpc(&alice, "10.0.0.0/16").await;
        let within = subnet(&alice, &id, "10.0.0.0/28", "zone-a").await;
        let words = [("SubnetId", within.as_str()), ("PrivateIpAddress", "10.0.0.9")];
        let instance = alice.run(1, &words).await.ok().one("instanceId");
        segments.push(cluster.wait_for_intent(&instance, |_| true).await.spec.ports[0].segment);
        alice.run(1, &words).await.refused(400, "InvalidIPAddress.InUse");
    }
    assert_ne!(segments[0], segments[1]);
}

async fn a_full_subnet_says_so(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 8).await;
    let alice = cloud.owner().await;
    let id = vpc(&alice, "10.0.0.0/16").await;
    let within = subnet(&alice, &id, "10.0.0.0/28", "zone-a").await;
    let words = [("SubnetId", within.as_str())];
    let launched = alice.run(11, &words).await.ok();
    assert_eq!(free_addresses(&alice, &within).await, 0);
    let full = alice.run(1, &words).await.refused(400, "InsufficientFreeAddressesInSubnet");
    assert_eq!(full.message(), "The subnet has no free addresses left");
    let first = launched.instances()[0].clone();
    alice.wait_for(&first, "running").await;
    alice.ec2("TerminateInstances", &[("InstanceId.1", &first)]).await.ok();
    alice.wait_for(&first, "terminated").await;
    assert_eq!(free_addresses(&alice, &within).await, 1);
    alice.run(1, &words).await.ok();
}

async fn groups_are_of_the_vpc_that_the_instance_is_in(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 2).await;
    let alice = cloud.owner().await;
    let (one, two) = (vpc(&alice, "10.0.0.0/16").await, vpc(&alice, "10.0.0.0/16").await);
    let within = subnet(&alice, &one, "10.0.0.0/24", "zone-a").await;
    let group = async |vpc: &str, name: &str| {
        let words = [("GroupName", name), ("GroupDescription", "d"), ("VpcId", vpc)];
        alice.ec2("CreateSecurityGroup", &words).await.ok().one("groupId")
    };
    let (own, foreign) = (group(&one, "web").await, group(&two, "web").await);
    let default = alice.ec2("DescribeSecurityGroups", &[("GroupName.1", "default")]).await.ok();
    let default = default.first("groupId").unwrap();
    let of_two = default_group(&alice, &two).await;
    assert_ne!(default, of_two, "by name, those of the default VPC are meant");
    alice
        .ec2("DescribeSecurityGroups", &[("GroupName.1", "web")])
        .await
        .refused(400, "InvalidGroup.NotFound");
    for other in [&foreign, &default, &of_two] {
        let words = [("SubnetId", within.as_str()), ("SecurityGroupId.1", other)];
        let refused = alice.run(1, &words).await.refused(400, "InvalidParameter");
        let sentence = format!("Security group {other} and subnet {within} belong to different networks.");
        assert_eq!(refused.message(), sentence);
    }
    // Nor does an instance of the default VPC get one of another.
    let refused = alice.run(1, &[("SecurityGroupId.1", &own)]).await.refused(400, "InvalidParameter");
    assert!(refused.message().ends_with("belong to different networks."));
    let words = [("SubnetId", within.as_str()), ("SecurityGroupId.1", &own)];
    let instance = alice.run(1, &words).await.ok();
    let id = instance.one("instanceId");
    let modify = [("InstanceId", id.as_str()), ("GroupId.1", &foreign)];
    let refused = alice.ec2("ModifyInstanceAttribute", &modify).await.refused(400, "InvalidGroup.NotFound");
    assert_eq!(refused.message(), "You have specified two resources that belong to different networks.");
    let interface = instance.first("networkInterfaceId").unwrap();
    let modify = [("NetworkInterfaceId", interface.as_str()), ("SecurityGroupId.1", &foreign)];
    alice.ec2("ModifyNetworkInterfaceAttribute", &modify).await.refused(400, "InvalidGroup.NotFound");
    // A member of a group counts by its addresses, which mean somebody else in another VPC.
    let peer = |group: &str, peer: &str| {
        [
            ("GroupId".to_owned(), group.to_owned()),
            ("IpPermissions.1.IpProtocol".to_owned(), "-1".to_owned()),
            ("IpPermissions.1.Groups.1.GroupId".to_owned(), peer.to_owned()),
        ]
    };
    for (group, other, good) in
        [(&own, &foreign, false), (&own, &default, false), (&default, &own, false), (&own, &own, true)]
    {
        let words = peer(group, other);
        let words: Vec<(&str, &str)> = words.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let answer = alice.ec2("AuthorizeSecurityGroupIngress", &words).await;
        if good { drop(answer.ok()) } else { drop(answer.refused(400, "InvalidGroup.NotFound")) }
    }
}

async fn a_subnet_with_an_instance_in_it_is_not_deleted(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 2).await;
    let alice = cloud.owner().await;
    let id = vpc(&alice, "10.0.0.0/16").await;
    let within = subnet(&alice, &id, "10.0.0.0/24", "zone-a").await;
    let default = only(&alice, "DescribeSubnets", ("default-for-az", "true"), "subnetId").await;
    for (subnet, words) in [(&within, &[("SubnetId", within.as_str())][..]), (&default, &[])] {
        let launched = alice.run(1, words).await.ok();
        let (instance, interface) =
            (launched.one("instanceId"), launched.first("networkInterfaceId").unwrap());
        let refused =
            alice.ec2("DeleteSubnet", &[("SubnetId", subnet)]).await.refused(400, "DependencyViolation");
        let sentence = format!(
            "The subnet '{subnet}' has dependencies and cannot be deleted. One of them is network interface \
             '{interface}'."
        );
        assert_eq!(refused.message(), sentence);
        alice.wait_for(&instance, "running").await;
        alice.ec2("TerminateInstances", &[("InstanceId.1", &instance)]).await.ok();
        alice.wait_for(&instance, "terminated").await;
        alice.ec2("DeleteSubnet", &[("SubnetId", subnet)]).await.ok();
    }
}

async fn a_deleted_default_subnet_stays_away_until_it_is_made_again(cloud: Cloud) {
    let first = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let default = only(&alice, "DescribeSubnets", ("default-for-az", "true"), "subnetId").await;
    alice.ec2("DeleteSubnet", &[("SubnetId", &default)]).await.ok();
    let _second = cloud.cluster_at("zone-b", 1, "172.31.16.0/20").await;
    let zones = alice.ec2("DescribeSubnets", &[]).await.ok().all("availabilityZone");
    assert_eq!(zones, ["zone-b"], "a new zone gets one");
    let refused =
        alice.run(1, &[("Placement.AvailabilityZone", "zone-a")]).await.refused(400, "InvalidInput");
    assert_eq!(refused.message(), "No default subnet for availability zone: 'zone-a'.");
    first.hello(&cloud).await;
    assert_eq!(alice.ec2("DescribeSubnets", &[]).await.ok().all("subnetId").len(), 1);
    alice.ec2("CreateDefaultSubnet", &[("AvailabilityZone", "zone-a")]).await.ok();
    alice.run(1, &[("Placement.AvailabilityZone", "zone-a")]).await.ok();
}

/// Launches and deletions at once: no instance is ever in a subnet that is not there.
async fn a_subnet_and_who_comes_into_it(engine: Database) {
    let cloud = Cloud::start(engine).await;
    let _cluster = cloud.cluster("zone-a", 4).await;
    let alice = cloud.owner().await;
    let id = vpc(&alice, "10.0.0.0/16").await;
    for round in 0..4 {
        let within = subnet(&alice, &id, "10.0.0.0/24", "zone-a").await;
        let mut calls = tokio::task::JoinSet::new();
        for number in 0..4 {
            let (alice, within) = (alice.clone(), within.clone());
            calls.spawn(async move {
                match number {
                    0..3 => ("run", alice.run(1, &[("SubnetId", &within)]).await),
                    _ => ("delete", alice.ec2("DeleteSubnet", &[("SubnetId", &within)]).await),
                }
            });
        }
        let (mut launched, mut deleted) = (0, false);
        while let Some(answer) = calls.join_next().await {
            let (what, answer) = answer.unwrap();
            match (what, answer.status) {
                ("run", 200) => launched += 1,
                ("delete", 200) => deleted = true,
                ("run", _) => drop(answer.refused(400, "InvalidSubnetID.NotFound")),
                _ => drop(answer.refused(400, "DependencyViolation")),
            }
        }
        assert!(deleted == (launched == 0), "round {round}: {launched} launched, deleted: {deleted}");
        for instance in alice.ec2("DescribeInstances", &[]).await.ok().instances() {
            alice.ec2("TerminateInstances", &[("InstanceId.1", &instance)]).await.ok();
            alice.wait_for(&instance, "terminated").await;
        }
        if !deleted {
            alice.ec2("DeleteSubnet", &[("SubnetId", &within)]).await.ok();
        }
    }
}

mod a_subnet_and_who_comes_into_it {
    use crate::support::Database;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_sqlite() {
        super::a_subnet_and_who_comes_into_it(Database::Sqlite).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_postgres() {
        super::a_subnet_and_who_comes_into_it(Database::Postgres).await;
    }
}
