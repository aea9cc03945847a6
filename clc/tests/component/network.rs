//! The account's default network as clients read it.

use crate::support::Cloud;
use karri_clc::config::Limits;

on_both! {
    an_account_has_a_default_vpc_with_a_subnet_in_each_zone
    a_vpc_has_the_subnets_of_clusters_that_are_elsewhere
    free_addresses_are_counted_as_ec2_counts_them
    the_default_group_has_its_two_rules
    ports_and_root_disks_are_those_of_the_instances
    other_accounts_networks_do_not_exist
    unknown_filters_and_ids_are_refused
    nobody_has_an_elastic_address
}

async fn an_account_has_a_default_vpc_with_a_subnet_in_each_zone(cloud: Cloud) {
    let _first = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let _second = cloud.cluster("zone-b", 1).await;
    let vpcs =
        alice.ec2("DescribeVpcs", &[("Filter.1.Name", "isDefault"), ("Filter.1.Value.1", "true")]).await.ok();
    let vpc = vpcs.one("vpcId");
    assert_eq!(vpcs.all("cidrBlock"), ["172.31.0.0/16"; 2]);
    let within = [("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", vpc.as_str())];
    let subnets = alice.ec2("DescribeSubnets", &within).await.ok();
    let mut zones = subnets.all("availabilityZone");
    zones.sort();
    assert_eq!(zones, ["zone-a", "zone-b"]);
    assert_eq!(subnets.all("defaultForAz"), ["true", "true"]);
    for (attribute, value) in [
        ("enableDnsSupport", "true"),
        ("enableDnsHostnames", "true"),
        ("enableNetworkAddressUsageMetrics", "false"),
    ] {
        let asked = [("VpcId", vpc.as_str()), ("Attribute", attribute)];
        let told = alice.ec2("DescribeVpcAttribute", &asked).await.ok();
        assert_eq!(told.one("value"), value, "{attribute}");
    }
    let attributes = alice.ec2("DescribeAccountAttributes", &[]).await.ok();
    assert!(attributes.all("attributeValue").contains(&vpc));
    let one = [("AttributeName.1", "supported-platforms")];
    assert_eq!(alice.ec2("DescribeAccountAttributes", &one).await.ok().all("attributeValue"), ["VPC"]);
    let wrong = [("AttributeName.1", "colour")];
    alice.ec2("DescribeAccountAttributes", &wrong).await.refused(400, "InvalidParameterValue");
    let limits = Limits::default();
    for (attribute, limit) in [
        ("max-instances", limits.instances_per_account),
        ("max-elastic-ips", limits.elastic_addresses_per_account),
        ("vpc-max-elastic-ips", limits.elastic_addresses_per_account),
        ("vpc-max-security-groups-per-interface", limits.security_groups_per_interface),
    ] {
        let told = alice.ec2("DescribeAccountAttributes", &[("AttributeName.1", attribute)]).await.ok();
        assert_eq!(told.one("attributeValue"), limit.to_string(), "{attribute}");
    }
}

async fn a_vpc_has_the_subnets_of_clusters_that_are_elsewhere(cloud: Cloud) {
    let cluster = cloud.cluster_at("zone-a", 1, "10.20.16.0/20").await;
    let alice = cloud.owner().await;
    let filter = [("Filter.1.Name", "cidr"), ("Filter.1.Value.1", "10.20.0.0/16")];
    assert_eq!(alice.ec2("DescribeVpcs", &filter).await.ok().all("cidrBlock"), ["10.20.0.0/16"; 2]);
    let id = alice.run(1, &[]).await.ok().one("instanceId");
    cluster.wait_for_intent(&id, |intent| intent.spec.ports[0].vpc_cidr == "10.20.0.0/16").await;
}

async fn free_addresses_are_counted_as_ec2_counts_them(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let free = || async {
        let subnets = alice.ec2("DescribeSubnets", &[]).await.ok();
        let prefix: u32 = subnets.first("cidrBlock").unwrap().split_once('/').unwrap().1.parse().unwrap();
        let count: u32 = subnets.one("availableIpAddressCount").parse().unwrap();
        (1u32 << (32 - prefix)) - count
    };
    assert_eq!(free().await, 5);
    let id = alice.run(2, &[]).await.ok().instances()[0].clone();
    assert_eq!(free().await, 7);
    alice.wait_for(&id, "running").await;
    alice.ec2("TerminateInstances", &[("InstanceId.1", &id)]).await.ok();
    alice.wait_for(&id, "terminated").await;
    assert_eq!(free().await, 6);
}

async fn the_default_group_has_its_two_rules(cloud: Cloud) {
    let alice = cloud.owner().await;
    let named = [("GroupName.1", "default")];
    let group = alice.ec2("DescribeSecurityGroups", &named).await.ok();
    let id = group.first("groupId").unwrap();
    assert_eq!(group.all("groupId"), [id.clone(), id.clone()], "itself, and as the source of its own rule");
    assert_eq!(group.one("cidrIp"), "0.0.0.0/0");
    let of_group = [("Filter.1.Name", "group-id"), ("Filter.1.Value.1", id.as_str())];
    let rules = alice.ec2("DescribeSecurityGroupRules", &of_group).await.ok();
    let mut egress = rules.all("isEgress");
    egress.sort();
    assert_eq!(egress, ["false", "true"]);
    let rule = rules.first("securityGroupRuleId").unwrap();
    let by_id = [("SecurityGroupRuleId.1", rule.as_str())];
    assert_eq!(alice.ec2("DescribeSecurityGroupRules", &by_id).await.ok().one("securityGroupRuleId"), rule);
    for (name, value, count) in [
        ("ip-permission.group-id", id.as_str(), 2),
        ("egress.ip-permission.cidr", "0.0.0.0/0", 2),
        ("ip-permission.cidr", "0.0.0.0/0", 0),
        ("group-name", "def*", 2),
    ] {
        let filter = [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
        let found = alice.ec2("DescribeSecurityGroups", &filter).await.ok();
        assert_eq!(found.all("groupId").len(), count, "{name}");
    }
}

async fn ports_and_root_disks_are_those_of_the_instances(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let sized =
        [("BlockDeviceMapping.1.DeviceName", "/dev/xvda"), ("BlockDeviceMapping.1.Ebs.VolumeSize", "11")];
    let launched = alice.run(1, &sized).await.ok();
    let id = launched.one("instanceId");
    alice.wait_for(&id, "running").await;
    let port = [("Filter.1.Name", "attachment.instance-id"), ("Filter.1.Value.1", id.as_str())];
    let port = alice.ec2("DescribeNetworkInterfaces", &port).await.ok();
    assert_eq!(port.all("privateIpAddress")[0], launched.all("privateIpAddress")[0]);
    assert_eq!(port.first("networkInterfaceId"), launched.first("networkInterfaceId"));
    let volume = alice.ec2("DescribeVolumes", &[]).await.ok();
    assert_eq!((volume.one("size"), volume.one("device")), ("11".to_owned(), "/dev/xvda".to_owned()));
    let told = alice.ec2("DescribeInstances", &[]).await.ok();
    assert_eq!(volume.first("volumeId"), told.first("volumeId"));
    let volume = volume.first("volumeId").unwrap();
    alice.ec2("DescribeVolumes", &[("VolumeId.1", &volume)]).await.ok();
    alice.ec2("TerminateInstances", &[("InstanceId.1", &id)]).await.ok();
    alice.wait_for(&id, "terminated").await;
    alice.ec2("DescribeVolumes", &[("VolumeId.1", &volume)]).await.refused(400, "InvalidVolume.NotFound");
    assert!(alice.ec2("DescribeNetworkInterfaces", &[]).await.ok().all("macAddress").is_empty());
}

async fn other_accounts_networks_do_not_exist(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let (alice, bob) = (cloud.owner().await, cloud.user("other", "bob", &["AdministratorAccess"]).await);
    alice.run(1, &[]).await.ok();
    for (action, element, parameter, code) in [
        ("DescribeVpcs", "vpcId", "VpcId.1", "InvalidVpcID.NotFound"),
        ("DescribeSubnets", "subnetId", "SubnetId.1", "InvalidSubnetID.NotFound"),
        ("DescribeSecurityGroups", "groupId", "GroupId.1", "InvalidGroup.NotFound"),
        (
            "DescribeSecurityGroupRules",
            "securityGroupRuleId",
            "SecurityGroupRuleId.1",
            "InvalidSecurityGroupRuleId.NotFound",
        ),
        (
            "DescribeNetworkInterfaces",
            "networkInterfaceId",
            "NetworkInterfaceId.1",
            "InvalidNetworkInterfaceID.NotFound",
        ),
        ("DescribeVolumes", "volumeId", "VolumeId.1", "InvalidVolume.NotFound"),
    ] {
        let hers = alice.ec2(action, &[]).await.ok().first(element).unwrap();
        assert!(!bob.ec2(action, &[]).await.ok().text.contains(&hers), "{action}");
        bob.ec2(action, &[(parameter, &hers)]).await.refused(400, code);
    }
    let vpc = alice.ec2("DescribeVpcs", &[]).await.ok().one("vpcId");
    let asked = [("VpcId", vpc.as_str()), ("Attribute", "enableDnsSupport")];
    bob.ec2("DescribeVpcAttribute", &asked).await.refused(400, "InvalidVpcID.NotFound");
}

async fn unknown_filters_and_ids_are_refused(cloud: Cloud) {
    let alice = cloud.owner().await;
    for (action, parameter, code) in [
        ("DescribeVpcs", "VpcId.1", "InvalidVpcID.Malformed"),
        ("DescribeSubnets", "SubnetId.1", "InvalidSubnetID.Malformed"),
        ("DescribeSecurityGroups", "GroupId.1", "InvalidGroupId.Malformed"),
        ("DescribeSecurityGroupRules", "SecurityGroupRuleId.1", "InvalidSecurityGroupRuleId.Malformed"),
        ("DescribeNetworkInterfaces", "NetworkInterfaceId.1", "InvalidNetworkInterfaceId.Malformed"),
        ("DescribeVolumes", "VolumeId.1", "InvalidVolumeID.Malformed"),
        ("DescribeDhcpOptions", "DhcpOptionsId.1", "InvalidDhcpOptionsId.Malformed"),
        ("DescribeVpcEndpoints", "VpcEndpointId.1", "InvalidVpcEndpointId.NotFound"),
    ] {
        alice.ec2(action, &[(parameter, "zzz")]).await.refused(400, code);
        let filter = [("Filter.1.Name", "colour"), ("Filter.1.Value.1", "blue")];
        alice.ec2(action, &filter).await.refused(400, "InvalidParameterValue");
        alice.ec2(action, &[("MaxResults", "1")]).await.refused(400, "InvalidParameterValue");
        alice.ec2(action, &[("DryRun", "true")]).await.refused(412, "DryRunOperation");
    }
}

async fn nobody_has_an_elastic_address(cloud: Cloud) {
    let alice = cloud.owner().await;
    let all = alice.ec2("DescribeAddresses", &[]).await.ok();
    assert!(all.text.contains("<addressesSet/>"), "{}", all.text);
    let filter = [("Filter.1.Name", "instance-id"), ("Filter.1.Value.1", "i-*")];
    alice.ec2("DescribeAddresses", &filter).await.ok();
    for (parameter, value, code) in [
        ("PublicIp.1", "192.0.2.1", "InvalidAddress.NotFound"),
        ("AllocationId.1", "eipalloc-0123456789abcdef0", "InvalidAllocationID.NotFound"),
    ] {
        alice.ec2("DescribeAddresses", &[(parameter, value)]).await.refused(400, code);
    }
    let unknown = [("Filter.1.Name", "colour"), ("Filter.1.Value.1", "blue")];
    alice.ec2("DescribeAddresses", &unknown).await.refused(400, "InvalidParameterValue");
}
