//! DryRun: every action looks at what it was given, and then does nothing.

use crate::support::{Client, Cloud, IMAGE, until};
use karri_clc::api::table;
use karri_proto::aws::Service;
use karri_proto::instance::BlobFormat;
use std::collections::BTreeSet;

on_both! {
    whatever_would_succeed_says_so_and_is_not_done
    a_trial_is_refused_what_the_request_would_be
}

const DRY: (&str, &str) = ("DryRun", "true");
/// EC2 has no dry run of it.
const WITHOUT: &str = "CancelExportTask";
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

/// What a request of that action needs to succeed. Those that nothing need are not here. One that needs an
/// instance is tried with a wrong one by itself, and one that describes and needs nothing with a wrong filter.
fn needs<'a>(
    action: &str,
    id: &'a str,
    vpc: &'a str,
    blob: &'a str,
    pair: &'a str,
    task: &'a str,
    group: (&'a str, &'a str, &'a str),
) -> Vec<(&'static str, &'a str)> {
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
        "CancelImportTask" => vec![("ImportTaskId", task)],
        "DescribeImageAttribute" => vec![("ImageId", IMAGE), ("Attribute", "description")],
        "CreateKeyPair" => vec![("KeyName", "tried"), ("KeyType", "ed25519")],
        "ImportKeyPair" => vec![("KeyName", "tried"), ("PublicKeyMaterial", PUBLIC_KEY)],
        "DeleteKeyPair" => vec![("KeyName", pair)],
        "DescribeVpcAttribute" => vec![("VpcId", vpc), ("Attribute", "enableDnsSupport")],
        "CreateSecurityGroup" => vec![("GroupName", "tried"), ("GroupDescription", "tried")],
        "DeleteSecurityGroup" => vec![("GroupId", group.0)],
        "DescribeSecurityGroupReferences" => vec![("GroupId.1", group.0)],
        "AuthorizeSecurityGroupIngress" | "AuthorizeSecurityGroupEgress" => {
            vec![("GroupId", group.0), ("IpProtocol", "udp"), ("FromPort", "1"), ("ToPort", "1"), ANYWHERE]
        }
        "RevokeSecurityGroupIngress" => {
            vec![("GroupId", group.0), ("IpProtocol", "tcp"), ("FromPort", "1"), ("ToPort", "1"), ANYWHERE]
        }
        "RevokeSecurityGroupEgress" => vec![("GroupId", group.0), ("IpProtocol", "-1"), ANYWHERE],
        "ModifySecurityGroupRules" => vec![
            ("GroupId", group.0),
            ("SecurityGroupRule.1.SecurityGroupRuleId", group.1),
            ("SecurityGroupRule.1.SecurityGroupRule.IpProtocol", "-1"),
            ("SecurityGroupRule.1.SecurityGroupRule.CidrIpv4", "10.0.0.0/8"),
        ],
        "UpdateSecurityGroupRuleDescriptionsIngress" => vec![
            ("GroupId", group.0),
            ("SecurityGroupRuleDescription.1.SecurityGroupRuleId", group.1),
            ("SecurityGroupRuleDescription.1.Description", "tried"),
        ],
        "UpdateSecurityGroupRuleDescriptionsEgress" => vec![
            ("GroupId", group.0),
            ("IpPermissions.1.IpProtocol", "-1"),
            ("IpPermissions.1.IpRanges.1.CidrIp", "0.0.0.0/0"),
            ("IpPermissions.1.IpRanges.1.Description", "tried"),
        ],
        "ModifyNetworkInterfaceAttribute" => {
            vec![("NetworkInterfaceId", group.2), ("SecurityGroupId.1", group.0)]
        }
        "CreateTags" | "DeleteTags" => {
            vec![("ResourceId.1", id), ("Tag.1.Key", "k"), ("Tag.1.Value", "v")]
        }
        _ => Vec::new(),
    }
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
        "DescribeExportImageTasks",
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

async fn whatever_would_succeed_says_so_and_is_not_done(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let root = cloud.user("admin", "root", &["AdministratorAccess"]).await;
    let id = root.run(1, &[]).await.ok().one("instanceId");
    root.wait_for(&id, "running").await;
    cloud.key_pair(&root.account, "pair").await;
    let vpc = root.ec2("DescribeVpcs", &[]).await.ok().one("vpcId");
    let blob = cloud.walrus.put(1, BlobFormat::Raw, 1 << 30);
    cloud.walrus.bundles.inspects_disk("bucket/disk", "raw");
    let import = [("DiskContainer.1.Url", "s3://bucket/disk")];
    let task = root.ec2("ImportImage", &import).await.ok().one("importTaskId");
    converting(&root, &task).await;
    let (group, rule, interface) = group(&root).await;
    let group = (group.as_str(), rule.as_str(), interface.as_str());
    let before = everything(&root).await;
    for action in table().actions(Service::Ec2).into_iter().filter(|action| *action != WITHOUT) {
        let request = [&needs(action, &id, &vpc, &blob, "pair", &task, group)[..], &[DRY]].concat();
        let answer = root.ec2(action, &request).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (412, "DryRunOperation"),
            "{action} {}",
            answer.text
        );
    }
    assert_eq!(everything(&root).await, before);
    let told = [("InstanceId", id.as_str()), ("Attribute", "disableApiStop")];
    let told = root.ec2("DescribeInstanceAttribute", &told).await.ok();
    assert!(told.text.contains("<value>false</value>"), "{}", told.text);
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
            let request = needs(action, id, "", "", "", "", ("", "", ""));
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
    let task = [("ImportTaskId", "import-ami-0123456789abcdef0")];
    check("CancelImportTask", &task, "InvalidConversionTaskId").await;
    let task = [("ImportTaskId.1", "import-ami-0123456789abcdef0")];
    check("DescribeImportImageTasks", &task, "InvalidConversionTaskId").await;
    let out = [image, ("DiskImageFormat", "RAW"), ("S3ExportLocation.S3Bucket", "bucket")];
    check("ExportImage", &out, "InvalidAMIID.NotFound").await;
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
    let vpc = [("VpcId", "vpc-0123456789abcdef0"), ("Attribute", "enableDnsSupport")];
    check("DescribeVpcAttribute", &vpc, "InvalidVpcID.NotFound").await;
    let attribute = ("AttributeName.1", "nonsense");
    check("DescribeAccountAttributes", &[attribute], "InvalidParameterValue").await;
    for action in table().actions(Service::Ec2).into_iter().filter(|action| action.starts_with("Describe")) {
        if !tried.contains(action) {
            let filter = [("Filter.1.Name", "nonsense"), ("Filter.1.Value.1", "x")];
            let answer = alice.ec2(action, &[&filter[..], &[DRY]].concat()).await;
            assert_eq!(answer.code(), "InvalidParameterValue", "{action} {}", answer.text);
            tried.insert(action);
        }
    }
    let served: BTreeSet<&str> =
        table().actions(Service::Ec2).into_iter().filter(|action| *action != WITHOUT).collect();
    assert_eq!(tried, served, "each action is tried with something wrong");
}
