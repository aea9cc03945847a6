//! Server access logging: who may have what logged where, and what a log says.

use crate::harness::{Server, User, open_server, server};

const POLICY: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
    "Principal":{"Service":"logging.s3.amazonaws.com"},"Action":"s3:PutObject","Resource":"arn:aws:s3:::logs/l/*",
    "Condition":{"ArnLike":{"aws:SourceArn":"arn:aws:s3:::b-1"},
    "StringEquals":{"aws:SourceAccount":"111111111111"}}}]}"#;

fn enabled(target: &str, more: &str) -> String {
    format!(
        "<BucketLoggingStatus><LoggingEnabled><TargetBucket>{target}</TargetBucket>\
         <TargetPrefix>l/</TargetPrefix>{more}</LoggingEnabled></BucketLoggingStatus>"
    )
}

async fn logged(server: &Server) {
    server.bucket("b-1").await;
    server.bucket("logs").await;
    server.call("PUT", "/logs?policy").body(POLICY.as_bytes()).expect(204).await;
    server.call("PUT", "/b-1?logging").body(enabled("logs", "").as_bytes()).expect(200).await;
}

/// All lines that have been delivered, after a delivery.
async fn lines(server: &Server) -> Vec<String> {
    server.s3.logs.deliver(&server.s3.objects, None).await;
    let listed = server.get("/logs").await.text();
    let mut lines = Vec::new();
    for part in listed.split("<Key>").skip(1) {
        let key = part.split("</Key>").next().unwrap();
        assert!(key.starts_with("l/2"), "{key}");
        lines.extend(server.get(&format!("/logs/{key}")).await.text().lines().map(str::to_owned));
    }
    lines
}

/// The fields of a line; what is in quotes or brackets is one.
fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut until) = (vec![String::new()], ' ');
    for c in line.chars() {
        match c {
            '"' | ']' if c == until => until = ' ',
            '"' if until == ' ' => until = '"',
            '[' if until == ' ' => until = ']',
            ' ' if until == ' ' => fields.push(String::new()),
            c => fields.last_mut().unwrap().push(c),
        }
    }
    fields
}

#[tokio::test]
async fn requests_are_told_in_s3s_words_whether_they_are_granted_or_not() {
    let server = server().await;
    logged(&server).await;
    server.put("/b-1/a%20b", b"hello").await;
    server.call("GET", "/b-1/a%20b?x=1").header("range", "bytes=0-1").expect(206).await;
    server.call("GET", "/b-1/gone").by(User::Nobody).header("user-agent", "say \"hi\"").expect(403).await;
    let delete = b"<Delete><Object><Key>a b</Key></Object></Delete>";
    let md5 = "x-amz-checksum-sha256";
    use base64::Engine as _;
    use sha2::Digest as _;
    let sum = base64::prelude::BASE64_STANDARD.encode(sha2::Sha256::digest(delete));
    server.call("POST", "/b-1?delete").header(md5, &sum).body(delete).expect(200).await;
    let lines = lines(&server).await;
    let of = |operation: &str| {
        let found = lines.iter().map(|line| fields(line)).find(|fields| fields[6] == operation);
        found.unwrap_or_else(|| panic!("{operation} is not in {lines:?}"))
    };
    assert!(lines.iter().all(|line| fields(line).len() == 26), "{lines:?}");
    let put = of("REST.PUT.OBJECT");
    assert_eq!((&*put[1], &*put[7], &*put[9], &*put[12]), ("b-1", "a%20b", "200", "5"));
    assert_eq!((&*put[19], &*put[21]), ("SigV4", "AuthHeader"));
    assert!(put[4].contains(":111111111111:"), "{put:?}");
    let get = &lines.iter().map(|line| fields(line)).find(|fields| fields[9] == "206").unwrap();
    assert_eq!((&*get[8], &*get[11], &*get[12]), ("GET /b-1/a%20b?x=1 HTTP/1.1", "2", "5"));
    let refused = &lines.iter().map(|line| fields(line)).find(|fields| fields[9] == "403").unwrap();
    assert_eq!((&*refused[4], &*refused[10], &*refused[16]), ("-", "AccessDenied", "say %22hi%22"));
    of("REST.POST.MULTI_OBJECT_DELETE");
    assert_eq!(of("BATCH.DELETE.OBJECT")[7], "a%20b");
    assert!(lines.iter().all(|line| fields(line)[1] == "b-1"), "{lines:?}");
}

#[tokio::test]
async fn a_copy_is_told_in_both_buckets_logs() {
    let server = server().await;
    logged(&server).await;
    server.bucket("b-2").await;
    server.put("/b-1/k", b"x").await;
    server.call("PUT", "/b-2/l").header("x-amz-copy-source", "/b-1/k").expect(200).await;
    let lines = lines(&server).await;
    let get =
        lines.iter().map(|line| fields(line)).find(|fields| fields[6] == "REST.COPY.OBJECT_GET").unwrap();
    assert_eq!((&*get[1], &*get[7]), ("b-1", "k"));
    server.call("PUT", "/b-1/m").header("x-amz-copy-source", "/b-1/k").expect(200).await;
    let lines = self::lines(&server).await;
    let put = lines.iter().map(|line| fields(line)).find(|fields| fields[6] == "REST.COPY.OBJECT").unwrap();
    assert_eq!((&*put[1], &*put[7]), ("b-1", "m"));
}

#[tokio::test]
async fn a_target_must_be_the_owners_and_let_logs_in() {
    let server = server().await;
    server.bucket("b-1").await;
    server.bucket("logs").await;
    server.call("PUT", "/bobs-1").by(User::Bob).expect(200).await;
    let code = async |target: &str, more: &str| {
        server.call("PUT", "/b-1?logging").body(enabled(target, more).as_bytes()).send().await.code()
    };
    for target in ["logs", "none-1", "bobs-1"] {
        assert_eq!(code(target, "").await, "InvalidTargetBucketForLogging", "{target}");
    }
    assert!(!server.get("/b-1?logging").await.text().contains("LoggingEnabled"));
    let other = POLICY.replace("b-1", "b-2");
    server.call("PUT", "/logs?policy").body(other.as_bytes()).expect(204).await;
    assert_eq!(code("logs", "").await, "InvalidTargetBucketForLogging");
    server.call("PUT", "/logs?policy").body(POLICY.as_bytes()).expect(204).await;
    let grants = "<TargetGrants><Grant><Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
        xsi:type=\"Group\"><URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee>\
        <Permission>READ</Permission></Grant></TargetGrants>";
    assert_eq!(code("logs", grants).await, "InvalidBucketAclWithObjectOwnership");
    assert_eq!(code("logs", "").await, "");
    assert_eq!(server.get("/b-1?logging").await.element("TargetPrefix"), "l/");
    server.call("PUT", "/b-1?logging").body(b"<BucketLoggingStatus/>").expect(200).await;
    assert!(!server.get("/b-1?logging").await.text().contains("LoggingEnabled"));
}

#[tokio::test]
async fn a_list_lets_logs_in_and_grants_go_with_them() {
    let server = open_server().await;
    server.bucket("b-1").await;
    server.call("PUT", "/logs").header("x-amz-acl", "log-delivery-write").expect(200).await;
    let grants = "<TargetGrants><Grant><Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
        xsi:type=\"AmazonCustomerByEmail\"><EmailAddress>bob@example.org</EmailAddress></Grantee>\
        <Permission>READ</Permission></Grant></TargetGrants>";
    server.call("PUT", "/b-1?logging").body(enabled("logs", grants).as_bytes()).expect(200).await;
    server.put("/b-1/k", b"x").await;
    assert!(lines(&server).await.iter().any(|line| line.contains(" REST.PUT.OBJECT k ")));
    let key = server.get("/logs").await.element("Key");
    assert_eq!(server.call("GET", &format!("/logs/{key}")).by(User::Bob).send().await.status, 200);
    assert_eq!(server.call("GET", &format!("/logs/{key}")).by(User::Nobody).send().await.status, 403);
}

#[tokio::test]
async fn logs_are_not_delivered_where_they_are_no_longer_let_in() {
    let server = server().await;
    logged(&server).await;
    server.put("/b-1/k", b"x").await;
    server.call("DELETE", "/logs?policy").expect(204).await;
    assert!(lines(&server).await.is_empty());
}
