//! Clusters of other network modes than the managed one.

use crate::support::client::Client;
use crate::support::cluster::FakeCluster;
use crate::support::groups::made;
use crate::support::{Cloud, IMAGE};
use karri_proto::internal::admin::AdminService;
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::network::{AddressPair, FactTable, NetworkMode, Shape};
use std::net::Ipv4Addr;

on_both! {
    pairs_of_a_list_are_given_out_and_taken_back
    guests_of_user_networking_are_told_where_they_are_reached
    an_address_of_the_site_is_unknown_until_it_is_told
    what_a_mode_cannot_do_is_refused_by_its_name
    interfaces_beside_the_first_are_refused_where_a_mode_has_none
    a_zone_that_cannot_is_left_to_those_who_name_it
    a_mode_stays_while_there_are_instances
    subnets_of_a_zone_of_vlans_get_them_while_there_are_any
    a_driver_stays_while_what_was_made_under_it_is_there
}

fn pair(last: u8) -> AddressPair {
    AddressPair { mac: format!("02:00:5e:10:00:{last:02x}"), address: Ipv4Addr::new(172, 31, 0, last) }
}

fn listed(lasts: &[u8]) -> NetworkMode {
    NetworkMode::Static { pairs: lasts.iter().map(|last| pair(*last)).collect() }
}

fn user() -> NetworkMode {
    NetworkMode::User { forwarded: vec![22, 8080] }
}

async fn pairs_of_a_list_are_given_out_and_taken_back(mut cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 2).await;
    cluster.change_mode(&cloud, listed(&[3, 9])).await.unwrap();
    let mut alice = cloud.owner().await;
    let asked = alice.run(1, &[("PrivateIpAddress", "172.31.0.9")]).await.ok();
    assert_eq!(asked.first("macAddress").unwrap(), pair(9).mac);
    alice.run(1, &[("PrivateIpAddress", "172.31.0.10")]).await.refused(400, "InvalidParameterValue");
    let other = alice.run(1, &[]).await.ok();
    assert_eq!(other.first("privateIpAddress").unwrap(), "172.31.0.3", "also what EC2 keeps of a subnet");
    assert_eq!(other.first("macAddress").unwrap(), pair(3).mac);
    alice.run(1, &[]).await.refused(400, "InsufficientFreeAddressesInSubnet");
    let subnets = alice.ec2("DescribeSubnets", &[]).await.ok();
    assert_eq!(subnets.one("availableIpAddressCount"), "0");
    // A controller that starts again has the list from its database.
    cloud.stop().await;
    cloud.start_again().await;
    alice.url = cloud.endpoint.public_url.clone().unwrap();
    alice.run(1, &[]).await.refused(400, "InsufficientFreeAddressesInSubnet");
    cluster.hello(&cloud).await;
    let [id] = &asked.instances()[..] else { panic!("one was launched") };
    alice.ec2("TerminateInstances", &[("InstanceId.1", id)]).await.ok();
    alice.wait_for(id, "terminated").await;
    assert_eq!(alice.run(1, &[]).await.ok().first("privateIpAddress").unwrap(), "172.31.0.9");
}

async fn guests_of_user_networking_are_told_where_they_are_reached(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 2).await;
    cluster.change_mode(&cloud, user()).await.unwrap();
    let alice = cloud.owner().await;
    let launched = alice.run(1, &[]).await.ok();
    let [id] = &launched.instances()[..] else { panic!("one was launched") };
    let address = launched.first("privateIpAddress").unwrap().replace("172.31.", "127.31.");
    let at = [("Filter.1.Name", "ip-address"), ("Filter.1.Value.1", address.as_str())];
    let found = alice.ec2("DescribeInstances", &at).await.ok();
    assert_eq!(found.instances(), std::slice::from_ref(id));
    assert_eq!(found.first("ipAddress").unwrap(), address);
    let tag = [("Filter.1.Name", "key"), ("Filter.1.Value.1", "aws:karri:forwarded-ports")];
    let told = async || alice.ec2("DescribeTags", &tag).await.ok().all("value");
    assert_eq!(told().await, [format!("22={address}:2022 8080={address}:8080")]);
    let intent = cluster.intent(id).unwrap();
    assert_eq!(intent.spec.ports[0].forwarded.len(), 2);
    // The tag is the cloud's own.
    alice.ec2("DeleteTags", &[("ResourceId.1", id)]).await.ok();
    assert_eq!(told().await.len(), 1);
    // No way in is wanted.
    let closed =
        [("NetworkInterface.1.DeviceIndex", "0"), ("NetworkInterface.1.AssociatePublicIpAddress", "false")];
    let closed = alice.run(1, &closed).await.ok();
    assert_eq!(closed.first("ipAddress"), None);
    assert_eq!(cluster.wait_for_intent(&closed.instances()[0], |_| true).await.spec.ports[0].forwarded, []);
    // What is off is reached by nobody.
    alice.ec2("StopInstances", &[("InstanceId.1", id)]).await.ok();
    alice.wait_for(id, "stopped").await;
    let stopped = alice.ec2("DescribeInstances", &[("InstanceId.1", id)]).await.ok();
    assert_eq!(stopped.first("ipAddress"), None);
}

async fn an_address_of_the_site_is_unknown_until_it_is_told(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 2).await;
    cluster.change_mode(&cloud, NetworkMode::System).await.unwrap();
    let alice = cloud.owner().await;
    let launched = alice.run(2, &[]).await.ok();
    let ids = launched.instances();
    assert_eq!(launched.first("privateIpAddress"), None);
    let macs = launched.all("macAddress");
    assert!(macs.len() == 2 && macs[0] != macs[1], "{macs:?}");
    assert!(launched.first("privateDnsName").unwrap().starts_with(&ids[0]));
    alice.wait_for(&ids[0], "running").await;
    cluster.learns(&ids[0], Ipv4Addr::new(192, 0, 2, 9));
    let with = [("Filter.1.Name", "private-ip-address"), ("Filter.1.Value.1", "192.0.2.9")];
    let found = crate::support::until("the address is told", || async {
        let found = alice.ec2("DescribeInstances", &with).await.ok().instances();
        (!found.is_empty()).then_some(found)
    });
    assert_eq!(found.await, ids[..1]);
    // Members of groups count by it, and the node goes on learning.
    let table = cluster.wait_for_facts("the port's address", |table| {
        table.ports().any(|port| port.addresses == [Ipv4Addr::new(192, 0, 2, 9)])
    });
    assert!(table.await.ports().any(|port| port.addresses.is_empty()));
    alice.ec2("StopInstances", &[("InstanceId.1", &ids[0])]).await.ok();
    alice.wait_for(&ids[0], "stopped").await;
    assert!(cluster.intent(&ids[0]).unwrap().spec.ports[0].private_ip.is_unspecified());
    let asked =
        alice.run(1, &[("PrivateIpAddress", "172.31.0.9")]).await.refused(400, "UnsupportedOperation");
    assert!(asked.message().contains("network mode is 'system'"), "{}", asked.message());
}

async fn what_a_mode_cannot_do_is_refused_by_its_name(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 2).await;
    let alice = cloud.owner().await;
    let vpc = alice.ec2("CreateVpc", &[("CidrBlock", "10.0.0.0/16")]).await.ok().one("vpcId");
    let address = alice.ec2("AllocateAddress", &[]).await.ok().one("allocationId");
    let group = made(&alice, "mine").await;
    let subnet = alice.ec2("DescribeSubnets", &[]).await.ok().one("subnetId");
    for mode in [listed(&[9]), NetworkMode::System, user()] {
        cluster.change_mode(&cloud, mode.clone()).await.unwrap();
        let id = alice.run(1, &[]).await.ok().instances()[0].clone();
        let mut calls = vec![
            ("CreateVpc", vec![("CidrBlock", "10.1.0.0/16")]),
            ("CreateSubnet", vec![("VpcId", vpc.as_str()), ("CidrBlock", "10.0.1.0/24")]),
            ("AllocateAddress", vec![]),
            ("AssociateAddress", vec![("AllocationId", address.as_str()), ("InstanceId", id.as_str())]),
            ("CreateNatGateway", vec![("SubnetId", subnet.as_str()), ("AllocationId", address.as_str())]),
            (
                "ModifySubnetAttribute",
                vec![("SubnetId", subnet.as_str()), ("MapPublicIpOnLaunch.Value", "true")],
            ),
        ];
        if mode == user() {
            let groups = vec![("InstanceId", id.as_str()), ("GroupId.1", group.as_str())];
            calls.push(("ModifyInstanceAttribute", groups));
            alice.run(1, &[("SecurityGroupId.1", &group)]).await.refused(400, "UnsupportedOperation");
        }
        for (action, parameters) in calls {
            let refused = alice.ec2(action, &parameters).await.refused(400, "UnsupportedOperation");
            let expected =
                format!("not supported in Availability Zone 'zone-a', whose network mode is '{mode}'.");
            assert!(refused.message().ends_with(&expected), "{action}: {}", refused.message());
        }
        alice.ec2("TerminateInstances", &[("InstanceId.1", &id)]).await.ok();
        alice.wait_for(&id, "terminated").await;
    }
}

async fn interfaces_beside_the_first_are_refused_where_a_mode_has_none(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 2).await;
    let alice = cloud.owner().await;
    let subnet = alice.ec2("DescribeSubnets", &[]).await.ok().one("subnetId");
    // From when the zone could.
    let spare =
        alice.ec2("CreateNetworkInterface", &[("SubnetId", &subnet)]).await.ok().one("networkInterfaceId");
    for mode in [listed(&[9]), NetworkMode::System, user()] {
        cluster.change_mode(&cloud, mode.clone()).await.unwrap();
        let launched = alice.run(1, &[]).await.ok();
        let (id, own) = (launched.one("instanceId"), launched.one("networkInterfaceId"));
        alice.wait_for(&id, "running").await;
        let told = alice.ec2("DescribeNetworkInterfaces", &[("NetworkInterfaceId.1", &own)]).await.ok();
        let attachment = told.one("attachmentId");
        let first = ("NetworkInterface.1.DeviceIndex", "0");
        let image = [("ImageId", IMAGE), ("MinCount", "1"), ("MaxCount", "1"), ("InstanceType", "t3.micro")];
        let launch = |more: &[(&'static str, &'static str)]| [&image[..], &[first], more].concat();
        let calls = vec![
            ("CreateNetworkInterface", vec![("SubnetId", subnet.as_str())]),
            (
                "AttachNetworkInterface",
                vec![("NetworkInterfaceId", spare.as_str()), ("InstanceId", &id), ("DeviceIndex", "1")],
            ),
            (
                "AssignPrivateIpAddresses",
                vec![("NetworkInterfaceId", own.as_str()), ("SecondaryPrivateIpAddressCount", "1")],
            ),
            (
                "ModifyNetworkInterfaceAttribute",
                vec![
                    ("NetworkInterfaceId", own.as_str()),
                    ("Attachment.AttachmentId", &attachment),
                    ("Attachment.DeleteOnTermination", "false"),
                ],
            ),
            ("RunInstances", launch(&[("NetworkInterface.2.DeviceIndex", "1")])),
            ("RunInstances", launch(&[("NetworkInterface.1.SecondaryPrivateIpAddressCount", "1")])),
            ("RunInstances", launch(&[("NetworkInterface.1.DeleteOnTermination", "false")])),
        ];
        let before = cluster.intent(&id).unwrap();
        for (action, parameters) in calls {
            let refused = alice.ec2(action, &parameters).await.refused(400, "UnsupportedOperation");
            let expected =
                format!("not supported in Availability Zone 'zone-a', whose network mode is '{mode}'.");
            assert!(refused.message().ends_with(&expected), "{action} {parameters:?}: {}", refused.message());
        }
        assert_eq!(cluster.intent(&id).unwrap(), before, "its node hears of nothing");
        alice.ec2("TerminateInstances", &[("InstanceId.1", &id)]).await.ok();
        alice.wait_for(&id, "terminated").await;
    }
    alice.ec2("DeleteNetworkInterface", &[("NetworkInterfaceId", &spare)]).await.ok();
}

async fn a_zone_that_cannot_is_left_to_those_who_name_it(cloud: Cloud) {
    let laptop = cloud.cluster("zone-a", 3).await;
    let _managed = cloud.cluster_at("zone-b", 1, "172.31.16.0/20").await;
    laptop.change_mode(&cloud, user()).await.unwrap();
    let alice = cloud.owner().await;
    let group = made(&alice, "mine").await;
    // The first zone is the emptiest, too.
    assert_eq!(alice.run(1, &[]).await.ok().first("availabilityZone").unwrap(), "zone-a");
    let own = alice.run(1, &[("SecurityGroupId.1", &group)]).await.ok();
    assert_eq!(own.first("availabilityZone").unwrap(), "zone-b");
    let there = [("SecurityGroupId.1", group.as_str()), ("Placement.AvailabilityZone", "zone-a")];
    alice.run(1, &there).await.refused(400, "UnsupportedOperation");
    let vpc = alice.ec2("CreateVpc", &[("CidrBlock", "10.0.0.0/16")]).await.ok().one("vpcId");
    let subnet = alice.ec2("CreateSubnet", &[("VpcId", &vpc), ("CidrBlock", "10.0.1.0/24")]).await.ok();
    assert_eq!(subnet.one("availabilityZone"), "zone-b");
}

async fn a_mode_stays_while_there_are_instances(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 2).await;
    let alice = cloud.owner().await;
    let id = alice.run(1, &[]).await.ok().instances()[0].clone();
    let refused = cluster.change_mode(&cloud, user()).await.unwrap_err();
    assert_eq!(refused.kind, ApiErrorKind::Conflict);
    let expected = "network.mode = \"user\": zone zone-a has 1 instances that were made under \"managed\"";
    assert!(refused.message.starts_with(expected), "{}", refused.message);
    alice.ec2("TerminateInstances", &[("InstanceId.1", &id)]).await.ok();
    alice.wait_for(&id, "terminated").await;
    cluster.change_mode(&cloud, user()).await.unwrap();
    let (admin, caller) = cloud.admin();
    assert_eq!(admin.cloud_status(&caller).await.unwrap().zones[0].mode.name(), "user");
    // The same mode with another list is the same mode.
    alice.run(1, &[]).await.ok();
    cluster.change_mode(&cloud, NetworkMode::User { forwarded: vec![] }).await.unwrap();
}

/// The segments of a zone's subnets.
async fn tags_of(cluster: &FakeCluster, zone: &str, count: usize) -> Vec<u32> {
    let tags = |table: &FactTable| -> Vec<u32> {
        let all = table.shapes().filter_map(|shape| match shape {
            Shape::Subnet(subnet) if subnet.zone == zone && subnet.tag != 0 => Some(subnet.tag),
            _ => None,
        });
        let mut all: Vec<u32> = all.collect();
        all.sort_unstable();
        all
    };
    tags(&cluster.wait_for_facts("that many", |table| tags(table).len() == count).await)
}

async fn subnets_of_a_zone_of_vlans_get_them_while_there_are_any(mut cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let other = cloud.cluster_at("zone-b", 1, "172.31.16.0/20").await;
    cluster.change_vlans(&cloud, Some((100, 101))).await.unwrap();
    let mut alice = cloud.owner().await;
    let vpc = alice.ec2("CreateVpc", &[("CidrBlock", "10.0.0.0/16")]).await.ok().one("vpcId");
    let asked = |range: &'static str, zone: &'static str| {
        [("VpcId", vpc.clone()), ("CidrBlock", range.to_owned()), ("AvailabilityZone", zone.to_owned())]
    };
    let create = async |alice: &Client, range, zone| {
        let asked = asked(range, zone);
        let asked = asked.each_ref().map(|(key, value)| (*key, value.as_str()));
        alice.ec2("CreateSubnet", &asked).await
    };
    let first = create(&alice, "10.0.0.0/24", "zone-a").await.ok().one("subnetId");
    create(&alice, "10.0.1.0/24", "zone-a").await.ok();
    create(&alice, "10.0.2.0/24", "zone-b").await.ok();
    assert_eq!(tags_of(&cluster, "zone-a", 2).await, [100, 101]);
    let beyond = tags_of(&other, "zone-b", 1).await;
    assert!(beyond[0] >= 4096, "another zone has segments of the cloud's own: {beyond:?}");
    let none = create(&alice, "10.0.3.0/24", "zone-a").await.refused(400, "SubnetLimitExceeded");
    let expected =
        "No VLAN of 100 to 101 is left in Availability Zone 'zone-a' for the network of another subnet.";
    assert_eq!(none.message(), expected);
    // A controller that starts again knows it before the cluster says hello.
    cloud.stop().await;
    cloud.start_again().await;
    alice.url = cloud.endpoint.public_url.clone().unwrap();
    create(&alice, "10.0.3.0/24", "zone-a").await.refused(400, "SubnetLimitExceeded");
    // One that goes gives its VLAN back.
    alice.ec2("DeleteSubnet", &[("SubnetId", &first)]).await.ok();
    create(&alice, "10.0.3.0/24", "zone-a").await.ok();
    cluster.hello(&cloud).await;
    assert_eq!(tags_of(&cluster, "zone-a", 2).await, [100, 101]);
}

async fn a_driver_stays_while_what_was_made_under_it_is_there(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let id = alice.run(1, &[]).await.ok().instances()[0].clone();
    let refused = cluster.change_vlans(&cloud, Some((100, 199))).await.unwrap_err();
    assert_eq!(refused.kind, ApiErrorKind::Conflict);
    let expected = "network.driver = \"vlan\": zone zone-a has 1 instances that were made under \"vxlan\"";
    assert!(refused.message.starts_with(expected), "{}", refused.message);
    alice.ec2("TerminateInstances", &[("InstanceId.1", &id)]).await.ok();
    alice.wait_for(&id, "terminated").await;
    // A subnet whose tag is no VLAN.
    let vpc = alice.ec2("CreateVpc", &[("CidrBlock", "10.0.0.0/16")]).await.ok().one("vpcId");
    let words = [("VpcId", vpc.as_str()), ("CidrBlock", "10.0.0.0/24")];
    let subnet = alice.ec2("CreateSubnet", &words).await.ok().one("subnetId");
    let refused = cluster.change_vlans(&cloud, Some((100, 199))).await.unwrap_err();
    let expected =
        "network.vlan_first, vlan_last: zone zone-a has 1 subnets whose tags are not within 100 to 199";
    assert!(refused.message.starts_with(expected), "{}", refused.message);
    alice.ec2("DeleteSubnet", &[("SubnetId", &subnet)]).await.ok();
    cluster.change_vlans(&cloud, Some((100, 199))).await.unwrap();
    alice.ec2("CreateSubnet", &words).await.ok();
    // A narrower range that leaves none out is one more hello.
    cluster.change_vlans(&cloud, Some((100, 150))).await.unwrap();
    let refused = cluster.change_vlans(&cloud, Some((101, 150))).await.unwrap_err();
    assert_eq!(refused.kind, ApiErrorKind::Conflict);
    cluster.change_vlans(&cloud, None).await.unwrap();
}
