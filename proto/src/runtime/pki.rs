//! The cloud's certificate authority and the certificates of its controllers.
//!
//! A certificate carries the [`Identity`] as a URI and the name `ROLE.karri.internal`; a caller
//! checks the second, a server reads the first.

use crate::internal::{Identity, Role};
use crate::runtime::endpoint::write_durably;
use crate::runtime::tls::TlsFiles;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use time::{Duration, OffsetDateTime};

const CA_VALID_DAYS: i64 = 20 * 365;
const CERTIFICATE_VALID_DAYS: i64 = 5 * 365;
/// Clocks of joining machines may be a little behind.
const BACKDATED: Duration = Duration::hours(1);

#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// The DNS name that every server of a role answers to.
pub fn server_name(role: Role) -> String {
    format!("{}.karri.internal", role.as_str())
}

#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
}

impl Authority {
    /// Loads `ca.pem` and `ca-key.pem`, or makes them.
    pub fn load_or_create(directory: &Path) -> Result<Self, PkiError> {
        let (certificate, key) = (directory.join("ca.pem"), directory.join("ca-key.pem"));
        if !certificate.exists() {
            std::fs::create_dir_all(directory)?;
            let key_pair = KeyPair::generate()?;
            write_secret(&key, key_pair.serialize_pem().as_bytes())?;
            write_durably(&certificate, authority_params().self_signed(&key_pair)?.pem().as_bytes())?;
        }
        let certificate_pem = std::fs::read_to_string(&certificate)?;
        let key_pair = KeyPair::from_pem(&std::fs::read_to_string(&key)?)?;
        Ok(Self { issuer: Issuer::from_ca_cert_pem(&certificate_pem, key_pair)?, certificate_pem })
    }

    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Writes key, certificate and CA into `directory` unless they are there.
    pub fn issue_files(&self, directory: &Path, identity: &Identity) -> Result<TlsFiles, PkiError> {
        let files = TlsFiles::in_directory(directory);
        if files.certificate.exists() && files.key.exists() && files.ca.exists() {
            return Ok(files);
        }
        std::fs::create_dir_all(directory)?;
        let key_pair = KeyPair::generate()?;
        let certificate = identity_params(identity)?.signed_by(&key_pair, &self.issuer)?;
        write_secret(&files.key, key_pair.serialize_pem().as_bytes())?;
        write_durably(&files.ca, self.certificate_pem.as_bytes())?;
        write_durably(&files.certificate, certificate.pem().as_bytes())?;
        Ok(files)
    }

    /// Signs a joiner's request. Only its public key is taken from it; the name is ours to give.
    pub fn sign_request(&self, csr_pem: &str, identity: &Identity) -> Result<String, PkiError> {
        let mut request = CertificateSigningRequestParams::from_pem(csr_pem)?;
        request.params = identity_params(identity)?;
        Ok(request.signed_by(&self.issuer)?.pem())
    }
}

/// A new key and the request for its certificate: what a joiner sends.
pub fn certificate_request() -> Result<(String, String), PkiError> {
    let key_pair = KeyPair::generate()?;
    let request = CertificateParams::default().serialize_request(&key_pair)?;
    Ok((key_pair.serialize_pem(), request.pem()?))
}

/// Readable by its owner only, from its first byte on.
pub fn write_secret(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    write_durably(path, b"")?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    let file = std::fs::File::options().write(true).truncate(true).open(path)?;
    std::io::Write::write_all(&mut &file, bytes)?;
    file.sync_all()
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Karri cloud CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = OffsetDateTime::now_utc() - BACKDATED;
    params.not_after = OffsetDateTime::now_utc() + Duration::days(CA_VALID_DAYS);
    params
}

fn identity_params(identity: &Identity) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::new(vec![server_name(identity.role)])?;
    params.subject_alt_names.push(SanType::URI(identity.to_string().try_into()?));
    params.distinguished_name.push(DnType::CommonName, identity.to_string());
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = OffsetDateTime::now_utc() - BACKDATED;
    params.not_after = OffsetDateTime::now_utc() + Duration::days(CERTIFICATE_VALID_DAYS);
    Ok(params)
}
