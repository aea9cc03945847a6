//! Network interfaces by themselves, at instances, and what stays of them.

use crate::detaching::wait_available;
use crate::support::networks::{default_group, free_addresses};
use crate::support::vpc::{Routed, allocated, routed, subnet, told};
use crate::support::{Answer, Client, Cloud, Database, FakeCluster, until};
use karri_clc::config::Limits;
use karri_proto::instance::InstanceIntent;
use karri_proto::network::{RouteTarget, Shape, ShapeKey};

on_both! {
    an_interface_comes_and_goes
    an_interface_is_attached_and_detached
    what_cannot_be_attached_is_refused
    addresses_are_assigned_and_taken_back
    elastic_addresses_lead_to_each_of_them
    attributes_are_told_and_changed
    instances_are_launched_with_several
    an_interface_outlives_its_instance
    interfaces_survive_a_restart
    what_has_an_interface_stays
}

pub async fn made(client: &Client, subnet: &str, more: &[(&str, &str)]) -> Answer {
    client.ec2("CreateNetworkInterface", &[&[("SubnetId", subnet)], more].concat()).await.ok()
}

pub async fn interface(client: &Client, id: &str) -> Answer {
    client.ec2("DescribeNetworkInterfaces", &[("NetworkInterfaceId.1", id)]).await.ok()
}

pub async fn running(client: &Client, subnet: &str) -> (String, String) {
    let launched = client.run(1, &[("SubnetId", subnet), ("InstanceType", "m1.small")]).await.ok();
    let id = launched.one("instanceId");
    client.wait_for(&id, "running").await;
    (id, launched.one("networkInterfaceId"))
}

pub async fn attached(client: &Client, port: &str, instance: &str, index: &str) -> String {
    let words = [("NetworkInterfaceId", port), ("InstanceId", instance), ("DeviceIndex", index)];
    told(client, "AttachNetworkInterface", &words, "attachmentId").await
}

pub async fn wait_attached(client: &Client, port: &str) {
    until(&format!("{port} attached"), || async {
        let told = interface(client, port).await;
        told.text.contains("<status>attached</status>").then_some(())
    })
    .await;
}

fn ports(intent: &InstanceIntent) -> Vec<(u32, String)> {
    intent.spec.ports.iter().map(|port| (port.device_index, port.id.to_string())).collect()
}

async fn an_interface_comes_and_goes(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let Routed { vpc, subnet, .. } = routed(&alice).await;
    let free = free_addresses(&alice, &subnet).await;
    let words = [
        ("Description", "the back door"),
        ("PrivateIpAddress", "10.0.0.77"),
        ("SecondaryPrivateIpAddressCount", "2"),
        ("ClientToken", "once"),
        ("TagSpecification.1.ResourceType", "network-interface"),
        ("TagSpecification.1.Tag.1.Key", "Name"),
        ("TagSpecification.1.Tag.1.Value", "back"),
    ];
    let first = made(&alice, &subnet, &words).await;
    let id = first.one("networkInterfaceId");
    assert_eq!(made(&alice, &subnet, &words).await.one("networkInterfaceId"), id, "the same token");
    let other = [&words[..1], &[("ClientToken", "once")]].concat();
    let other = [&[("SubnetId", subnet.as_str())], &other[..]].concat();
    alice.ec2("CreateNetworkInterface", &other).await.refused(400, "IdempotentParameterMismatch");
    assert_eq!(free_addresses(&alice, &subnet).await, free - 3);
    let seen = interface(&alice, &id).await;
    assert!(!seen.text.contains("<attachment>"), "{}", seen.text);
    assert_eq!((seen.one("status"), seen.one("description")), ("available".into(), "the back door".into()));
    assert_eq!((seen.one("subnetId"), seen.one("vpcId")), (subnet.clone(), vpc.clone()));
    assert_eq!((seen.one("sourceDestCheck"), seen.one("requesterManaged")), ("true".into(), "false".into()));
    assert_eq!(seen.all("primary"), ["true", "false", "false"]);
    assert_eq!(seen.first("privateIpAddress").as_deref(), Some("10.0.0.77"));
    assert_eq!(seen.one("groupId"), default_group(&alice, &vpc).await);
    assert_eq!((seen.one("key"), seen.one("value")), ("Name".into(), "back".into()));
    for (name, value) in [
        ("addresses.private-ip-address", "10.0.0.77"),
        ("description", "the back*"),
        ("status", "available"),
        ("subnet-id", &subnet),
        ("tag:Name", "back"),
        ("addresses.primary", "false"),
    ] {
        let filter = [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
        let found = alice.ec2("DescribeNetworkInterfaces", &filter).await.ok();
        assert_eq!(found.all("networkInterfaceId"), [id.as_str()], "{name}");
    }
    let filter = [("Filter.1.Name", "attachment.status"), ("Filter.1.Value.1", "attached")];
    assert!(alice.ec2("DescribeNetworkInterfaces", &filter).await.ok().all("networkInterfaceId").is_empty());
    let taken = [("SubnetId", subnet.as_str()), ("PrivateIpAddress", "10.0.0.77")];
    alice.ec2("CreateNetworkInterface", &taken).await.refused(400, "InvalidIPAddress.InUse");
    let strange = [("SubnetId", subnet.as_str()), ("PrivateIpAddress", "10.9.0.77")];
    alice.ec2("CreateNetworkInterface", &strange).await.refused(400, "InvalidParameterValue");
    let bob = cloud.user("other", "bob", &["AdministratorAccess"]).await;
    let absent = bob.ec2("DeleteNetworkInterface", &[("NetworkInterfaceId", &id)]).await;
    let absent = absent.refused(400, "InvalidNetworkInterfaceID.NotFound");
    assert_eq!(absent.message(), format!("The networkInterface ID '{id}' does not exist"));
    alice.ec2("DeleteNetworkInterface", &[("NetworkInterfaceId", &id)]).await.ok();
    let gone = alice.ec2("DeleteNetworkInterface", &[("NetworkInterfaceId", &id)]).await;
    gone.refused(400, "InvalidNetworkInterfaceID.NotFound");
    assert_eq!(free_addresses(&alice, &subnet).await, free, "its addresses are free again");
    let again = made(&alice, &subnet, &words).await;
    assert_ne!(again.one("networkInterfaceId"), id, "the token went with it");
}

async fn an_interface_is_attached_and_detached(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let Routed { subnet, table, .. } = routed(&alice).await;
    let (instance, first) = running(&alice, &subnet).await;
    let port = made(&alice, &subnet, &[("Description", "second")]).await.one("networkInterfaceId");
    let route = [
        ("RouteTableId", table.as_str()),
        ("DestinationCidrBlock", "192.168.0.0/16"),
        ("NetworkInterfaceId", port.as_str()),
    ];
    alice.ec2("CreateRoute", &route).await.ok();
    leads(&cluster, &table, RouteTarget::Blackhole).await;
    let attachment = attached(&alice, &port, &instance, "1").await;
    let both = vec![(0, first.clone()), (1, port.clone())];
    cluster.wait_for_intent(&instance, |intent| ports(intent) == both).await;
    cluster.wait_for_facts("the port", |facts| facts.port(&port.parse().unwrap()).is_some()).await;
    leads(&cluster, &table, RouteTarget::Interface(port.parse().unwrap())).await;
    wait_attached(&alice, &port).await;
    let seen = interface(&alice, &port).await;
    assert_eq!(seen.all("status"), ["attached", "in-use"]);
    assert_eq!((seen.one("attachmentId"), seen.one("instanceId")), (attachment.clone(), instance.clone()));
    assert_eq!((seen.one("deviceIndex"), seen.one("deleteOnTermination")), ("1".into(), "false".into()));
    let seen = alice.ec2("DescribeInstances", &[("InstanceId.1", &instance)]).await.ok();
    assert_eq!(seen.all("networkInterfaceId"), [first.as_str(), port.as_str()]);
    assert_eq!(seen.all("deviceIndex"), ["0", "1"]);
    for (name, value) in [
        ("network-interface.network-interface-id", port.as_str()),
        ("network-interface.attachment.attachment-id", &attachment),
        ("network-interface.attachment.device-index", "1"),
        ("network-interface.description", "second"),
    ] {
        let filter = [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
        assert_eq!(
            alice.ec2("DescribeInstances", &filter).await.ok().instances(),
            [instance.as_str()],
            "{name}"
        );
    }

    let delete = alice.ec2("DeleteNetworkInterface", &[("NetworkInterfaceId", &port)]).await;
    let used = delete.refused(400, "InvalidParameterValue");
    assert_eq!(used.message(), format!("Network interface '{port}' is currently in use."));
    let own = interface(&alice, &first).await.one("attachmentId");
    let kept = alice.ec2("DetachNetworkInterface", &[("AttachmentId", &own)]).await;
    let kept = kept.refused(400, "OperationNotPermitted");
    assert_eq!(kept.message(), "The network interface at device index 0 cannot be detached.");
    let detach = [("AttachmentId", attachment.as_str()), ("Force", "true")];
    let bob = cloud.user("other", "bob", &["AdministratorAccess"]).await;
    bob.ec2("DetachNetworkInterface", &detach).await.refused(400, "InvalidAttachmentID.NotFound");
    alice.ec2("DetachNetworkInterface", &detach).await.ok();
    alice.ec2("DetachNetworkInterface", &detach).await.refused(400, "InvalidAttachmentID.NotFound");
    cluster.wait_for_intent(&instance, |intent| ports(intent) == both[..1]).await;
    cluster.wait_for_facts("no port", |facts| facts.port(&port.parse().unwrap()).is_none()).await;
    leads(&cluster, &table, RouteTarget::Blackhole).await;
    let seen = interface(&alice, &port).await;
    assert_eq!((seen.one("status"), seen.one("description")), ("available".into(), "second".into()));
    let again = attached(&alice, &port, &instance, "1").await;
    assert_ne!(again, attachment, "another attachment");
}

async fn leads(cluster: &FakeCluster, table: &str, target: RouteTarget) {
    let key = ShapeKey::RouteTable(table.parse().unwrap());
    let wanted = |shape: &Shape| match shape {
        Shape::RouteTable(table) => table.routes.iter().any(|route| route.target == target),
        _ => false,
    };
    cluster
        .wait_for_facts(&format!("a route to {target:?}"), |facts| facts.shape(&key).is_some_and(wanted))
        .await;
}

async fn what_cannot_be_attached_is_refused(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let _other = cloud.cluster_at("zone-b", 1, "172.31.16.0/20").await;
    let alice = cloud.owner().await;
    let vpc = told(&alice, "CreateVpc", &[("CidrBlock", "10.0.0.0/16")], "vpcId").await;
    let of = async |vpc: &str, cidr: &str, zone: &str| {
        let words = [("VpcId", vpc), ("CidrBlock", cidr), ("AvailabilityZone", zone)];
        told(&alice, "CreateSubnet", &words, "subnetId").await
    };
    let (here, there) = (of(&vpc, "10.0.0.0/24", "zone-a").await, of(&vpc, "10.0.1.0/24", "zone-b").await);
    let strange = told(&alice, "CreateVpc", &[("CidrBlock", "10.7.0.0/16")], "vpcId").await;
    let strange = of(&strange, "10.7.0.0/24", "zone-a").await;
    let (instance, first) = running(&alice, &here).await;
    let port = async |subnet: &str, more: &[(&str, &str)]| {
        made(&alice, subnet, more).await.one("networkInterfaceId")
    };
    let check = async |port: &str, index: &str, code: &str, part: &str| {
        let words = [("NetworkInterfaceId", port), ("InstanceId", instance.as_str()), ("DeviceIndex", index)];
        let refused = alice.ec2("AttachNetworkInterface", &words).await.refused(400, code);
        assert!(refused.message().contains(part), "{}", refused.text);
    };
    let free = port(&here, &[]).await;
    check(&first, "1", "InvalidNetworkInterface.InUse", "in use").await;
    check(&free, "0", "InvalidParameterValue", "already has an interface attached at device index '0'").await;
    check(&free, "-1", "InvalidParameterValue", "").await;
    check(&free, "128", "InvalidParameterValue", "device index").await;
    check(&port(&there, &[]).await, "1", "InvalidParameterCombination", "same availability zone").await;
    check(&port(&strange, &[]).await, "1", "InvalidParameterCombination", "same VPC").await;
    check("eni-0123456789abcdef0", "1", "InvalidNetworkInterfaceID.NotFound", "does not exist").await;
    // An m1.small has two interfaces with four addresses each.
    let large = port(&here, &[("SecondaryPrivateIpAddressCount", "4")]).await;
    check(&large, "1", "PrivateIpAddressLimitExceeded", "exceed limit").await;
    attached(&alice, &free, &instance, "1").await;
    check(&port(&here, &[]).await, "2", "AttachmentLimitExceeded", "Interface count 3 exceeds the limit")
        .await;
    alice.ec2("TerminateInstances", &[("InstanceId.1", &instance)]).await.ok();
    alice.wait_for(&instance, "terminated").await;
    assert_eq!(interface(&alice, &free).await.one("status"), "available", "it was attached, so it stays");
    check(&free, "1", "InvalidInstanceID.NotFound", "does not exist").await;
}

async fn addresses_are_assigned_and_taken_back(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let Routed { subnet, .. } = routed(&alice).await;
    let (instance, first) = running(&alice, &subnet).await;
    let port = made(&alice, &subnet, &[]).await.one("networkInterfaceId");
    let free = free_addresses(&alice, &subnet).await;
    let assign = async |port: &str, more: &[(&str, &str)]| {
        alice.ec2("AssignPrivateIpAddresses", &[&[("NetworkInterfaceId", port)], more].concat()).await
    };
    let given =
        assign(&first, &[("PrivateIpAddress.1", "10.0.0.50"), ("PrivateIpAddress.2", "10.0.0.51")]).await;
    assert_eq!(given.ok().all("privateIpAddress"), ["10.0.0.50", "10.0.0.51"]);
    let given = assign(&first, &[("SecondaryPrivateIpAddressCount", "1")]).await.ok().one("privateIpAddress");
    assert_eq!(free_addresses(&alice, &subnet).await, free - 3);
    let has = |expected: &[&str]| {
        let expected: Vec<String> = expected.iter().map(|text| (*text).to_owned()).collect();
        move |intent: &InstanceIntent| {
            let secondary = &intent.spec.ports[0].secondary;
            secondary.iter().map(|one| one.address.to_string()).collect::<Vec<_>>() == expected
        }
    };
    cluster.wait_for_intent(&instance, has(&["10.0.0.50", "10.0.0.51", &given])).await;
    let id = first.parse().unwrap();
    cluster
        .wait_for_facts("four addresses", |facts| {
            facts.port(&id).is_some_and(|port| port.addresses.len() == 4)
        })
        .await;
    for (name, value) in [("network-interface.addresses.private-ip-address", "10.0.0.51")] {
        let filter = [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
        assert_eq!(alice.ec2("DescribeInstances", &filter).await.ok().instances(), [instance.as_str()]);
    }
    assign(&first, &[("SecondaryPrivateIpAddressCount", "1")])
        .await
        .refused(400, "PrivateIpAddressLimitExceeded");
    let taken = [("PrivateIpAddress.1", "10.0.0.50"), ("PrivateIpAddress.2", "10.0.0.51")];
    let taken = [&taken[..], &[("PrivateIpAddress.3", "10.0.0.61")]].concat();
    let refused = assign(&port, &taken).await.refused(400, "InvalidParameterValue");
    assert_eq!(refused.message(), "[10.0.0.50, 10.0.0.51] assigned, but move is not allowed.");
    assign(&port, &[]).await.refused(400, "MissingParameter");
    let both = [("PrivateIpAddress.1", "10.0.0.60"), ("SecondaryPrivateIpAddressCount", "1")];
    assign(&port, &both).await.refused(400, "InvalidParameterCombination");
    let moved = [("PrivateIpAddress.1", "10.0.0.50"), ("AllowReassignment", "true")];
    assign(&port, &moved).await.ok();
    assert_eq!(interface(&alice, &port).await.all("privateIpAddress").last().unwrap(), "10.0.0.50");
    cluster.wait_for_intent(&instance, has(&["10.0.0.51", &given])).await;
    let primary = interface(&alice, &first).await.first("privateIpAddress").unwrap();
    let never = [("PrivateIpAddress.1", primary.as_str()), ("AllowReassignment", "true")];
    assign(&port, &never).await.refused(400, "InvalidIPAddress.InUse");

    let take = async |address: &str| {
        let words = [("NetworkInterfaceId", first.as_str()), ("PrivateIpAddress.1", address)];
        alice.ec2("UnassignPrivateIpAddresses", &words).await
    };
    let strange = take("10.0.0.50").await.refused(400, "InvalidParameterValue");
    assert_eq!(strange.message(), format!("Some of [10.0.0.50] are not assigned to interface [{first}]"));
    take(&primary).await.refused(400, "InvalidParameterValue");
    take("10.0.0.51").await.ok();
    cluster.wait_for_intent(&instance, has(&[&given])).await;
    assert_eq!(free_addresses(&alice, &subnet).await, free - 2);
    assign(&port, &[("PrivateIpAddress.1", "10.0.0.51")]).await.ok();
}

async fn elastic_addresses_lead_to_each_of_them(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let Routed { subnet, .. } = routed(&alice).await;
    let (instance, first) = running(&alice, &subnet).await;
    let port = made(&alice, &subnet, &[("PrivateIpAddress", "10.0.0.70")]).await.one("networkInterfaceId");
    let (allocation, ip) = allocated(&alice).await;
    let to_port = [("AllocationId", allocation.as_str()), ("NetworkInterfaceId", port.as_str())];
    let association = told(&alice, "AssociateAddress", &to_port, "associationId").await;
    let seen = alice.ec2("DescribeAddresses", &[("PublicIp.1", &ip)]).await.ok();
    assert_eq!(
        (seen.one("networkInterfaceId"), seen.one("privateIpAddress")),
        (port.clone(), "10.0.0.70".into())
    );
    assert!(seen.all("instanceId").concat().is_empty(), "{}", seen.text);
    assert_eq!(interface(&alice, &port).await.all("associationId"), [association.as_str(); 2]);
    let led = async |private: Option<&str>| {
        let private: Option<std::net::Ipv4Addr> = private.map(|text| text.parse().unwrap());
        let key = ShapeKey::Address(ip.parse().unwrap());
        let found = |shape: &Shape| match shape {
            Shape::Address(address) => Some(address.private),
            _ => None,
        };
        cluster
            .wait_for_facts(&format!("{ip} to {private:?}"), |facts| {
                facts.shape(&key).and_then(found) == private
            })
            .await;
    };
    let attachment = attached(&alice, &port, &instance, "1").await;
    led(Some("10.0.0.70")).await;
    let several = [("AllocationId", allocation.as_str()), ("InstanceId", instance.as_str())];
    let several = alice.ec2("AssociateAddress", &several).await.refused(400, "InvalidInstanceID");
    assert!(several.message().contains("There are multiple interfaces attached"), "{}", several.text);
    let more = [("NetworkInterfaceId", first.as_str()), ("PrivateIpAddress.1", "10.0.0.71")];
    alice.ec2("AssignPrivateIpAddresses", &more).await.ok();
    let to_more = [
        ("AllocationId", allocation.as_str()),
        ("NetworkInterfaceId", first.as_str()),
        ("PrivateIpAddress", "10.0.0.71"),
    ];
    let second = told(&alice, "AssociateAddress", &to_more, "associationId").await;
    led(Some("10.0.0.71")).await;
    let public = ip.parse().unwrap();
    cluster
        .wait_for_intent(&instance, |intent| {
            let led = |port: &karri_proto::instance::PortSpec| {
                let public = port.addresses().filter_map(|(own, to)| Some((own.to_string(), to?.address)));
                public.collect::<Vec<_>>()
            };
            let all: Vec<_> = intent.spec.ports.iter().flat_map(led).collect();
            all == [("10.0.0.71".to_owned(), public)]
        })
        .await;
    // A move of the private address takes it along.
    let moved = [
        ("NetworkInterfaceId", port.as_str()),
        ("PrivateIpAddress.1", "10.0.0.71"),
        ("AllowReassignment", "true"),
    ];
    alice.ec2("AssignPrivateIpAddresses", &moved).await.ok();
    let seen = alice.ec2("DescribeAddresses", &[("PublicIp.1", &ip)]).await.ok();
    assert_eq!((seen.one("networkInterfaceId"), seen.one("associationId")), (port.clone(), second));
    alice.ec2("DetachNetworkInterface", &[("AttachmentId", &attachment)]).await.ok();
    led(None).await;
    let back = [("NetworkInterfaceId", port.as_str()), ("PrivateIpAddress.1", "10.0.0.71")];
    alice.ec2("UnassignPrivateIpAddresses", &back).await.ok();
    let seen = alice.ec2("DescribeAddresses", &[("PublicIp.1", &ip)]).await.ok();
    assert!(seen.all("associationId").is_empty(), "{}", seen.text);
    told(&alice, "AssociateAddress", &to_port, "associationId").await;
    wait_available(&alice, &port).await;
    alice.ec2("DeleteNetworkInterface", &[("NetworkInterfaceId", &port)]).await.ok();
    alice.ec2("ReleaseAddress", &[("AllocationId", &allocation)]).await.ok();
}

async fn attributes_are_told_and_changed(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let Routed { vpc, subnet, .. } = routed(&alice).await;
    let (instance, first) = running(&alice, &subnet).await;
    let group = [("GroupName", "web"), ("GroupDescription", "of the test"), ("VpcId", vpc.as_str())];
    let group = told(&alice, "CreateSecurityGroup", &group, "groupId").await;
    let port = made(&alice, &subnet, &[]).await.one("networkInterfaceId");
    let modify = async |port: &str, more: &[(&str, &str)]| {
        alice.ec2("ModifyNetworkInterfaceAttribute", &[&[("NetworkInterfaceId", port)], more].concat()).await
    };
    let tell = async |port: &str, name: &str| {
        let words = [("NetworkInterfaceId", port), ("Attribute", name)];
        alice.ec2("DescribeNetworkInterfaceAttribute", &words).await
    };
    for port in [&first, &port] {
        modify(port, &[("Description.Value", "told")]).await.ok();
        assert_eq!(tell(port, "description").await.ok().one("value"), "told");
        modify(port, &[("SecurityGroupId.1", &group)]).await.ok();
        assert_eq!(tell(port, "groupSet").await.ok().one("groupId"), group);
        modify(port, &[("SourceDestCheck.Value", "false")]).await.ok();
        assert_eq!(tell(port, "sourceDestCheck").await.ok().one("value"), "false");
        assert_eq!(interface(&alice, port).await.one("sourceDestCheck"), "false");
    }
    let unchecked =
        |wanted: bool| move |intent: &InstanceIntent| intent.spec.ports[0].source_dest_check != wanted;
    cluster.wait_for_intent(&instance, unchecked(true)).await;
    let reset = [("NetworkInterfaceId", first.as_str()), ("SourceDestCheck", "x")];
    alice.ec2("ResetNetworkInterfaceAttribute", &reset).await.ok();
    cluster.wait_for_intent(&instance, unchecked(false)).await;
    let off = [("InstanceId", instance.as_str()), ("SourceDestCheck.Value", "false")];
    alice.ec2("ModifyInstanceAttribute", &off).await.ok();
    cluster.wait_for_intent(&instance, unchecked(true)).await;
    let told_of = [("InstanceId", instance.as_str()), ("Attribute", "sourceDestCheck")];
    assert_eq!(alice.ec2("DescribeInstanceAttribute", &told_of).await.ok().one("value"), "false");
    assert!(tell(&port, "attachment").await.ok().all("attachmentId").is_empty());
    let attachment = tell(&first, "attachment").await.ok();
    assert_eq!(attachment.one("deleteOnTermination"), "true");
    let id = attachment.one("attachmentId");
    let keep = [("Attachment.AttachmentId", id.as_str()), ("Attachment.DeleteOnTermination", "false")];
    modify(&first, &keep).await.ok();
    assert_eq!(tell(&first, "attachment").await.ok().one("deleteOnTermination"), "false");
    modify(&port, &keep).await.refused(400, "IncorrectState");
    let strange = [keep[1], ("Attachment.AttachmentId", "eni-attach-0123456789abcdef0")];
    modify(&first, &strange).await.refused(400, "InvalidAttachmentID.NotFound");
    tell(&first, "colour").await.refused(400, "InvalidParameterValue");
    modify(&first, &[]).await.refused(400, "InvalidParameterCombination");
    let two = [("Description.Value", "x"), ("SourceDestCheck.Value", "true")];
    modify(&first, &two).await.refused(400, "InvalidParameterCombination");
    modify(&first, &[("EnablePrimaryIpv6", "true")]).await.refused(400, "UnsupportedOperation");
    // Others' guests are on the wire of a default VPC.
    let flat = alice.run(1, &[]).await.ok();
    let (flat, port) = (flat.one("instanceId"), flat.one("networkInterfaceId"));
    alice.wait_for(&flat, "running").await;
    modify(&port, &[("SourceDestCheck.Value", "false")]).await.refused(400, "UnsupportedOperation");
    let off = [("InstanceId", flat.as_str()), ("SourceDestCheck.Value", "false")];
    alice.ec2("ModifyInstanceAttribute", &off).await.refused(400, "UnsupportedOperation");
}

async fn instances_are_launched_with_several(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 2).await;
    let alice = cloud.owner().await;
    let Routed { vpc, subnet: front, .. } = routed(&alice).await;
    let back = subnet(&alice, &vpc, "10.0.1.0/24").await;
    let words = [
        ("NetworkInterface.1.DeviceIndex", "1"),
        ("NetworkInterface.1.SubnetId", back.as_str()),
        ("NetworkInterface.1.Description", "back"),
        ("NetworkInterface.1.SecondaryPrivateIpAddressCount", "1"),
        ("NetworkInterface.1.DeleteOnTermination", "false"),
        ("NetworkInterface.2.DeviceIndex", "0"),
        ("NetworkInterface.2.SubnetId", front.as_str()),
        ("NetworkInterface.2.PrivateIpAddresses.1.PrivateIpAddress", "10.0.0.40"),
        ("NetworkInterface.2.PrivateIpAddresses.1.Primary", "true"),
        ("NetworkInterface.2.PrivateIpAddresses.2.PrivateIpAddress", "10.0.0.41"),
        ("TagSpecification.1.ResourceType", "network-interface"),
        ("TagSpecification.1.Tag.1.Key", "k"),
        ("TagSpecification.1.Tag.1.Value", "v"),
    ];
    let launched = alice.run(1, &words).await.ok();
    let id = launched.one("instanceId");
    assert_eq!(launched.all("deviceIndex"), ["0", "1"]);
    assert_eq!(launched.all("deleteOnTermination"), ["true", "true", "false"], "the disk, and these");
    let ids = launched.all("networkInterfaceId");
    alice.wait_for(&id, "running").await;
    let intent = cluster.intent(&id).unwrap();
    let addresses = |index: usize| -> Vec<String> {
        intent.spec.ports[index].addresses().map(|(address, _)| address.to_string()).collect()
    };
    assert_eq!(addresses(0), ["10.0.0.40", "10.0.0.41"]);
    assert_eq!(addresses(1).len(), 2);
    let described = alice.ec2("DescribeNetworkInterfaces", &[]).await.ok();
    assert_eq!(described.all("networkInterfaceId").len(), 2, "{}", described.text);
    assert_eq!(described.all("key"), ["k", "k"], "both are tagged");
    assert_eq!(interface(&alice, &ids[1]).await.one("description"), "back");

    let existing = made(&alice, &front, &[]).await.one("networkInterfaceId");
    let with = [
        ("NetworkInterface.1.DeviceIndex", "0"),
        ("NetworkInterface.1.NetworkInterfaceId", existing.as_str()),
        ("NetworkInterface.2.DeviceIndex", "1"),
        ("NetworkInterface.2.SubnetId", back.as_str()),
    ];
    alice.run(2, &with).await.refused(400, "InvalidParameterCombination");
    let second = alice.run(1, &with).await.ok();
    assert_eq!(second.first("networkInterfaceId"), Some(existing.clone()));
    alice.run(1, &with).await.refused(400, "InvalidNetworkInterface.InUse");
    let told = interface(&alice, &existing).await;
    assert_eq!(
        (told.one("deleteOnTermination"), told.all("status").pop()),
        ("false".into(), Some("in-use".into()))
    );

    let check = async |words: &[(&str, &str)], code: &str| {
        alice.run(1, words).await.refused(400, code);
    };
    let (one, two) = (("NetworkInterface.1.DeviceIndex", "0"), ("NetworkInterface.2.DeviceIndex", "1"));
    check(&[one, ("NetworkInterface.2.DeviceIndex", "0")], "InvalidParameterValue").await;
    check(&[("NetworkInterface.1.DeviceIndex", "1"), two], "InvalidParameterValue").await;
    check(&[("NetworkInterface.1.DeviceIndex", "1")], "InvalidParameterValue").await;
    check(&[one, two, ("NetworkInterface.3.DeviceIndex", "2")], "AttachmentLimitExceeded").await;
    let public = ("NetworkInterface.1.AssociatePublicIpAddress", "true");
    check(&[one, two, public], "InvalidParameterCombination").await;
    let count = ("NetworkInterface.1.SecondaryPrivateIpAddressCount", "9");
    check(&[one, count, ("NetworkInterface.1.SubnetId", &front)], "PrivateIpAddressLimitExceeded").await;
    let of_default = [one, ("NetworkInterface.2.SubnetId", &back), two];
    check(&of_default, "InvalidParameterCombination").await;
    let both =
        [one, ("NetworkInterface.1.NetworkInterfaceId", &existing), ("NetworkInterface.1.SubnetId", &front)];
    check(&both, "InvalidParameterCombination").await;
    let free = free_addresses(&alice, &front).await;
    check(&[one, count, ("NetworkInterface.1.SubnetId", &front)], "PrivateIpAddressLimitExceeded").await;
    assert_eq!(free_addresses(&alice, &front).await, free, "what was taken for it is given back");
}

async fn an_interface_outlives_its_instance(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let Routed { subnet, .. } = routed(&alice).await;
    let (instance, first) = running(&alice, &subnet).await;
    let port = made(&alice, &subnet, &[("Description", "kept")]).await.one("networkInterfaceId");
    attached(&alice, &port, &instance, "1").await;
    alice.ec2("CreateTags", &[("ResourceId.1", &port), ("Tag.1.Key", "k"), ("Tag.1.Value", "v")]).await.ok();
    let (allocation, ip) = allocated(&alice).await;
    let to_port = [("AllocationId", allocation.as_str()), ("NetworkInterfaceId", port.as_str())];
    told(&alice, "AssociateAddress", &to_port, "associationId").await;
    cluster
        .wait_for_intent(&instance, |intent| intent.spec.ports.get(1).is_some_and(|p| p.public.is_some()))
        .await;
    // It stays while the instance is stopped, too.
    alice.ec2("StopInstances", &[("InstanceId.1", &instance)]).await.ok();
    alice.wait_for(&instance, "stopped").await;
    assert_eq!(interface(&alice, &port).await.all("status"), ["attached", "in-use"]);
    alice.ec2("TerminateInstances", &[("InstanceId.1", &instance)]).await.ok();
    alice.wait_for(&instance, "terminated").await;
    let left = interface(&alice, &port).await;
    assert_eq!((left.one("status"), left.one("description")), ("available".into(), "kept".into()));
    assert_eq!((left.one("value"), left.all("publicIp")), ("v".into(), vec![ip.clone(), ip.clone()]));
    let gone = alice.ec2("DescribeNetworkInterfaces", &[("NetworkInterfaceId.1", &first)]).await;
    gone.refused(400, "InvalidNetworkInterfaceID.NotFound");
    cluster.wait_for_facts("no port", |facts| facts.port(&port.parse().unwrap()).is_none()).await;
    let (next, _) = running(&alice, &subnet).await;
    attached(&alice, &port, &next, "1").await;
    let key = ShapeKey::Address(ip.parse().unwrap());
    cluster.wait_for_facts("its address again", |facts| facts.shape(&key).is_some()).await;
}

async fn interfaces_survive_a_restart(mut cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let mut alice = cloud.owner().await;
    let Routed { subnet, .. } = routed(&alice).await;
    let (instance, _) = running(&alice, &subnet).await;
    let alone =
        made(&alice, &subnet, &[("SecondaryPrivateIpAddressCount", "1")]).await.one("networkInterfaceId");
    let port = made(&alice, &subnet, &[("Description", "second")]).await.one("networkInterfaceId");
    let attachment = attached(&alice, &port, &instance, "1").await;
    wait_attached(&alice, &port).await;
    let (free, before) = (free_addresses(&alice, &subnet).await, interface(&alice, &alone).await);
    cloud.stop().await;
    cloud.start_again().await;
    alice.url = cloud.endpoint.public_url.clone().unwrap();
    cluster.hello(&cloud).await;
    let after = interface(&alice, &alone).await;
    assert_eq!(after.all("privateIpAddress"), before.all("privateIpAddress"));
    let seen = interface(&alice, &port).await;
    assert_eq!((seen.one("attachmentId"), seen.one("description")), (attachment, "second".into()));
    assert_eq!(free_addresses(&alice, &subnet).await, free, "what is taken stays taken");
    let second = after.all("privateIpAddress").pop().unwrap();
    let taken = [("SubnetId", subnet.as_str()), ("PrivateIpAddress", second.as_str())];
    alice.ec2("CreateNetworkInterface", &taken).await.refused(400, "InvalidIPAddress.InUse");
}

async fn what_has_an_interface_stays(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let Routed { vpc, subnet, .. } = routed(&alice).await;
    let group = [("GroupName", "web"), ("GroupDescription", "of the test"), ("VpcId", vpc.as_str())];
    let group = told(&alice, "CreateSecurityGroup", &group, "groupId").await;
    let port = made(&alice, &subnet, &[("SecurityGroupId.1", &group)]).await.one("networkInterfaceId");
    let (delete_group, delete_subnet) = ([("GroupId", group.as_str())], [("SubnetId", subnet.as_str())]);
    alice.ec2("DeleteSecurityGroup", &delete_group).await.refused(400, "DependencyViolation");
    alice.ec2("DeleteSubnet", &delete_subnet).await.refused(400, "DependencyViolation");
    let default = told(
        &alice,
        "DescribeVpcs",
        &[("Filter.1.Name", "is-default"), ("Filter.1.Value.1", "true")],
        "vpcId",
    );
    let elsewhere = default_group(&alice, &default.await).await;
    let strange = [("SubnetId", subnet.as_str()), ("SecurityGroupId.1", elsewhere.as_str())];
    assert_eq!(alice.ec2("CreateNetworkInterface", &strange).await.status, 400);
    let absent = [("SubnetId", subnet.as_str()), ("SecurityGroupId.1", "sg-0123456789abcdef0")];
    alice.ec2("CreateNetworkInterface", &absent).await.refused(400, "InvalidGroup.NotFound");
    alice.ec2("DeleteNetworkInterface", &[("NetworkInterfaceId", &port)]).await.ok();
    alice.ec2("DeleteSecurityGroup", &delete_group).await.ok();
    alice.ec2("DeleteSubnet", &delete_subnet).await.ok();
}

#[tokio::test]
async fn there_are_no_more_than_the_limits_say() {
    let limits =
        Limits { network_interfaces_per_account: 1, addresses_per_interface: 2, ..Limits::default() };
    let cloud = Cloud::start_with(Database::Sqlite, limits).await;
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let Routed { subnet, .. } = routed(&alice).await;
    let too_many = [("SubnetId", subnet.as_str()), ("SecondaryPrivateIpAddressCount", "2")];
    alice.ec2("CreateNetworkInterface", &too_many).await.refused(400, "PrivateIpAddressLimitExceeded");
    made(&alice, &subnet, &[]).await;
    let one_more = [("SubnetId", subnet.as_str())];
    alice.ec2("CreateNetworkInterface", &one_more).await.refused(400, "NetworkInterfaceLimitExceeded");
}
