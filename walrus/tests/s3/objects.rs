//! Objects: what is put is what is got, whole, in part, and under conditions.

use crate::harness::{open_server, server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[tokio::test]
async fn what_is_put_is_what_is_got() {
    let server = server().await;
    server.bucket("b-1").await;
    let put = server
        .call("PUT", "/b-1/a/%C3%A9%20%2B")
        .header("content-type", "text/x")
        .header("x-amz-meta-colour", "red")
        .body(b"hello")
        .expect(200)
        .await;
    assert_eq!(put.header("etag"), "\"5d41402abc4b2a76b9719d911017c592\"");
    assert!(put.header("x-amz-request-id").len() == 16 && !put.header("x-amz-id-2").is_empty());
    let got = server.get("/b-1/a/%C3%A9%20%2B").await;
    assert_eq!((got.status, &*got.text()), (200, "hello"));
    assert_eq!((got.header("content-type"), got.header("x-amz-meta-colour")), ("text/x", "red"));
    let head = server.call("HEAD", "/b-1/a/%C3%A9%20%2B").expect(200).await;
    assert_eq!((head.header("content-length"), head.body.len()), ("5", 0));
    server.call("DELETE", "/b-1/a/%C3%A9%20%2B").expect(204).await;
    let gone = server.get("/b-1/a/%C3%A9%20%2B").await;
    assert_eq!((gone.status, &*gone.code(), &*gone.element("Key")), (404, "NoSuchKey", "a/é +"));
}

#[tokio::test]
async fn a_large_object_passes_with_all_its_digests() {
    let server = server().await;
    server.bucket("b-1").await;
    let body: Vec<u8> = (0..3_000_000u32).map(|n| (n * 7 % 251) as u8).collect();
    server.put("/b-1/big", &body).await;
    assert_eq!(server.get("/b-1/big").await.body, body);
    let part = server.call("GET", "/b-1/big").header("range", "bytes=1000000-1999999").expect(206).await;
    assert_eq!(part.body, body[1_000_000..2_000_000]);
    assert_eq!(part.header("content-range"), "bytes 1000000-1999999/3000000");
}

#[tokio::test]
async fn reads_keep_to_their_conditions() {
    let server = server().await;
    server.bucket("b-1").await;
    let etag = server.put("/b-1/k", b"hello").await.header("etag").to_owned();
    let past = "Sun, 06 Nov 1994 08:49:37 GMT";
    let future = "Sun, 06 Nov 2094 08:49:37 GMT";
    for (name, value, status) in [
        ("if-match", etag.as_str(), 200),
        ("if-match", "\"x\"", 412),
        ("if-none-match", etag.as_str(), 304),
        ("if-none-match", "*", 304),
        ("if-none-match", "\"x\"", 200),
        ("if-modified-since", past, 200),
        ("if-modified-since", future, 304),
        ("if-unmodified-since", past, 412),
        ("if-unmodified-since", future, 200),
        ("range", "bytes=5-", 416),
        ("range", "bytes=-1", 206),
        ("range", "nonsense", 200),
    ] {
        let answer = server.call("GET", "/b-1/k").header(name, value).expect(status).await;
        assert_eq!(answer.body.is_empty(), status == 304, "{name}: {value}");
    }
}

#[tokio::test]
async fn writes_keep_to_their_conditions() {
    let server = server().await;
    server.bucket("b-1").await;
    let put = |name: &'static str, value: String| {
        server.call("PUT", "/b-1/k").header(name, &value).body(b"x").send()
    };
    assert_eq!(put("if-match", "\"x\"".into()).await.status, 404);
    let first = put("if-none-match", "*".into()).await;
    assert_eq!(first.status, 200);
    assert_eq!(put("if-none-match", "*".into()).await.code(), "PreconditionFailed");
    assert_eq!(put("if-match", first.header("etag").into()).await.status, 200);
    assert_eq!(put("if-match", "\"x\"".into()).await.status, 412);
}

#[tokio::test]
async fn a_deletion_on_a_condition_leaves_no_mark_where_nothing_was() {
    let server = server().await;
    server.bucket("b-1").await;
    server.keep_versions("b-1").await;
    let delete = |tag: &'static str| server.call("DELETE", "/b-1/k").header("if-match", tag).send();
    for tag in ["*", "\"x\""] {
        let gone = delete(tag).await;
        assert_eq!((gone.status, gone.header("x-amz-delete-marker")), (204, ""), "{tag}");
    }
    assert!(!server.get("/b-1?versions").await.text().contains("<DeleteMarker>"));
    server.put("/b-1/k", b"x").await;
    assert_eq!(delete("\"x\"").await.status, 412);
    assert_eq!(delete("*").await.header("x-amz-delete-marker"), "true");
    assert_eq!((delete("\"x\"").await.status, delete("*").await.status), (412, 204));
}

#[tokio::test]
async fn a_list_tells_whole_seconds() {
    let server = server().await;
    server.bucket("b-1").await;
    server.put("/b-1/k", b"x").await;
    let list = server.get("/b-1").await.element("LastModified");
    assert!(list.ends_with(".000Z"), "{list}");
}

#[tokio::test]
async fn a_copy_takes_what_it_is_told_to() {
    let server = server().await;
    server.bucket("b-1").await;
    server.call("PUT", "/b-1/k").header("x-amz-meta-a", "1").header("x-amz-tagging", "t=u").expect(200).await;
    let copy = |to: &str| server.call("PUT", &format!("/b-1/{to}")).header("x-amz-copy-source", "/b-1/k");
    copy("l").expect(200).await;
    let head = server.call("HEAD", "/b-1/l").expect(200).await;
    assert_eq!((head.header("x-amz-meta-a"), head.header("x-amz-tagging-count")), ("1", "1"));
    copy("m").header("x-amz-metadata-directive", "REPLACE").header("x-amz-meta-b", "2").expect(200).await;
    let head = server.call("HEAD", "/b-1/m").expect(200).await;
    assert_eq!((head.header("x-amz-meta-a"), head.header("x-amz-meta-b")), ("", "2"));
    assert_eq!(copy("k").send().await.code(), "InvalidRequest");
    copy("k").header("x-amz-metadata-directive", "REPLACE").expect(200).await;
    assert_eq!(copy("n").header("x-amz-copy-source-if-match", "\"x\"").send().await.status, 412);
}

#[tokio::test]
async fn lists_are_paged_and_grouped() {
    let server = server().await;
    server.bucket("b-1").await;
    for key in ["a", "b/1", "b/2", "c"] {
        server.put(&format!("/b-1/{key}"), b"").await;
    }
    let page = server.get("/b-1?list-type=2&delimiter=%2F&max-keys=2").await;
    assert_eq!((&*page.element("KeyCount"), &*page.element("IsTruncated")), ("2", "true"));
    assert!(page.text().contains("<Prefix>b/</Prefix>"), "{}", page.text());
    let token = page.element("NextContinuationToken");
    let rest = server.get(&format!("/b-1?list-type=2&delimiter=%2F&continuation-token={token}")).await;
    assert_eq!((&*rest.element("Key"), &*rest.element("IsTruncated")), ("c", "false"));
    let first = server.get("/b-1?max-keys=1&delimiter=%2F").await;
    assert_eq!(first.element("NextMarker"), "a");
    assert_eq!(server.get("/b-1?max-keys=-1").await.code(), "InvalidArgument");
}

#[tokio::test]
async fn many_objects_go_at_once() {
    let server = server().await;
    server.bucket("b-1").await;
    server.put("/b-1/a", b"").await;
    let body = b"<Delete><Object><Key>a</Key></Object><Object><Key>b</Key></Object></Delete>";
    let md5 = karri_proto::checksum::Hasher::digest(karri_proto::checksum::Algorithm::Md5, body).to_base64();
    let answer = server.call("POST", "/b-1?delete").header("content-md5", &md5).body(body).expect(200).await;
    assert_eq!(answer.text().matches("<Deleted>").count(), 2, "{}", answer.text());
    assert_eq!(server.call("POST", "/b-1?delete").body(body).send().await.code(), "InvalidRequest");
    assert_eq!(server.get("/b-1/a").await.status, 404);
}

#[tokio::test]
async fn who_waits_for_leave_to_send_nothing_gets_a_new_connection() {
    let server = server().await;
    server.bucket("b-1").await;
    let put = |body: &[u8]| server.call("PUT", "/b-1/k").header("expect", "100-continue").body(body);
    assert_eq!(put(b"").expect(200).await.header("connection"), "close");
    assert_eq!(put(b"x").expect(200).await.header("connection"), "");
}

#[tokio::test]
async fn headers_are_spelled_as_s3_does_and_metadata_in_lower_case() {
    let server = open_server().await;
    server.bucket("b-1").await;
    let put =
        server.call("PUT", "/b-1/k").header("x-amz-acl", "public-read").header("x-amz-meta-Colour", "Red");
    put.header("cache-control", "max-age=3600").body(b"hello").expect(200).await;
    let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).await.unwrap();
    stream.write_all(b"HEAD /b-1/k HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut head = String::new();
    stream.read_to_string(&mut head).await.unwrap();
    for line in [
        "Content-Length: 5",
        "ETag: \"5d41402abc4b2a76b9719d911017c592\"",
        "Cache-Control: max-age=3600",
        "Connection: close",
        "Server: Karri",
        "x-amz-meta-colour: Red",
    ] {
        assert!(head.lines().any(|one| one == line), "{line} in\n{head}");
    }
    for name in ["Date: ", "Last-Modified: ", "Content-Type: ", "Accept-Ranges: ", "x-amz-request-id: "] {
        assert!(head.lines().any(|line| line.starts_with(name)), "{name} in\n{head}");
    }
}
