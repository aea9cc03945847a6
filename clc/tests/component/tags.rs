//! Tags of every kind of resource.

use crate::support::{Client, Cloud, IMAGE};
use karri_proto::instance::BlobFormat;

on_both! {
    tags_that_metadata_cannot_show_are_refused_where_it_shows_them
    every_kind_of_resource_takes_tags
    tags_are_given_to_all_or_none
    tags_have_limits
    a_tag_is_deleted_by_key_and_by_value_if_one_is_given
    tags_of_an_instance_reach_its_listing_and_its_guest
    tags_go_with_their_resource
    a_launch_tags_what_it_makes
    an_account_tags_anothers_public_image_for_itself
    a_policy_minds_the_callers_own_tags_of_anothers_image
}

async fn tag(client: &Client, resource: &str, key: &str, value: &str) {
    let parameters = [("ResourceId.1", resource), ("Tag.1.Key", key), ("Tag.1.Value", value)];
    client.ec2("CreateTags", &parameters).await.ok();
}

async fn keys(client: &Client) -> Vec<String> {
    client.ec2("DescribeTags", &[]).await.ok().all("key")
}

async fn every_kind_of_resource_takes_tags(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let location = cloud.walrus.put(1, BlobFormat::Raw, 1 << 30);
    let image = [("Name", "image"), ("ImageLocation", location.as_str())];
    let image = alice.ec2("RegisterImage", &image).await.ok().one("imageId");
    let pair = alice.ec2("CreateKeyPair", &[("KeyName", "k"), ("KeyType", "ed25519")]).await.ok();
    let instance = alice.run(1, &[]).await.ok().one("instanceId");
    let first = |action: &'static str, element: &'static str| {
        let alice = &alice;
        async move { alice.ec2(action, &[]).await.ok().first(element).unwrap() }
    };
    let ids = [
        (image, "image", "DescribeImages"),
        (pair.one("keyPairId"), "key-pair", "DescribeKeyPairs"),
        (instance, "instance", "DescribeInstances"),
        (first("DescribeVpcs", "vpcId").await, "vpc", "DescribeVpcs"),
        (first("DescribeSubnets", "subnetId").await, "subnet", "DescribeSubnets"),
        (first("DescribeDhcpOptions", "dhcpOptionsId").await, "dhcp-options", "DescribeDhcpOptions"),
        (first("DescribeSecurityGroups", "groupId").await, "security-group", "DescribeSecurityGroups"),
        (
            first("DescribeSecurityGroupRules", "securityGroupRuleId").await,
            "security-group-rule",
            "DescribeSecurityGroupRules",
        ),
        (
            first("DescribeNetworkInterfaces", "networkInterfaceId").await,
            "network-interface",
            "DescribeNetworkInterfaces",
        ),
        (first("DescribeVolumes", "volumeId").await, "volume", "DescribeVolumes"),
    ];
    for (id, kind, describe) in &ids {
        tag(&alice, id, "kind", kind).await;
        let found =
            alice.ec2(describe, &[("Filter.1.Name", "tag:kind"), ("Filter.1.Value.1", kind)]).await.ok();
        assert!(found.text.contains(id.as_str()), "{kind}: {}", found.text);
        let none = [("Filter.1.Name", "tag:kind"), ("Filter.1.Value.1", "other")];
        assert!(!alice.ec2(describe, &none).await.ok().text.contains(id.as_str()), "{kind}");
        let told = [("Filter.1.Name", "resource-id"), ("Filter.1.Value.1", id.as_str())];
        assert_eq!(alice.ec2("DescribeTags", &told).await.ok().one("resourceType"), *kind);
    }
    let first = alice.ec2("DescribeTags", &[("MaxResults", "5")]).await.ok();
    let token = first.one("nextToken");
    let rest = alice.ec2("DescribeTags", &[("MaxResults", "5"), ("NextToken", &token)]).await.ok();
    assert_eq!(first.all("resourceId").len() + rest.all("resourceId").len(), ids.len());
}

async fn tags_are_given_to_all_or_none(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let (alice, bob) = (cloud.owner().await, cloud.user("other", "bob", &["AdministratorAccess"]).await);
    let mine = alice.ec2("DescribeVpcs", &[]).await.ok().one("vpcId");
    let location = cloud.walrus.put(1, BlobFormat::Raw, 1 << 30);
    let register = [("Name", "private"), ("ImageLocation", location.as_str())];
    let private = bob.ec2("RegisterImage", &register).await.ok().one("imageId");
    for (other, code) in [
        ("i-0123456789abcdef0", "InvalidInstanceID.NotFound"),
        ("vol-0123456789abcdef0", "InvalidVolume.NotFound"),
        ("i-nonsense", "InvalidInstanceID.Malformed"),
        ("r-0123456789abcdef0", "InvalidID"),
        ("nonsense", "InvalidID"),
        (&private, "InvalidAMIID.NotFound"),
    ] {
        let two = [("ResourceId.1", mine.as_str()), ("ResourceId.2", other), ("Tag.1.Key", "k")];
        let answer = alice.ec2("CreateTags", &two).await;
        assert_eq!(answer.code(), code, "{other}");
        alice.ec2("DeleteTags", &two).await.refused(400, code);
    }
    let hers = [("ResourceId.1", mine.as_str()), ("Tag.1.Key", "k")];
    bob.ec2("CreateTags", &hers).await.refused(400, "InvalidVpcID.NotFound");
    bob.ec2("DeleteTags", &hers).await.refused(400, "InvalidVpcID.NotFound");
    assert!(keys(&alice).await.is_empty());
}

async fn tags_have_limits(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let vpc = alice.ec2("DescribeVpcs", &[]).await.ok().one("vpcId");
    let long = "k".repeat(129);
    for (key, value) in [("", "v"), ("aws:x", "v"), (long.as_str(), "v"), ("k", &"v".repeat(257))] {
        let parameters = [("ResourceId.1", vpc.as_str()), ("Tag.1.Key", key), ("Tag.1.Value", value)];
        alice.ec2("CreateTags", &parameters).await.refused(400, "InvalidParameterValue");
    }
    let names: Vec<(String, String)> =
        (1..=50).map(|n| (format!("Tag.{n}.Key"), format!("ünï <&> {n}"))).collect();
    let mut parameters: Vec<(&str, &str)> = names.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    parameters.push(("ResourceId.1", &vpc));
    alice.ec2("CreateTags", &parameters).await.ok();
    alice.ec2("CreateTags", &parameters).await.ok();
    let more = [("ResourceId.1", vpc.as_str()), ("Tag.1.Key", "one more")];
    alice.ec2("CreateTags", &more).await.refused(400, "TagLimitExceeded");
    assert_eq!(keys(&alice).await.len(), 50);
    alice.ec2("CreateTags", &[("ResourceId.1", &vpc)]).await.refused(400, "MissingParameter");
    alice.ec2("CreateTags", &[("Tag.1.Key", "k")]).await.refused(400, "MissingParameter");
}

async fn a_tag_is_deleted_by_key_and_by_value_if_one_is_given(cloud: Cloud) {
    let alice = cloud.owner().await;
    let vpc = alice.ec2("DescribeVpcs", &[]).await.ok().one("vpcId");
    for (key, value) in [("a", "1"), ("b", "2"), ("c", ""), ("d", "4")] {
        tag(&alice, &vpc, key, value).await;
    }
    let delete = |more: Vec<(&'static str, &'static str)>| {
        let mut parameters = vec![("ResourceId.1", vpc.as_str())];
        parameters.extend(more);
        let alice = alice.clone();
        async move { alice.ec2("DeleteTags", &parameters).await.ok() }
    };
    delete(vec![("Tag.1.Key", "a"), ("Tag.1.Value", "other")]).await;
    assert_eq!(keys(&alice).await, ["a", "b", "c", "d"], "another value is another tag");
    delete(vec![("Tag.1.Key", "a"), ("Tag.1.Value", "1"), ("Tag.2.Key", "b")]).await;
    assert_eq!(keys(&alice).await, ["c", "d"]);
    delete(vec![("Tag.1.Key", "d"), ("Tag.1.Value", ""), ("Tag.2.Key", "c"), ("Tag.2.Value", "")]).await;
    assert_eq!(keys(&alice).await, ["d"], "an empty value is a value");
    delete(vec![("Tag.1.Key", "never there")]).await;
    delete(vec![]).await;
    assert!(keys(&alice).await.is_empty(), "no key means every key");
}

async fn tags_of_an_instance_reach_its_listing_and_its_guest(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let quiet = alice.run(1, &[]).await.ok().one("instanceId");
    let shown = [("MetadataOptions.InstanceMetadataTags", "enabled")];
    let loud = alice.run(1, &shown).await.ok().one("instanceId");
    for id in [&quiet, &loud] {
        alice.wait_for(id, "running").await;
        tag(&alice, id, "Name", "new").await;
    }
    let by_tag = [("Filter.1.Name", "tag:Name"), ("Filter.1.Value.1", "new")];
    assert_eq!(alice.ec2("DescribeInstances", &by_tag).await.ok().instances().len(), 2);
    crate::support::until("the guest's tags", || async {
        let tags = cluster.intent(&loud)?.spec.tags;
        (tags == [("Name".to_owned(), "new".to_owned())]).then_some(())
    })
    .await;
    assert_eq!(cluster.intent(&quiet).unwrap().generation, 1, "nobody there to be told");
}

async fn tags_go_with_their_resource(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let id = alice.run(1, &[]).await.ok().one("instanceId");
    alice.wait_for(&id, "running").await;
    let volume = alice.ec2("DescribeVolumes", &[]).await.ok().first("volumeId").unwrap();
    let port = alice.ec2("DescribeNetworkInterfaces", &[]).await.ok().first("networkInterfaceId").unwrap();
    for resource in [&id, &volume, &port] {
        tag(&alice, resource, resource, "").await;
    }
    alice.ec2("TerminateInstances", &[("InstanceId.1", &id)]).await.ok();
    alice.wait_for(&id, "terminated").await;
    assert_eq!(keys(&alice).await, [id.as_str()], "the instance is still told, its disk and port are not");
    let late = [("ResourceId.1", volume.as_str()), ("Tag.1.Key", "k")];
    alice.ec2("CreateTags", &late).await.refused(400, "InvalidVolume.NotFound");
}

async fn a_launch_tags_what_it_makes(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let mut names = Vec::new();
    for (at, kind) in ["instance", "volume", "network-interface"].into_iter().enumerate() {
        let part = |rest: &str| format!("TagSpecification.{}.{rest}", at + 1);
        names.push((part("ResourceType"), kind));
        names.push((part("Tag.1.Key"), "kind"));
        names.push((part("Tag.1.Value"), kind));
    }
    let parameters: Vec<(&str, &str)> = names.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    alice.run(2, &parameters).await.ok();
    let told = alice.ec2("DescribeTags", &[]).await.ok();
    let mut kinds: Vec<(String, String)> =
        told.all("resourceType").into_iter().zip(told.all("value")).collect();
    kinds.sort();
    kinds.dedup_by(|a, b| a == b);
    assert_eq!(told.all("key").len(), 6);
    assert!(kinds.len() == 3 && kinds.iter().all(|(kind, value)| kind == value), "{kinds:?}");
    for wrong in ["vpc", "spot-instances-request"] {
        let wrong = [("TagSpecification.1.ResourceType", wrong), ("TagSpecification.1.Tag.1.Key", "k")];
        alice.run(1, &wrong).await.refused(400, "InvalidParameterValue");
    }
}

async fn tags_that_metadata_cannot_show_are_refused_where_it_shows_them(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 2).await;
    let alice = cloud.owner().await;
    let tagged = [
        ("TagSpecification.1.ResourceType", "instance"),
        ("TagSpecification.1.Tag.1.Key", "Patch Group"),
        ("TagSpecification.1.Tag.1.Value", "a"),
    ];
    let shown = ("MetadataOptions.InstanceMetadataTags", "enabled");
    let refused = alice.run(1, &[&tagged[..], &[shown]].concat()).await.refused(400, "InvalidParameterValue");
    assert!(refused.message().contains("Patch Group"), "{}", refused.text);
    let hidden = alice.run(1, &tagged).await.ok().one("instanceId");
    let open = alice.run(1, &[shown]).await.ok().one("instanceId");
    let show = [("InstanceId", hidden.as_str()), ("InstanceMetadataTags", "enabled")];
    alice.ec2("ModifyInstanceMetadataOptions", &show).await.refused(400, "InvalidParameterValue");
    let tag = async |key: &str| {
        let tag = [("ResourceId.1", open.as_str()), ("Tag.1.Key", key), ("Tag.1.Value", "v")];
        alice.ec2("CreateTags", &tag).await
    };
    for key in ["Patch Group", "a/b", "_index", ".."] {
        tag(key).await.refused(400, "InvalidParameterValue");
    }
    tag("Patch-Group").await.ok();
    alice.ec2("DeleteTags", &[("ResourceId.1", &hidden), ("Tag.1.Key", "Patch Group")]).await.ok();
    alice.ec2("ModifyInstanceMetadataOptions", &show).await.ok();
}

async fn an_account_tags_anothers_public_image_for_itself(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let admin = cloud.user("admin", "root", &["AdministratorAccess"]).await;
    let (alice, bob) = (cloud.owner().await, cloud.user("other", "bob", &["AdministratorAccess"]).await);
    let location = cloud.walrus.put(1, BlobFormat::Raw, 1 << 30);
    let register = [("Name", "everyones"), ("ImageLocation", location.as_str())];
    let image = admin.ec2("RegisterImage", &register).await.ok().one("imageId");
    for (client, value) in [(&admin, "root"), (&alice, "alice"), (&bob, "bob")] {
        tag(client, &image, "team", value).await;
        tag(client, &image, value, "").await;
    }
    let values = async |client: &Client| client.ec2("DescribeTags", &[]).await.ok().all("value");
    let seen_by_tag = async |client: &Client, value: &str| {
        let filter = [("Filter.1.Name", "tag:team"), ("Filter.1.Value.1", value)];
        let told = client.ec2("DescribeImages", &filter).await.ok();
        (told.all("imageId").len(), told.all("value"))
    };
    for (client, own, other) in [(&admin, "root", "alice"), (&alice, "alice", "bob"), (&bob, "bob", "root")] {
        assert_eq!(keys(client).await, [own, "team"]);
        assert_eq!(seen_by_tag(client, own).await, (1, vec![String::new(), own.to_owned()]));
        assert_eq!(seen_by_tag(client, other).await, (0, Vec::new()), "others' tags are not seen");
    }
    let named = [("ResourceId.1", image.as_str()), ("Tag.1.Key", "team")];
    alice.ec2("DeleteTags", &named).await.ok();
    alice.ec2("DeleteTags", &[("ResourceId.1", &image), ("Tag.1.Key", "root")]).await.ok();
    assert_eq!((values(&alice).await, values(&bob).await), (vec!["".into()], vec!["".into(), "bob".into()]));
    bob.ec2("DeleteTags", &[("ResourceId.1", &image)]).await.ok();
    assert!(keys(&bob).await.is_empty());
    assert_eq!(keys(&admin).await, ["root", "team"], "the owner's are as they were");

    admin.ec2("DeregisterImage", &[("ImageId", &image)]).await.ok();
    for client in [&admin, &alice] {
        assert!(keys(client).await.is_empty(), "everyone's tags go with the image");
    }
    alice.ec2("CreateTags", &named).await.refused(400, "InvalidAMIID.NotFound");
}

async fn a_policy_minds_the_callers_own_tags_of_anothers_image(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let (alice, bob) = (cloud.owner().await, cloud.user("other", "bob", &["AdministratorAccess"]).await);
    let policy = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": "ec2:RunInstances", "Resource": "arn:aws:ec2:*::image/*",
         "Condition": {"StringNotEquals": {"ec2:ResourceTag/approved": "yes"}}}]}"#;
    let tom = cloud.user("acme", "tom", &[policy]).await;
    tag(&bob, IMAGE, "approved", "yes").await;
    tom.run(1, &[]).await.refused(403, "UnauthorizedOperation");
    tag(&alice, IMAGE, "approved", "yes").await;
    tom.run(1, &[]).await.ok();
}
