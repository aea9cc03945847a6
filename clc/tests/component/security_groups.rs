//! Security groups as clients make, open, close and delete them.

use crate::support::groups::{OPEN, authorized, made};
use crate::support::{Answer, Client, Cloud, Database};
use karri_clc::config::Limits;

on_both! {
    a_group_is_made_by_name_opened_closed_and_deleted
    what_is_in_use_is_not_deleted
    instances_are_launched_into_groups_and_change_them
    groups_of_another_account_are_named_with_it
    a_rule_keeps_the_account_of_the_group_that_it_names
    groups_that_name_each_other_are_freed_by_their_rules
    classic_calls_need_no_vpc
    tags_and_filters_find_groups_and_rules
    names_take_the_same_permission_as_ids
    an_accounts_rules_go_with_it
}

async fn default_group(client: &Client) -> String {
    let named = [("GroupName.1", "default")];
    client.ec2("DescribeSecurityGroups", &named).await.ok().first("groupId").unwrap()
}

async fn a_group_is_made_by_name_opened_closed_and_deleted(cloud: Cloud) {
    let alice = cloud.owner().await;
    let group = made(&alice, "web").await;
    let told = alice.ec2("DescribeSecurityGroups", &[("GroupId.1", &group)]).await.ok();
    assert_eq!(
        (told.one("groupName"), told.one("groupDescription")),
        ("web".into(), "made by a test".into())
    );
    assert_eq!(
        (told.one("cidrIp"), told.one("ipProtocol")),
        ("0.0.0.0/0".into(), "-1".into()),
        "all may go out"
    );
    assert_eq!(told.one("vpcId"), alice.ec2("DescribeVpcs", &[]).await.ok().one("vpcId"));

    let again = [("GroupName", "web"), ("GroupDescription", "d")];
    let again = alice.ec2("CreateSecurityGroup", &again).await;
    let again = again.refused(400, "InvalidGroup.Duplicate");
    let expected = format!("The security group 'web' already exists for VPC '{}'", told.one("vpcId"));
    assert_eq!(again.one("Message"), expected);

    let opened =
        alice.ec2("AuthorizeSecurityGroupIngress", &[&[("GroupName", "web")], &OPEN[..]].concat()).await.ok();
    assert_eq!(opened.one("return"), "true");
    assert_eq!((opened.one("isEgress"), opened.one("cidrIpv4")), ("false".into(), "0.0.0.0/0".into()));
    assert_eq!((opened.one("fromPort"), opened.one("toPort")), ("22".into(), "22".into()));
    let closed =
        alice.ec2("RevokeSecurityGroupIngress", &[&[("GroupName", "web")], &OPEN[..]].concat()).await.ok();
    assert_eq!(closed.one("securityGroupRuleId"), opened.one("securityGroupRuleId"));
    let closed =
        alice.ec2("RevokeSecurityGroupIngress", &[&[("GroupName", "web")], &OPEN[..]].concat()).await;
    let closed = closed.refused(400, "InvalidPermission.NotFound");
    assert_eq!(closed.one("Message"), "The specified rule does not exist in this security group.");

    let gone = alice.ec2("DeleteSecurityGroup", &[("GroupName", "web")]).await.ok();
    assert_eq!((gone.one("return"), gone.one("groupId")), ("true".into(), group.clone()));
    alice.ec2("DeleteSecurityGroup", &[("GroupId", &group)]).await.refused(400, "InvalidGroup.NotFound");
    let of_group = [("Filter.1.Name", "group-id"), ("Filter.1.Value.1", group.as_str())];
    let rules = alice.ec2("DescribeSecurityGroupRules", &of_group).await.ok();
    assert!(rules.all("securityGroupRuleId").is_empty());
    made(&alice, "web").await;

    let default = default_group(&alice).await;
    let refused = alice.ec2("DeleteSecurityGroup", &[("GroupName", "default")]).await;
    let refused = refused.refused(400, "CannotDelete");
    let expected = format!(
        "the specified group: &quot;{default}&quot; name: &quot;default&quot; cannot be deleted by a user"
    );
    assert_eq!(refused.one("Message").replace('"', "&quot;"), expected);
}

async fn what_is_in_use_is_not_deleted(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let (used, naming) = (made(&alice, "used").await, made(&alice, "naming").await);
    // Its own rules are in nobody's way.
    for (group, peer) in [(&used, &used), (&naming, &used)] {
        authorized(&alice, group, ["-1", "", ""], ("Groups.1.GroupId", peer)).await.ok();
    }
    let refused = alice.ec2("DeleteSecurityGroup", &[("GroupId", &used)]).await;
    let refused = refused.refused(400, "DependencyViolation");
    assert_eq!(refused.one("Message"), format!("resource {used} has a dependent object"));
    alice.ec2("DeleteSecurityGroup", &[("GroupName", "used")]).await.refused(400, "InvalidGroup.InUse");
    let references = alice.ec2("DescribeSecurityGroupReferences", &[("GroupId.1", &used)]).await.ok();
    assert!(references.all("referencingVpcId").is_empty(), "its own VPC is none elsewhere");
    alice.ec2("DeleteSecurityGroup", &[("GroupId", &naming)]).await.ok();

    let id = alice.run(1, &[("SecurityGroup.1", "used")]).await.ok().one("instanceId");
    alice.wait_for(&id, "running").await;
    alice.ec2("DeleteSecurityGroup", &[("GroupId", &used)]).await.refused(400, "DependencyViolation");
    let refused = alice.ec2("DeleteSecurityGroup", &[("GroupName", "used")]).await;
    let refused = refused.refused(400, "InvalidGroup.InUse");
    assert_eq!(refused.one("Message"), "There are active instances using security group 'used'");
    alice.ec2("TerminateInstances", &[("InstanceId.1", &id)]).await.ok();
    alice.wait_for(&id, "terminated").await;
    alice.ec2("DeleteSecurityGroup", &[("GroupId", &used)]).await.ok();
    alice.run(1, &[("SecurityGroup.1", "used")]).await.refused(400, "InvalidGroup.NotFound");
    alice.run(1, &[("SecurityGroupId.1", &used)]).await.refused(400, "InvalidGroup.NotFound");
}

async fn instances_are_launched_into_groups_and_change_them(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 2).await;
    let alice = cloud.owner().await;
    let (web, db) = (made(&alice, "web").await, made(&alice, "db").await);
    let launched = alice.run(1, &[("SecurityGroup.1", "web"), ("SecurityGroupId.1", &db)]).await.ok();
    let id = launched.one("instanceId");
    alice.wait_for(&id, "running").await;
    let groups = async |action: &str| {
        let mut names = alice.ec2(action, &[]).await.ok().all("groupName");
        names.sort();
        names.dedup();
        names.retain(|name| !name.is_empty());
        names
    };
    assert_eq!(groups("DescribeInstances").await, ["db", "web"]);
    assert_eq!(groups("DescribeNetworkInterfaces").await, ["db", "web"]);
    let filter = [("Filter.1.Name", "instance.group-name"), ("Filter.1.Value.1", "web")];
    assert_eq!(alice.ec2("DescribeInstances", &filter).await.ok().one("instanceId"), id);

    let only = [("InstanceId", id.as_str()), ("GroupId.1", web.as_str())];
    alice.ec2("ModifyInstanceAttribute", &only).await.ok();
    assert_eq!(groups("DescribeInstances").await, ["web"]);
    // The node hears of it, for the guest's metadata.
    cluster.wait_for_intent(&id, |intent| intent.spec.ports[0].groups.len() == 1).await;
    let port = launched.first("networkInterfaceId").unwrap();
    let moved = [("NetworkInterfaceId", port.as_str()), ("SecurityGroupId.1", db.as_str())];
    alice.ec2("ModifyNetworkInterfaceAttribute", &moved).await.ok();
    assert_eq!(groups("DescribeNetworkInterfaces").await, ["db"]);
    cluster.wait_for_intent(&id, |intent| intent.spec.ports[0].groups[0].1 == "db").await;

    for (more, code) in [
        (vec![("SecurityGroupId.1", "sg-0123456789abcdef0")], "InvalidGroup.NotFound"),
        (vec![("SecurityGroupId.1", "nonsense")], "InvalidGroupId.Malformed"),
        (vec![], "InvalidParameterCombination"),
        (vec![moved[1], ("SourceDestCheck.Value", "true")], "InvalidParameterCombination"),
        (vec![("SourceDestCheck.Value", "false")], "UnsupportedOperation"),
        (vec![("AssociatePublicIpAddress", "true")], "UnsupportedOperation"),
    ] {
        let words = [&[moved[0]], &more[..]].concat();
        alice.ec2("ModifyNetworkInterfaceAttribute", &words).await.refused(400, code);
    }
    let bob = cloud.user("other", "bob", &["AdministratorAccess"]).await;
    let theirs = "InvalidNetworkInterfaceID.NotFound";
    bob.ec2("ModifyNetworkInterfaceAttribute", &moved).await.refused(400, theirs);
    let foreign = made(&bob, "theirs").await;
    let wrong = [("InstanceId", id.as_str()), ("GroupId.1", foreign.as_str())];
    alice.ec2("ModifyInstanceAttribute", &wrong).await.refused(400, "InvalidGroup.NotFound");
    alice.run(1, &[("SecurityGroupId.1", &foreign)]).await.refused(400, "InvalidGroup.NotFound");
}

async fn groups_of_another_account_are_named_with_it(cloud: Cloud) {
    let alice = cloud.owner().await;
    let bob = cloud.user("other", "bob", &["AdministratorAccess"]).await;
    let (hers, his) = (made(&alice, "hers").await, made(&bob, "his").await);
    authorized(&alice, &hers, ["tcp", "1", "1"], ("Groups.1.GroupId", &his))
        .await
        .refused(400, "InvalidGroup.NotFound");
    let words = [
        ("GroupId", hers.as_str()),
        ("IpPermissions.1.IpProtocol", "tcp"),
        ("IpPermissions.1.FromPort", "1"),
        ("IpPermissions.1.ToPort", "1"),
        ("IpPermissions.1.Groups.1.GroupId", his.as_str()),
        ("IpPermissions.1.Groups.1.UserId", bob.account.as_str()),
    ];
    let rule = alice.ec2("AuthorizeSecurityGroupIngress", &words).await.ok();
    assert_eq!(rule.one("userId"), bob.account);
    let shown = alice.ec2("DescribeSecurityGroups", &[("GroupId.1", &hers)]).await.ok();
    assert_eq!(shown.one("userId"), bob.account);
    bob.ec2("DeleteSecurityGroup", &[("GroupId", &his)]).await.refused(400, "DependencyViolation");
    let vpc = alice.ec2("DescribeVpcs", &[]).await.ok().one("vpcId");
    let references = bob.ec2("DescribeSecurityGroupReferences", &[("GroupId.1", &his)]).await.ok();
    assert_eq!(references.one("referencingVpcId"), vpc);
    // Hers is not his to see or to change.
    for action in ["AuthorizeSecurityGroupIngress", "RevokeSecurityGroupIngress"] {
        bob.ec2(action, &[&[("GroupId", hers.as_str())], &OPEN[..]].concat())
            .await
            .refused(400, "InvalidGroup.NotFound");
    }
    bob.ec2("DeleteSecurityGroup", &[("GroupId", &hers)]).await.refused(400, "InvalidGroup.NotFound");
    alice.ec2("RevokeSecurityGroupIngress", &words).await.ok();
    bob.ec2("DeleteSecurityGroup", &[("GroupId", &his)]).await.ok();
}

async fn a_rule_keeps_the_account_of_the_group_that_it_names(cloud: Cloud) {
    let alice = cloud.owner().await;
    let bob = cloud.user("other", "bob", &["AdministratorAccess"]).await;
    let (hers, own) = (made(&alice, "hers").await, made(&alice, "own").await);
    let (his, second) = (made(&bob, "his").await, made(&bob, "second").await);
    let words = [
        ("GroupId", hers.as_str()),
        ("IpPermissions.1.IpProtocol", "tcp"),
        ("IpPermissions.1.FromPort", "1"),
        ("IpPermissions.1.ToPort", "1"),
        ("IpPermissions.1.Groups.1.GroupId", his.as_str()),
        ("IpPermissions.1.Groups.1.UserId", bob.account.as_str()),
    ];
    let rule = alice.ec2("AuthorizeSecurityGroupIngress", &words).await.ok().one("securityGroupRuleId");
    let replace = async |port: &str, group: &str| {
        let words = [
            ("GroupId", hers.as_str()),
            ("SecurityGroupRule.1.SecurityGroupRuleId", rule.as_str()),
            ("SecurityGroupRule.1.SecurityGroupRule.IpProtocol", "tcp"),
            ("SecurityGroupRule.1.SecurityGroupRule.FromPort", port),
            ("SecurityGroupRule.1.SecurityGroupRule.ToPort", port),
            ("SecurityGroupRule.1.SecurityGroupRule.ReferencedGroupId", group),
            ("SecurityGroupRule.1.SecurityGroupRule.Description", "another port"),
        ];
        alice.ec2("ModifySecurityGroupRules", &words).await
    };
    let seen = async || {
        let told = alice.ec2("DescribeSecurityGroupRules", &[("SecurityGroupRuleId.1", &rule)]).await.ok();
        let peer = told.text.split_once("<referencedGroupInfo>").unwrap().1;
        let peer = peer.split_once("</referencedGroupInfo>").unwrap().0.to_owned();
        let peer = Answer { text: peer, ..told.clone() };
        (told.one("fromPort"), told.one("description"), peer.one("groupId"), peer.one("userId"))
    };
    replace("2", &his).await.ok();
    let changed = ("2".to_owned(), "another port".to_owned(), his.clone(), bob.account.clone());
    assert_eq!(seen().await, changed);
    // No word of the request says whose another one is.
    replace("3", &second).await.refused(400, "InvalidGroup.NotFound");
    assert_eq!(seen().await, changed);
    replace("3", &own).await.ok();
    assert_eq!(seen().await, ("3".to_owned(), "another port".to_owned(), own, alice.account.clone()));
    replace("3", &his).await.refused(400, "InvalidGroup.NotFound");
}

async fn groups_that_name_each_other_are_freed_by_their_rules(cloud: Cloud) {
    let alice = cloud.owner().await;
    let (one, other) = (made(&alice, "one").await, made(&alice, "other").await);
    let itself = made(&alice, "itself").await;
    for (group, peer) in [(&one, &other), (&other, &one), (&itself, &itself)] {
        authorized(&alice, group, ["tcp", "1", "1"], ("Groups.1.GroupId", peer)).await.ok();
    }
    for group in [&one, &other] {
        let refused = alice.ec2("DeleteSecurityGroup", &[("GroupId", group)]).await;
        let refused = refused.refused(400, "DependencyViolation");
        assert_eq!(refused.message(), format!("resource {group} has a dependent object"));
    }
    let revoke = [
        ("GroupId", other.as_str()),
        ("IpPermissions.1.IpProtocol", "tcp"),
        ("IpPermissions.1.FromPort", "1"),
        ("IpPermissions.1.ToPort", "1"),
        ("IpPermissions.1.Groups.1.GroupId", one.as_str()),
    ];
    alice.ec2("RevokeSecurityGroupIngress", &revoke).await.ok();
    alice.ec2("DeleteSecurityGroup", &[("GroupId", &other)]).await.refused(400, "DependencyViolation");
    for group in [one, other, itself] {
        alice.ec2("DeleteSecurityGroup", &[("GroupId", &group)]).await.ok();
    }
}

async fn classic_calls_need_no_vpc(cloud: Cloud) {
    let alice = cloud.owner().await;
    let old =
        async |action: &str, words: &[(&str, &str)]| alice.call("ec2", "2009-11-30", action, words).await;
    old("CreateSecurityGroup", &[("GroupName", "old"), ("GroupDescription", "as it was")]).await.ok();
    old("CreateSecurityGroup", &[("GroupName", "friends"), ("GroupDescription", "as it was")]).await.ok();
    old("AuthorizeSecurityGroupIngress", &[&[("GroupName", "old")], &OPEN[..]].concat()).await.ok();
    let friends = [
        ("GroupName", "old"),
        ("SourceSecurityGroupName", "friends"),
        ("SourceSecurityGroupOwnerId", alice.account.as_str()),
    ];
    old("AuthorizeSecurityGroupIngress", &friends).await.ok();
    let shown = old("DescribeSecurityGroups", &[("GroupName.1", "old")]).await.ok();
    let mut protocols = shown.all("ipProtocol");
    protocols.sort();
    assert_eq!(protocols, ["-1", "icmp", "tcp", "tcp", "udp"], "what a group let another through to");
    old("RevokeSecurityGroupIngress", &friends).await.ok();
    old("RevokeSecurityGroupIngress", &friends).await.refused(400, "InvalidPermission.NotFound");
    let nobody =
        [("GroupName", "old"), ("SourceSecurityGroupName", "default"), ("SourceSecurityGroupOwnerId", "1")];
    old("AuthorizeSecurityGroupIngress", &nobody).await.refused(400, "InvalidGroup.NotFound");
    old("DeleteSecurityGroup", &[("GroupName", "friends")]).await.ok();
    old("DeleteSecurityGroup", &[("GroupName", "friends")]).await.refused(400, "InvalidGroup.NotFound");
}

async fn tags_and_filters_find_groups_and_rules(cloud: Cloud) {
    let alice = cloud.owner().await;
    let tagged = [
        ("GroupName", "tagged"),
        ("GroupDescription", "found by its tag"),
        ("TagSpecification.1.ResourceType", "security-group"),
        ("TagSpecification.1.Tag.1.Key", "stage"),
        ("TagSpecification.1.Tag.1.Value", "test"),
    ];
    let group = alice.ec2("CreateSecurityGroup", &tagged).await.ok().one("groupId");
    let words = [
        ("GroupId", group.as_str()),
        ("IpPermissions.1.IpProtocol", "tcp"),
        ("IpPermissions.1.FromPort", "80"),
        ("IpPermissions.1.ToPort", "81"),
        ("IpPermissions.1.Ipv6Ranges.1.CidrIpv6", "2001:db8::/32"),
        ("TagSpecification.1.ResourceType", "security-group-rule"),
        ("TagSpecification.1.Tag.1.Key", "why"),
        ("TagSpecification.1.Tag.1.Value", "proof"),
    ];
    let rule = alice.ec2("AuthorizeSecurityGroupIngress", &words).await.ok();
    assert_eq!(rule.one("key"), "why");
    let rule = rule.one("securityGroupRuleId");
    for (name, value) in [
        ("tag:stage", "test"),
        ("description", "found by*"),
        ("ip-permission.ipv6-cidr", "2001:db8::/32"),
        ("ip-permission.from-port", "80"),
        ("ip-permission.to-port", "81"),
        ("ip-permission.protocol", "tcp"),
        ("group-name", "tag*"),
    ] {
        let filter = [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
        assert_eq!(
            alice.ec2("DescribeSecurityGroups", &filter).await.ok().all("groupId"),
            [group.as_str()],
            "{name}"
        );
    }
    let both = [("Filter.1.Name", "egress.ip-permission.protocol"), ("Filter.1.Value.1", "-1")];
    assert!(alice.ec2("DescribeSecurityGroups", &both).await.ok().all("groupName").len() >= 2);
    let filter = [("Filter.1.Name", "tag:why"), ("Filter.1.Value.1", "proof")];
    assert_eq!(alice.ec2("DescribeSecurityGroupRules", &filter).await.ok().one("securityGroupRuleId"), rule);
    let wrong = [("TagSpecification.1.ResourceType", "instance"), words[6], words[7]];
    let wrong = [&words[..5], &wrong[..]].concat();
    alice.ec2("AuthorizeSecurityGroupIngress", &wrong).await.refused(400, "InvalidParameterValue");
    // They go with what they are on.
    alice.ec2("DeleteSecurityGroup", &[("GroupId", &group)]).await.ok();
    assert!(alice.ec2("DescribeTags", &[]).await.ok().all("resourceId").is_empty());
}

async fn names_take_the_same_permission_as_ids(cloud: Cloud) {
    let alice = cloud.owner().await;
    let (mine, other) = (made(&alice, "mine").await, made(&alice, "other").await);
    let policy = format!(
        r#"{{"Statement": [{{"Effect": "Allow", "Action": "ec2:AuthorizeSecurityGroupIngress",
            "Resource": "arn:aws:ec2:*:*:security-group/{mine}"}}]}}"#
    );
    let eve = cloud.user("acme", "eve", &[&policy]).await;
    for (name, value, granted) in [
        ("GroupId", mine.as_str(), true),
        ("GroupName", "mine", true),
        ("GroupId", &other, false),
        ("GroupName", "other", false),
    ] {
        let port = value.len().to_string();
        let words = [(name, value), OPEN[0], ("FromPort", &port), ("ToPort", &port), OPEN[3]];
        let answer = eve.ec2("AuthorizeSecurityGroupIngress", &words).await;
        match granted {
            true => drop(answer.ok()),
            false => drop(answer.refused(403, "UnauthorizedOperation")),
        }
    }
}

async fn an_accounts_rules_go_with_it(cloud: Cloud) {
    let alice = cloud.owner().await;
    let bob = cloud.user("other", "bob", &["AdministratorAccess"]).await;
    let _root = cloud.user("admin", "root", &["AdministratorAccess"]).await;
    let (hers, his) = (made(&alice, "hers").await, made(&bob, "his").await);
    let words = [
        ("GroupId", hers.as_str()),
        ("IpPermissions.1.IpProtocol", "-1"),
        ("IpPermissions.1.Groups.1.GroupId", his.as_str()),
        ("IpPermissions.1.Groups.1.UserId", bob.account.as_str()),
    ];
    alice.ec2("AuthorizeSecurityGroupIngress", &words).await.ok();
    let (admin, caller) = cloud.admin();
    karri_proto::internal::admin::AdminService::account_delete(&admin, &caller, "other", false)
        .await
        .unwrap();
    let store = cloud.store().await;
    assert!(store.rules_of_account(&bob.account).await.unwrap().is_empty());
    let left = store.rules_of_account(&alice.account).await.unwrap();
    assert!(left.iter().all(|rule| rule.peer_account.as_deref() != Some(bob.account.as_str())), "{left:?}");
    store.close().await;
}

async fn limits_hold(engine: Database) {
    let limits = Limits {
        security_groups_per_vpc: 3,
        rules_per_security_group: 3,
        security_groups_per_interface: 2,
        ..Limits::default()
    };
    let cloud = Cloud::start_with(engine, limits).await;
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let (a, b) = (made(&alice, "a").await, made(&alice, "b").await);
    let third = [("GroupName", "c"), ("GroupDescription", "d")];
    alice.ec2("CreateSecurityGroup", &third).await.refused(400, "SecurityGroupLimitExceeded");

    // IPv4 and IPv6 are counted by themselves, a group counts for both.
    authorized(&alice, &a, ["-1", "", ""], ("Groups.1.GroupId", &b)).await.ok();
    for cidr in ["10.0.0.0/8", "11.0.0.0/8"] {
        authorized(&alice, &a, ["-1", "", ""], ("IpRanges.1.CidrIp", cidr)).await.ok();
    }
    let over = authorized(&alice, &a, ["-1", "", ""], ("IpRanges.1.CidrIp", "12.0.0.0/8")).await;
    let over = over.refused(400, "RulesPerSecurityGroupLimitExceeded");
    assert_eq!(over.one("Message"), "The maximum number of rules per security group has been reached.");
    for cidr in ["2001::/16", "2002::/16"] {
        authorized(&alice, &a, ["-1", "", ""], ("Ipv6Ranges.1.CidrIpv6", cidr)).await.ok();
    }
    let over = authorized(&alice, &a, ["-1", "", ""], ("Ipv6Ranges.1.CidrIpv6", "2003::/16")).await;
    over.refused(400, "RulesPerSecurityGroupLimitExceeded");

    let default = default_group(&alice).await;
    let three =
        [("SecurityGroupId.1", a.as_str()), ("SecurityGroupId.2", &b), ("SecurityGroupId.3", &default)];
    let code = "SecurityGroupsPerInterfaceLimitExceeded";
    alice.run(1, &three).await.refused(400, code);
    let launched = alice.run(1, &three[..2]).await.ok();
    let id = launched.one("instanceId");
    alice.wait_for(&id, "running").await;
    let more = [("InstanceId", id.as_str()), ("GroupId.1", &a), ("GroupId.2", &b), ("GroupId.3", &default)];
    alice.ec2("ModifyInstanceAttribute", &more).await.refused(400, code);
    let port = launched.first("networkInterfaceId").unwrap();
    let more = [&[("NetworkInterfaceId", port.as_str())], &three[..]].concat();
    alice.ec2("ModifyNetworkInterfaceAttribute", &more).await.refused(400, code);
}

mod limits_hold {
    use crate::support::Database;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_sqlite() {
        super::limits_hold(Database::Sqlite).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_postgres() {
        super::limits_hold(Database::Postgres).await;
    }
}
