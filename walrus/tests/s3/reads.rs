//! Reads of a part, by range and by number; what an answer says of the object; and what is not kept anywhere else.

use crate::harness::{Answer, Server, server};
use karri_proto::checksum::{Algorithm, Hasher};

/// What the store reads and verifies at once.
const BLOCK: usize = 64 << 10;

fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * 31 + at / 251) as u8).collect()
}

async fn with_object(body: &[u8]) -> Server {
    let server = server().await;
    server.bucket("b-1").await;
    server.put("/b-1/k", body).await;
    server
}

async fn ranged(server: &Server, range: &str) -> Answer {
    server.call("GET", "/b-1/k").header("range", range).send().await
}

#[tokio::test]
async fn a_range_is_exact_at_every_edge() {
    // In a row, of one block, of exactly two, of two and some; and encrypted.
    for size in [1, 1000, BLOCK, 2 * BLOCK, 2 * BLOCK + 17] {
        let body = pattern(size);
        let server = with_object(&body).await;
        server
            .call("PUT", "/b-1/s")
            .header("x-amz-server-side-encryption", "AES256")
            .body(&body)
            .expect(200)
            .await;
        let edges = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK - 1, size - 1, size, size + 1];
        for (first, last) in edges.iter().flat_map(|first| edges.map(|last| (*first, last))) {
            let range = format!("bytes={first}-{last}");
            for path in ["/b-1/k", "/b-1/s"] {
                let answer = server.call("GET", path).header("range", &range).send().await;
                let (status, expected) = match (first > last, first < size) {
                    (true, _) => (200, &body[..]), // means nothing, and is passed over
                    (false, true) => (206, &body[first..size.min(last + 1)]),
                    (false, false) => (416, &[][..]),
                };
                assert_eq!(answer.status, status, "{range} of {size}: {}", answer.header("content-range"));
                assert!(status == 416 || answer.body == expected, "{range} of {size} at {path}");
                if status == 206 {
                    let told = format!("bytes {first}-{}/{size}", last.min(size - 1));
                    assert_eq!(answer.header("content-range"), told);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_range_may_leave_an_end_open_and_of_several_the_whole_is_sent() {
    let body = pattern(2 * BLOCK);
    let server = with_object(&body).await;
    for (range, expected) in [
        (format!("bytes={}-", BLOCK + 1), &body[BLOCK + 1..]),
        ("bytes=-1".to_owned(), &body[2 * BLOCK - 1..]),
        (format!("bytes=-{}", 9 * BLOCK), &body[..]),
        (format!("bytes=0-{}", u64::MAX), &body[..]),
    ] {
        let answer = ranged(&server, &range).await;
        assert!(answer.status == 206 && answer.body == expected, "{range}: {}", answer.status);
    }
    for range in ["bytes=0-1,5-6", "bits=0-1", "bytes=a-b", "bytes=-"] {
        let answer = ranged(&server, range).await;
        assert!(answer.status == 200 && answer.body == body, "{range}: {}", answer.status);
    }
    for range in ["bytes=-0".to_owned(), format!("bytes={}-", 2 * BLOCK), format!("bytes={}-", u64::MAX)] {
        let answer = ranged(&server, &range).await;
        assert_eq!((answer.status, &*answer.code()), (416, "InvalidRange"), "{range}");
        assert_eq!(answer.header("content-range"), format!("bytes */{}", 2 * BLOCK));
        assert_eq!(answer.element("ActualObjectSize"), (2 * BLOCK).to_string());
    }
    server.put("/b-1/k", b"").await;
    assert_eq!(ranged(&server, "bytes=0-0").await.status, 416);
    let head = server.call("HEAD", "/b-1/k").header("range", "bytes=0-0").send().await;
    assert_eq!((head.status, head.body.len()), (416, 0));
}

#[tokio::test]
async fn a_query_says_what_an_answers_headers_are_and_nobody_may_say_it_unsigned() {
    let server = with_object(b"x").await;
    let names = [
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-type",
        "expires",
    ];
    let query: Vec<String> = names.iter().map(|name| format!("response-{name}=of-{name}")).collect();
    for method in ["GET", "HEAD"] {
        let answer = server.call(method, &format!("/b-1/k?{}", query.join("&"))).expect(200).await;
        for name in names {
            assert_eq!(answer.header(name), format!("of-{name}"), "{method}");
        }
    }
    let policy =
        br#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject",
        "Resource":"arn:aws:s3:::b-1/*"}]}"#;
    server.call("DELETE", "/b-1?publicAccessBlock").expect(204).await;
    server.call("PUT", "/b-1?policy").body(policy).expect(204).await;
    let asked = |path: &'static str| server.call("GET", path).by(crate::harness::User::Nobody).send();
    assert_eq!(asked("/b-1/k").await.status, 200);
    assert_eq!(asked("/b-1/k?response-expires=x").await.code(), "InvalidRequest");
}

#[tokio::test]
async fn an_object_that_was_put_at_once_is_its_own_first_part() {
    let server = with_object(b"hello").await;
    for method in ["GET", "HEAD"] {
        let first = server.call(method, "/b-1/k?partNumber=1").send().await;
        assert_eq!((first.status, first.header("content-range")), (206, "bytes 0-4/5"), "{method}");
        assert_eq!(first.header("x-amz-mp-parts-count"), "", "{method}");
        assert_eq!(server.call(method, "/b-1/k?partNumber=2").send().await.status, 416, "{method}");
    }
    assert_eq!(server.get("/b-1/k?partNumber=2").await.code(), "InvalidPartNumber");
    for number in ["0", "10001", "-1"] {
        assert_eq!(
            server.get(&format!("/b-1/k?partNumber={number}")).await.code(),
            "InvalidArgument",
            "{number}"
        );
    }
    let both = server.call("GET", "/b-1/k?partNumber=1").header("range", "bytes=0-1").send().await;
    assert_eq!(both.code(), "InvalidRequest");
}

#[tokio::test]
async fn attributes_are_told_that_were_asked_for() {
    let server = with_object(b"hello").await;
    let asked = |names: &'static str| {
        server.call("GET", "/b-1/k?attributes").header("x-amz-object-attributes", names)
    };
    let all = asked("ETag,Checksum,ObjectParts,StorageClass,ObjectSize").expect(200).await;
    let crc = Hasher::digest(Algorithm::Crc64Nvme, b"hello").to_base64();
    for (name, value) in [
        ("ETag", "5d41402abc4b2a76b9719d911017c592"),
        ("ChecksumCRC64NVME", &crc),
        ("ChecksumType", "FULL_OBJECT"),
        ("StorageClass", "STANDARD"),
        ("ObjectSize", "5"),
    ] {
        assert_eq!(all.element(name), value, "{}", all.text());
    }
    assert!(!all.text().contains("<ObjectParts>") && !all.header("last-modified").is_empty());
    let one = asked("ObjectSize").expect(200).await;
    assert!(!one.text().contains("ETag") && one.element("ObjectSize") == "5", "{}", one.text());
    assert_eq!(
        server.call("GET", "/b-1/l?attributes").header("x-amz-object-attributes", "ETag").send().await.status,
        404
    );
}

#[tokio::test]
async fn nothing_is_archived_so_nothing_is_restored() {
    let server = with_object(b"x").await;
    let document = b"<RestoreRequest><Days>1</Days></RestoreRequest>";
    let refused = server.call("POST", "/b-1/k?restore").body(document).send().await;
    assert_eq!((refused.status, &*refused.code()), (403, "InvalidObjectState"));
    assert_eq!(refused.element("Message"), "Restore is not allowed for the object's current storage class");
    assert_eq!(server.call("POST", "/b-1/l?restore").body(document).send().await.code(), "NoSuchKey");
}

#[tokio::test]
async fn an_owner_that_is_expected_must_be_the_owner() {
    let server = with_object(b"x").await;
    for (method, path) in [
        ("GET", "/b-1/k"),
        ("HEAD", "/b-1"),
        ("PUT", "/b-1/k"),
        ("GET", "/b-1?acl"),
        ("GET", "/b-1?list-type=2"),
    ] {
        let asked = |owner| server.call(method, path).header("x-amz-expected-bucket-owner", owner).send();
        assert_eq!(asked("111111111111").await.status, 200, "{method} {path}");
        assert_eq!(asked("222222222222").await.status, 403, "{method} {path}");
    }
}
