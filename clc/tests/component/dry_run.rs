//! DryRun: every action looks at what it was given, and then does nothing.

mod ways;

use crate::support::bundles::made;
use crate::support::networks::{only, subnet, vpc};
use crate::support::{Client, Cloud, IMAGE, until};
use karri_clc::api::table;
use karri_proto::aws::Service;
use karri_proto::instance::BlobFormat;
use karri_proto::internal::blobs::Content;
use std::collections::BTreeSet;
use ways::Ways;

on_both! {
    whatever_would_succeed_says_so_and_is_not_done
    a_trial_is_refused_what_the_request_would_be
}

const DRY: (&str, &str) = ("DryRun", "true");
const MODEL: &str = include_str!("../../../proto/model/ec2.txt");
const ANYWHERE: (&str, &str) = ("CidrIp", "0.0.0.0/0");
const PUBLIC_KEY: &str = "c3NoLWVkMjU1MTkgQUFBQUMzTnphQzFsWkRJMU5URTVBQUFBSUp1czYzTW8wRUtSb2dCVlQ1bGpSZE02dkxUMjVHNldLRXZX\
     VGNQUHNSRVI=";

/// A group of the name `group`, its one ingress rule, and the interface of an instance that is not in it.
async fn group(client: &Client) -> (String, String, String) {
    let made = [("GroupName", "group"), ("GroupDescription", "of the trial")];
    let group = client.ec2("CreateSecurityGroup", &made).await.ok().one("groupId");
    let rule =
        [("GroupId", group.as_str()), ("IpProtocol", "tcp"), ("FromPort", "1"), ("ToPort", "1"), ANYWHERE];
    let rule = client.ec2("AuthorizeSecurityGroupIngress", &rule).await.ok().one("securityGroupRuleId");
    let interface = client.ec2("DescribeNetworkInterfaces", &[]).await.ok().one("networkInterfaceId");
    (group, rule, interface)
}

/// What there is to be named in requests.
#[derive(Default)]
struct There<'a> {
    instance: &'a str,
    vpc: &'a str,
    blob: &'a str,
    pair: &'a str,
    task: &'a str,
    group: &'a str,
    rule: &'a str,
    interface: &'a str,
    snapshot: &'a str,
    bundle: &'a str,
    /// A VPC and a subnet with nothing in them, and a set of DHCP options that none has.
    empty_vpc: &'a str,
    empty_subnet: &'a str,
    options: &'a str,
    ways: Option<&'a Ways>,
}

/// These never succeed: there is no such thing here, and there is one already.
const NEVER: [(&str, &str); 2] =
    [("DescribeVpcClassicLink", "UnsupportedOperation"), ("CreateDefaultVpc", "DefaultVpcAlreadyExists")];

/// What a request of that action needs to succeed. Those that nothing need are not here. One that needs an
/// instance is tried with a wrong one by itself, and one that takes filters with a wrong one.
fn needs<'a>(action: &str, there: &There<'a>) -> Vec<(&'static str, &'a str)> {
    let There { instance: id, vpc, blob, pair, task, group, rule, interface, snapshot, .. } = *there;
    let There { bundle, empty_vpc, empty_subnet, options, .. } = *there;
    let named = ("InstanceId", id);
    match action {
        "RunInstances" => {
            vec![("ImageId", IMAGE), ("InstanceType", "t3.micro"), ("MinCount", "1"), ("MaxCount", "1")]
        }
        "StartInstances" | "StopInstances" | "RebootInstances" | "TerminateInstances" => {
            vec![("InstanceId.1", id)]
        }
        "GetConsoleOutput" | "GetPasswordData" => vec![named],
        "DescribeInstanceAttribute" => vec![named, ("Attribute", "kernel")],
        "ModifyInstanceAttribute" => vec![named, ("DisableApiStop.Value", "true")],
        "ModifyInstanceMetadataOptions" => vec![named, ("HttpTokens", "required")],
        "RegisterImage" => vec![("Name", "tried"), ("ImageLocation", blob)],
        "DeregisterImage" => vec![("ImageId", IMAGE)],
        "ImportImage" => vec![("DiskContainer.1.Url", "s3://bucket/disk")],
        "ExportImage" => {
            vec![("ImageId", IMAGE), ("DiskImageFormat", "RAW"), ("S3ExportLocation.S3Bucket", "bucket")]
        }
        "BundleInstance" => vec![named, ("Storage.S3.Bucket", "bucket"), ("Storage.S3.Prefix", "disk")],
        "CancelBundleTask" => vec![("BundleId", bundle)],
        "ImportSnapshot" => vec![("DiskContainer.Url", "s3://bucket/disk")],
        "DeleteSnapshot" => vec![("SnapshotId", snapshot)],
        "DescribeSnapshotAttribute" => {
            vec![("SnapshotId", snapshot), ("Attribute", "createVolumePermission")]
        }
        "CancelImportTask" => vec![("ImportTaskId", task)],
        "DescribeImageAttribute" => vec![("ImageId", IMAGE), ("Attribute", "description")],
        "CreateKeyPair" => vec![("KeyName", "tried"), ("KeyType", "ed25519")],
        "ImportKeyPair" => vec![("KeyName", "tried"), ("PublicKeyMaterial", PUBLIC_KEY)],
        "DeleteKeyPair" => vec![("KeyName", pair)],
        "CreateVpc" => vec![("CidrBlock", "10.5.0.0/16")],
        "DeleteVpc" => vec![("VpcId", empty_vpc)],
        "CreateSubnet" => vec![("VpcId", empty_vpc), ("CidrBlock", "10.6.0.0/24")],
        "DeleteSubnet" => vec![("SubnetId", empty_subnet)],
        "CreateDefaultSubnet" => vec![("AvailabilityZone", "zone-b")],
        "CreateDhcpOptions" => {
            vec![("DhcpConfiguration.1.Key", "domain-name"), ("DhcpConfiguration.1.Value.1", "example.com")]
        }
        "DeleteDhcpOptions" => vec![("DhcpOptionsId", options)],
        "AssociateDhcpOptions" => vec![("VpcId", empty_vpc), ("DhcpOptionsId", options)],
        "DescribeVpcAttribute" => vec![("VpcId", vpc), ("Attribute", "enableDnsSupport")],
        "CreateSecurityGroup" => vec![("GroupName", "tried"), ("GroupDescription", "tried")],
        "DeleteSecurityGroup" => vec![("GroupId", group)],
        "DescribeSecurityGroupReferences" => vec![("GroupId.1", group)],
        "AuthorizeSecurityGroupIngress" | "AuthorizeSecurityGroupEgress" => {
            vec![("GroupId", group), ("IpProtocol", "udp"), ("FromPort", "1"), ("ToPort", "1"), ANYWHERE]
        }
        "RevokeSecurityGroupIngress" => {
            vec![("GroupId", group), ("IpProtocol", "tcp"), ("FromPort", "1"), ("ToPort", "1"), ANYWHERE]
        }
        "RevokeSecurityGroupEgress" => vec![("GroupId", group), ("IpProtocol", "-1"), ANYWHERE],
        "ModifySecurityGroupRules" => vec![
            ("GroupId", group),
            ("SecurityGroupRule.1.SecurityGroupRuleId", rule),
            ("SecurityGroupRule.1.SecurityGroupRule.IpProtocol", "-1"),
            ("SecurityGroupRule.1.SecurityGroupRule.CidrIpv4", "10.0.0.0/8"),
        ],
        "UpdateSecurityGroupRuleDescriptionsIngress" => vec![
            ("GroupId", group),
            ("SecurityGroupRuleDescription.1.SecurityGroupRuleId", rule),
            ("SecurityGroupRuleDescription.1.Description", "tried"),
        ],
        "UpdateSecurityGroupRuleDescriptionsEgress" => vec![
            ("GroupId", group),
            ("IpPermissions.1.IpProtocol", "-1"),
            ("IpPermissions.1.IpRanges.1.CidrIp", "0.0.0.0/0"),
            ("IpPermissions.1.IpRanges.1.Description", "tried"),
        ],
        "ModifyNetworkInterfaceAttribute" => {
            vec![("NetworkInterfaceId", interface), ("SecurityGroupId.1", group)]
        }
        "CreateTags" | "DeleteTags" => {
            vec![("ResourceId.1", id), ("Tag.1.Key", "k"), ("Tag.1.Value", "v")]
        }
        _ => there.ways.map_or_else(Vec::new, |ways| ways.needs(action, id)),
    }
}

/// Whether requests of that action have a member of that name, by the model.
fn takes(action: &str, member: &str) -> bool {
    let named = MODEL.lines().find_map(|line| line.strip_prefix(&format!("action {action} "))).unwrap();
    let request = named.split_whitespace().find_map(|word| word.strip_prefix("input=")).unwrap();
    let structure = format!("structure {request}");
    let members = MODEL.lines().skip_while(|line| *line != structure).skip(1);
    let mut members = members.take_while(|line| line.starts_with(' '));
    members.any(|line| line.split_whitespace().next() == Some(member))
}

/// Not all: EC2 has no dry run of CancelExportTask.
fn with_dry_runs() -> BTreeSet<&'static str> {
    table().actions(Service::Ec2).into_iter().filter(|action| takes(action, "DryRun")).collect()
}

async fn everything(client: &Client) -> Vec<String> {
    let mut told = Vec::new();
    for action in [
        "DescribeInstances",
        "DescribeImages",
        "DescribeKeyPairs",
        "DescribeTags",
        "DescribeSecurityGroups",
        "DescribeSecurityGroupRules",
        "DescribeNetworkInterfaces",
        "DescribeImportImageTasks",
        "DescribeImportSnapshotTasks",
        "DescribeExportImageTasks",
        "DescribeSnapshots",
        "DescribeBundleTasks",
        "DescribeVpcs",
        "DescribeSubnets",
        "DescribeDhcpOptions",
        "DescribeInternetGateways",
        "DescribeRouteTables",
        "DescribeNetworkAcls",
        "DescribeNatGateways",
        "DescribeAddresses",
        "DescribeManagedPrefixLists",
    ] {
        let text = client.ec2(action, &[]).await.ok().text;
        told.push(text.split_once("</requestId>").unwrap().1.to_owned());
    }
    told
}

/// What is told of the task does not change from here on.
async fn converting(client: &Client, task: &str) {
    until("the task is worked at", async || {
        let told = client.ec2("DescribeImportImageTasks", &[("ImportTaskId.1", task)]).await.ok();
        (told.one("statusMessage") == "converting").then_some(())
    })
    .await;
}

/// A task that stays as it is: the instance's node never tells of a disk.
async fn bundling(client: &Client) -> String {
    let id = client.run(1, &[]).await.ok().one("instanceId");
    client.wait_for(&id, "running").await;
    let request =
        [("InstanceId", id.as_str()), ("Storage.S3.Bucket", "bucket"), ("Storage.S3.Prefix", "disk")];
    let task = client.ec2("BundleInstance", &request).await.ok().one("bundleId");
    until("the instance's node has heard", async || {
        let told = client.ec2("DescribeBundleTasks", &[("BundleId.1", &task)]).await.ok();
        let instance = client.ec2("DescribeInstances", &[("InstanceId.1", &id)]).await.ok();
        let heard = !instance.text.contains("<state>pending</state>");
        (told.one("state") == "waiting-for-shutdown" && heard).then_some(())
    })
    .await;
    task
}

async fn snapshot(cloud: &Cloud, client: &Client) -> String {
    cloud.walrus.bundles.inspects_disk("bucket/snapshot", "raw");
    cloud.walrus.bundles.makes("bucket/snapshot", Ok(made(9, Content::Disk)));
    let import = [("DiskContainer.Url", "s3://bucket/snapshot")];
    client.ec2("ImportSnapshot", &import).await.ok();
    until("the snapshot is there", async || {
        client.ec2("DescribeSnapshots", &[]).await.ok().first("snapshotId")
    })
    .await
}

/// What `There` has of networks: the VPC, the subnet in another one, and the set.
async fn networks(client: &Client) -> (String, String, String) {
    let (empty, other) = (vpc(client, "10.6.0.0/16").await, vpc(client, "10.7.0.0/16").await);
    let empty_subnet = subnet(client, &other, "10.7.0.0/24", "zone-a").await;
    let set = [("DhcpConfiguration.1.Key", "domain-name"), ("DhcpConfiguration.1.Value.1", "example.org")];
    let options = client.ec2("CreateDhcpOptions", &set).await.ok().one("dhcpOptionsId");
    // A zone without its default subnet.
    let default = only(client, "DescribeSubnets", ("availability-zone", "zone-b"), "subnetId").await;
    client.ec2("DeleteSubnet", &[("SubnetId", &default)]).await.ok();
    (empty, empty_subnet, options)
}

async fn whatever_would_succeed_says_so_and_is_not_done(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 2).await;
    let _other = cloud.cluster_at("zone-b", 0, "172.31.16.0/20").await;
    let root = cloud.user("admin", "root", &["AdministratorAccess"]).await;
    let id = root.run(1, &[]).await.ok().one("instanceId");
    root.wait_for(&id, "running").await;
    cloud.key_pair(&root.account, "pair").await;
    let default_vpc = root.ec2("DescribeVpcs", &[]).await.ok().one("vpcId");
    let blob = cloud.walrus.put(1, BlobFormat::Raw, 1 << 30);
    cloud.walrus.bundles.inspects_disk("bucket/disk", "raw");
    let import = [("DiskContainer.1.Url", "s3://bucket/disk")];
    let task = root.ec2("ImportImage", &import).await.ok().one("importTaskId");
    converting(&root, &task).await;
    let (group, rule, interface) = group(&root).await;
    let snapshot = snapshot(&cloud, &root).await;
    let bundle = bundling(&root).await;
    let (empty_vpc, empty_subnet, options) = networks(&root).await;
    let ways = Ways::made(&root, &id).await;
    let there = There {
        instance: &id,
        vpc: &default_vpc,
        blob: &blob,
        pair: "pair",
        task: &task,
        group: &group,
        rule: &rule,
        interface: &interface,
        snapshot: &snapshot,
        bundle: &bundle,
        empty_vpc: &empty_vpc,
        empty_subnet: &empty_subnet,
        options: &options,
        ways: Some(&ways),
    };
    let before = everything(&root).await;
    for action in with_dry_runs() {
        let request = [&needs(action, &there)[..], &[DRY]].concat();
        let answer = root.ec2(action, &request).await;
        let never = NEVER.iter().chain(&ways::NEVER).find(|(other, _)| *other == action);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            never.map_or((412, "DryRunOperation"), |(_, code)| (400, *code)),
            "{action} {}",
            answer.text
        );
    }
    assert_eq!(everything(&root).await, before);
    let told = [("InstanceId", id.as_str()), ("Attribute", "disableApiStop")];
    let told = root.ec2("DescribeInstanceAttribute", &told).await.ok();
    assert!(told.text.contains("<value>false</value>"), "{}", told.text);
}

type Wrong = (&'static str, Vec<(&'static str, &'static str)>, &'static str);

/// Requests about VPCs and what belongs to them, each with what it is refused.
fn wrong_with_networks() -> Vec<Wrong> {
    let vpc = ("VpcId", "vpc-0123456789abcdef0");
    let set = ("DhcpOptionsId", "dopt-0123456789abcdef0");
    let absent = "InvalidVpcID.NotFound";
    let mut wrong = vec![
        ("DescribeVpcAttribute", vec![vpc, ("Attribute", "enableDnsSupport")], absent),
        ("CreateVpc", vec![("CidrBlock", "10.0.0.0/8")], "InvalidVpc.Range"),
        ("DeleteVpc", vec![vpc], absent),
        ("CreateSubnet", vec![vpc, ("CidrBlock", "10.0.0.0/24")], absent),
        ("DeleteSubnet", vec![("SubnetId", "subnet-0123456789abcdef0")], "InvalidSubnetID.NotFound"),
        (
            "CreateDefaultSubnet",
            vec![("AvailabilityZone", "zone-a")],
            "DefaultSubnetAlreadyExistsInAvailabilityZone",
        ),
        (
            "CreateDhcpOptions",
            vec![("DhcpConfiguration.1.Key", "colour"), ("DhcpConfiguration.1.Value.1", "blue")],
            "InvalidParameterValue",
        ),
        ("DeleteDhcpOptions", vec![set], "InvalidDhcpOptionsID.NotFound"),
        ("AssociateDhcpOptions", vec![vpc, set], absent),
    ];
    wrong.extend(NEVER.map(|(action, code)| (action, Vec::new(), code)));
    wrong
}

async fn a_trial_is_refused_what_the_request_would_be(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let other = cloud.user("other", "olga", &["AdministratorAccess"]).await;
    let foreign = other.run(1, &[]).await.ok().one("instanceId");
    cloud.key_pair(&alice.account, "pair").await;
    let mut tried = BTreeSet::new();
    let mut check = async |action: &'static str, request: &[(&str, &str)], code: &str| {
        tried.insert(action);
        let answer = alice.ec2(action, &[request, &[DRY]].concat()).await;
        assert_eq!(answer.code(), code, "{action} {request:?} {}", answer.text);
    };
    let ids =
        [("i-nonsense", "InvalidInstanceID.Malformed"), (foreign.as_str(), "InvalidInstanceID.NotFound")];
    for (id, code) in ids {
        for action in table().actions(Service::Ec2) {
            let request = needs(action, &There { instance: id, ..There::default() });
            if request.iter().any(|(_, value)| *value == id) {
                check(action, &request, code).await;
            }
        }
        for action in ["DescribeInstances", "DescribeInstanceStatus", "DescribeInstanceCreditSpecifications"]
        {
            check(action, &[("InstanceId.1", id)], code).await;
        }
    }
    let image = ("ImageId", "ami-0123456789abcdef0");
    let absent = format!("sha256:{}", "0".repeat(64));
    check("RunInstances", &[image, ("MinCount", "1"), ("MaxCount", "1")], "InvalidAMIID.NotFound").await;
    check("DeregisterImage", &[image], "InvalidAMIID.NotFound").await;
    check("DeregisterImage", &[("ImageId", IMAGE)], "AuthFailure").await;
    check("DescribeImageAttribute", &[image, ("Attribute", "description")], "InvalidAMIID.NotFound").await;
    check("RegisterImage", &[("Name", "tried"), ("ImageLocation", &absent)], "InvalidManifest").await;
    check("CreateKeyPair", &[("KeyName", "pair")], "InvalidKeyPair.Duplicate").await;
    check("ImportKeyPair", &[("KeyName", "new"), ("PublicKeyMaterial", "AAAA")], "InvalidKey.Format").await;
    let twice = [("KeyName", "pair"), ("PublicKeyMaterial", PUBLIC_KEY)];
    check("ImportKeyPair", &twice, "InvalidKeyPair.Duplicate").await;
    check("DeleteKeyPair", &[("KeyPairId", "nonsense")], "InvalidParameterValue").await;
    let disk = ("DiskContainer.1.Url", "s3://bucket/absent");
    check("ImportImage", &[disk], "InvalidParameter").await;
    let disk = ("DiskContainer.Url", "s3://bucket/absent");
    check("ImportSnapshot", &[disk], "InvalidParameter").await;
    let snapshot = ("SnapshotId", "snap-0123456789abcdef0");
    check("DeleteSnapshot", &[snapshot], "InvalidSnapshot.NotFound").await;
    let attribute = ("Attribute", "createVolumePermission");
    check("DescribeSnapshotAttribute", &[snapshot, attribute], "InvalidSnapshot.NotFound").await;
    let task = [("ImportTaskId.1", "import-snap-0123456789abcdef0")];
    check("DescribeImportSnapshotTasks", &task, "InvalidConversionTaskId").await;
    let task = [("ImportTaskId", "import-ami-0123456789abcdef0")];
    check("CancelImportTask", &task, "InvalidConversionTaskId").await;
    let task = [("ImportTaskId.1", "import-ami-0123456789abcdef0")];
    check("DescribeImportImageTasks", &task, "InvalidConversionTaskId").await;
    let out = [image, ("DiskImageFormat", "RAW"), ("S3ExportLocation.S3Bucket", "bucket")];
    check("ExportImage", &out, "InvalidAMIID.NotFound").await;
    let bundle = "bun-0123456789abcdef0";
    check("CancelBundleTask", &[("BundleId", bundle)], "InvalidBundleID.NotFound").await;
    check("DescribeBundleTasks", &[("BundleId.1", bundle)], "InvalidBundleID.NotFound").await;
    let name = ("GroupName", "default");
    let group = ("GroupId", "sg-0123456789abcdef0");
    check("CreateSecurityGroup", &[name, ("GroupDescription", "d")], "InvalidParameterValue").await;
    check("DeleteSecurityGroup", &[name], "CannotDelete").await;
    check("DescribeSecurityGroupReferences", &[("GroupId.1", group.1)], "InvalidGroup.NotFound").await;
    for action in ["AuthorizeSecurityGroupIngress", "UpdateSecurityGroupRuleDescriptionsIngress"] {
        let permission = [("IpPermissions.1.IpProtocol", "tcp"), ("IpPermissions.1.IpRanges.1.CidrIp", "x")];
        check(action, &[&[name], &permission[..]].concat(), "InvalidParameterValue").await;
    }
    let absent = [("IpProtocol", "50"), ANYWHERE];
    check("RevokeSecurityGroupIngress", &[&[name], &absent[..]].concat(), "InvalidPermission.NotFound").await;
    for action in ["AuthorizeSecurityGroupEgress", "RevokeSecurityGroupEgress"] {
        check(action, &[&[group], &absent[..]].concat(), "InvalidGroup.NotFound").await;
    }
    let rule = ("SecurityGroupRuleDescription.1.SecurityGroupRuleId", "sgr-0123456789abcdef0");
    let action = "UpdateSecurityGroupRuleDescriptionsEgress";
    check(action, &[name, rule], "InvalidSecurityGroupRuleId.NotFound").await;
    let rule = ("SecurityGroupRule.1.SecurityGroupRuleId", "sgr-0123456789abcdef0");
    check("ModifySecurityGroupRules", &[group, rule], "InvalidGroup.NotFound").await;
    let interface = ("NetworkInterfaceId", "eni-0123456789abcdef0");
    let wrong = "InvalidNetworkInterfaceID.NotFound";
    check("ModifyNetworkInterfaceAttribute", &[interface, ("SecurityGroupId.1", group.1)], wrong).await;
    for (action, request, code) in wrong_with_networks().into_iter().chain(ways::wrong()) {
        check(action, &request, code).await;
    }
    let attribute = ("AttributeName.1", "nonsense");
    check("DescribeAccountAttributes", &[attribute], "InvalidParameterValue").await;
    for action in with_dry_runs() {
        if takes(action, "Filters") && !tried.contains(action) {
            let filter = [("Filter.1.Name", "nonsense"), ("Filter.1.Value.1", "x")];
            let answer = alice.ec2(action, &[&filter[..], &[DRY]].concat()).await;
            assert_eq!(answer.code(), "InvalidParameterValue", "{action} {}", answer.text);
            tried.insert(action);
        }
    }
    tried.retain(|action| takes(action, "DryRun"));
    assert_eq!(
        tried,
        with_dry_runs(),
        "each action is tried with something wrong: those that are missing need a line"
    );
}
