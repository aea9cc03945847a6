//! A joiner with nothing but a token: whom it trusts and what it gets.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test
use async_trait::async_trait;
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::join::{JoinAnswer, JoinRequest, JoinService, JoinToken, join, router};
use karri_proto::internal::{ApiError, Identity, Role};
use karri_proto::runtime::pki::{Authority, certificate_request, write_secret};
use karri_proto::runtime::server::{serve, shutdown_pair};
use karri_proto::runtime::tls::{TlsFiles, fingerprint, own_identity, server_config};
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;

struct Clc {
    authority: Authority,
    /// What it claims to be its CA.
    ca_pem: String,
}

#[async_trait]
impl JoinService for Clc {
    async fn join(&self, request: JoinRequest) -> Result<JoinAnswer, ApiError> {
        if request.secret != "open sesame" {
            return Err(ApiError::forbidden("unknown token"));
        }
        let identity = Identity::new(Role::Nc, "zone-a", &request.name);
        let certificate_pem =
            self.authority.sign_request(&request.csr_pem, &identity).map_err(ApiError::internal)?;
        let ca_pem = self.ca_pem.clone();
        Ok(JoinAnswer { identity, certificate_pem, ca_pem, cc_url: String::new(), walrus_url: String::new() })
    }
}

/// A server of `role` in a cloud of its own, and a token for it.
async fn cloud(directory: &Path, role: Role, claimed_ca: Option<String>) -> JoinToken {
    let authority = Authority::load_or_create(&directory.join("ca")).unwrap();
    let files = authority.issue_files(&directory.join(role.as_str()), &Identity::new(role, "", "x")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let clc_url = format!("https://{}", listener.local_addr().unwrap());
    let ca_fingerprint = fingerprint(authority.certificate_pem()).unwrap();
    let ca_pem = claimed_ca.unwrap_or_else(|| authority.certificate_pem().to_owned());
    let router = router(Arc::new(Clc { authority, ca_pem }));
    let tls = server_config(&files).unwrap();
    tokio::spawn(async move {
        let (_trigger, shutdown) = shutdown_pair();
        serve(listener, Some(tls), router, shutdown).await;
    });
    JoinToken { clc_url, ca_fingerprint, secret: "open sesame".into() }
}

#[tokio::test]
async fn a_token_buys_a_certificate_of_the_cloud() {
    let directory = tempfile::tempdir().unwrap();
    let token = cloud(directory.path(), Role::Clc, None).await;
    let token = JoinToken::decode(&token.encode()).unwrap();
    let (key, csr) = certificate_request().unwrap();

    let answer = join(&token, "node-7", &csr).await.unwrap();

    let files = TlsFiles::in_directory(directory.path());
    std::fs::write(&files.ca, &answer.ca_pem).unwrap();
    std::fs::write(&files.certificate, &answer.certificate_pem).unwrap();
    write_secret(&files.key, key.as_bytes()).unwrap();
    assert_eq!(own_identity(&files).unwrap(), Identity::new(Role::Nc, "zone-a", "node-7"));
    assert!(server_config(&files).is_ok(), "key and certificate belong together");

    let spent = JoinToken { secret: "guessed".into(), ..token };
    assert_eq!(join(&spent, "node-7", &csr).await.unwrap_err().kind, ApiErrorKind::Forbidden);
}

#[tokio::test]
async fn a_joiner_talks_only_to_the_clc_of_the_pinned_ca() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_, csr) = certificate_request().unwrap();
    let good = cloud(ours.path(), Role::Clc, None).await;

    let impostor = cloud(theirs.path(), Role::Clc, None).await;
    let misled = JoinToken { clc_url: impostor.clc_url.clone(), ..good.clone() };
    assert_eq!(join(&misled, "n", &csr).await.unwrap_err().kind, ApiErrorKind::Unreachable);

    let node = cloud(ours.path(), Role::Nc, None).await;
    assert_eq!(join(&node, "n", &csr).await.unwrap_err().kind, ApiErrorKind::Unreachable);

    let other_ca = std::fs::read_to_string(theirs.path().join("ca/ca.pem")).unwrap();
    let swapped = cloud(ours.path(), Role::Clc, Some(other_ca)).await;
    assert_eq!(join(&swapped, "n", &csr).await.unwrap_err().kind, ApiErrorKind::Forbidden);
}
