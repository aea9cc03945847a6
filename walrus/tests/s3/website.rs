//! Websites: buckets as their readers see them.

use crate::harness::{Answer, REGION, Server, User, server_with};
use karri_walrus::api::s3::S3Options;

const HOST: &str = "b-1.web.example.com";
const OPEN: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*",
    "Action":"s3:GetObject","Resource":"arn:aws:s3:::b-1/*"}]}"#;

async fn site(configuration: &str) -> Server {
    let server = server_with(S3Options {
        region: REGION.into(),
        website_hosts: vec!["web.example.com".to_owned()],
        block_public_access_default: false,
        ..S3Options::default()
    })
    .await;
    server.bucket("b-1").await;
    server.call("PUT", "/b-1?policy").body(OPEN.as_bytes()).expect(204).await;
    let text = format!("<WebsiteConfiguration>{configuration}</WebsiteConfiguration>");
    server.call("PUT", "/b-1?website").body(text.as_bytes()).expect(200).await;
    server
}

const PAGES: &str = "<IndexDocument><Suffix>index.html</Suffix></IndexDocument>\
    <ErrorDocument><Key>oops.html</Key></ErrorDocument>";

async fn read(server: &Server, path: &str) -> Answer {
    server.call("GET", path).by(User::Nobody).header("host", HOST).send().await
}

#[tokio::test]
async fn pages_indexes_and_the_error_document_are_served() {
    let server = site(PAGES).await;
    server.call("PUT", "/b-1/index.html").header("content-type", "text/html").body(b"home").expect(200).await;
    server.put("/b-1/docs/index.html", b"docs").await;
    server.put("/b-1/oops.html", b"oops").await;
    for (path, status, text) in [
        ("/", 200, "home"),
        ("/index.html", 200, "home"),
        ("/docs/", 200, "docs"),
        ("/docs", 302, ""),
        ("/gone", 404, "oops"),
        ("/?list-type=2", 200, "home"),
    ] {
        let answer = read(&server, path).await;
        // Who may not list learns nothing of what is not there, as at AWS.
        let status = if status == 404 { 403 } else { status };
        assert_eq!((answer.status, &*answer.text()), (status, text), "{path}");
    }
    let home = read(&server, "/").await;
    assert_eq!(home.header("content-type"), "text/html");
    let etag = home.header("etag").to_owned();
    let known = server.call("GET", "/").by(User::Nobody).header("host", HOST).header("if-none-match", &etag);
    assert_eq!(known.send().await.status, 304);
    let gone = server.call("GET", "/gone").by(User::Nobody).header("host", HOST).header("range", "bytes=0-0");
    assert_eq!(gone.send().await.text(), "oops", "a range is not asked of the error document");
    let head = server.call("HEAD", "/").by(User::Nobody).header("host", HOST).send().await;
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, "4", 0));
    let put = server.call("PUT", "/x").by(User::Nobody).header("host", HOST).send().await;
    assert_eq!((put.status, put.header("allow")), (405, "GET, HEAD"));
}

#[tokio::test]
async fn what_is_missing_is_told_on_a_page_and_nothing_a_reader_sends_becomes_part_of_it() {
    let server = site("<IndexDocument><Suffix>index.html</Suffix></IndexDocument>").await;
    let list = OPEN.replace(
        r#""s3:GetObject","Resource":"arn:aws:s3:::b-1/*""#,
        r#""*","Resource":["arn:aws:s3:::b-1","arn:aws:s3:::b-1/*"]"#,
    );
    server.call("PUT", "/b-1?policy").body(list.as_bytes()).expect(204).await;
    let answer = read(&server, "/%3Cscript%3E").await;
    assert_eq!((answer.status, answer.header("content-type")), (404, "text/html; charset=utf-8"));
    let text = answer.text();
    assert!(text.contains("<li>Code: NoSuchKey</li>") && text.contains("&lt;script&gt;"), "{text}");
    assert!(!text.contains("<script>"), "{text}");
    let none = server.call("GET", "/").by(User::Nobody).header("host", "none-1.web.example.com").send().await;
    assert_eq!(none.status, 404);
    assert!(none.text().contains("NoSuchBucket"), "{}", none.text());
    server.call("DELETE", "/b-1?website").expect(204).await;
    let text = read(&server, "/").await.text();
    assert!(text.contains("NoSuchWebsiteConfiguration"), "{text}");
}

#[tokio::test]
async fn what_is_not_open_to_all_is_not_read_by_whoever_signs() {
    let server = site(PAGES).await;
    server.put("/b-1/index.html", b"home").await;
    server.call("DELETE", "/b-1?policy").expect(204).await;
    assert_eq!(read(&server, "/").await.status, 403);
    let signed = server.call("GET", "/").header("host", HOST).send().await;
    assert_eq!(signed.status, 403);
}

#[tokio::test]
async fn rules_and_objects_send_readers_elsewhere() {
    let rules = "<RoutingRules><RoutingRule><Condition><KeyPrefixEquals>old/</KeyPrefixEquals></Condition>\
        <Redirect><ReplaceKeyPrefixWith>new/</ReplaceKeyPrefixWith></Redirect></RoutingRule>\
        <RoutingRule><Condition><HttpErrorCodeReturnedEquals>403</HttpErrorCodeReturnedEquals></Condition>\
        <Redirect><Protocol>https</Protocol><HostName>help.example.com</HostName>\
        <HttpRedirectCode>302</HttpRedirectCode></Redirect></RoutingRule></RoutingRules>";
    let server = site(&format!("{PAGES}{rules}")).await;
    let moved = server.call("PUT", "/b-1/moved").header("x-amz-website-redirect-location", "/index.html");
    moved.expect(200).await;
    for (path, status, location) in [
        ("/old/a%20b", 301, "http://b-1.web.example.com/new/a%20b"),
        ("/gone", 302, "https://help.example.com/gone"),
        ("/moved", 301, "/index.html"),
    ] {
        let answer = server.call("GET", path).by(User::Nobody).header("host", HOST).send().await;
        assert_eq!((answer.status, answer.header("location")), (status, location), "{path}");
    }
    let all = "<RedirectAllRequestsTo><HostName>other.example.com</HostName><Protocol>https</Protocol>\
        </RedirectAllRequestsTo>";
    let text = format!("<WebsiteConfiguration>{all}</WebsiteConfiguration>");
    server.call("PUT", "/b-1?website").body(text.as_bytes()).expect(200).await;
    let answer = server.call("GET", "/a?b=c").by(User::Nobody).header("host", HOST).send().await;
    assert_eq!((answer.status, answer.header("location")), (301, "https://other.example.com/a?b=c"));
}
