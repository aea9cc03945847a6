//! Clients that send slowly, or nothing more: they hold little, and not for long.

use crate::harness::{REGION, Server, open_server, server_with};
use karri_walrus::api::s3::S3Options;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Far above what the servers here wait for, far below what a test may take.
const PATIENCE: Duration = Duration::from_secs(20);

pub fn impatient() -> S3Options {
    S3Options { region: REGION.into(), idle: Duration::from_millis(300), ..S3Options::default() }
}

/// A request without a signature, whose body is left to the test.
pub async fn begun(server: &Server, head: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

pub async fn answered(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let reading = async {
        let mut buffer = [0; 4096];
        while !String::from_utf8_lossy(&answer).contains("\r\n\r\n") {
            let count = stream.read(&mut buffer).await.unwrap_or(0);
            if count == 0 {
                break;
            }
            answer.extend_from_slice(&buffer[..count]);
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("the server waits without end");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends the byte again and again, each time before the server's patience ends, until it is answered.
async fn trickled(stream: TcpStream, byte: u8) -> String {
    let (mut read, mut write) = stream.into_split();
    let sending = tokio::spawn(async move {
        while write.write_all(&[byte]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut first = vec![0; 12];
    tokio::time::timeout(PATIENCE, read.read_exact(&mut first)).await.expect("no answer").unwrap();
    sending.abort();
    String::from_utf8(first).unwrap()
}

const FORM: &str = "POST /b-1 HTTP/1.1\r\nhost: s3\r\ncontent-type: multipart/form-data; boundary=x\r\n\
                    content-length: 1000000\r\n\r\n--x\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk";

#[tokio::test]
async fn a_form_that_stalls_or_trickles_before_its_file_is_given_up() {
    let server = server_with(impatient()).await;
    server.bucket("b-1").await;
    let stalled = answered(&mut begun(&server, FORM).await).await;
    assert!(stalled.starts_with("HTTP/1.1 400"), "{stalled}");
    assert_eq!(trickled(begun(&server, FORM).await, b'k').await, "HTTP/1.1 400");
}

#[tokio::test]
async fn a_document_that_trickles_is_given_up() {
    let server = server_with(impatient()).await;
    server.bucket("b-1").await;
    let head = "POST /b-1?delete HTTP/1.1\r\nhost: s3\r\ncontent-md5: 1B2M2Y8AsgTpgAmY7PhCfg==\r\n\
                content-length: 1000000\r\n\r\n<Delete>";
    assert_eq!(trickled(begun(&server, head).await, b' ').await, "HTTP/1.1 400");
}

#[tokio::test]
async fn who_may_not_is_told_before_the_document_is_sent_for() {
    let server = open_server().await;
    server.bucket("b-1").await;
    for (method, path) in [
        ("PUT", "/b-1?policy"),
        ("PUT", "/b-1?versioning"),
        ("PUT", "/b-1?acl"),
        ("PUT", "/b-1/k?tagging"),
        ("PUT", "/b-2"),
        ("POST", "/b-1/k?uploadId=0"),
    ] {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: s3\r\ncontent-length: 1000\r\nexpect: 100-continue\r\n\r\n"
        );
        let answer = answered(&mut begun(&server, &head).await).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{method} {path}: {answer}");
    }
}

#[tokio::test]
async fn documents_hold_no_more_than_they_may_together() {
    let idle = Duration::from_secs(30);
    let server = server_with(S3Options { idle, documents_bytes_max: 80 << 10, ..impatient() }).await;
    server.bucket("b-1").await;
    let head = |bytes: usize| {
        format!(
            "POST /b-1?delete HTTP/1.1\r\nhost: s3\r\ncontent-md5: 1B2M2Y8AsgTpgAmY7PhCfg==\r\n\
             content-length: {bytes}\r\n\r\n"
        )
    };
    let body = vec![b' '; 64 << 10];
    let mut holder = begun(&server, &head(body.len() + 1)).await;
    holder.write_all(&body).await.unwrap();
    let another = || async {
        let mut stream = begun(&server, &head(body.len())).await;
        stream.write_all(&body).await.unwrap();
        answered(&mut stream).await
    };
    // The holder's bytes may not have been read yet when the first of the others is.
    let refused = async {
        while !another().await.starts_with("HTTP/1.1 503") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.expect("documents are not held to a limit");
    let enabled = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    server.call("PUT", "/b-1?versioning").body(enabled).expect(200).await;
    drop(holder);
    let admitted = async {
        while another().await.starts_with("HTTP/1.1 503") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, admitted).await.expect("what a document held is not given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_uploads_that_stall_keep_nobody_from_storing() {
    const UPLOADS: usize = 600; // more than the runtime has threads that may wait for a disk
    // Nothing times out while the test is under way.
    let idle = Duration::from_secs(600);
    let options = S3Options { idle, block_public_access_default: false, ..impatient() };
    let server = server_with(S3Options { object_ownership_default: None, ..options }).await;
    server.bucket("b-1").await;
    server.call("PUT", "/b-1?acl").header("x-amz-acl", "public-read-write").expect(200).await;
    let body = vec![7; 140 << 10];
    let mut stalled = Vec::new();
    for number in 0..UPLOADS {
        let head = format!("PUT /b-1/{number} HTTP/1.1\r\nhost: s3\r\ncontent-length: 300000\r\n\r\n");
        let mut stream = begun(&server, &head).await;
        stream.write_all(&body).await.unwrap();
        stalled.push(stream);
    }
    let put = server.call("PUT", "/b-1/whole").body(&vec![1; 1 << 20]).expect(200);
    tokio::time::timeout(3 * PATIENCE, put).await.expect("uploads that stall hold what others need");
}
