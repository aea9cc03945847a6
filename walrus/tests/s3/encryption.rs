//! Encryption with keys of the cloud, with and without names, and with the client's.

use crate::harness::{Server, listed, server};
use karri_proto::checksum::{Algorithm, Hasher};

const SSE: &str = "x-amz-server-side-encryption";
const KEY_ID: &str = "x-amz-server-side-encryption-aws-kms-key-id";

#[tokio::test]
async fn an_object_under_a_named_key_says_so_and_reads_back() {
    let server = server().await;
    server.bucket("b-1").await;
    for body in [vec![b'x'; 100], vec![b'x'; 300_000]] {
        let put = server.call("PUT", "/b-1/k").header(SSE, "aws:kms").header(KEY_ID, "key-1");
        let put = put.body(&body).expect(200).await;
        let got = server.get("/b-1/k").await;
        for answer in [&put, &got] {
            assert_eq!((answer.header(SSE), answer.header(KEY_ID)), ("aws:kms", "key-1"));
        }
        assert_eq!(got.body, body);
    }
}

#[tokio::test]
async fn a_copy_may_be_under_another_key() {
    let server = server().await;
    server.bucket("b-1").await;
    server
        .call("PUT", "/b-1/k")
        .header(SSE, "aws:kms")
        .header(KEY_ID, "one")
        .body(b"hello")
        .expect(200)
        .await;
    let copy = |sse: &'static str, key: Option<&'static str>| {
        let copy = server.call("PUT", "/b-1/l").header("x-amz-copy-source", "/b-1/k").header(SSE, sse);
        match key {
            Some(key) => copy.header(KEY_ID, key),
            None => copy,
        }
    };
    for (sse, key) in [("aws:kms", Some("two")), ("aws:kms", Some("one")), ("AES256", None)] {
        copy(sse, key).expect(200).await;
        let got = server.get("/b-1/l").await;
        assert_eq!((got.header(SSE), got.header(KEY_ID)), (sse, key.unwrap_or_default()));
        assert_eq!(got.text(), "hello");
    }
}

#[tokio::test]
async fn a_key_must_be_named_and_only_for_its_kind() {
    let server = server().await;
    server.bucket("b-1").await;
    for (headers, code) in [
        (vec![(SSE, "aws:kms")], "InvalidArgument"),
        (vec![(SSE, "aws:kms"), (KEY_ID, "a b")], "InvalidArgument"),
        (vec![(SSE, "AES256"), (KEY_ID, "a")], "InvalidArgument"),
        (vec![(KEY_ID, "a")], "InvalidArgument"),
        (vec![(SSE, "aws:kms:dsse"), (KEY_ID, "a")], "NotImplemented"),
        (
            vec![(SSE, "aws:kms"), (KEY_ID, "a"), ("x-amz-server-side-encryption-context", "e30=")],
            "NotImplemented",
        ),
    ] {
        let put = server.call("PUT", "/b-1/k").body(b"x");
        let put = headers.iter().fold(put, |put, (name, value)| put.header(name, value));
        assert_eq!(put.send().await.code(), code, "{headers:?}");
    }
}

#[tokio::test]
async fn a_policy_is_asked_before_what_a_head_says_is_looked_at() {
    let server = server().await;
    server.bucket("b-1").await;
    let put = || server.call("PUT", "/b-1/k").header(SSE, "AES192").body(b"x");
    assert_eq!(put().send().await.code(), "InvalidArgument");
    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:PutObject",
        "Resource":"arn:aws:s3:::b-1/*","Condition":{"StringNotEquals":
        {"s3:x-amz-server-side-encryption":"AES256"}}}]}"#;
    server.call("PUT", "/b-1?policy").body(policy.as_bytes()).expect(204).await;
    assert_eq!(put().send().await.code(), "AccessDenied");
    server.call("PUT", "/b-1/k").header(SSE, "AES256").body(b"x").expect(200).await;
    let begin = server.call("POST", "/b-1/k?uploads").header(SSE, "AES192");
    assert_eq!(begin.send().await.code(), "AccessDenied");
}

#[tokio::test]
async fn a_bucket_may_have_a_named_key_as_its_default() {
    let server = server().await;
    server.bucket("b-1").await;
    let document = |key: &str| {
        format!(
            "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms\
             </SSEAlgorithm>{key}</ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>"
        )
    };
    let put = |key: &'static str| server.call("PUT", "/b-1?encryption").body(document(key).as_bytes());
    assert_eq!(put("").send().await.code(), "InvalidArgument");
    put("<KMSMasterKeyID>key-1</KMSMasterKeyID>").expect(200).await;
    server.put("/b-1/k", b"hello").await;
    let got = server.get("/b-1/k").await;
    assert_eq!((got.header(SSE), got.header(KEY_ID), &*got.text()), ("aws:kms", "key-1", "hello"));
    let created = server.call("POST", "/b-1/m?uploads").expect(200).await;
    assert_eq!(created.header(KEY_ID), "key-1");
    let id = created.element("UploadId");
    let part = server.put(&format!("/b-1/m?partNumber=1&uploadId={id}"), b"part").await;
    assert_eq!(part.header(KEY_ID), "key-1");
    let done =
        server.call("POST", &format!("/b-1/m?uploadId={id}")).body(&listed(&[(1, part.header("etag"))]));
    assert_eq!(done.expect(200).await.header(KEY_ID), "key-1");
    assert_eq!(server.get("/b-1/m").await.text(), "part");
}

/// One part under a client's key; the upload's id and the part's ETag.
async fn upload_with_client_key(server: &Server, key: &[u8], checksum: bool) -> (String, String) {
    let create = server.call("POST", "/b-1/k?uploads").client_key("x-amz-", key);
    let create = if checksum { create.header("x-amz-checksum-algorithm", "CRC32") } else { create };
    let id = create.expect(200).await.element("UploadId");
    let put = server.call("PUT", &format!("/b-1/k?partNumber=1&uploadId={id}")).client_key("x-amz-", key);
    let etag = put.body(b"part").expect(200).await.header("etag").to_owned();
    (id, etag)
}

#[tokio::test]
async fn an_upload_under_a_clients_key_is_completed_with_that_key() {
    let server = server().await;
    server.bucket("b-1").await;
    let (key, other) = ([3u8; 32], [4u8; 32]);
    let (id, etag) = upload_with_client_key(&server, &key, true).await;
    let complete = || server.call("POST", &format!("/b-1/k?uploadId={id}")).body(&listed(&[(1, &etag)]));
    assert_eq!(complete().send().await.code(), "InvalidRequest");
    assert_eq!(complete().client_key("x-amz-", &other).send().await.code(), "InvalidRequest");
    let done = complete().client_key("x-amz-", &key).expect(200).await;
    assert_eq!(done.header("x-amz-server-side-encryption-customer-algorithm"), "AES256");
    assert_eq!(server.call("GET", "/b-1/k").client_key("x-amz-", &key).expect(200).await.text(), "part");
    // As AWS has it, only an upload with a checksum needs the key once more.
    let (id, etag) = upload_with_client_key(&server, &key, false).await;
    server.call("POST", &format!("/b-1/k?uploadId={id}")).body(&listed(&[(1, &etag)])).expect(200).await;
    let (id, etag) = upload_with_client_key(&server, &key, false).await;
    let again = server.call("PUT", &format!("/b-1/k?partNumber=1&uploadId={id}")).client_key("x-amz-", &key);
    let crc = Hasher::digest(Algorithm::Crc32, b"part").to_base64();
    again.header("x-amz-checksum-crc32", &crc).body(b"part").expect(200).await;
    let complete = || server.call("POST", &format!("/b-1/k?uploadId={id}")).body(&listed(&[(1, &etag)]));
    assert_eq!(complete().send().await.code(), "InvalidRequest", "a part came with a checksum");
    complete().client_key("x-amz-", &key).expect(200).await;
}
