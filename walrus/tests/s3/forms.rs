//! Uploads from a page's form, by a policy that somebody has signed, in Version 4 and 2, or by nobody.

use crate::harness::{Answer, Server, User, open_server, server};
use crate::pen::{KEY, Pen, SECRET, encoded, version_2};

const SOON: &str = "2099-01-01T00:00:00Z";

fn part(name: &str, rest: &str, value: &str) -> String {
    format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"{rest}\r\n\r\n{value}\r\n")
}

async fn post(server: &Server, fields: &[(&str, &str)], file: &str) -> Answer {
    let mut body: String = fields.iter().map(|(name, value)| part(name, "", value)).collect();
    body += &part("file", "; filename=\"C:\\photos\\me.jpg\"", file);
    body += "--edge--\r\n";
    let call = server.call("POST", "/b-1").by(User::Nobody);
    call.header("content-type", "multipart/form-data; boundary=edge").body(body.as_bytes()).send().await
}

/// The fields of a policy of Version 4 with these conditions.
fn signed(conditions: &str) -> Vec<(&'static str, String)> {
    let pen = Pen::now();
    let credential = format!("{KEY}/{}", pen.scope);
    let document = format!(
        r#"{{"expiration": "{SOON}", "conditions": [{{"bucket": "b-1"}}, {{"x-amz-algorithm": "AWS4-HMAC-SHA256"}},
            {{"x-amz-credential": "{credential}"}}, {{"x-amz-date": "{}"}}, {conditions}]}}"#,
        pen.stamp
    );
    let policy = encoded(document);
    let signature = pen.sign(&policy);
    vec![
        ("x-amz-algorithm", "AWS4-HMAC-SHA256".to_owned()),
        ("x-amz-credential", credential),
        ("x-amz-date", pen.stamp),
        ("policy", policy),
        ("x-amz-signature", signature),
    ]
}

fn with<'a>(fields: &'a [(&'static str, String)], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut all: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    all.extend_from_slice(more);
    all
}

async fn with_bucket() -> Server {
    let server = server().await;
    server.bucket("b-1").await;
    server
}

#[tokio::test]
async fn a_form_becomes_an_object_with_all_that_its_fields_say() {
    let server = with_bucket().await;
    let conditions = r#"["starts-with", "$key", "up/"], ["eq", "$x-amz-meta-colour", "red"], ["starts-with", "$tagging", ""],
        ["starts-with", "$content-type", "image/"]"#;
    let tags = "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>";
    let fields = signed(conditions);
    let fields = with(
        &fields,
        &[
            ("key", "up/${filename}"),
            ("x-amz-meta-colour", "red"),
            ("tagging", tags),
            ("Content-Type", "image/jpeg"),
        ],
    );
    let posted = post(&server, &fields, "picture").await;
    assert_eq!((posted.status, posted.body.len()), (204, 0), "{}", posted.text());
    assert!(posted.header("location").ends_with("up%2Fme%2Ejpg"), "{}", posted.header("location"));
    let got = server.get("/b-1/up/me.jpg").await;
    assert_eq!((&*got.text(), got.header("content-type")), ("picture", "image/jpeg"));
    assert_eq!((got.header("x-amz-meta-colour"), got.header("x-amz-tagging-count")), ("red", "1"));
    assert_eq!(posted.header("etag"), got.header("etag"));
}

#[tokio::test]
async fn a_form_says_how_it_is_answered() {
    let server = with_bucket().await;
    for (status, code) in [("200", 200), ("201", 201), ("204", 204), ("999", 204)] {
        let fields = signed(r#"{"key": "k"}, ["starts-with", "$success_action_status", ""]"#);
        let fields = with(&fields, &[("key", "k"), ("success_action_status", status)]);
        let posted = post(&server, &fields, "x").await;
        assert_eq!(posted.status, code, "{}", posted.text());
        if code == 201 {
            assert_eq!((&*posted.element("Bucket"), &*posted.element("Key")), ("b-1", "k"));
            assert_eq!(posted.header("content-type"), "application/xml");
        }
    }
    let fields =
        signed(r#"{"key": "k"}, ["starts-with", "$success_action_redirect", "http://example.com/"]"#);
    let fields = with(&fields, &[("key", "k"), ("success_action_redirect", "http://example.com/done?a=b")]);
    let posted = post(&server, &fields, "x").await;
    let location = posted.header("location");
    assert_eq!(posted.status, 303);
    assert!(location.starts_with("http://example.com/done?a=b&bucket=b%2D1&key=k&etag=%22"), "{location}");
}

#[tokio::test]
async fn what_the_policy_does_not_allow_is_not_kept() {
    let server = with_bucket().await;
    let fields = signed(r#"["starts-with", "$key", "up/"], ["content-length-range", 2, 4]"#);
    let key = [("key", "up/k")];
    for (what, fields, file, status, code) in [
        ("another key", with(&fields, &[("key", "k")]), "123", 403, "AccessDenied"),
        (
            "another field",
            with(&fields, &[("key", "up/k"), ("x-amz-meta-a", "b")]),
            "123",
            403,
            "AccessDenied",
        ),
        ("too small", with(&fields, &key), "1", 400, "EntityTooSmall"),
        ("too large", with(&fields, &key), "12345", 400, "EntityTooLarge"),
    ] {
        let refused = post(&server, &fields, file).await;
        assert_eq!((refused.status, &*refused.code()), (status, code), "{what}: {}", refused.text());
        assert!(!server.get("/b-1").await.text().contains("<Key>"), "{what}");
    }
    let mut changed = fields.clone();
    changed.last_mut().unwrap().1 = "0".repeat(64);
    let refused = post(&server, &with(&changed, &key), "123").await;
    assert_eq!((refused.status, &*refused.code()), (403, "SignatureDoesNotMatch"));
    assert_eq!(post(&server, &key, "123").await.code(), "AccessDenied", "nobody has signed it");
    assert_eq!(post(&server, &with(&fields, &key), "123").await.status, 204);
}

#[tokio::test]
async fn a_form_may_be_signed_in_version_2_or_by_nobody_where_that_is_allowed() {
    let server = open_server().await;
    server.bucket("b-1").await;
    let policy = encoded(format!(
        r#"{{"expiration": "{SOON}", "conditions": [{{"bucket": "b-1"}}, {{"key": "k"}}]}}"#
    ));
    let signature = version_2(SECRET, &policy);
    let fields = [("key", "k"), ("AWSAccessKeyId", KEY), ("policy", &policy), ("signature", &signature)];
    assert_eq!(post(&server, &fields, "two").await.status, 204);
    assert_eq!(server.get("/b-1/k").await.text(), "two");
    let wrong = [("key", "k"), ("AWSAccessKeyId", KEY), ("policy", &*policy), ("signature", "AAAA")];
    assert_eq!(post(&server, &wrong, "x").await.code(), "SignatureDoesNotMatch");
    let lets =
        br#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:PutObject",
        "Resource":"arn:aws:s3:::b-1/open/*"}]}"#;
    server.call("PUT", "/b-1?policy").body(lets).expect(204).await;
    assert_eq!(post(&server, &[("key", "open/k")], "x").await.status, 204);
    assert_eq!(post(&server, &[("key", "k")], "x").await.code(), "AccessDenied");
}
