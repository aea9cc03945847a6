//! `karri net show` over the operator's API: the rule that a user made is the one that is told.

use crate::support::groups::{authorized, made as group};
use crate::support::vpc::{routed, subnet as plain_subnet};
use crate::support::{Client, Cloud};
use karri_proto::internal::admin::AdminService;
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::kernel::{KernelLook, KernelPart};
use karri_proto::internal::path::{PathAsked, Station};

on_both! {
    what_drops_a_packet_is_told_by_its_id
    what_kernels_have_and_counted_stands_beside_the_verdict
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
        ("i-0123456789abcdef0", ApiErrorKind::NotFound),
        ("vpc-0123456789abcdef0", ApiErrorKind::Invalid),
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

fn part(who: &str, lines: &[(&str, &str, u64)], differs: &[&str]) -> KernelPart {
    let mut look = KernelLook::default();
    lines.iter().for_each(|(place, text, packets)| look.line(*place, *text, Some(*packets)));
    differs.iter().for_each(|what| look.differs(*what));
    KernelPart { who: who.into(), look }
}

/// Of a station in a kernel.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    kind: String,
    /// The line that decides, with what it has counted.
    decides: Option<(String, u64)>,
    differs: Vec<String>,
}

fn seen(kind: &str, decides: Option<(&str, u64)>, differs: &[&str]) -> Seen {
    let decides = decides.map(|(text, packets)| (text.to_owned(), packets));
    Seen { kind: kind.to_owned(), decides, differs: differs.iter().map(|what| (*what).to_owned()).collect() }
}

fn kernels(stations: &[Station]) -> Vec<Seen> {
    let of = |station: &Station| {
        let lines = station.kernel.iter().flat_map(|part| &part.look.lines);
        let mut decides =
            lines.filter(|line| line.decides).map(|line| (line.text.clone(), line.packets.unwrap()));
        Seen {
            kind: station.place.split(' ').next().unwrap().to_owned(),
            decides: decides.next_back(),
            differs: station.kernel.iter().flat_map(|part| part.look.differs.clone()).collect(),
        }
    };
    stations.iter().map(of).collect()
}

async fn what_kernels_have_and_counted_stands_beside_the_verdict(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 4).await;
    let _other = cloud.cluster_at("zone-b", 1, "172.31.16.0/20").await; // it has nothing of all this
    let (alice, (admin, operator)) = (cloud.owner().await, cloud.admin());
    let network = routed(&alice).await;
    let second = plain_subnet(&alice, &network.vpc, "10.0.1.0/24").await;
    let words = [("GroupName", "web"), ("GroupDescription", "d"), ("VpcId", network.vpc.as_str())];
    let web = alice.ec2("CreateSecurityGroup", &words).await.ok().one("groupId");
    let launched =
        alice.run(1, &[("SubnetId", network.subnet.as_str()), ("SecurityGroupId.1", &web)]).await.ok();
    let (instance, front) = (launched.one("instanceId"), launched.first("networkInterfaceId").unwrap());
    let from = launched.first("privateIpAddress").unwrap();
    let back = port(&alice, &second, &web).await;
    cluster.wait_for_facts("both ports", |table| table.ports().count() == 2).await;
    let group = format!("-m comment --comment {web} -j KARRI-k1-a-out");
    let into = format!("-m comment --comment {web} -j KARRI-k1-a-in");
    let front_part = part(
        "nc node-1",
        &[
            ("iptables mangle KARRI-k1front-from", &group, 3),
            ("iptables mangle KARRI-k1front-from", "-j DROP", 0),
            ("iptables mangle KARRI-k1front-to", "-j DROP", 9),
        ],
        &[],
    );
    let back_part = part(
        "nc node-2",
        &[
            ("iptables mangle KARRI-k1back-from", "-j DROP", 5),
            ("iptables mangle KARRI-k1back-to", &into, 4),
            ("iptables mangle KARRI-k1back-to", "-j DROP", 41),
        ],
        &["ipset KARRI-k1-a-in lacks: 10.0.0.0/24,tcp:22"],
    );
    cluster.sees(&front, front_part);
    cluster.sees(&back.interface, back_part);
    let tag = cluster.wait_for_intent(&instance, |_| true).await.spec.ports[0].segment;
    let router = format!("karri-k-1: iptables mangle s{tag:x}-acl-out");
    cluster.sees(&network.subnet, part("cc zone-a", &[(&router, "-j RETURN", 3)], &["namespace is missing"]));

    let show = async |about: &str| {
        let asked = PathAsked {
            about: about.into(),
            from: Some(from.parse().unwrap()),
            to: Some(back.address.parse().unwrap()),
            protocol: Some("tcp".into()),
            port: Some(22),
        };
        admin.packet_path(&operator, asked).await.unwrap()
    };
    let told = kernels(&show(&instance).await);
    let lacks = "ipset KARRI-k1-a-in lacks: 10.0.0.0/24,tcp:22";
    let expected = [
        seen("port", Some((&group, 3)), &[]),
        seen("subnet", None, &["namespace is missing"]),
        seen("network", Some(("-j RETURN", 3)), &[]),
        seen("route", None, &[]),
        seen("network", None, &[]),
        seen("subnet", None, &[]),
        seen("port", Some(("-j DROP", 41)), &[lacks]),
    ];
    assert_eq!(told, expected);
    let asked = cluster.looked_for();
    assert!(asked.len() == 4 && asked.iter().all(|id| *id == operator.request_id), "once of each: {asked:?}");

    // A rule more: the line that leads to the group's rules is the one.
    authorized(&alice, &web, ["tcp", "22", "22"], ("IpRanges.1.CidrIp", "10.0.0.0/24")).await.ok();
    let told = kernels(&show(&front).await);
    assert_eq!(told.last().unwrap().decides, Some((into, 4)));

    // Without a packet: the whole of a port, and of each of an instance's.
    let about =
        |about: &str| PathAsked { about: about.into(), from: None, to: None, protocol: None, port: None };
    let there = admin.packet_path(&operator, about(&front)).await.unwrap();
    assert_eq!(there[0].kernel[0].look.lines.len(), 3);
    let made = alice.ec2("CreateNetworkInterface", &[("SubnetId", second.as_str())]).await.ok();
    let more = made.one("networkInterfaceId");
    let words = [("NetworkInterfaceId", more.as_str()), ("InstanceId", &instance), ("DeviceIndex", "1")];
    alice.ec2("AttachNetworkInterface", &words).await.ok();
    cluster.wait_for_facts("a third port", |table| table.ports().count() == 3).await;
    let there = admin.packet_path(&operator, about(&instance)).await.unwrap();
    let ports: Vec<&str> = there.iter().filter_map(|one| one.place.strip_prefix("port ")).collect();
    assert_eq!(ports, [front.as_str(), &more]);

    // A cluster that does not answer is said to.
    cluster.cut(true);
    let there = admin.packet_path(&operator, about(&front)).await.unwrap();
    let differs = &there[0].kernel[0].look.differs;
    assert!(differs.len() == 1 && differs[0].starts_with("nobody has looked: "), "{differs:?}");
    assert_eq!(there[0].kernel[0].who, "cc zone-a");
}
