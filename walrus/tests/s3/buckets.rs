//! Buckets and their settings.

use crate::harness::{REGION, User, server, server_with};
use karri_walrus::api::s3::S3Options;

#[tokio::test]
async fn a_bucket_has_one_owner_and_goes_when_it_is_empty() {
    let server = server().await;
    server.bucket("b-1").await;
    assert_eq!(server.call("PUT", "/b-1").send().await.code(), "BucketAlreadyOwnedByYou");
    assert_eq!(server.call("PUT", "/b-1").by(User::Bob).send().await.code(), "BucketAlreadyExists");
    assert_eq!(server.call("PUT", "/B_1").send().await.code(), "InvalidBucketName");
    assert_eq!(server.call("HEAD", "/b-1").expect(200).await.header("x-amz-bucket-region"), "karri-1");
    server.call("HEAD", "/b-2").expect(404).await;
    assert!(server.get("/").await.text().contains("<Name>b-1</Name>"));
    assert!(!server.call("GET", "/").by(User::Bob).expect(200).await.text().contains("b-1"));
    server.put("/b-1/k", b"").await;
    assert_eq!(server.call("DELETE", "/b-1").send().await.code(), "BucketNotEmpty");
    server.call("DELETE", "/b-1/k").expect(204).await;
    server.call("POST", "/b-1/k?uploads").expect(200).await;
    server.call("DELETE", "/b-1").expect(204).await;
    assert_eq!(server.get("/b-1").await.code(), "NoSuchBucket");
}

#[tokio::test]
async fn a_bucket_is_made_in_the_stores_region_only_whatever_that_was_called() {
    let constraint = |region: &str| {
        let name = format!("<LocationConstraint>{region}</LocationConstraint>");
        format!("<CreateBucketConfiguration>{name}</CreateBucketConfiguration>").into_bytes()
    };
    let elsewhere = server().await;
    let refused = elsewhere.call("PUT", "/b-1").body(&constraint("EU")).send().await;
    assert_eq!((refused.status, &*refused.code()), (400, "IllegalLocationConstraintException"));
    let regions = vec![REGION.to_owned()];
    let options = S3Options { region: "eu-west-1".into(), regions, ..S3Options::default() };
    let server = server_with(options).await;
    for (bucket, region) in [("/b-1", "EU"), ("/b-2", "eu-west-1")] {
        server.call("PUT", bucket).body(&constraint(region)).expect(200).await;
        let location = server.get(&format!("{bucket}?location")).await.text();
        assert!(location.contains(">eu-west-1<"), "{location}");
    }
    let refused = server.call("PUT", "/b-3").body(&constraint("eu-west-2")).send().await;
    assert_eq!(refused.code(), "IllegalLocationConstraintException");
}

#[tokio::test]
async fn what_is_not_set_has_a_code_of_its_own() {
    let server = server().await;
    server.bucket("b-1").await;
    for (setting, code) in [
        ("policy", "NoSuchBucketPolicy"),
        ("policyStatus", "NoSuchBucketPolicy"),
        ("tagging", "NoSuchTagSet"),
        ("cors", "NoSuchCORSConfiguration"),
        ("lifecycle", "NoSuchLifecycleConfiguration"),
        ("website", "NoSuchWebsiteConfiguration"),
        ("encryption", "ServerSideEncryptionConfigurationNotFoundError"),
        ("replication", "ReplicationConfigurationNotFoundError"),
        ("object-lock", "ObjectLockConfigurationNotFoundError"),
    ] {
        let answer = server.get(&format!("/b-1?{setting}")).await;
        assert_eq!((answer.status, &*answer.code()), (404, code), "{setting}");
    }
    for setting in
        ["versioning", "logging", "notification", "requestPayment", "accelerate", "acl", "location"]
    {
        assert_eq!(server.get(&format!("/b-1?{setting}")).await.status, 200, "{setting}");
    }
    let block = server.get("/b-1?publicAccessBlock").await;
    assert_eq!(block.element("BlockPublicAcls"), "true");
    assert_eq!(server.get("/b-1?ownershipControls").await.element("ObjectOwnership"), "BucketOwnerEnforced");
}

#[tokio::test]
async fn a_policy_names_accounts_and_users_that_are_there() {
    let server = server().await;
    server.bucket("b-1").await;
    let put = async |principal: &str| {
        let policy = format!(
            r#"{{"Version": "2012-10-17", "Statement": {{"Effect": "Allow", "Action": "s3:GetObject",
                "Principal": {{"AWS": "{principal}"}}, "Resource": "arn:aws:s3:::b-1/*"}}}}"#
        );
        server.call("PUT", "/b-1?policy").body(policy.as_bytes()).send().await
    };
    for there in ["222222222222", "arn:aws:iam::222222222222:root", "arn:aws:iam::222222222222:user/bob"] {
        assert_eq!(put(there).await.status, 204, "{there}");
    }
    for absent in [
        "333333333333",
        "arn:aws:iam::333333333333:root",
        "arn:aws:iam::222222222222:user/ann",
        "arn:aws:iam::222222222222:user/b*",
        "arn:aws:iam::222222222222:user/",
    ] {
        let answer = put(absent).await;
        assert_eq!((answer.status, &*answer.code()), (400, "MalformedPolicy"), "{absent}");
        assert_eq!(answer.element("Message"), "Invalid principal in policy", "{absent}");
    }
    assert!(server.get("/b-1?policy").await.text().contains("user/bob"), "what was refused changed nothing");
}

#[tokio::test]
async fn settings_are_told_as_they_were_set() {
    let server = server().await;
    server.bucket("b-1").await;
    for (setting, document, element, value) in [
        (
            "tagging",
            "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>",
            "Value",
            "b",
        ),
        (
            "cors",
            "<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin>\
             </CORSRule></CORSConfiguration>",
            "AllowedOrigin",
            "*",
        ),
        (
            "lifecycle",
            "<LifecycleConfiguration><Rule><Filter><Prefix>x</Prefix></Filter><Status>Enabled</Status>\
             <Expiration><Days>3</Days></Expiration></Rule></LifecycleConfiguration>",
            "Days",
            "3",
        ),
        (
            "versioning",
            "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
            "Status",
            "Enabled",
        ),
        (
            "encryption",
            "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256\
             </SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>",
            "SSEAlgorithm",
            "AES256",
        ),
    ] {
        let path = format!("/b-1?{setting}");
        let put = server.call("PUT", &path).body(document.as_bytes()).send().await;
        assert!(put.status < 300, "{setting}: {}", put.text());
        assert_eq!(server.get(&path).await.element(element), value, "{setting}");
    }
}

#[tokio::test]
async fn old_versions_are_kept_and_deletes_leave_a_mark() {
    let server = server().await;
    server.bucket("b-1").await;
    server.keep_versions("b-1").await;
    let first = server.put("/b-1/k", b"1").await.header("x-amz-version-id").to_owned();
    server.put("/b-1/k", b"2").await;
    assert_eq!(server.get(&format!("/b-1/k?versionId={first}")).await.text(), "1");
    let marker = server.call("DELETE", "/b-1/k").expect(204).await;
    assert_eq!(marker.header("x-amz-delete-marker"), "true");
    let gone = server.get("/b-1/k").await;
    assert_eq!((gone.status, gone.header("x-amz-delete-marker")), (404, "true"));
    let marker = marker.header("x-amz-version-id");
    assert_eq!(server.get(&format!("/b-1/k?versionId={marker}")).await.code(), "MethodNotAllowed");
    server.call("DELETE", &format!("/b-1/k?versionId={marker}")).expect(204).await;
    assert_eq!(server.get("/b-1/k").await.text(), "2");
    assert_eq!(server.get("/b-1?versions").await.text().matches("<Version>").count(), 2);
}
