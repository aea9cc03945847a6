//! What is refused, and in which words.

use crate::harness::{User, server, without_room};

#[tokio::test]
async fn who_is_not_known_or_did_not_sign_gets_nothing() {
    let server = server().await;
    server.bucket("b-1").await;
    server.put("/b-1/k", b"x").await;
    for (method, path) in
        [("GET", "/b-1/k"), ("GET", "/b-1"), ("PUT", "/b-1/k"), ("DELETE", "/b-1/k"), ("GET", "/")]
    {
        for user in [User::Nobody, User::Bob] {
            if path == "/" && matches!(user, User::Bob) {
                continue;
            }
            let answer = server.call(method, path).by(user).send().await;
            assert_eq!((answer.status, &*answer.code()), (403, "AccessDenied"), "{method} {path}");
        }
    }
    let tampered = server.call("GET", "/b-1/k").header("authorization", "AWS4-HMAC-SHA256 x").send().await;
    assert!((400..404).contains(&tampered.status), "{}", tampered.text());
}

#[tokio::test]
async fn a_body_must_be_what_its_head_says() {
    let server = server().await;
    server.bucket("b-1").await;
    for (name, value, code) in [
        ("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==", "BadDigest"),
        ("content-md5", "nonsense", "InvalidDigest"),
        ("x-amz-checksum-crc32", "AAAAAA==", "BadDigest"),
        ("x-amz-checksum-crc32", "nonsense", "BadDigest"),
        ("x-amz-storage-class", "SHELF", "InvalidStorageClass"),
        ("x-amz-server-side-encryption", "rot13", "InvalidArgument"),
        ("x-amz-object-lock-mode", "GOVERNANCE", "InvalidRequest"),
        ("x-amz-acl", "public", "InvalidArgument"),
        ("x-amz-acl", "public-read", "AccessControlListNotSupported"),
    ] {
        let answer = server.call("PUT", "/b-1/k").header(name, value).body(b"hello").send().await;
        assert_eq!(answer.code(), code, "{name}: {value}: {}", answer.text());
        assert_eq!(server.get("/b-1/k").await.status, 404, "{name}: nothing may be kept");
    }
    let large = "x".repeat(2100);
    let answer = server.call("PUT", "/b-1/k").header("x-amz-meta-a", &large).send().await;
    assert_eq!(answer.code(), "MetadataTooLarge");
}

#[tokio::test]
async fn addresses_that_name_nothing_are_refused() {
    let server = server().await;
    server.bucket("b-1").await;
    let long = format!("/b-1/{}", "k".repeat(1025));
    for (method, path, status, code) in [
        ("GET", "/b-1/%ff", 400, "InvalidURI"),
        ("PUT", long.as_str(), 400, "KeyTooLongError"),
        ("GET", "/b-1/k?versionId=x", 400, "InvalidArgument"),
        ("POST", "/", 405, "MethodNotAllowed"),
        ("GET", "/b-1?inventory", 501, "NotImplemented"),
        ("PATCH", "/b-1/k", 405, "MethodNotAllowed"),
    ] {
        let answer = server.call(method, path).send().await;
        assert_eq!((answer.status, &*answer.code()), (status, code), "{method} {path}");
    }
    for prefix in ["/services/objectstorage", "/services/Walrus"] {
        assert_eq!(server.get(&format!("{prefix}/b-1")).await.status, 200, "{prefix}");
    }
}

#[tokio::test]
async fn a_locked_object_must_bring_a_checksum() {
    let server = server().await;
    server.call("PUT", "/b-1").header("x-amz-bucket-object-lock-enabled", "true").expect(200).await;
    let put = || server.call("PUT", "/b-1/k").header("x-amz-object-lock-legal-hold", "ON").body(b"hello");
    let refused = put().send().await;
    assert_eq!(refused.code(), "InvalidRequest");
    assert!(refused.element("Message").starts_with("Content-MD5 OR x-amz-checksum- HTTP header"));
    put().header("content-md5", "XUFAKrxLKna5cZ2REBfFkg==").expect(200).await;
    put().header("x-amz-checksum-crc32", "NhCmhg==").expect(200).await;
}

#[tokio::test]
async fn a_disk_without_room_is_told_and_what_is_there_stays_and_may_go() {
    let server = server().await;
    server.bucket("b-1").await;
    let bodies = [vec![b'x'; 100], vec![b'x'; 300_000]];
    for (number, body) in bodies.iter().enumerate() {
        server.put(&format!("/b-1/{number}"), body).await;
    }
    let upload = server.call("POST", "/b-1/m?uploads").expect(200).await.element("UploadId");
    let server = without_room(server).await;
    for (number, body) in bodies.iter().enumerate() {
        let copy = server.call("PUT", "/b-1/copy").header("x-amz-copy-source", "b-1/0").send();
        let part = format!("/b-1/m?partNumber=1&uploadId={upload}");
        let put = server.call("PUT", "/b-1/new").body(body).send();
        for refused in [put.await, server.call("PUT", &part).body(body).send().await, copy.await] {
            assert_eq!(
                (refused.status, &*refused.code()),
                (507, "InsufficientStorage"),
                "{}",
                refused.text()
            );
        }
        assert!(server.get(&format!("/b-1/{number}")).await.body == *body);
    }
    assert_eq!(server.get("/b-1").await.text().matches("<Key>").count(), 2);
    server.call("DELETE", "/b-1/0").expect(204).await;
    assert_eq!(server.get("/b-1/0").await.code(), "NoSuchKey");
}
