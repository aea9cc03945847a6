//! Bodies as SDKs send them in frames, and every checksum in a header and behind the body.

use crate::harness::{Answer, Server, server};
use crate::pen::Framed;
use karri_proto::checksum::{Algorithm, Hasher};

const SIGNED: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
const SIGNED_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
/// As SDKs of today send.
const UNSIGNED_TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
const ALGORITHMS: [Algorithm; 5] =
    [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme, Algorithm::Sha1, Algorithm::Sha256];

/// In a row, and in a file of several blocks.
fn bodies() -> [Vec<u8>; 2] {
    [200, 300_000].map(|size| (0..size).map(|at| (at * 7 % 251) as u8).collect())
}

fn header(algorithm: Algorithm) -> String {
    format!("x-amz-checksum-{}", algorithm.name().to_ascii_lowercase())
}

async fn server_with_bucket() -> Server {
    let server = server().await;
    server.bucket("b-1").await;
    server
}

async fn read(server: &Server) -> Answer {
    server.call("GET", "/b-1/k").header("x-amz-checksum-mode", "ENABLED").send().await
}

async fn assert_kept(server: &Server, put: &Answer, body: &[u8], checksum: (&str, &str)) {
    assert_eq!((put.status, put.header(checksum.0)), (200, checksum.1), "{}", put.text());
    let got = read(server).await;
    assert!(got.body == body, "{} bytes came back", got.body.len());
    assert_eq!((got.header(checksum.0), got.header("x-amz-checksum-type")), (checksum.1, "FULL_OBJECT"));
    assert_eq!(got.header("content-encoding"), "", "the frames are no encoding of the object");
    server.call("DELETE", "/b-1/k").expect(204).await;
}

async fn assert_refused(server: &Server, put: &Answer, status: u16, code: &str) {
    assert_eq!((put.status, &*put.code()), (status, code), "{}", put.text());
    assert_eq!(read(server).await.status, 404, "nothing may be kept");
}

#[tokio::test]
async fn every_checksum_is_held_against_the_body_in_a_header() {
    let server = server_with_bucket().await;
    for (algorithm, body) in ALGORITHMS.iter().flat_map(|one| bodies().map(|body| (*one, body))) {
        let (name, value) = (header(algorithm), Hasher::digest(algorithm, &body).to_base64());
        let put = |value: &str| server.call("PUT", "/b-1/k").header(&name, value).body(&body);
        assert_refused(
            &server,
            &put(&Hasher::digest(algorithm, b"x").to_base64()).send().await,
            400,
            "BadDigest",
        )
        .await;
        assert_kept(&server, &put(&value).send().await, &body, (&name, &value)).await;
    }
    let [body, _] = bodies();
    let two = server.call("PUT", "/b-1/k").header("x-amz-checksum-crc32", "AAAAAA==");
    let two = two.header("x-amz-checksum-crc32c", "AAAAAA==").body(&body).send().await;
    assert_refused(&server, &two, 400, "InvalidRequest").await;
}

#[tokio::test]
async fn every_checksum_is_held_against_the_body_in_a_trailer() {
    let server = server_with_bucket().await;
    for (algorithm, body) in ALGORITHMS.iter().flat_map(|one| bodies().map(|body| (*one, body))) {
        let (name, value) = (header(algorithm), Hasher::digest(algorithm, &body).to_base64());
        let wrong = Hasher::digest(algorithm, b"x").to_base64();
        for seal in [UNSIGNED_TRAILER, SIGNED_TRAILER] {
            let framed = |value| Framed { seal, data: &body, trailer: Some((&name, value)) };
            let put = framed(&wrong).put(&server, "/b-1/k", &[], |_| {}).await;
            assert_refused(&server, &put, 400, "BadDigest").await;
            let put =
                framed(&value).put(&server, "/b-1/k", &[("content-encoding", "aws-chunked")], |_| {}).await;
            assert_kept(&server, &put, &body, (&name, &value)).await;
        }
    }
}

#[tokio::test]
async fn a_signed_frame_that_was_changed_keeps_nothing() {
    let server = server_with_bucket().await;
    for body in bodies() {
        let crc64 = Hasher::digest(Algorithm::Crc64Nvme, &body).to_base64();
        let whole = Framed { seal: SIGNED, data: &body, trailer: None };
        let put = whole.put(&server, "/b-1/k", &[], |_| {}).await;
        // Without one of the client's, it gets the one that all objects have.
        assert_kept(&server, &put, &body, ("x-amz-checksum-crc64nvme", &crc64)).await;
        let flip = |sent: &mut Vec<u8>| {
            let at = sent.len() / 2;
            sent[at] ^= 1;
        };
        let put = whole.put(&server, "/b-1/k", &[], flip).await;
        assert_refused(&server, &put, 403, "SignatureDoesNotMatch").await;
        let cut = |sent: &mut Vec<u8>| sent.truncate(sent.len() - 90);
        let put = whole.put(&server, "/b-1/k", &[], cut).await;
        assert_refused(&server, &put, 400, "IncompleteBody").await;
    }
    let (body, value) = (b"hello", "NhCmhg==");
    let trailed = Framed { seal: SIGNED_TRAILER, data: body, trailer: Some(("x-amz-checksum-crc32", value)) };
    let other = |sent: &mut Vec<u8>| {
        let at = sent.windows(value.len()).rposition(|window| window == value.as_bytes()).unwrap();
        sent[at..at + value.len()].copy_from_slice(b"NhCmhA==");
    };
    let put = trailed.put(&server, "/b-1/k", &[], other).await;
    assert_refused(&server, &put, 403, "SignatureDoesNotMatch").await;
}

#[tokio::test]
async fn what_encodes_the_object_beside_the_frames_is_kept() {
    let server = server_with_bucket().await;
    let crc = Hasher::digest(Algorithm::Crc32, b"x").to_base64();
    let framed = Framed { seal: UNSIGNED_TRAILER, data: b"x", trailer: Some(("x-amz-checksum-crc32", &crc)) };
    for (sent, kept) in
        [("aws-chunked", ""), ("aws-chunked,gzip", "gzip"), ("gzip,aws-chunked", "gzip"), ("br", "br")]
    {
        let put = framed.put(&server, "/b-1/k", &[("content-encoding", sent)], |_| {}).await;
        assert_eq!(put.status, 200, "{sent}: {}", put.text());
        assert_eq!(
            server.call("HEAD", "/b-1/k").expect(200).await.header("content-encoding"),
            kept,
            "{sent}"
        );
    }
}

#[tokio::test]
async fn parts_in_frames_make_an_object_with_a_checksum_of_checksums() {
    let server = server_with_bucket().await;
    let create = server.call("POST", "/b-1/k?uploads").header("x-amz-checksum-algorithm", "CRC32C");
    let created = create.expect(200).await;
    assert_eq!(created.header("x-amz-checksum-type"), "COMPOSITE");
    let id = created.element("UploadId");
    let (mut sums, mut listed, mut md5s) = (Vec::new(), String::new(), Vec::new());
    for (number, body) in [vec![b'x'; 5 << 20], b"end".to_vec()].into_iter().enumerate() {
        let number = number + 1;
        let sum = Hasher::digest(Algorithm::Crc32c, &body);
        let value = sum.to_base64();
        let framed =
            Framed { seal: UNSIGNED_TRAILER, data: &body, trailer: Some(("x-amz-checksum-crc32c", &value)) };
        let path = format!("/b-1/k?partNumber={number}&uploadId={id}");
        let put = framed.put(&server, &path, &[], |_| {}).await;
        assert_eq!((put.status, put.header("x-amz-checksum-crc32c")), (200, &*value), "{}", put.text());
        let etag = put.header("etag");
        listed.push_str(&format!(
            "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag><ChecksumCRC32C>{value}</ChecksumCRC32C></Part>"
        ));
        sums.extend_from_slice(sum.digest());
        md5s.extend_from_slice(Hasher::digest(Algorithm::Md5, &body).digest());
    }
    let document = format!("<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>");
    let complete = server.call("POST", &format!("/b-1/k?uploadId={id}")).body(document.as_bytes());
    let done = complete.expect(200).await;
    let of_sums = format!("{}-2", Hasher::digest(Algorithm::Crc32c, &sums).to_base64());
    let etag = format!("{}-2", hex::encode(Hasher::digest(Algorithm::Md5, &md5s).digest()));
    assert_eq!(
        (done.element("ChecksumCRC32C"), done.element("ChecksumType")),
        (of_sums.clone(), "COMPOSITE".into())
    );
    assert_eq!(done.element("ETag").replace("&quot;", ""), etag);
    let head = server.call("HEAD", "/b-1/k").header("x-amz-checksum-mode", "ENABLED").expect(200).await;
    assert_eq!(
        (head.header("x-amz-checksum-crc32c"), head.header("x-amz-checksum-type")),
        (&*of_sums, "COMPOSITE")
    );
}
