//! HTTP clients for what is not an internal API: EC2, health checks, image servers.

use anyhow::Context;
use reqwest::ClientBuilder;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

/// For plain HTTP on this machine.
pub fn local() -> anyhow::Result<ClientBuilder> {
    Ok(client(RootCertStore::empty())?.no_proxy())
}

/// For servers elsewhere: trusts what the system trusts.
pub fn trusting_the_system() -> anyhow::Result<ClientBuilder> {
    let mut roots = RootCertStore::empty();
    // A machine without a single usable root can still speak plain HTTP.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    client(roots)
}

fn client(roots: RootCertStore) -> anyhow::Result<ClientBuilder> {
    let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("TLS")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(reqwest::Client::builder().use_preconfigured_tls(tls))
}
