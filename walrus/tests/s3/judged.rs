//! What policies are asked, and about which object: the version that is touched, everything that is asked for.

use crate::harness::{Answer, Server, User, server};
use karri_proto::checksum::{Algorithm, Hasher};

/// Lets Bob do something in Ann's bucket.
async fn let_bob(server: &Server, actions: &str, condition: &str) {
    let policy = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":{actions},"Condition":{condition},
        "Principal":{{"AWS":"arn:aws:iam::222222222222:root"}},
        "Resource":["arn:aws:s3:::b-1","arn:aws:s3:::b-1/*"]}}]}}"#
    );
    server.call("PUT", "/b-1?policy").body(policy.as_bytes()).expect(204).await;
}

async fn with_versions(server: &Server) -> (String, String) {
    server.bucket("b-1").await;
    server.keep_versions("b-1").await;
    let put = |body: &'static [u8]| async move {
        server.put("/b-1/k", body).await.header("x-amz-version-id").to_owned()
    };
    (put(b"one").await, put(b"two").await)
}

async fn copy(server: &Server, to: &str, version: &str) -> Answer {
    let source = format!("/b-1/k?versionId={version}");
    server.call("PUT", to).by(User::Bob).header("x-amz-copy-source", &source).send().await
}

#[tokio::test]
async fn the_version_that_is_judged_is_the_one_that_is_copied() {
    let server = server().await;
    let (one, two) = with_versions(&server).await;
    server.call("PUT", "/c-1").by(User::Bob).expect(200).await;
    let condition = format!(r#"{{"StringEquals":{{"s3:VersionId":"{one}"}}}}"#);
    let_bob(&server, r#"["s3:GetObjectVersion"]"#, &condition).await;
    assert_eq!(copy(&server, &format!("/c-1/k?versionId={one}"), &two).await.code(), "AccessDenied");
    assert_eq!(copy(&server, "/c-1/k", &two).await.code(), "AccessDenied");
    assert_eq!(copy(&server, "/c-1/k", &one).await.status, 200);
}

#[tokio::test]
async fn the_version_that_is_judged_is_the_one_that_is_deleted() {
    let server = server().await;
    let (one, two) = with_versions(&server).await;
    let condition = format!(r#"{{"StringEquals":{{"s3:VersionId":"{one}"}}}}"#);
    let_bob(&server, r#"["s3:DeleteObjectVersion"]"#, &condition).await;
    let delete = |version: &str| {
        let body = format!("<Delete><Object><Key>k</Key><VersionId>{version}</VersionId></Object></Delete>");
        let md5 = Hasher::digest(Algorithm::Md5, body.as_bytes()).to_base64();
        let call = server.call("POST", &format!("/b-1?delete&versionId={one}")).by(User::Bob);
        call.header("content-md5", &md5).body(body.as_bytes()).expect(200)
    };
    assert_eq!(delete(&two).await.code(), "AccessDenied");
    assert_eq!(delete(&one).await.code(), "");
}

#[tokio::test]
async fn who_may_list_only_elsewhere_learns_nothing_of_a_key_that_is_not_there() {
    let server = server().await;
    server.bucket("b-1").await;
    let condition = r#"{"StringEquals":{"s3:prefix":"public"}}"#;
    let_bob(&server, r#"["s3:ListBucket"]"#, condition).await;
    let get = |path: &'static str| server.call("GET", path).by(User::Bob).send();
    assert_eq!(get("/b-1/k?prefix=public").await.code(), "AccessDenied");
    assert_eq!(get("/b-1/public").await.code(), "NoSuchKey");
    assert_eq!(get("/b-1?prefix=public").await.status, 200);
}

#[tokio::test]
async fn making_a_bucket_is_judged_like_everything_else_and_for_all_that_is_asked() {
    let server = server().await;
    server.call("PUT", "/c-1").by(User::Cat).expect(200).await;
    for (name, value) in [
        ("x-amz-acl", "public-read"),
        ("x-amz-grant-read", "uri=\"http://acs.amazonaws.com/groups/global/AllUsers\""),
        ("x-amz-object-ownership", "ObjectWriter"),
        ("x-amz-bucket-object-lock-enabled", "true"),
    ] {
        let made = server.call("PUT", "/c-2").by(User::Cat).header(name, value).send().await;
        assert_eq!((made.status, &*made.code()), (403, "AccessDenied"), "{name}");
        assert_eq!(server.call("HEAD", "/c-2").send().await.status, 404, "{name}");
    }
    server.call("PUT", "/c-3").by(User::Cat).header("x-amz-acl", "private").expect(200).await;
}

#[tokio::test]
async fn tags_are_copied_by_who_may_read_them() {
    let server = server().await;
    server.bucket("b-1").await;
    server.call("PUT", "/b-1/k").header("x-amz-tagging", "secret=1").body(b"x").expect(200).await;
    server.call("PUT", "/c-1").by(User::Bob).expect(200).await;
    let copy = |directive: &'static str| {
        let copy = server.call("PUT", "/c-1/k").by(User::Bob).header("x-amz-copy-source", "/b-1/k");
        copy.header("x-amz-tagging-directive", directive).send()
    };
    let_bob(&server, r#"["s3:GetObject"]"#, "{}").await;
    assert_eq!(copy("COPY").await.code(), "AccessDenied");
    assert_eq!(copy("REPLACE").await.status, 200);
    let_bob(&server, r#"["s3:GetObject","s3:GetObjectTagging"]"#, "{}").await;
    assert_eq!(copy("COPY").await.status, 200);
    let head = server.call("HEAD", "/c-1/k").by(User::Bob).expect(200).await;
    assert_eq!(head.header("x-amz-tagging-count"), "1");
}
