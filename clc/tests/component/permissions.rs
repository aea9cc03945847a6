//! What policies are asked: the resources that a request touches, named or not, and the tags it gives.

use crate::support::{Client, Cloud, REGION};
use karri_proto::instance::BlobFormat;

on_both! {
    a_denied_subnet_or_group_is_denied_however_it_comes_into_the_launch
    only_the_subnets_that_a_launch_may_come_to_lie_in_are_asked_for
    a_dry_run_asks_for_everything_that_the_launch_would
    images_have_no_account_in_their_arn
    a_key_pair_named_by_its_id_is_still_known_by_its_name
    tags_at_creation_take_the_permission_to_tag
    tags_are_in_the_context_of_what_they_are_given_to
}

/// A user who may do everything but what the statements deny.
async fn but(cloud: &Cloud, name: &str, denied: &str) -> Client {
    let policy = format!(
        r#"{{"Version": "2012-10-17", "Statement": [
            {{"Effect": "Allow", "Action": "*", "Resource": "*"}}, {denied}]}}"#
    );
    cloud.user("acme", name, &[&policy]).await
}

fn deny(action: &str, kind: &str, id: &str) -> String {
    format!(
        r#"{{"Effect": "Deny", "Action": "ec2:{action}", "Resource": "arn:aws:ec2:{REGION}:*:{kind}/{id}"}}"#
    )
}

async fn subnet(client: &Client, zone: &str) -> String {
    let within = [("Filter.1.Name", "availability-zone"), ("Filter.1.Value.1", zone)];
    client.ec2("DescribeSubnets", &within).await.ok().one("subnetId")
}

async fn a_denied_subnet_or_group_is_denied_however_it_comes_into_the_launch(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let subnet = subnet(&alice, "zone-a").await;
    let group = alice.ec2("DescribeSecurityGroups", &[]).await.ok().first("groupId").unwrap();
    let not_there = but(&cloud, "sue", &deny("RunInstances", "subnet", &subnet)).await;
    let not_so = but(&cloud, "gus", &deny("*", "security-group", &group)).await;
    let interface = ("NetworkInterface.1.DeviceIndex", "0");
    let ways = [
        vec![],
        vec![("SubnetId", subnet.as_str())],
        vec![("SecurityGroupId.1", group.as_str())],
        vec![("SecurityGroup.1", "default")],
        vec![interface, ("NetworkInterface.1.SubnetId", &subnet)],
        vec![interface, ("NetworkInterface.1.SecurityGroupId.1", &group)],
        vec![("Placement.AvailabilityZone", "zone-a")],
    ];
    for way in &ways {
        for (user, what) in [(&not_there, &subnet), (&not_so, &group)] {
            let refused = user.run(1, way).await.refused(403, "UnauthorizedOperation");
            assert!(refused.message().contains(what.as_str()), "{way:?}: {}", refused.message());
        }
    }
    assert!(alice.ec2("DescribeInstances", &[]).await.ok().instances().is_empty());
    let id = alice.run(1, &[]).await.ok().one("instanceId");
    let join = [("InstanceId", id.as_str()), ("GroupId.1", &group)];
    not_so.ec2("ModifyInstanceAttribute", &join).await.refused(403, "UnauthorizedOperation");
    alice.ec2("ModifyInstanceAttribute", &join).await.ok();
}

async fn only_the_subnets_that_a_launch_may_come_to_lie_in_are_asked_for(cloud: Cloud) {
    let _first = cloud.cluster("zone-a", 1).await;
    let _second = cloud.cluster("zone-b", 1).await;
    let alice = cloud.owner().await;
    let denied = subnet(&alice, "zone-a").await;
    let user = but(&cloud, "sue", &deny("RunInstances", "subnet", &denied)).await;
    user.run(1, &[("Placement.AvailabilityZone", "zone-a")]).await.refused(403, "UnauthorizedOperation");
    user.run(1, &[]).await.refused(403, "UnauthorizedOperation"); // it might lie there
    let there = user.run(1, &[("Placement.AvailabilityZone", "zone-b")]).await.ok();
    assert_eq!(there.one("availabilityZone"), "zone-b");
}

async fn a_dry_run_asks_for_everything_that_the_launch_would(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let denied = subnet(&alice, "zone-a").await;
    let user = but(&cloud, "sue", &deny("RunInstances", "subnet", &denied)).await;
    let (dry, token) = (("DryRun", "true"), ("ClientToken", "t"));
    user.run(1, &[dry]).await.refused(403, "UnauthorizedOperation");
    let launched = alice.run(1, &[token]).await.ok().one("instanceId");
    alice.run(1, &[token, dry]).await.refused(412, "DryRunOperation");
    assert_eq!(alice.run(1, &[token]).await.ok().one("instanceId"), launched);
    assert_eq!(alice.ec2("DescribeInstances", &[]).await.ok().instances().len(), 1);
}

async fn images_have_no_account_in_their_arn(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let denied = |actions: &str| {
        format!(r#"{{"Effect": "Deny", "Action": {actions}, "Resource": "arn:aws:ec2:*::image/*"}}"#)
    };
    let keeper = but(&cloud, "kim", &denied(r#"["ec2:DeregisterImage", "ec2:CreateTags"]"#)).await;
    let reader = but(&cloud, "rob", &denied(r#""ec2:RegisterImage""#)).await;
    let location = cloud.walrus.put(1, BlobFormat::Raw, 1 << 30);
    let image = [("Name", "image"), ("ImageLocation", location.as_str())];
    reader.ec2("RegisterImage", &image).await.refused(403, "UnauthorizedOperation");
    let id = keeper.ec2("RegisterImage", &image).await.ok().one("imageId");
    let named = [("ImageId", id.as_str())];
    keeper.ec2("DeregisterImage", &named).await.refused(403, "UnauthorizedOperation");
    let tag = [("ResourceId.1", id.as_str()), ("Tag.1.Key", "k"), ("Tag.1.Value", "v")];
    keeper.ec2("CreateTags", &tag).await.refused(403, "UnauthorizedOperation");
    alice.ec2("CreateTags", &tag).await.ok();
    reader.ec2("DeregisterImage", &named).await.ok();
}

async fn a_key_pair_named_by_its_id_is_still_known_by_its_name(cloud: Cloud) {
    let alice = cloud.owner().await;
    let user = but(&cloud, "kim", &deny("DeleteKeyPair", "key-pair", "prod*")).await;
    let make = async |name| {
        alice.ec2("CreateKeyPair", &[("KeyName", name), ("KeyType", "ed25519")]).await.ok().one("keyPairId")
    };
    let (production, other) = (make("production").await, make("other").await);
    user.ec2("DeleteKeyPair", &[("KeyPairId", &production)]).await.refused(403, "UnauthorizedOperation");
    user.ec2("DeleteKeyPair", &[("KeyName", "production")]).await.refused(403, "UnauthorizedOperation");
    user.ec2("DeleteKeyPair", &[("KeyPairId", &other), ("DryRun", "true")])
        .await
        .refused(412, "DryRunOperation");
    user.ec2("DeleteKeyPair", &[("KeyPairId", &other)]).await.ok();
    assert_eq!(alice.ec2("DescribeKeyPairs", &[]).await.ok().all("keyName"), ["production"]);
    let nobody = cloud.user("acme", "nick", &[]).await;
    for id in [production.as_str(), "key-0123456789abcdef0"] {
        nobody.ec2("DeleteKeyPair", &[("KeyPairId", id)]).await.refused(403, "UnauthorizedOperation");
    }
}

async fn tags_at_creation_take_the_permission_to_tag(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let user = but(&cloud, "tom", r#"{"Effect": "Deny", "Action": "ec2:CreateTags", "Resource": "*"}"#).await;
    let tagged = |kind: &'static str| {
        [
            ("TagSpecification.1.ResourceType", kind),
            ("TagSpecification.1.Tag.1.Key", "k"),
            ("TagSpecification.1.Tag.1.Value", "v"),
        ]
    };
    let refused = user.run(1, &tagged("instance")).await.refused(403, "UnauthorizedOperation");
    let words = "is not authorized to perform: ec2:CreateTags on resource: arn:aws:ec2:";
    assert!(refused.message().contains(words), "{}", refused.message());
    user.run(1, &tagged("volume")).await.refused(403, "UnauthorizedOperation");
    let location = cloud.walrus.put(1, BlobFormat::Raw, 1 << 30);
    let image = [("Name", "image"), ("ImageLocation", location.as_str())];
    let pair = [("KeyName", "k"), ("KeyType", "ed25519")];
    for (action, own, kind) in [("RegisterImage", &image, "image"), ("CreateKeyPair", &pair, "key-pair")] {
        let both = [&own[..], &tagged(kind)].concat();
        user.ec2(action, &both).await.refused(403, "UnauthorizedOperation");
        user.ec2(action, &own[..]).await.ok();
    }
    user.run(1, &[]).await.ok();
    alice.run(1, &tagged("instance")).await.ok();
    assert_eq!(alice.ec2("DescribeTags", &[]).await.ok().all("key"), ["k"]);
}

async fn tags_are_in_the_context_of_what_they_are_given_to(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 2).await;
    let untagged = r#"{"Effect": "Deny", "Action": "ec2:RunInstances", "Resource": "arn:aws:ec2:*:*:instance/*",
            "Condition": {"Null": {"aws:RequestTag/owner": "true"}}},
           {"Effect": "Deny", "Action": "ec2:CreateTags", "Resource": "*",
            "Condition": {"StringEquals": {"aws:RequestTag/owner": "root"}}},
           {"Effect": "Deny", "Action": ["ec2:CreateTags", "ec2:DeleteTags"], "Resource": "*",
            "Condition": {"ForAnyValue:StringEquals": {"aws:TagKeys": "secret"}}}"#;
    let user = but(&cloud, "tim", untagged).await;
    let run = async |kind: &str, key: &str, value: &str| {
        let tags = [
            ("TagSpecification.1.ResourceType", kind),
            ("TagSpecification.1.Tag.1.Key", key),
            ("TagSpecification.1.Tag.1.Value", value),
        ];
        user.run(1, &tags).await
    };
    user.run(1, &[]).await.refused(403, "UnauthorizedOperation");
    run("volume", "owner", "tim").await.refused(403, "UnauthorizedOperation");
    run("instance", "owner", "root").await.refused(403, "UnauthorizedOperation");
    run("instance", "secret", "").await.refused(403, "UnauthorizedOperation");
    let id = run("instance", "owner", "tim").await.ok().one("instanceId");
    let tag = async |action: &str, key: &str, value: &str| {
        let given = [("ResourceId.1", id.as_str()), ("Tag.1.Key", key), ("Tag.1.Value", value)];
        user.ec2(action, &given).await
    };
    tag("CreateTags", "owner", "root").await.refused(403, "UnauthorizedOperation");
    tag("CreateTags", "secret", "").await.refused(403, "UnauthorizedOperation");
    tag("DeleteTags", "secret", "").await.refused(403, "UnauthorizedOperation");
    tag("CreateTags", "owner", "tom").await.ok();
    tag("DeleteTags", "owner", "tom").await.ok();
}
