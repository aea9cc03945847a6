//! Reading blobs: whole, from a byte on, by parts.

use crate::harness::{Server, caller, digest, disk};
use karri_proto::internal::Role;
use karri_proto::internal::error::ApiErrorKind;

#[tokio::test]
async fn a_read_can_be_resumed_at_any_byte() {
    let server = Server::start().await;
    let bytes = disk(2);
    let kept = server.import(bytes.clone()).await.unwrap().blob;
    let (http, url) = (server.http(Role::Nc), format!("{}/v1/blobs/{}", server.endpoint.url, kept.digest));
    for (range, status, from, to) in [
        ("bytes=0-", 206, 0, bytes.len()),
        ("bytes=1048577-", 206, 1_048_577, bytes.len()),
        ("bytes=500-1499", 206, 500, 1500),
        ("bytes=-7", 206, bytes.len() - 7, bytes.len()),
        ("nonsense", 200, 0, bytes.len()),
    ] {
        let answer = http.get(&url).header("range", range).send().await.unwrap();
        assert_eq!(answer.status(), status, "{range}");
        assert_eq!(answer.content_length(), Some((to - from) as u64));
        assert_eq!(answer.headers()["etag"].to_str().unwrap(), format!("\"{}\"", kept.digest));
        if status == 206 {
            let part = answer.headers()["content-range"].to_str().unwrap().to_owned();
            assert_eq!(part, format!("bytes {from}-{}/{}", to - 1, bytes.len()));
        }
        assert!(answer.bytes().await.unwrap() == bytes[from..to], "{range}");
    }
    let beyond = http.get(&url).header("range", format!("bytes={}-", bytes.len())).send().await.unwrap();
    assert_eq!(beyond.status(), 416);
    assert_eq!(beyond.headers()["content-range"].to_str().unwrap(), format!("bytes */{}", bytes.len()));
    let head = http.head(&url).send().await.unwrap();
    assert_eq!(head.status(), 200);
    assert_eq!(head.headers()["content-length"].to_str().unwrap(), bytes.len().to_string());
    assert_eq!(head.headers()["accept-ranges"], "bytes");
}

#[tokio::test]
async fn info_and_list_say_what_is_kept_and_nothing_else_is_found() {
    let server = Server::start().await;
    let kept = server.import(disk(1)).await.unwrap().blob;
    let client = server.client(Role::Nc);
    assert_eq!(client.blob_info(&caller(), &kept.digest).await.unwrap().blob, kept);
    assert_eq!(client.blob_list(&caller()).await.unwrap(), vec![kept]);
    let unknown = digest(b"unknown");
    assert_eq!(client.blob_info(&caller(), &unknown).await.unwrap_err().kind, ApiErrorKind::NotFound);
    assert_eq!(client.blob_read(&caller(), &unknown, 0).await.unwrap_err().kind, ApiErrorKind::NotFound);
    let http = server.http(Role::Nc);
    for bad in ["x", "sha256:zz", "..%2f..%2fetc%2fpasswd", "sha256:..%2f"] {
        let answer = http.get(format!("{}/v1/blobs/{bad}", server.endpoint.url)).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{bad}");
    }
}

#[tokio::test]
async fn a_deleted_blob_is_gone_but_a_read_under_way_goes_on() {
    let server = Server::start().await;
    let bytes = disk(16);
    let kept = server.import(bytes.clone()).await.unwrap().blob;
    let (reader, admin) = (server.client(Role::Nc), server.client(Role::Admin));
    let under_way = reader.blob_read(&caller(), &kept.digest, 0).await.unwrap();
    admin.blob_delete(&caller(), &kept.digest).await.unwrap();
    admin.blob_delete(&caller(), &kept.digest).await.unwrap();
    assert!(under_way.bytes().await.unwrap() == bytes);
    assert_eq!(reader.blob_info(&caller(), &kept.digest).await.unwrap_err().kind, ApiErrorKind::NotFound);
    server.assert_nothing_left(0).await;
    assert_eq!(server.import(bytes).await.unwrap().blob, kept);
}
