//! Mutual TLS between controllers: who may speak is in the certificates of the cloud's own CA.

use crate::internal::{Identity, Role};
use crate::runtime::pki::server_name;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl TlsFiles {
    pub fn in_directory(directory: &Path) -> Self {
        Self {
            ca: directory.join("ca.pem"),
            certificate: directory.join("certificate.pem"),
            key: directory.join("key.pem"),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{path}: {message}")]
    File { path: PathBuf, message: String },
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("TLS: {0}")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
    #[error("the certificate names no Karri identity")]
    NoIdentity,
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed =
        |e: rustls::pki_types::pem::Error| TlsError::File { path: path.to_owned(), message: e.to_string() };
    CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path)
        .map_err(|e| TlsError::File { path: path.to_owned(), message: e.to_string() })
}

fn roots(path: &Path) -> Result<Arc<RootCertStore>, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        store.add(certificate)?;
    }
    Ok(Arc::new(store))
}

/// A server that asks for a client certificate but lets a joiner in without one; each router then
/// demands the identity it needs.
pub fn server_config(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(&files.ca)?, provider.clone())
        .allow_unauthenticated()
        .build()?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain_with_ca(files)?, key(&files.key)?)?;
    Ok(Arc::new(config))
}

/// The CA goes with the chain: whoever joins knows only its fingerprint.
fn chain_with_ca(files: &TlsFiles) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let mut chain = certificates(&files.certificate)?;
    chain.extend(certificates(&files.ca)?);
    Ok(chain)
}

/// Whom a client accepts at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// Anybody of this role.
    Any(Role),
    /// The one with exactly this identity.
    Exactly(Identity),
}

impl From<Role> for Peer {
    fn from(role: Role) -> Self {
        Peer::Any(role)
    }
}

impl Peer {
    fn role(&self) -> Role {
        match self {
            Peer::Any(role) => *role,
            Peer::Exactly(identity) => identity.role,
        }
    }

    /// Of a certificate that was verified.
    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        let Peer::Exactly(wanted) = self else { return Ok(()) };
        match identity_of(certificate) {
            Some(shown) if shown == *wanted => Ok(()),
            shown => {
                let shown = shown.map_or_else(|| "nobody".to_owned(), |shown| shown.to_string());
                Err(rustls::Error::General(format!("{wanted} is expected there, and {shown} answers")))
            }
        }
    }
}

/// A client that presents its certificate and accepts only `peer`.
pub fn client_config(files: &TlsFiles, peer: impl Into<Peer>) -> Result<ClientConfig, TlsError> {
    let peer = peer.into();
    let provider = Arc::new(ring::default_provider());
    let inner = WebPkiServerVerifier::builder_with_provider(roots(&files.ca)?, provider.clone()).build()?;
    let name = ServerName::try_from(server_name(peer.role())).expect("role names are valid DNS labels");
    let verifier = Arc::new(PeerVerifier { inner, name, peer });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(certificates(&files.certificate)?, key(&files.key)?)?;
    Ok(config)
}

/// A client without a certificate that trusts only the CA of this fingerprint, which the server has to
/// show in its chain: for joining, when a token is all that one has.
pub fn joining_client_config(ca_fingerprint: &str) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let name = ServerName::try_from(server_name(Role::Clc)).expect("role names are valid DNS labels");
    let verifier = PinnedVerifier {
        ca_fingerprint: ca_fingerprint.to_ascii_lowercase(),
        name,
        provider: provider.clone(),
    };
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

fn one_certificate(pem: &str) -> Result<CertificateDer<'static>, TlsError> {
    CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(|e| TlsError::File { path: PathBuf::from("certificate"), message: e.to_string() })
}

/// SHA-256 of a certificate, hex: what a join token pins of the CA, and what a node's is refused by.
pub fn fingerprint(pem: &str) -> Result<String, TlsError> {
    Ok(fingerprint_of(&one_certificate(pem)?))
}

/// Of a certificate just made.
pub fn validity_of_pem(pem: &str) -> Result<Validity, TlsError> {
    validity_of(&one_certificate(pem)?)
}

pub fn fingerprint_of(certificate: &CertificateDer<'_>) -> String {
    hex::encode(Sha256::digest(certificate))
}

/// The identity that our own certificate file carries.
pub fn own_identity(files: &TlsFiles) -> Result<Identity, TlsError> {
    let chain = certificates(&files.certificate)?;
    chain.first().and_then(identity_of).ok_or(TlsError::NoIdentity)
}

/// From when until when a certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    pub from: OffsetDateTime,
    pub until: OffsetDateTime,
}

impl Validity {
    /// Less than a third of its life is left: time for a new one.
    pub fn ends_soon(&self, now: OffsetDateTime) -> bool {
        self.until - now < (self.until - self.from) / 3
    }
}

/// Of our own certificate file.
pub fn own_validity(files: &TlsFiles) -> Result<Validity, TlsError> {
    validity_of(certificates(&files.certificate)?.first().ok_or(TlsError::NoIdentity)?)
}

fn validity_of(certificate: &CertificateDer<'_>) -> Result<Validity, TlsError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| TlsError::NoIdentity)?;
    let validity = parsed.validity();
    Ok(Validity { from: validity.not_before.to_datetime(), until: validity.not_after.to_datetime() })
}

/// Reads the identity out of a certificate that the handshake has already verified.
pub fn identity_of(certificate: &CertificateDer<'_>) -> Option<Identity> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => Identity::parse(uri),
        _ => None,
    })
}

/// Checks the peer against its role's name, or its own, instead of the address it was called by: controllers
/// are reached by addresses that no certificate could foresee.
#[derive(Debug)]
struct PeerVerifier {
    inner: Arc<WebPkiServerVerifier>,
    name: ServerName<'static>,
    peer: Peer,
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _called_by: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified =
            self.inner.verify_server_cert(end_entity, intermediates, &self.name, ocsp_response, now)?;
        self.peer.check(end_entity)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Trusts the one CA whose fingerprint it knows, once the peer has shown it, and then checks as
/// [`PeerVerifier`] does.
#[derive(Debug)]
struct PinnedVerifier {
    ca_fingerprint: String,
    name: ServerName<'static>,
    provider: Arc<CryptoProvider>,
}

/// In words of our own: a person reads it, and rustls' reasons are names.
const ANOTHER_CA: &str = "the cloud that answers is of another CA than the join token names";

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _called_by: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let ca = intermediates
            .iter()
            .find(|certificate| fingerprint_of(certificate) == self.ca_fingerprint)
            .ok_or_else(|| rustls::Error::General(ANOTHER_CA.to_owned()))?;
        let mut store = RootCertStore::empty();
        store.add(ca.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(store), self.provider.clone())
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?
            .verify_server_cert(end_entity, intermediates, &self.name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
