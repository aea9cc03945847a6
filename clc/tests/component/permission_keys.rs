//! What policies are told of a request besides its names: where it comes from, when, and what is touched.

use crate::support::{Client, Cloud, REGION};
use karri_proto::internal::admin::{AdminService, NewPolicy, NewUser};
use karri_proto::internal::error::ApiErrorKind;

on_both! {
    a_policy_with_a_key_that_no_request_has_is_refused
    a_request_tells_where_and_when_it_was_made
    what_is_touched_tells_its_type_and_tags
    an_administrators_policy_about_its_own_account_is_about_no_other
}

/// A user who may do everything but what a Deny under that condition takes away.
async fn but(cloud: &Cloud, name: &str, actions: &str, condition: &str) -> Client {
    let policy = format!(
        r#"{{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow", "Action": "*", "Resource": "*"}},
            {{"Effect": "Deny", "Action": "{actions}", "Resource": "*", "Condition": {{{condition}}}}}]}}"#
    );
    cloud.user("acme", name, &[&policy]).await
}

async fn a_policy_with_a_key_that_no_request_has_is_refused(cloud: Cloud) {
    let _owner = cloud.owner().await;
    let (admin, caller) = cloud.admin();
    let give = async |resource: &str, key: &str| {
        let policy = format!(
            r#"{{"Version": "2012-10-17", "Statement": {{"Effect": "Deny", "Action": "*", "Resource": "{resource}",
                "Condition": {{"StringEquals": {{"{key}": "x"}}}}}}}}"#
        );
        let policies = vec![NewPolicy::from(policy.as_str())];
        let new = NewUser { account: "acme".into(), name: "ann".into(), policies };
        admin.user_create(&caller, new).await.unwrap_err()
    };
    let tenancy = give("*", "ec2:Tenancy").await;
    assert_eq!(tenancy.kind, ApiErrorKind::Invalid);
    assert!(tenancy.message.contains("ec2:Tenancy"), "{tenancy}");
    let variable = give("arn:aws:ec2:*:*:instance/${aws:usrname}", "aws:SourceIp").await;
    assert!(variable.message.contains("${aws:usrname}"), "{variable}");
}

async fn a_request_tells_where_and_when_it_was_made(cloud: Cloud) {
    let region =
        format!(r#""StringEquals": {{"aws:RequestedRegion": "{REGION}", "ec2:Region": "{REGION}"}}"#);
    let checks = [
        ("ip", r#""IpAddress": {"aws:SourceIp": "127.0.0.0/8"}"#, true),
        ("away", r#""NotIpAddress": {"aws:SourceIp": "127.0.0.0/8"}"#, false),
        ("tls", r#""Bool": {"aws:SecureTransport": "false"}"#, true),
        ("past", r#""DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}"#, true),
        ("epoch", r#""NumericLessThan": {"aws:EpochTime": "1577836800"}"#, false),
        ("region", &region, true),
        ("mfa", r#""Bool": {"aws:MultiFactorAuthPresent": "false"}"#, false),
    ];
    for (name, condition, denied) in checks {
        let user = but(&cloud, name, "ec2:DescribeInstances", condition).await;
        let answer = user.ec2("DescribeInstances", &[]).await;
        assert_eq!(answer.status, if denied { 403 } else { 200 }, "{name} {}", answer.text);
    }
}

async fn what_is_touched_tells_its_type_and_tags(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 2).await;
    let alice = cloud.owner().await;
    let small = but(&cloud, "sam", "ec2:*", r#""StringEquals": {"ec2:InstanceType": "t3.small"}"#).await;
    small.run(1, &[("InstanceType", "t3.small")]).await.refused(403, "UnauthorizedOperation");
    small.run(1, &[("InstanceType", "t3.micro")]).await.ok();
    let id = alice.run(1, &[("InstanceType", "t3.small")]).await.ok().one("instanceId");
    alice.wait_for(&id, "running").await;
    let named = [("InstanceId.1", id.as_str())];
    small.ec2("StopInstances", &named).await.refused(403, "UnauthorizedOperation");

    let keeper = but(&cloud, "kim", "ec2:*", r#""StringEquals": {"ec2:ResourceTag/stage": "prod"}"#).await;
    let other = but(&cloud, "oda", "ec2:*", r#""Null": {"aws:ResourceTag/stage": "false"}"#).await;
    keeper.ec2("RebootInstances", &named).await.ok();
    alice.ec2("CreateKeyPair", &[("KeyName", "k"), ("KeyType", "ed25519")]).await.ok();
    let pair = alice.ec2("DescribeKeyPairs", &[]).await.ok().one("keyPairId");
    let group = alice.ec2("DescribeSecurityGroups", &[]).await.ok().first("groupId").unwrap();
    for resource in [&id, &pair, &group] {
        let tag = [("ResourceId.1", resource.as_str()), ("Tag.1.Key", "stage"), ("Tag.1.Value", "prod")];
        alice.ec2("CreateTags", &tag).await.ok();
    }
    for user in [&keeper, &other] {
        user.ec2("RebootInstances", &named).await.refused(403, "UnauthorizedOperation");
        user.ec2("DeleteKeyPair", &[("KeyName", "k")]).await.refused(403, "UnauthorizedOperation");
        user.ec2("DeleteKeyPair", &[("KeyPairId", &pair)]).await.refused(403, "UnauthorizedOperation");
        let untag = [("ResourceId.1", group.as_str()), ("Tag.1.Key", "stage")];
        user.ec2("DeleteTags", &untag).await.refused(403, "UnauthorizedOperation");
    }
    alice.ec2("RebootInstances", &named).await.ok();
}

async fn an_administrators_policy_about_its_own_account_is_about_no_other(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let tenant = cloud.owner().await;
    let root = cloud.user("admin", "root", &["AdministratorAccess"]).await;
    let own = format!(
        r#"{{"Version": "2012-10-17", "Statement": {{"Effect": "Allow", "Action": "ec2:*",
            "Resource": "arn:aws:ec2:*:{}:*"}}}}"#,
        root.account
    );
    let limited = cloud.user("admin", "lim", &[&own]).await;
    let theirs = tenant.run(1, &[]).await.ok().one("instanceId");
    let ours = root.run(1, &[]).await.ok().one("instanceId");
    tenant.wait_for(&theirs, "running").await;
    root.wait_for(&ours, "running").await;
    for action in ["RebootInstances", "StopInstances", "TerminateInstances"] {
        let refused = limited.ec2(action, &[("InstanceId.1", &theirs)]).await;
        let refused = refused.refused(403, "UnauthorizedOperation");
        assert!(refused.message().contains(&format!(":{}:instance/", tenant.account)), "{}", refused.text);
    }
    let group = tenant.ec2("DescribeSecurityGroups", &[]).await.ok().first("groupId").unwrap();
    let volume = theirs.replacen("i-", "vol-", 1);
    for resource in [&theirs, &group, &volume] {
        let tag = [("ResourceId.1", resource.as_str()), ("Tag.1.Key", "k"), ("Tag.1.Value", "v")];
        limited.ec2("CreateTags", &tag).await.refused(403, "UnauthorizedOperation");
        root.ec2("CreateTags", &tag).await.ok();
    }
    limited.ec2("RebootInstances", &[("InstanceId.1", &ours)]).await.ok();
    root.ec2("TerminateInstances", &[("InstanceId.1", &theirs)]).await.ok();
}
