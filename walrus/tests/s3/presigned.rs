//! URLs that carry their signature, of Version 4 and 2; and buckets that stand in the host name.

use crate::harness::{Answer, REGION, Server, User, server, server_with};
use crate::pen::{KEY, Pen, SECRET, quoted, version_2};
use karri_walrus::api::s3::S3Options;
use time::{Duration, OffsetDateTime};

fn host(server: &Server) -> String {
    server.url.trim_start_matches("http://").to_owned()
}

/// As a browser does: nothing but the URL, and perhaps a body.
async fn follow(server: &Server, method: &str, url: &str, body: &[u8]) -> Answer {
    server.call(method, url).by(User::Nobody).body(body).send().await
}

/// A URL of Version 2. `signed` are the parameters that are signed, sorted.
fn url_of_version_2(method: &str, path: &str, signed: &[(&str, &str)], until: OffsetDateTime) -> String {
    let until = until.unix_timestamp().to_string();
    let plain: Vec<String> = signed.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mark = if plain.is_empty() { "" } else { "?" };
    let text = format!("{method}\n\n\n{until}\n{path}{mark}{}", plain.join("&"));
    let signature = quoted(&version_2(SECRET, &text));
    let query: String = signed.iter().map(|(name, value)| format!("&{name}={}", quoted(value))).collect();
    format!("{path}?AWSAccessKeyId={KEY}&Expires={until}&Signature={signature}{query}")
}

#[tokio::test]
async fn a_url_is_good_for_what_it_says_and_for_its_time() {
    let server = server().await;
    server.bucket("b-1").await;
    let (pen, host) = (Pen::now(), host(&server));
    let put = pen.url("PUT", &host, "/b-1/k", &[], 60);
    assert_eq!(follow(&server, "PUT", &put, b"by url").await.status, 200);
    let get = pen.url("GET", &host, "/b-1/k", &[], 60);
    assert_eq!(follow(&server, "GET", &get, b"").await.body, b"by url");
    for (what, method, url) in [
        ("another method", "DELETE", get.clone()),
        ("another key", "GET", get.replace("/k?", "/l?")),
        ("a longer time", "GET", get.replace("Expires=60", "Expires=600")),
        ("another parameter", "GET", format!("{get}&versionId=null")),
    ] {
        let answer = follow(&server, method, &url, b"").await;
        assert_eq!((answer.status, &*answer.code()), (403, "SignatureDoesNotMatch"), "{what}");
    }
    let long_ago = Pen::at(OffsetDateTime::now_utc() - Duration::hours(2));
    let over = follow(&server, "GET", &long_ago.url("GET", &host, "/b-1/k", &[], 3600), b"").await;
    assert_eq!(
        (over.status, &*over.code(), &*over.element("Message")),
        (403, "AccessDenied", "Request has expired")
    );
    let still = long_ago.url("GET", &host, "/b-1/k", &[], 3 * 3600);
    assert_eq!(follow(&server, "GET", &still, b"").await.status, 200);
    let week = pen.url("GET", &host, "/b-1/k", &[], 7 * 86_400 + 1);
    assert_eq!(follow(&server, "GET", &week, b"").await.code(), "AuthorizationQueryParametersError");
}

#[tokio::test]
async fn a_url_of_version_2_is_good_for_what_it_says_and_for_its_time() {
    let server = server().await;
    server.bucket("b-1").await;
    let soon = OffsetDateTime::now_utc() + Duration::minutes(1);
    let put = url_of_version_2("PUT", "/b-1/k", &[], soon);
    assert_eq!(follow(&server, "PUT", &put, b"by url").await.status, 200);
    let get = url_of_version_2("GET", "/b-1/k", &[("response-content-type", "text/x")], soon);
    let got = follow(&server, "GET", &get, b"").await;
    assert_eq!((&*got.text(), got.header("content-type")), ("by url", "text/x"));
    for url in [get.replace("text%2Fx", "text%2Fy"), get.replace("/k?", "/l?")] {
        assert_eq!(follow(&server, "GET", &url, b"").await.code(), "SignatureDoesNotMatch", "{url}");
    }
    let over = url_of_version_2("GET", "/b-1/k", &[], OffsetDateTime::now_utc() - Duration::minutes(1));
    assert_eq!(follow(&server, "GET", &over, b"").await.code(), "AccessDenied");
}

#[tokio::test]
async fn what_a_url_says_of_the_object_is_kept_and_what_it_says_of_the_answer_is_told() {
    let server = server().await;
    server.bucket("b-1").await;
    let (pen, host) = (Pen::now(), host(&server));
    let said = [("x-amz-meta-colour", "red"), ("x-amz-tagging", "a=b")];
    let put = pen.url("PUT", &host, "/b-1/k", &said, 60);
    assert_eq!(follow(&server, "PUT", &put, b"x").await.status, 200);
    let head = server.call("HEAD", "/b-1/k").expect(200).await;
    assert_eq!((head.header("x-amz-meta-colour"), head.header("x-amz-tagging-count")), ("red", "1"));
    let wanted =
        [("response-content-disposition", "attachment; filename=\"a b.txt\""), ("response-expires", "never")];
    let got = follow(&server, "GET", &pen.url("GET", &host, "/b-1/k", &wanted, 60), b"").await;
    assert_eq!(got.header("content-disposition"), "attachment; filename=\"a b.txt\"");
    assert_eq!(got.header("expires"), "never");
}

#[tokio::test]
async fn a_bucket_may_stand_in_the_host_name() {
    let hosts = vec!["s3.example.com".to_owned()];
    let server = server_with(S3Options { region: REGION.into(), hosts, ..S3Options::default() }).await;
    server.bucket("b-1").await;
    server.put("/b-1/a/k", b"x").await;
    let (pen, at) = (Pen::now(), "b-1.s3.example.com:8774");
    let get = async |url: &str| server.call("GET", url).by(User::Nobody).header("host", at).send().await;
    assert_eq!(get(&pen.url("GET", at, "/a/k", &[], 60)).await.text(), "x");
    let listed = get(&pen.url("GET", at, "/", &[("list-type", "2")], 60)).await;
    assert_eq!((&*listed.element("Name"), &*listed.element("Key")), ("b-1", "a/k"));
    // Version 2 signs the bucket as if it stood in the path.
    let soon = OffsetDateTime::now_utc() + Duration::minutes(1);
    let url = url_of_version_2("GET", "/b-1/a/k", &[], soon).replacen("/b-1", "", 1);
    assert_eq!(get(&url).await.text(), "x");
    assert_eq!(get("/a/k").await.code(), "AccessDenied", "nobody has signed it");
}

#[tokio::test]
async fn headers_of_version_2_are_taken_and_what_they_cover_is_checked() {
    let server = server().await;
    server.bucket("b-1").await;
    let date = "Thu, 01 Jan 1970 00:00:00 GMT";
    let now = karri_proto::aws::rest::scalar::http_date(OffsetDateTime::now_utc());
    let put = |date: &str, meta: &'static str| {
        let text = format!("PUT\n\ntext/x\n\nx-amz-date:{date}\nx-amz-meta-a:1\n/b-1/k");
        let call = server.call("PUT", "/b-1/k").by(User::Nobody).header("content-type", "text/x");
        let call = call.header("x-amz-date", date).header("x-amz-meta-a", meta);
        call.header("authorization", &format!("AWS {KEY}:{}", version_2(SECRET, &text))).body(b"x")
    };
    assert_eq!(put(&now, "1").send().await.status, 200);
    assert_eq!(put(&now, "2").send().await.code(), "SignatureDoesNotMatch");
    assert_eq!(put(date, "1").send().await.code(), "RequestTimeTooSkewed");
    assert_eq!(server.call("HEAD", "/b-1/k").expect(200).await.header("x-amz-meta-a"), "1");
}
