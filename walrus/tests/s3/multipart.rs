//! Uploads in parts.

use crate::harness::{Server, listed, server};

const PART: usize = 5 << 20;

async fn begun(server: &Server) -> String {
    server.bucket("b-1").await;
    server.call("POST", "/b-1/k?uploads").expect(200).await.element("UploadId")
}

#[tokio::test]
async fn parts_become_an_object() {
    let server = server().await;
    let id = begun(&server).await;
    let (large, small) = (vec![b'x'; PART], b"end");
    let put = |number: u16, body: Vec<u8>| {
        let path = format!("/b-1/k?partNumber={number}&uploadId={id}");
        let server = &server;
        async move { server.put(&path, &body).await.header("etag").to_owned() }
    };
    let (first, last) = (put(1, large.clone()).await, put(3, small.to_vec()).await);
    let parts = server.get(&format!("/b-1/k?uploadId={id}")).await;
    assert_eq!(parts.text().matches("<Part>").count(), 2);
    let path = format!("/b-1/k?uploadId={id}");
    for (parts, code) in [
        (listed(&[(3, &last), (1, &first)]), "InvalidPartOrder"),
        (listed(&[(1, &last)]), "InvalidPart"),
        (listed(&[(2, &first)]), "InvalidPart"),
        (listed(&[]), "MalformedXML"),
    ] {
        assert_eq!(server.call("POST", &path).body(&parts).send().await.code(), code);
    }
    let done = server.call("POST", &path).body(&listed(&[(1, &first), (3, &last)])).expect(200).await;
    assert!(done.element("ETag").contains("-2"), "{}", done.text());
    let got = server.get("/b-1/k").await;
    assert_eq!(got.body.len(), PART + small.len());
    let second = server.get("/b-1/k?partNumber=2").await;
    assert_eq!((second.status, &*second.text(), second.header("x-amz-mp-parts-count")), (206, "end", "2"));
}

#[tokio::test]
async fn small_parts_and_gone_uploads_are_refused() {
    let server = server().await;
    let id = begun(&server).await;
    let path = |number: u16| format!("/b-1/k?partNumber={number}&uploadId={id}");
    let first = server.put(&path(1), b"1").await.header("etag").to_owned();
    let second = server.put(&path(2), b"2").await.header("etag").to_owned();
    let complete = format!("/b-1/k?uploadId={id}");
    let parts = listed(&[(1, &first), (2, &second)]);
    assert_eq!(server.call("POST", &complete).body(&parts).send().await.code(), "EntityTooSmall");
    assert_eq!(server.call("PUT", &path(0)).send().await.code(), "InvalidArgument");
    server.call("DELETE", &complete).expect(204).await;
    assert_eq!(server.call("PUT", &path(1)).body(b"1").send().await.code(), "NoSuchUpload");
    assert_eq!(server.call("POST", &complete).body(&parts).send().await.code(), "NoSuchUpload");
}

#[tokio::test]
async fn completing_once_more_answers_as_before_whatever_its_condition() {
    let server = server().await;
    let id = begun(&server).await;
    let part =
        server.put(&format!("/b-1/k?partNumber=1&uploadId={id}"), b"1").await.header("etag").to_owned();
    let complete = || {
        let call = server.call("POST", &format!("/b-1/k?uploadId={id}")).header("if-none-match", "*");
        call.body(&listed(&[(1, &part)])).expect(200)
    };
    let first = complete().await.element("ETag");
    assert_eq!(complete().await.element("ETag"), first);
}

#[tokio::test]
async fn of_no_uploads_none_are_listed() {
    let server = server().await;
    begun(&server).await;
    let none = server.get("/b-1?uploads&max-uploads=0").await;
    assert_eq!(
        (none.element("Upload").as_str(), &*none.element("IsTruncated")),
        ("", "false"),
        "{}",
        none.text()
    );
    assert!(!none.text().contains("<Upload>"));
    assert!(server.get("/b-1?uploads&max-uploads=1").await.text().contains("<Upload>"));
}
