//! HTTP to whom the operator has named: trusting exactly the CA that the operator named for it, following no redirect,
//! through no proxy.

use reqwest::ClientBuilder;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::time::Duration;

/// Certificates as PEM; without them nobody is trusted who is called over TLS.
///
/// # Errors
/// It is not PEM, or there is no certificate in it that can be used.
pub fn trusting(ca: Option<&[u8]>, connect_timeout: Duration) -> Result<ClientBuilder, String> {
    let mut roots = RootCertStore::empty();
    if let Some(pem) = ca {
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| error.to_string())?;
            roots.add(certificate).map_err(|error| error.to_string())?;
        }
        if roots.is_empty() {
            return Err("there is no certificate in it".to_owned());
        }
    }
    // The process has no provider of its own, and whoever expects one panics.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config =
        config.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth();
    Ok(reqwest::Client::builder()
        .use_preconfigured_tls(config)
        .connect_timeout(connect_timeout)
        .redirect(reqwest::redirect::Policy::none())
        .tcp_nodelay(true)
        .no_proxy())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &str = include_str!("../../tests/vectors/bundle/user-cert.pem");

    #[test]
    fn a_client_is_made_without_a_provider_of_the_process() {
        for ca in [None, Some(CERTIFICATE.as_bytes())] {
            trusting(ca, Duration::from_secs(1)).unwrap().build().unwrap();
        }
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        for none in
            ["", "access_key_id = 1", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
        {
            assert!(trusting(Some(none.as_bytes()), Duration::from_secs(1)).is_err(), "{none}");
        }
    }
}
