//! Two identities of one cloud, one of another: who gets in.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test
use async_trait::async_trait;
use karri_proto::internal::caller::guarded;
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::story::{StoryLine, StoryService, router};
use karri_proto::internal::{ApiError, Caller, Identity, Role};
use karri_proto::runtime::client::InternalClient;
use karri_proto::runtime::pki::Authority;
use karri_proto::runtime::server::{serve, shutdown_pair};
use karri_proto::runtime::tls::{Peer, TlsFiles, server_config};
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;

struct Echo;

#[async_trait]
impl StoryService for Echo {
    async fn story(&self, caller: &Caller, about: &str) -> Result<Vec<StoryLine>, ApiError> {
        let who = format!("{} {} {about}", caller.identity, caller.request_id);
        Ok(vec![StoryLine {
            timestamp: String::new(),
            who,
            level: String::new(),
            message: String::new(),
            fields: Default::default(),
        }])
    }
}

fn files(cloud: &Path, role: Role, cluster: &str, name: &str) -> TlsFiles {
    let authority = Authority::load_or_create(&cloud.join("ca")).unwrap();
    authority.issue_files(&cloud.join(name), &Identity::new(role, cluster, name)).unwrap()
}

/// The answer of a server of role `nc` that obeys only the cc of zone-a.
async fn call(
    client_files: &TlsFiles,
    server_files: &TlsFiles,
    expected: impl Into<Peer>,
) -> Result<Vec<StoryLine>, ApiError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let (_trigger, shutdown) = shutdown_pair();
    let router = guarded(router(Arc::new(Echo)), |id| id.role == Role::Cc && id.cluster == "zone-a");
    tokio::spawn(serve(listener, Some(server_config(server_files).unwrap()), router, shutdown));
    let client = InternalClient::new(&url, expected, client_files)?;
    let caller = Caller { identity: Identity::new(Role::Cc, "x", "x"), request_id: "req-1".into() };
    client.story(&caller, "i-12345678").await
}

#[tokio::test]
async fn only_the_right_certificate_is_served() {
    let (cloud, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let node = files(cloud.path(), Role::Nc, "zone-a", "node-1");
    let cc = files(cloud.path(), Role::Cc, "zone-a", "zone-a");

    let answer = call(&cc, &node, Role::Nc).await.unwrap();
    assert_eq!(answer[0].who, "karri:cc:zone-a:zone-a req-1 i-12345678");

    let sister = files(cloud.path(), Role::Cc, "zone-b", "zone-b");
    assert_eq!(call(&sister, &node, Role::Nc).await.unwrap_err().kind, ApiErrorKind::Forbidden);

    let stranger = files(other.path(), Role::Cc, "zone-a", "zone-a");
    assert_eq!(call(&stranger, &node, Role::Nc).await.unwrap_err().kind, ApiErrorKind::Unreachable);

    assert_eq!(call(&cc, &node, Role::Walrus).await.unwrap_err().kind, ApiErrorKind::Unreachable);

    let exactly = |cluster: &str, name: &str| Peer::Exactly(Identity::new(Role::Nc, cluster, name));
    call(&cc, &node, exactly("zone-a", "node-1")).await.unwrap();
    for (cluster, name) in [("zone-a", "node-2"), ("zone-b", "node-1")] {
        let refused = call(&cc, &node, exactly(cluster, name)).await.unwrap_err();
        assert_eq!(refused.kind, ApiErrorKind::Unreachable, "{cluster} {name}");
        assert!(refused.message.contains("karri:nc:zone-a:node-1 answers"), "{refused}");
    }
}
