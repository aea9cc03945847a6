//! Elastic addresses, those that instances have while they run, and NAT gateways.

use crate::support::vpc::{Routed, allocated, nat_state, routed, subnet, told};
use crate::support::{Answer, Client, Cloud, FakeCluster};
use karri_clc::config::Limits;
use karri_proto::network::{FactTable, RouteTarget, Shape, ShapeKey};

on_both! {
    an_elastic_address_is_led_to_an_instance_and_away
    it_moves_from_one_instance_to_another
    calls_of_old_name_addresses_by_themselves
    there_are_no_more_than_there_are
    an_instance_has_an_address_from_its_start_to_its_stop
    a_nat_gateway_comes_and_goes
    a_nat_gateway_that_cannot_be_fails
    another_accounts_addresses_are_not_there
}

fn leads_to(facts: &FactTable, ip: &str) -> Option<std::net::Ipv4Addr> {
    match facts.shape(&ShapeKey::Address(ip.parse().unwrap()))? {
        Shape::Address(address) => Some(address.private),
        _ => None,
    }
}

async fn wait_led(cluster: &FakeCluster, ip: &str, private: Option<&str>) {
    let private = private.map(|text| text.parse().unwrap());
    cluster.wait_for_facts(&format!("{ip} to {private:?}"), |facts| leads_to(facts, ip) == private).await;
}

async fn running(client: &Client, subnet: &str) -> (String, String, String) {
    let launched = client.run(1, &[("SubnetId", subnet)]).await.ok();
    let id = launched.one("instanceId");
    client.wait_for(&id, "running").await;
    (id, launched.one("networkInterfaceId"), launched.first("privateIpAddress").unwrap())
}

async fn instance(client: &Client, id: &str) -> Answer {
    client.ec2("DescribeInstances", &[("InstanceId.1", id)]).await.ok()
}

async fn an_elastic_address_is_led_to_an_instance_and_away(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let Routed { vpc, subnet, gateway, .. } = routed(&alice).await;
    alice.ec2("ModifyVpcAttribute", &[("VpcId", &vpc), ("EnableDnsHostnames.Value", "true")]).await.ok();
    let (id, port, private) = running(&alice, &subnet).await;
    assert!(instance(&alice, &id).await.all("ipAddress").is_empty());
    let tags = [
        ("Domain", "vpc"),
        ("TagSpecification.1.ResourceType", "elastic-ip"),
        ("TagSpecification.1.Tag.1.Key", "Name"),
        ("TagSpecification.1.Tag.1.Value", "front"),
    ];
    let given = alice.ec2("AllocateAddress", &tags).await.ok();
    assert_eq!((given.one("domain"), given.one("publicIpv4Pool")), ("vpc".into(), "amazon".into()));
    let (allocation, ip) = (given.one("allocationId"), given.one("publicIp"));
    let pair = [("AllocationId", allocation.as_str()), ("InstanceId", id.as_str())];
    let association = told(&alice, "AssociateAddress", &pair, "associationId").await;
    assert_eq!(told(&alice, "AssociateAddress", &pair, "associationId").await, association, "once more");
    wait_led(&cluster, &ip, Some(&private)).await;
    let has = |ip: Option<String>| {
        move |intent: &karri_proto::instance::InstanceIntent| {
            let public = intent.spec.ports[0].public.as_ref();
            public.map(|public| public.address.to_string()) == ip
        }
    };
    cluster.wait_for_intent(&id, has(Some(ip.clone()))).await;
    let name = format!("ec2-{}.{}.compute.internal", ip.replace('.', "-"), crate::support::REGION);
    let seen = instance(&alice, &id).await;
    assert_eq!((seen.one("ipAddress"), seen.one("dnsName")), (ip.clone(), name.clone()));
    assert_eq!(seen.all("publicIp"), [ip.as_str(), ip.as_str()]);
    assert_eq!(seen.first("ipOwnerId"), seen.first("ownerId"));
    let by = |name: &'static str, value: &str| {
        [("Filter.1.Name".to_owned(), name.to_owned()), ("Filter.1.Value.1".to_owned(), value.to_owned())]
    };
    for (filter, value) in
        [("ip-address", &ip), ("dns-name", &name), ("network-interface.association.public-ip", &ip)]
    {
        let filter = by(filter, value);
        let filter: Vec<(&str, &str)> = filter.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(alice.ec2("DescribeInstances", &filter).await.ok().instances(), [id.as_str()]);
    }
    let seen = alice.ec2("DescribeNetworkInterfaces", &[("NetworkInterfaceId.1", &port)]).await.ok();
    assert_eq!(seen.all("associationId"), [association.as_str(); 2]);
    assert_eq!(seen.all("allocationId"), [allocation.as_str(); 2]);
    let address = alice.ec2("DescribeAddresses", &[("PublicIp.1", &ip)]).await.ok();
    assert_eq!((address.one("instanceId"), address.one("privateIpAddress")), (id.clone(), private.clone()));
    assert_eq!((address.one("networkInterfaceId"), address.one("value")), (port, "front".into()));
    let attribute = alice.ec2("DescribeAddressesAttribute", &[("AllocationId.1", &allocation)]).await.ok();
    assert_eq!((attribute.one("publicIp"), attribute.all("ptrRecord").len()), (ip.clone(), 0));
    let name = [("AllocationId", allocation.as_str()), ("DomainName", "mail.example.org")];
    let refused = alice.ec2("ModifyAddressAttribute", &name).await.refused(400, "UnsupportedOperation");
    assert_eq!(refused.message(), "Names of elastic IP addresses in reverse DNS are not supported");
    let reset = [("AllocationId", allocation.as_str()), ("Attribute", "domain-name")];
    assert_eq!(alice.ec2("ResetAddressAttribute", &reset).await.ok().one("publicIp"), ip);

    let detach = [("InternetGatewayId", gateway.as_str()), ("VpcId", vpc.as_str())];
    let kept = alice.ec2("DetachInternetGateway", &detach).await.refused(400, "DependencyViolation");
    assert!(kept.message().contains("has some mapped public address(es)"), "{}", kept.text);
    let release = [("AllocationId", allocation.as_str())];
    let kept = alice.ec2("ReleaseAddress", &release).await.refused(400, "InvalidIPAddress.InUse");
    assert_eq!(kept.message(), format!("Address {ip} is in use."));
    let dry = [("AssociationId", association.as_str()), ("DryRun", "true")];
    alice.ec2("DisassociateAddress", &dry).await.refused(412, "DryRunOperation");
    // It stays while the instance does not run.
    alice.ec2("StopInstances", &[("InstanceId.1", &id)]).await.ok();
    alice.wait_for(&id, "stopped").await;
    assert_eq!(instance(&alice, &id).await.one("ipAddress"), ip);
    alice.ec2("DisassociateAddress", &[("AssociationId", &association)]).await.ok();
    wait_led(&cluster, &ip, None).await;
    cluster.wait_for_intent(&id, has(None)).await;
    assert!(instance(&alice, &id).await.all("ipAddress").is_empty());
    let gone = alice.ec2("DisassociateAddress", &[("AssociationId", &association)]).await;
    gone.refused(400, "InvalidAssociationID.NotFound");
    alice.ec2("ReleaseAddress", &release).await.ok();
    alice.ec2("ReleaseAddress", &release).await.refused(400, "InvalidAllocationID.NotFound");
    alice.ec2("DetachInternetGateway", &detach).await.ok();
    let (allocation, _) = allocated(&alice).await;
    let pair = [("AllocationId", allocation.as_str()), ("InstanceId", id.as_str())];
    let refused = alice.ec2("AssociateAddress", &pair).await.refused(400, "Gateway.NotAttached");
    assert_eq!(refused.message(), format!("Network {vpc} is not attached to any internet gateway"));
}

async fn it_moves_from_one_instance_to_another(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let Routed { subnet, .. } = routed(&alice).await;
    let (one, _, first) = running(&alice, &subnet).await;
    let (two, port, second) = running(&alice, &subnet).await;
    let (allocation, ip) = allocated(&alice).await;
    let to_one = [("AllocationId", allocation.as_str()), ("InstanceId", one.as_str())];
    let association = told(&alice, "AssociateAddress", &to_one, "associationId").await;
    wait_led(&cluster, &ip, Some(&first)).await;
    let to_two = [("AllocationId", allocation.as_str()), ("NetworkInterfaceId", port.as_str())];
    let stay = [&to_two[..], &[("AllowReassociation", "false")]].concat();
    let refused = alice.ec2("AssociateAddress", &stay).await.refused(400, "Resource.AlreadyAssociated");
    let expected = format!("resource {allocation} is already associated with associate-id {association}");
    assert_eq!(refused.message(), expected);
    let wrong = [&to_two[..], &[("PrivateIpAddress", first.as_str())]].concat();
    alice.ec2("AssociateAddress", &wrong).await.refused(400, "InvalidParameterValue");
    let right = [&to_two[..], &[("PrivateIpAddress", second.as_str())]].concat();
    assert_ne!(told(&alice, "AssociateAddress", &right, "associationId").await, association);
    wait_led(&cluster, &ip, Some(&second)).await;
    assert!(instance(&alice, &one).await.all("ipAddress").is_empty());
    assert_eq!(instance(&alice, &two).await.one("ipAddress"), ip);
    // Another one takes its place: it is still its account's.
    let (other, other_ip) = allocated(&alice).await;
    let pair = [("AllocationId", other.as_str()), ("InstanceId", two.as_str())];
    alice.ec2("AssociateAddress", &pair).await.ok();
    wait_led(&cluster, &ip, None).await;
    wait_led(&cluster, &other_ip, Some(&second)).await;
    alice.ec2("ReleaseAddress", &[("AllocationId", &allocation)]).await.ok();
    alice.ec2("TerminateInstances", &[("InstanceId.1", &two)]).await.ok();
    alice.wait_for(&two, "terminated").await;
    wait_led(&cluster, &other_ip, None).await;
    let kept = alice.ec2("DescribeAddresses", &[("AllocationId.1", &other)]).await.ok();
    assert!(kept.all("associationId").is_empty(), "{}", kept.text);
    let refused = alice.ec2("AssociateAddress", &pair).await;
    refused.refused(400, "IncorrectInstanceState");
}

async fn calls_of_old_name_addresses_by_themselves(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let launched = alice.run(1, &[]).await.ok();
    let (id, private) = (launched.one("instanceId"), launched.first("privateIpAddress").unwrap());
    alice.wait_for(&id, "running").await;
    let old = async |action: &str, more: &[(&str, &str)]| alice.call("ec2", "2009-11-30", action, more).await;
    let ip = old("AllocateAddress", &[]).await.ok().one("publicIp");
    old("AssociateAddress", &[("PublicIp", &ip), ("InstanceId", &id)]).await.ok();
    wait_led(&cluster, &ip, Some(&private)).await;
    assert_eq!(old("DescribeAddresses", &[]).await.ok().one("instanceId"), id);
    old("ReleaseAddress", &[("PublicIp", &ip)]).await.refused(400, "InvalidIPAddress.InUse");
    old("DisassociateAddress", &[("PublicIp", &ip)]).await.ok();
    wait_led(&cluster, &ip, None).await;
    old("ReleaseAddress", &[("PublicIp", &ip)]).await.ok();
    let unknown = old("ReleaseAddress", &[("PublicIp", &ip)]).await.refused(400, "InvalidAddress.NotFound");
    assert_eq!(unknown.message().replace("&apos;", "'"), format!("Address '{ip}' not found."));
    old("AssociateAddress", &[("PublicIp", &ip)]).await.refused(400, "MissingParameter");
    old("AssociateAddress", &[("InstanceId", &id)]).await.refused(400, "MissingParameter");
    old("DisassociateAddress", &[]).await.refused(400, "MissingParameter");
    old("ReleaseAddress", &[("PublicIp", "colour")]).await.refused(400, "InvalidAddress.NotFound");
}

async fn there_are_no_more_than_there_are(cloud: Cloud) {
    let alice = cloud.owner().await;
    let mut given = Vec::new();
    for _ in 0..crate::support::PUBLIC_ADDRESSES {
        given.push(allocated(&alice).await);
    }
    let mut different: Vec<&String> = given.iter().map(|(_, ip)| ip).collect();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), given.len());
    alice.ec2("AllocateAddress", &[]).await.refused(503, "InsufficientAddressCapacity");
    let (allocation, ip) = &given[3];
    alice.ec2("AllocateAddress", &[("Address", ip)]).await.refused(400, "InvalidIPAddress.InUse");
    alice.ec2("ReleaseAddress", &[("AllocationId", allocation)]).await.ok();
    assert_eq!(alice.ec2("AllocateAddress", &[("Address", ip)]).await.ok().one("publicIp"), *ip);
    alice.ec2("AllocateAddress", &[("Address", "8.8.8.8")]).await.refused(400, "InvalidAddress.NotFound");
    let named = [("Filter.1.Name", "public-ip"), ("Filter.1.Value.1", ip.as_str())];
    assert_eq!(alice.ec2("DescribeAddresses", &named).await.ok().one("publicIp"), *ip);
}

async fn an_instance_has_an_address_from_its_start_to_its_stop(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 3).await;
    let alice = cloud.owner().await;
    let Routed { subnet, .. } = routed(&alice).await;
    alice
        .ec2("ModifySubnetAttribute", &[("SubnetId", &subnet), ("MapPublicIpOnLaunch.Value", "true")])
        .await
        .ok();
    let launched = alice.run(1, &[("SubnetId", &subnet)]).await.ok();
    let (id, private) = (launched.one("instanceId"), launched.first("privateIpAddress").unwrap());
    let ip = launched.one("ipAddress");
    alice.wait_for(&id, "running").await;
    wait_led(&cluster, &ip, Some(&private)).await;
    let seen = instance(&alice, &id).await;
    assert_eq!(seen.first("ipOwnerId").as_deref(), Some("amazon"));
    assert!(seen.all("dnsName").iter().all(String::is_empty), "the VPC gives no such names: {}", seen.text);
    assert!(alice.ec2("DescribeAddresses", &[]).await.ok().all("publicIp").is_empty(), "it is not elastic");
    let refused = alice.ec2("ReleaseAddress", &[("PublicIp", &ip)]).await;
    refused.refused(400, "InvalidAddress.NotFound");
    alice.ec2("StopInstances", &[("InstanceId.1", &id)]).await.ok();
    alice.wait_for(&id, "stopped").await;
    wait_led(&cluster, &ip, None).await;
    assert!(instance(&alice, &id).await.all("ipAddress").is_empty());
    alice.ec2("StartInstances", &[("InstanceId.1", &id)]).await.ok();
    let other = instance(&alice, &id).await.one("ipAddress");
    assert_ne!(other, ip, "the one just given back is the last to be given again");
    wait_led(&cluster, &other, Some(&private)).await;
    alice.wait_for(&id, "running").await;
    // An elastic one takes its place, and another comes with the next start only when that is away.
    let (allocation, elastic) = allocated(&alice).await;
    let pair = [("AllocationId", allocation.as_str()), ("InstanceId", id.as_str())];
    alice.ec2("AssociateAddress", &pair).await.ok();
    wait_led(&cluster, &other, None).await;
    wait_led(&cluster, &elastic, Some(&private)).await;
    alice.ec2("TerminateInstances", &[("InstanceId.1", &id)]).await.ok();
    alice.wait_for(&id, "terminated").await;
    wait_led(&cluster, &elastic, None).await;

    // Whatever its subnet says, a launch may say otherwise.
    let port = |public| {
        [
            ("NetworkInterface.1.DeviceIndex", "0"),
            ("NetworkInterface.1.SubnetId", subnet.as_str()),
            ("NetworkInterface.1.AssociatePublicIpAddress", public),
        ]
    };
    let without = alice.run(1, &port("false")).await.ok();
    assert!(without.all("ipAddress").is_empty());
    alice
        .ec2("ModifySubnetAttribute", &[("SubnetId", &subnet), ("MapPublicIpOnLaunch.Value", "false")])
        .await
        .ok();
    let with = alice.run(1, &port("true")).await.ok();
    assert_eq!(with.all("ipAddress").len(), 1);
    while alice.ec2("AllocateAddress", &[]).await.status == 200 {}
    alice.run(1, &port("true")).await.refused(503, "InsufficientAddressCapacity");
    alice.run(1, &port("false")).await.ok();
}

fn nat(facts: &FactTable, id: &str) -> bool {
    facts.shape(&ShapeKey::Nat(id.parse().unwrap())).is_some()
}

async fn a_nat_gateway_comes_and_goes(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let Routed { vpc, subnet: public, .. } = routed(&alice).await;
    let (allocation, ip) = allocated(&alice).await;
    let create =
        [("SubnetId", public.as_str()), ("AllocationId", allocation.as_str()), ("ClientToken", "nat")];
    let made = alice.ec2("CreateNatGateway", &create).await.ok();
    assert_eq!((made.one("state"), made.one("connectivityType")), ("pending".into(), "public".into()));
    let id = made.one("natGatewayId");
    assert_eq!(alice.ec2("CreateNatGateway", &create).await.ok().one("natGatewayId"), id);
    nat_state(&alice, &id, "available").await;
    cluster.wait_for_facts("the gateway", |facts| nat(facts, &id)).await;
    let seen = alice.ec2("DescribeNatGateways", &[("NatGatewayId.1", &id)]).await.ok();
    assert_eq!((seen.one("publicIp"), seen.one("allocationId")), (ip.clone(), allocation.clone()));
    let (port, private) = (seen.one("networkInterfaceId"), seen.one("privateIp"));
    let ports = alice.ec2("DescribeNetworkInterfaces", &[("NetworkInterfaceId.1", &port)]).await.ok();
    assert_eq!((ports.one("interfaceType"), ports.all("publicIp").len()), ("nat_gateway".into(), 2));
    for (wanted, found) in [(id.as_str(), vec![port.clone()]), ("nat-0123456789abcdef0", Vec::new())] {
        let of_gateway = [("Filter.1.Name", "attachment.nat-gateway-id"), ("Filter.1.Value.1", wanted)];
        let seen = alice.ec2("DescribeNetworkInterfaces", &of_gateway).await.ok();
        assert_eq!(seen.all("networkInterfaceId"), found);
    }
    // Nobody else gets its address.
    let taken = [("SubnetId", public.as_str()), ("PrivateIpAddress", private.as_str())];
    alice.run(1, &taken).await.refused(400, "InvalidIPAddress.InUse");
    let table = told(&alice, "CreateRouteTable", &[("VpcId", &vpc)], "routeTableId").await;
    let route = [
        ("RouteTableId", table.as_str()),
        ("DestinationCidrBlock", "0.0.0.0/0"),
        ("NatGatewayId", id.as_str()),
    ];
    alice.ec2("CreateRoute", &route).await.ok();
    let leads = |facts: &FactTable, wanted: RouteTarget| match facts
        .shape(&ShapeKey::RouteTable(table.parse().unwrap()))
    {
        Some(Shape::RouteTable(table)) => table.routes.iter().all(|route| route.target == wanted),
        _ => false,
    };
    let target = RouteTarget::Nat(id.parse().unwrap());
    cluster.wait_for_facts("the route", |facts| leads(facts, target.clone())).await;
    let association = alice.ec2("DescribeAddresses", &[("AllocationId.1", &allocation)]).await.ok();
    let association = association.one("associationId");
    let keep = alice.ec2("DisassociateAddress", &[("AssociationId", &association)]).await;
    keep.refused(401, "AuthFailure");
    let in_use = alice.ec2("DeleteSubnet", &[("SubnetId", &public)]).await;
    let in_use = in_use.refused(400, "DependencyViolation");
    assert!(in_use.message().contains(&id), "{}", in_use.text);

    assert_eq!(told(&alice, "DeleteNatGateway", &[("NatGatewayId", &id)], "natGatewayId").await, id);
    nat_state(&alice, &id, "deleted").await;
    cluster
        .wait_for_facts("a black hole", |facts| leads(facts, RouteTarget::Blackhole) && !nat(facts, &id))
        .await;
    alice.ec2("DeleteNatGateway", &[("NatGatewayId", &id)]).await.refused(400, "NatGatewayNotFound");
    alice.ec2("ReleaseAddress", &[("AllocationId", &allocation)]).await.ok();
    alice.run(1, &taken).await.ok();
    let filter = [("Filter.1.Name", "state"), ("Filter.1.Value.1", "deleted")];
    assert_eq!(alice.ec2("DescribeNatGateways", &filter).await.ok().one("natGatewayId"), id);
    let none = [filter[0], ("Filter.1.Value.1", "available")];
    assert!(alice.ec2("DescribeNatGateways", &none).await.ok().all("natGatewayId").is_empty());

    let second = subnet(&alice, &vpc, "10.0.9.0/24").await;
    let private =
        [("SubnetId", second.as_str()), ("ConnectivityType", "private"), ("PrivateIpAddress", "10.0.9.9")];
    let private = alice.ec2("CreateNatGateway", &private).await.ok();
    assert_eq!((private.one("privateIp"), private.all("publicIp").len()), ("10.0.9.9".into(), 0));
    alice.ec2("DeleteNatGateway", &[("NatGatewayId", &private.one("natGatewayId"))]).await.ok();
    alice.ec2("DeleteSubnet", &[("SubnetId", &second)]).await.ok();
}

async fn a_nat_gateway_that_cannot_be_fails(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let Routed { vpc, subnet, gateway, .. } = routed(&alice).await;
    let (allocation, _) = allocated(&alice).await;
    alice.ec2("DetachInternetGateway", &[("InternetGatewayId", &gateway), ("VpcId", &vpc)]).await.ok();
    let create = [("SubnetId", subnet.as_str()), ("AllocationId", allocation.as_str())];
    let id = told(&alice, "CreateNatGateway", &create, "natGatewayId").await;
    nat_state(&alice, &id, "failed").await;
    let seen = alice.ec2("DescribeNatGateways", &[("NatGatewayId.1", &id)]).await.ok();
    assert_eq!(seen.one("failureCode"), "Gateway.NotAttached");
    assert_eq!(seen.one("failureMessage"), format!("Network {vpc} has no Internet gateway attached"));
    alice.ec2("ReleaseAddress", &[("AllocationId", &allocation)]).await.ok();
    alice.ec2("CreateNatGateway", &create).await.refused(400, "InvalidAllocationID.NotFound");
    alice.ec2("CreateNatGateway", &create[..1]).await.refused(400, "MissingParameter");
    alice.ec2("CreateNatGateway", &[("AllocationId", &allocation)]).await.refused(400, "MissingParameter");
    let unknown = [("SubnetId", "subnet-0123456789abcdef0"), ("ConnectivityType", "private")];
    alice.ec2("CreateNatGateway", &unknown).await.refused(400, "InvalidSubnetID.NotFound");
    let outside =
        [("SubnetId", subnet.as_str()), ("ConnectivityType", "private"), ("PrivateIpAddress", "10.7.0.9")];
    alice.ec2("CreateNatGateway", &outside).await.refused(400, "InvalidParameterValue");
    let regional = [("VpcId", vpc.as_str()), ("AvailabilityMode", "regional")];
    alice.ec2("CreateNatGateway", &regional).await.refused(400, "UnsupportedOperation");
}

async fn another_accounts_addresses_are_not_there(cloud: Cloud) {
    let alice = cloud.owner().await;
    let bob = cloud.user("other", "bob", &["AdministratorAccess"]).await;
    let (allocation, ip) = allocated(&alice).await;
    assert!(bob.ec2("DescribeAddresses", &[]).await.ok().all("publicIp").is_empty());
    bob.ec2("ReleaseAddress", &[("AllocationId", &allocation)])
        .await
        .refused(400, "InvalidAllocationID.NotFound");
    let refused = bob.ec2("ReleaseAddress", &[("PublicIp", &ip)]).await.refused(401, "AuthFailure");
    assert_eq!(
        refused.message().replace("&apos;", "'"),
        format!("The address '{ip}' does not belong to you.")
    );
    let named = [("AllocationId.1", allocation.as_str())];
    bob.ec2("DescribeAddresses", &named).await.refused(400, "InvalidAllocationID.NotFound");
    let none = bob.ec2("DescribeIamInstanceProfileAssociations", &[]).await.ok();
    assert!(none.all("associationId").is_empty());
}

#[tokio::test]
async fn an_account_has_so_many_elastic_addresses() {
    let limits = Limits { elastic_addresses_per_account: 2, ..Limits::default() };
    let cloud = Cloud::start_with(crate::support::Database::Sqlite, limits).await;
    let alice = cloud.owner().await;
    for _ in 0..2 {
        allocated(&alice).await;
    }
    let refused = alice.ec2("AllocateAddress", &[]).await.refused(400, "AddressLimitExceeded");
    assert_eq!(refused.message(), "The maximum number of addresses has been reached.");
}

#[tokio::test]
async fn a_zone_has_so_many_nat_gateways_of_an_account() {
    let limits = Limits { nat_gateways_per_zone: 2, ..Limits::default() };
    let cloud = Cloud::start_with(crate::support::Database::Sqlite, limits).await;
    let _cluster = cloud.cluster("zone-a", 1).await;
    let (alice, bob) = (cloud.owner().await, cloud.user("other", "bob", &["AdministratorAccess"]).await);
    let create = async |client: &Client, subnet: &str| {
        let words = [("SubnetId", subnet), ("ConnectivityType", "private")];
        client.ec2("CreateNatGateway", &words).await
    };
    let hers = routed(&alice).await.subnet;
    let first = create(&alice, &hers).await.ok().one("natGatewayId");
    create(&alice, &hers).await.ok();
    let refused = create(&alice, &hers).await.refused(400, "NatGatewayLimitExceeded");
    let sentence = "The maximum number of NAT gateways in the Availability Zone has been reached (2).";
    assert_eq!(refused.message(), sentence);
    let his = routed(&bob).await.subnet;
    create(&bob, &his).await.ok();
    alice.ec2("DeleteNatGateway", &[("NatGatewayId", &first)]).await.ok();
    create(&alice, &hers).await.ok();
}
