//! Who may do what, by certificate.

use crate::harness::{Server, caller, disk};
use karri_proto::internal::Role;
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::story::StoryService;

#[tokio::test]
async fn roles_may_do_what_the_table_says() {
    let server = Server::start().await;
    let kept = server.import(disk(1)).await.unwrap().blob;
    for (role, reads, writes) in [
        (Role::Admin, true, true),
        (Role::Clc, true, true),
        (Role::Cc, true, false),
        (Role::Nc, true, false),
        (Role::Walrus, false, false),
    ] {
        let client = server.client(role);
        let refused =
            |result: Result<(), karri_proto::internal::ApiError>, allowed: bool, what: &str| match result {
                Ok(()) => assert!(allowed, "{role:?} may not {what}"),
                Err(error) => {
                    assert!(!allowed && error.kind == ApiErrorKind::Forbidden, "{role:?} {what}: {error}")
                }
            };
        refused(client.blob_info(&caller(), &kept.digest).await.map(drop), reads, "info");
        refused(client.blob_read(&caller(), &kept.digest, 0).await.map(drop), reads, "read");
        refused(client.blob_list(&caller()).await.map(drop), reads, "list");
        refused(client.blob_import(&caller(), disk(1).into()).await.map(drop), writes, "import");
        refused(client.story(&caller(), "i-12345678").await.map(drop), writes, "story");
        let other = crate::harness::digest(b"other");
        refused(client.blob_delete(&caller(), &other).await, writes, "delete");
    }
    server.assert_nothing_left(1).await;
}

#[tokio::test]
async fn without_a_certificate_nothing_is_served() {
    let server = Server::start().await;
    let ca = std::fs::read_to_string(server.cloud.path().join("ca/ca.pem")).unwrap();
    let tls = karri_proto::runtime::tls::joining_client_config(&ca);
    // A joiner's configuration expects the clc, so the handshake itself fails: there is no way in.
    let http = reqwest::Client::builder().use_preconfigured_tls(tls.unwrap()).no_proxy().build().unwrap();
    assert!(http.get(format!("{}/v1/blobs", server.endpoint.url)).send().await.is_err());
}

#[tokio::test]
async fn health_and_metrics_are_there() {
    let server = Server::start().await;
    server.import(disk(1)).await.unwrap();
    let metrics = server.metrics().await;
    for line in [
        "karri_walrus_blobs 1",
        "karri_walrus_blob_bytes 1048576",
        "karri_walrus_imports_total{format=\"raw\",result=\"kept\"} 1",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
}
