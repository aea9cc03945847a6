//! Network ACLs: the default one, entries in their order, subnets that go by another one.

use crate::support::vpc::{Routed, routed, told};
use crate::support::{Cloud, Database};
use karri_clc::config::Limits;
use karri_proto::network::{FactTable, Shape, ShapeKey, Traffic};

on_both! {
    a_default_acl_lets_everything_through
    entries_are_written_replaced_and_removed
    a_subnet_goes_by_one_acl
}

async fn default_acl(alice: &crate::support::Client, vpc: &str) -> String {
    let filter = [
        ("Filter.1.Name", "vpc-id"),
        ("Filter.1.Value.1", vpc),
        ("Filter.2.Name", "default"),
        ("Filter.2.Value.1", "true"),
    ];
    alice.ec2("DescribeNetworkAcls", &filter).await.ok().first("networkAclId").unwrap()
}

async fn a_default_acl_lets_everything_through(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let Routed { vpc, subnet, .. } = routed(&alice).await;
    let acl = default_acl(&alice, &vpc).await;
    let seen = alice.ec2("DescribeNetworkAcls", &[("NetworkAclId.1", &acl)]).await.ok();
    assert_eq!(seen.all("ruleNumber"), ["100", "32767", "100", "32767"]);
    assert_eq!(seen.all("ruleAction"), ["allow", "deny", "allow", "deny"]);
    assert_eq!(seen.all("egress"), ["false", "false", "true", "true"]);
    assert_eq!(seen.all("protocol"), ["-1"; 4]);
    assert_eq!(seen.all("cidrBlock"), ["0.0.0.0/0"; 4]);
    assert_eq!((seen.one("subnetId"), seen.one("default")), (subnet, "true".into()));
    let kept = alice.ec2("DeleteNetworkAcl", &[("NetworkAclId", &acl)]).await;
    let kept = kept.refused(400, "InvalidParameterValue");
    assert_eq!(kept.message(), format!("cannot delete default network ACL {acl}"));
}

fn entry<'a>(acl: &'a str, number: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut all = vec![("NetworkAclId", acl), ("RuleNumber", number), ("Egress", "false")];
    all.extend_from_slice(more);
    all
}

const SSH: [(&str, &str); 5] = [
    ("Protocol", "6"),
    ("RuleAction", "allow"),
    ("CidrBlock", "192.0.2.9/24"),
    ("PortRange.From", "22"),
    ("PortRange.To", "22"),
];

async fn entries_are_written_replaced_and_removed(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let Routed { vpc, .. } = routed(&alice).await;
    let acl = alice.ec2("CreateNetworkAcl", &[("VpcId", &vpc)]).await.ok();
    assert_eq!(acl.all("ruleNumber"), ["32767", "32767"], "nothing passes");
    let acl = acl.one("networkAclId");
    let key = ShapeKey::Acl(acl.parse().unwrap());
    let entries = |facts: &FactTable| match facts.shape(&key) {
        Some(Shape::Acl(acl)) => {
            acl.ingress.iter().map(|one| (one.number, one.allow, one.traffic)).collect::<Vec<_>>()
        }
        _ => vec![(0, false, Traffic::All)],
    };
    let icmp = [
        ("Protocol", "1"),
        ("RuleAction", "deny"),
        ("CidrBlock", "0.0.0.0/0"),
        ("Icmp.Type", "8"),
        ("Icmp.Code", "-1"),
    ];
    alice.ec2("CreateNetworkAclEntry", &entry(&acl, "200", &SSH)).await.ok();
    alice.ec2("CreateNetworkAclEntry", &entry(&acl, "100", &icmp)).await.ok();
    let echo = Traffic::Icmp { r#type: Some(8), code: None };
    let wanted = vec![(100, false, echo), (200, true, Traffic::Tcp { from: 22, to: 22 })];
    cluster.wait_for_facts("two entries", |facts| entries(facts) == wanted).await;
    let twice = alice.ec2("CreateNetworkAclEntry", &entry(&acl, "200", &SSH)).await;
    let twice = twice.refused(400, "NetworkAclEntryAlreadyExists");
    assert_eq!(twice.message(), "The network acl entry identified by 200 already exists.");
    let all = [("Protocol", "-1"), ("RuleAction", "deny"), ("CidrBlock", "0.0.0.0/0")];
    alice.ec2("ReplaceNetworkAclEntry", &entry(&acl, "200", &all)).await.ok();
    let wanted = vec![(100, false, echo), (200, false, Traffic::All)];
    cluster.wait_for_facts("one of them is another", |facts| entries(facts) == wanted).await;
    let absent = alice.ec2("ReplaceNetworkAclEntry", &entry(&acl, "201", &all)).await;
    absent.refused(400, "InvalidNetworkAclEntry.NotFound");
    let seen = alice.ec2("DescribeNetworkAcls", &[("NetworkAclId.1", &acl)]).await.ok();
    assert_eq!(seen.all("ruleNumber"), ["100", "200", "32767", "32767"]);
    assert_eq!(seen.all("protocol"), ["1", "-1", "-1", "-1"]);
    assert_eq!((seen.one("type"), seen.one("code")), ("8".into(), "-1".into()));

    for (number, more, code) in [
        ("0", &all[..], "InvalidParameterValue"),
        ("32767", &all[..], "InvalidParameterValue"),
        ("5", &SSH[..3], "MissingParameter"),
        ("5", &icmp[..3], "MissingParameter"),
        ("5", &[("Protocol", "colour"), all[1], all[2]][..], "InvalidParameterValue"),
        ("5", &[all[0], ("RuleAction", "maybe"), all[2]][..], "InvalidParameterValue"),
        ("5", &[all[0], all[1], ("CidrBlock", "10.0.0.0/99")][..], "InvalidParameterValue"),
        ("5", &[all[0], all[1], ("Ipv6CidrBlock", "::/0")][..], "UnsupportedOperation"),
        (
            "5",
            &[SSH[0], SSH[1], SSH[2], ("PortRange.From", "9"), ("PortRange.To", "8")][..],
            "InvalidParameterValue",
        ),
    ] {
        alice.ec2("CreateNetworkAclEntry", &entry(&acl, number, more)).await.refused(400, code);
    }
    let gone = [("NetworkAclId", acl.as_str()), ("RuleNumber", "100"), ("Egress", "false")];
    alice.ec2("DeleteNetworkAclEntry", &gone).await.ok();
    alice.ec2("DeleteNetworkAclEntry", &gone).await.refused(400, "InvalidNetworkAclEntry.NotFound");
    let wanted = vec![(200, false, Traffic::All)];
    cluster.wait_for_facts("one entry", |facts| entries(facts) == wanted).await;
    for number in 1..20u16 {
        let number = number.to_string();
        alice.ec2("CreateNetworkAclEntry", &entry(&acl, &number, &all)).await.ok();
    }
    let more = alice.ec2("CreateNetworkAclEntry", &entry(&acl, "30", &all)).await;
    more.refused(400, "NetworkAclEntryLimitExceeded");
}

async fn a_subnet_goes_by_one_acl(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let Routed { vpc, subnet, .. } = routed(&alice).await;
    let old = default_acl(&alice, &vpc).await;
    let token = [("VpcId", vpc.as_str()), ("ClientToken", "acl")];
    let acl = alice.ec2("CreateNetworkAcl", &token).await.ok().one("networkAclId");
    assert_eq!(alice.ec2("CreateNetworkAcl", &token).await.ok().one("networkAclId"), acl);
    let seen = alice.ec2("DescribeNetworkAcls", &[("NetworkAclId.1", &old)]).await.ok();
    let association = seen.one("networkAclAssociationId");
    let replace = [("AssociationId", association.as_str()), ("NetworkAclId", acl.as_str())];
    let new = told(&alice, "ReplaceNetworkAclAssociation", &replace, "newAssociationId").await;
    let key = ShapeKey::Subnet(subnet.parse().unwrap());
    let wanted: karri_proto::ids::NetworkAclId = acl.parse().unwrap();
    let goes = |facts: &FactTable| match facts.shape(&key) {
        Some(Shape::Subnet(subnet)) => subnet.acl == wanted,
        _ => false,
    };
    cluster.wait_for_facts("the subnet goes by it", goes).await;
    alice.ec2("ReplaceNetworkAclAssociation", &replace).await.refused(400, "InvalidAssociationID.NotFound");
    let kept = alice.ec2("DeleteNetworkAcl", &[("NetworkAclId", &acl)]).await;
    let kept = kept.refused(400, "DependencyViolation");
    let expected = format!("The networkAcl '{acl}' has dependencies and cannot be deleted.");
    assert_eq!(kept.message().replace("&apos;", "'"), expected);
    let other = alice.ec2("CreateVpc", &[("CidrBlock", "10.9.0.0/16")]).await.ok().first("vpcId").unwrap();
    let foreign = default_acl(&alice, &other).await;
    let across = [("AssociationId", new.as_str()), ("NetworkAclId", foreign.as_str())];
    alice.ec2("ReplaceNetworkAclAssociation", &across).await.refused(400, "InvalidParameterValue");
    let back = [("AssociationId", new.as_str()), ("NetworkAclId", old.as_str())];
    alice.ec2("ReplaceNetworkAclAssociation", &back).await.ok();
    alice.ec2("DeleteNetworkAcl", &[("NetworkAclId", &acl)]).await.ok();
    alice
        .ec2("DeleteNetworkAcl", &[("NetworkAclId", &acl)])
        .await
        .refused(400, "InvalidNetworkAclID.NotFound");
    let gone = ShapeKey::Acl(acl.parse().unwrap());
    cluster.wait_for_facts("it is gone", |facts| facts.shape(&gone).is_none()).await;
}

#[tokio::test]
async fn a_vpc_has_so_many_acls() {
    let limits = Limits { network_acls_per_vpc: 2, ..Limits::default() };
    let cloud = Cloud::start_with(Database::Sqlite, limits).await;
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let Routed { vpc, .. } = routed(&alice).await;
    // One is the default one.
    let acl = told(&alice, "CreateNetworkAcl", &[("VpcId", &vpc)], "networkAclId").await;
    let refused = alice.ec2("CreateNetworkAcl", &[("VpcId", &vpc)]).await;
    let refused = refused.refused(400, "NetworkAclLimitExceeded");
    assert_eq!(refused.message(), "The maximum number of network ACLs has been reached (2).");
    alice.ec2("DeleteNetworkAcl", &[("NetworkAclId", &acl)]).await.ok();
    alice.ec2("CreateNetworkAcl", &[("VpcId", &vpc)]).await.ok();
}
