//! Copies: under conditions, with new or old tags, across buckets and keys, in parts.

use crate::harness::{Answer, Server, listed, server};
use karri_proto::checksum::{Algorithm, Hasher};

const PAST: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const FUTURE: &str = "Sun, 06 Nov 2094 08:49:37 GMT";

async fn with_source(body: &[u8]) -> (Server, String) {
    let server = server().await;
    server.bucket("b-1").await;
    server.bucket("b-2").await;
    let put = server.call("PUT", "/b-1/k").header("x-amz-tagging", "a=b").header("x-amz-meta-m", "1");
    let etag = put.header("content-type", "text/x").body(body).expect(200).await.header("etag").to_owned();
    (server, etag)
}

fn copy<'a>(server: &'a Server, to: &str) -> crate::harness::Call<'a> {
    server.call("PUT", to).header("x-amz-copy-source", "b-1/k")
}

#[tokio::test]
async fn a_copy_keeps_to_the_conditions_on_its_source_and_its_target() {
    let (server, etag) = with_source(b"hello").await;
    for (name, value, status) in [
        ("x-amz-copy-source-if-match", etag.as_str(), 200),
        ("x-amz-copy-source-if-match", "\"x\"", 412),
        ("x-amz-copy-source-if-none-match", &etag, 412),
        ("x-amz-copy-source-if-none-match", "\"x\"", 200),
        ("x-amz-copy-source-if-modified-since", PAST, 200),
        ("x-amz-copy-source-if-modified-since", FUTURE, 412),
        ("x-amz-copy-source-if-unmodified-since", PAST, 412),
        ("x-amz-copy-source-if-unmodified-since", FUTURE, 200),
    ] {
        let answer = copy(&server, "/b-2/k").header(name, value).send().await;
        assert_eq!(answer.status, status, "{name}: {value}: {}", answer.text());
        assert_eq!(server.call("DELETE", "/b-2/k").send().await.status, 204);
    }
    copy(&server, "/b-2/k").header("if-none-match", "*").expect(200).await;
    assert_eq!(
        copy(&server, "/b-2/k").header("if-none-match", "*").send().await.code(),
        "PreconditionFailed"
    );
}

#[tokio::test]
async fn what_a_copy_does_not_replace_comes_along() {
    let (server, etag) = with_source(b"hello").await;
    let head = async |to: &str| server.call("HEAD", to).expect(200).await;
    let copied = copy(&server, "/b-2/same").expect(200).await;
    assert_eq!(copied.element("ETag").replace("&quot;", "\""), etag);
    let same = head("/b-2/same").await;
    assert_eq!((same.header("x-amz-meta-m"), same.header("content-type")), ("1", "text/x"));
    let tags = async |key: &str| server.get(&format!("{key}?tagging")).await.element("Value");
    assert_eq!(tags("/b-2/same").await, "b");
    copy(&server, "/b-2/tags")
        .header("x-amz-tagging-directive", "REPLACE")
        .header("x-amz-tagging", "a=c")
        .expect(200)
        .await;
    assert_eq!(
        (tags("/b-2/tags").await.as_str(), head("/b-2/tags").await.header("x-amz-meta-m")),
        ("c", "1")
    );
    // Said without the directive, they are not the copy's.
    copy(&server, "/b-2/old").header("x-amz-tagging", "a=c").header("x-amz-meta-m", "2").expect(200).await;
    assert_eq!((tags("/b-2/old").await.as_str(), head("/b-2/old").await.header("x-amz-meta-m")), ("b", "1"));
    copy(&server, "/b-2/meta")
        .header("x-amz-metadata-directive", "REPLACE")
        .header("x-amz-meta-n", "2")
        .expect(200)
        .await;
    let meta = head("/b-2/meta").await;
    assert_eq!((meta.header("x-amz-meta-m"), meta.header("x-amz-meta-n")), ("", "2"));
    assert_eq!(
        copy(&server, "/b-2/x").header("x-amz-metadata-directive", "MAYBE").send().await.code(),
        "InvalidArgument"
    );
}

#[tokio::test]
async fn a_copy_may_bring_its_source_under_another_key() {
    let body: Vec<u8> = (0..200_000).map(|at| (at % 251) as u8).collect();
    let (server, _) = with_source(&body).await;
    let (one, two) = ([1; 32], [2; 32]);
    let (own, source) = ("x-amz-", "x-amz-copy-source-");
    copy(&server, "/b-2/one").client_key(own, &one).expect(200).await;
    assert_eq!(server.get("/b-2/one").await.code(), "InvalidRequest", "not without its key");
    let again = || server.call("PUT", "/b-2/two").header("x-amz-copy-source", "b-2/one");
    assert_eq!(again().client_key(own, &two).send().await.code(), "InvalidRequest", "nor copied without it");
    again().client_key(source, &one).client_key(own, &two).expect(200).await;
    let get = || server.call("GET", "/b-2/two");
    assert!(get().client_key(own, &two).expect(200).await.body == body);
    assert_eq!(get().client_key(own, &one).send().await.code(), "AccessDenied");
    again().client_key(source, &one).expect(200).await;
    assert!(get().expect(200).await.body == body, "in the clear again");
}

#[tokio::test]
async fn a_version_is_copied_that_is_named_and_a_marker_is_not() {
    let (server, _) = with_source(b"hello").await;
    server.keep_versions("b-1").await;
    let first = server.put("/b-1/k", b"first").await.header("x-amz-version-id").to_owned();
    server.put("/b-1/k", b"second").await;
    let named = |version: &str| {
        server.call("PUT", "/b-2/k").header("x-amz-copy-source", &format!("b-1/k?versionId={version}"))
    };
    let copied = named(&first).expect(200).await;
    assert_eq!(
        (copied.header("x-amz-copy-source-version-id"), &*server.get("/b-2/k").await.text()),
        (&*first, "first")
    );
    let marker = server.call("DELETE", "/b-1/k").expect(204).await.header("x-amz-version-id").to_owned();
    assert_eq!(named(&marker).send().await.code(), "InvalidRequest");
    assert_eq!(copy(&server, "/b-2/k").send().await.code(), "NoSuchKey");
    named("null").expect(200).await;
    assert_eq!(server.get("/b-2/k").await.text(), "hello");
}

#[tokio::test]
async fn parts_are_copied_by_range() {
    let body: Vec<u8> = (0..6 << 20).map(|at| (at / 4096 % 251) as u8).collect();
    let (server, etag) = with_source(&body).await;
    let id = server.call("POST", "/b-2/k?uploads").expect(200).await.element("UploadId");
    let part = |number: u16, range: &'static str| {
        let call = copy(&server, &format!("/b-2/k?partNumber={number}&uploadId={id}"));
        if range.is_empty() { call } else { call.header("x-amz-copy-source-range", range) }
    };
    let tag = |answer: &Answer| answer.element("ETag").replace("&quot;", "\"");
    let one = part(1, "bytes=100-5242979").expect(200).await;
    let md5 = hex::encode(Hasher::digest(Algorithm::Md5, &body[100..5_242_980]).digest());
    assert_eq!(tag(&one), format!("\"{md5}\""));
    let two = part(2, "").expect(200).await;
    assert_eq!(tag(&two), etag);
    for (range, code) in
        [("bytes=0-6291456", "InvalidArgument"), ("bytes=5-", "InvalidArgument"), ("5-6", "InvalidArgument")]
    {
        assert_eq!(part(3, range).send().await.code(), code, "{range}");
    }
    let refused = part(3, "").header("x-amz-copy-source-if-match", "\"x\"").send().await;
    assert_eq!(refused.code(), "PreconditionFailed");
    let document = listed(&[(1, &tag(&one)), (2, &tag(&two))]);
    server.call("POST", &format!("/b-2/k?uploadId={id}")).body(&document).expect(200).await;
    let whole = [&body[100..5_242_980], &body].concat();
    assert!(server.get("/b-2/k").await.body == whole);
    // A copy of what was put together is put at once.
    let copied = server.call("PUT", "/b-1/once").header("x-amz-copy-source", "b-2/k").expect(200).await;
    let md5 = hex::encode(Hasher::digest(Algorithm::Md5, &whole).digest());
    assert_eq!(tag(&copied), format!("\"{md5}\""));
}
