//! `karri net show` over the operator's API: the rule that a user made is the one that is told.

use crate::support::groups::{authorized, made as group};
use crate::support::vpc::{routed, subnet as plain_subnet};
use crate::support::{Client, Cloud};
use karri_proto::internal::admin::AdminService;
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::path::{PathAsked, Station};

on_both! {
    what_drops_a_packet_is_told_by_its_id
}

struct Port {
    interface: String,
    address: String,
}

async fn port(alice: &Client, subnet: &str, group: &str) -> Port {
    let more = [("SubnetId", subnet), ("SecurityGroupId.1", group)];
    let launched = alice.run(1, &more).await.ok();
    Port {
        interface: launched.first("networkInterfaceId").unwrap(),
        address: launched.first("privateIpAddress").unwrap(),
    }
}

/// Where it ends, and by what.
fn end(stations: &[Station]) -> (String, bool, String) {
    let last = stations.last().unwrap();
    let verdict = last.verdict.clone().unwrap();
    (last.place.clone(), verdict.passes, verdict.by)
}

async fn what_drops_a_packet_is_told_by_its_id(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 4).await;
    let (alice, (admin, operator)) = (cloud.owner().await, cloud.admin());
    let network = routed(&alice).await;
    let second = plain_subnet(&alice, &network.vpc, "10.0.1.0/24").await;
    let made_in = async |name: &str| {
        let words = [("GroupName", name), ("GroupDescription", "d"), ("VpcId", network.vpc.as_str())];
        alice.ec2("CreateSecurityGroup", &words).await.ok().one("groupId")
    };
    let (web, db) = (made_in("web").await, made_in("db").await);
    let (front, back) = (port(&alice, &network.subnet, &web).await, port(&alice, &second, &db).await);
    cluster.wait_for_facts("both ports", |table| table.ports().count() == 2).await;
    let show = async || {
        let asked = PathAsked {
            about: front.interface.clone(),
            from: Some(front.address.parse().unwrap()),
            to: Some(back.address.parse().unwrap()),
            protocol: Some("tcp".into()),
            port: Some(22),
        };
        admin.packet_path(&operator, asked).await.unwrap()
    };
    let place = format!("port {}", back.interface);
    let none = format!("no ingress rule of {db} lets tcp 22 from {} through", front.address);
    assert_eq!(end(&show().await), (place.clone(), false, none));

    let list = [
        ("PrefixListName", "front"),
        ("AddressFamily", "IPv4"),
        ("MaxEntries", "2"),
        ("Entry.1.Cidr", "10.0.0.0/24"),
    ];
    let list = alice.ec2("CreateManagedPrefixList", &list).await.ok().one("prefixListId");
    let peer = ("PrefixListIds.1.PrefixListId", list.as_str());
    let rule = authorized(&alice, &db, ["tcp", "22", "22"], peer).await.ok().one("securityGroupRuleId");
    assert_eq!(end(&show().await), (place, true, format!("ingress rule {rule} of {db}")));

    let of_subnet = [("Filter.1.Name", "association.subnet-id"), ("Filter.1.Value.1", second.as_str())];
    let acl = alice.ec2("DescribeNetworkAcls", &of_subnet).await.ok().first("networkAclId").unwrap();
    let deny = [
        ("NetworkAclId", acl.as_str()),
        ("RuleNumber", "7"),
        ("Egress", "false"),
        ("Protocol", "6"),
        ("RuleAction", "deny"),
        ("CidrBlock", "10.0.0.0/16"),
        ("PortRange.From", "22"),
        ("PortRange.To", "22"),
    ];
    alice.ec2("CreateNetworkAclEntry", &deny).await.ok();
    let place = format!("network ACL {acl} into {second}");
    assert_eq!(end(&show().await), (place, false, format!("entry 7 of {acl}")));

    let about =
        |about: &str| PathAsked { about: about.into(), from: None, to: None, protocol: None, port: None };
    let there = admin.packet_path(&operator, about(&second)).await.unwrap();
    assert!(there.iter().all(|station| station.verdict.is_none()));
    let has = there.iter().flat_map(|station| &station.has).any(|line| line.starts_with("entry 7 deny tcp"));
    assert!(has, "{there:?}");
    for (wrong, kind) in [
        ("subnet-0123456789abcdef0", ApiErrorKind::NotFound),
        ("eni-0123456789abcdef0", ApiErrorKind::NotFound),
        ("i-0123456789abcdef0", ApiErrorKind::Invalid),
    ] {
        assert_eq!(admin.packet_path(&operator, about(wrong)).await.unwrap_err().kind, kind, "{wrong}");
    }
    // The flat network of a default VPC asks no router.
    let flat = group(&alice, "flat").await;
    let launched = alice.run(2, &[("SecurityGroup.1", "flat")]).await.ok();
    let addresses = launched.all("privateIpAddress");
    let mut both: Vec<String> = addresses.into_iter().filter(|text| text.starts_with("172.")).collect();
    both.dedup();
    cluster.wait_for_facts("all ports", |table| table.ports().count() == 4).await;
    let asked = PathAsked {
        about: launched.first("networkInterfaceId").unwrap(),
        from: Some(both[0].parse().unwrap()),
        to: Some(both[1].parse().unwrap()),
        protocol: Some("udp".into()),
        port: Some(53),
    };
    let stations = admin.packet_path(&operator, asked).await.unwrap();
    let none = format!("no ingress rule of {flat} lets udp 53 from {} through", both[0]);
    assert_eq!((stations.len(), end(&stations).2), (3, none));
}
