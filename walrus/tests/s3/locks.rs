//! Object lock over HTTP: what is retained or held stays, whoever deletes it, for as long as was said.

use crate::harness::{Answer, Server, User, server};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

/// With a bucket that locks, and the version of an object in it.
async fn with_version() -> (Server, String) {
    let server = server().await;
    server.call("PUT", "/b-1").header("x-amz-bucket-object-lock-enabled", "true").expect(200).await;
    let version = server.put("/b-1/k", b"hello").await.header("x-amz-version-id").to_owned();
    (server, version)
}

fn in_days(days: i64) -> String {
    let at = OffsetDateTime::now_utc() + Duration::days(days);
    at.replace_nanosecond(0).unwrap().format(&Rfc3339).unwrap()
}

fn retention(mode: &str, until: &str) -> Vec<u8> {
    format!("<Retention><Mode>{mode}</Mode><RetainUntilDate>{until}</RetainUntilDate></Retention>")
        .into_bytes()
}

async fn retain(server: &Server, mode: &str, until: &str, bypass: bool) -> Answer {
    let call = server.call("PUT", "/b-1/k?retention").body(&retention(mode, until));
    let call = if bypass { call.header("x-amz-bypass-governance-retention", "true") } else { call };
    call.send().await
}

async fn delete(server: &Server, version: &str, bypass: bool) -> Answer {
    let call = server.call("DELETE", &format!("/b-1/k?versionId={version}"));
    let call = if bypass { call.header("x-amz-bypass-governance-retention", "true") } else { call };
    call.send().await
}

#[tokio::test]
async fn governance_is_passed_over_by_who_says_so_and_compliance_by_nobody() {
    let (server, version) = with_version().await;
    assert_eq!(server.get("/b-1/k?retention").await.code(), "NoSuchObjectLockConfiguration");
    assert_eq!(retain(&server, "GOVERNANCE", &in_days(2), false).await.status, 200);
    let told = server.get("/b-1/k?retention").await;
    assert_eq!(told.element("Mode"), "GOVERNANCE");
    let head = server.call("HEAD", "/b-1/k").expect(200).await;
    assert_eq!(head.header("x-amz-object-lock-mode"), "GOVERNANCE");
    assert!(!head.header("x-amz-object-lock-retain-until-date").is_empty());
    assert_eq!(delete(&server, &version, false).await.code(), "AccessDenied");
    assert_eq!(
        retain(&server, "GOVERNANCE", &in_days(1), false).await.code(),
        "AccessDenied",
        "it may not shrink"
    );
    assert_eq!(retain(&server, "GOVERNANCE", &in_days(1), true).await.status, 200);
    assert_eq!(retain(&server, "COMPLIANCE", &in_days(1), true).await.status, 200);
    assert_eq!(delete(&server, &version, true).await.code(), "AccessDenied");
    assert_eq!(retain(&server, "GOVERNANCE", &in_days(9), true).await.code(), "AccessDenied");
    // Hiding it is no deletion.
    assert_eq!(server.call("DELETE", "/b-1/k").expect(204).await.header("x-amz-delete-marker"), "true");
    assert_eq!(server.get(&format!("/b-1/k?versionId={version}")).await.text(), "hello");

    let version = server.put("/b-1/k", b"other").await.header("x-amz-version-id").to_owned();
    assert_eq!(retain(&server, "GOVERNANCE", &in_days(1), false).await.status, 200);
    assert_eq!(delete(&server, &version, true).await.status, 204);
}

#[tokio::test]
async fn a_legal_hold_holds_until_it_is_taken_off() {
    let (server, version) = with_version().await;
    let hold = |status: &str| {
        let document = format!("<LegalHold><Status>{status}</Status></LegalHold>");
        server.call("PUT", "/b-1/k?legal-hold").body(document.as_bytes())
    };
    assert_eq!(server.get("/b-1/k?legal-hold").await.element("Status"), "OFF");
    hold("ON").expect(200).await;
    assert_eq!(server.get("/b-1/k?legal-hold").await.element("Status"), "ON");
    assert_eq!(server.call("HEAD", "/b-1/k").expect(200).await.header("x-amz-object-lock-legal-hold"), "ON");
    assert_eq!(delete(&server, &version, true).await.code(), "AccessDenied");
    let delete_it = format!("<Delete><Object><Key>k</Key><VersionId>{version}</VersionId></Object></Delete>");
    let md5 =
        karri_proto::checksum::Hasher::digest(karri_proto::checksum::Algorithm::Md5, delete_it.as_bytes());
    let many =
        server.call("POST", "/b-1?delete").header("content-md5", &md5.to_base64()).body(delete_it.as_bytes());
    let many = many.expect(200).await;
    assert_eq!((many.code().as_str(), many.text().contains("<Deleted>")), ("AccessDenied", false));
    assert_eq!(hold("MAYBE").send().await.code(), "MalformedXML");
    hold("OFF").expect(200).await;
    assert_eq!(delete(&server, &version, false).await.status, 204);
}

#[tokio::test]
async fn a_bucket_has_a_default_and_keeps_its_versions() {
    let (server, _) = with_version().await;
    let configured = server.get("/b-1?object-lock").await;
    assert_eq!(configured.element("ObjectLockEnabled"), "Enabled");
    let rule = |period: &str| {
        let document = format!(
            "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>\
             <Mode>GOVERNANCE</Mode>{period}</DefaultRetention></Rule></ObjectLockConfiguration>"
        );
        server.call("PUT", "/b-1?object-lock").body(document.as_bytes())
    };
    for (period, code) in [
        ("<Days>0</Days>", "InvalidRetentionPeriod"),
        ("<Days>40000</Days>", "InvalidRetentionPeriod"),
        ("<Days>1</Days><Years>1</Years>", "MalformedXML"),
        ("", "MalformedXML"),
    ] {
        assert_eq!(rule(period).send().await.code(), code, "{period}");
    }
    rule("<Days>3</Days>").expect(200).await;
    assert_eq!(server.get("/b-1?object-lock").await.element("Days"), "3");
    server.put("/b-1/l", b"x").await;
    let head = server.call("HEAD", "/b-1/l").expect(200).await;
    assert_eq!(head.header("x-amz-object-lock-mode"), "GOVERNANCE");
    assert!(head.header("x-amz-object-lock-retain-until-date") > in_days(2).as_str());
    let suspended = b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";
    assert_eq!(
        server.call("PUT", "/b-1?versioning").body(suspended).send().await.code(),
        "InvalidBucketState"
    );
}

#[tokio::test]
async fn where_nothing_locks_nothing_is_locked_and_who_may_not_does_not() {
    let server = server().await;
    server.bucket("b-1").await;
    server.put("/b-1/k", b"x").await;
    assert_eq!(retain(&server, "GOVERNANCE", &in_days(1), false).await.code(), "InvalidRequest");
    assert_eq!(server.get("/b-1/k?legal-hold").await.code(), "InvalidRequest");
    let (server, _) = with_version().await;
    assert_eq!(retain(&server, "GOVERNANCE", &in_days(-1), false).await.code(), "InvalidArgument");
    assert_eq!(retain(&server, "SOMETIMES", &in_days(1), false).await.code(), "MalformedXML");
    let bob =
        server.call("PUT", "/b-1/k?retention").by(User::Bob).body(&retention("GOVERNANCE", &in_days(1)));
    assert_eq!(bob.send().await.code(), "AccessDenied");
}
