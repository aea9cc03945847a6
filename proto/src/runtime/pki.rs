//! The cloud's certificate authority and the certificates of its controllers.
//!
//! A certificate carries the [`Identity`] as a URI and the name `ROLE.karri.internal`; a caller
//! checks the second, a server reads the first.

use crate::internal::{Identity, Role};
pub use crate::runtime::files::write_secret;

use crate::runtime::files::write_durably;
use crate::runtime::tls::{self, TlsFiles};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use sha2::{Digest, Sha256};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
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
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))?;
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

    /// Writes key, certificate and CA into `directory` unless they are there and good for long enough.
    pub fn issue_files(&self, directory: &Path, identity: &Identity) -> Result<TlsFiles, PkiError> {
        self.issue_files_at(directory, identity, OffsetDateTime::now_utc())
    }

    fn issue_files_at(
        &self,
        directory: &Path,
        identity: &Identity,
        now: OffsetDateTime,
    ) -> Result<TlsFiles, PkiError> {
        let files = TlsFiles::in_directory(directory);
        let fresh = || tls::own_validity(&files).is_ok_and(|validity| !validity.ends_soon(now));
        if files.certificate.exists() && files.key.exists() && files.ca.exists() && fresh() {
            return Ok(files);
        }
        std::fs::create_dir_all(directory)?;
        let key_pair = KeyPair::generate()?;
        let certificate = identity_params(identity)?.signed_by(&key_pair, &self.issuer)?;
        let _ = std::fs::remove_file(&files.certificate); // a crash in between must not leave a pair that differs
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
    let key = KeyPair::generate()?.serialize_pem();
    let request = certificate_request_for(&key)?;
    Ok((key, request))
}

/// The request for a certificate of a key that the joiner has already.
pub fn certificate_request_for(key_pem: &str) -> Result<String, PkiError> {
    let request = CertificateParams::default().serialize_request(&KeyPair::from_pem(key_pem)?)?;
    Ok(request.pem()?)
}

/// SHA-256 of the public key of a request that is signed with it, hex.
pub fn request_key_hash(csr_pem: &str) -> Result<String, PkiError> {
    let request = CertificateSigningRequestParams::from_pem(csr_pem)?;
    Ok(hex::encode(Sha256::digest(request.public_key.subject_public_key_info())))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_in_the_last_third_of_its_life() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(&directory.path().join("ca")).unwrap();
        let identity = Identity::new(Role::Nc, "zone-a", "node-1");
        let place = directory.path().join("tls");
        let at = |days| {
            let now = OffsetDateTime::now_utc() + Duration::days(days);
            let files = authority.issue_files_at(&place, &identity, now).unwrap();
            std::fs::read_to_string(files.certificate).unwrap()
        };
        let first = at(0);
        assert_eq!(at(CERTIFICATE_VALID_DAYS * 2 / 3 - 1), first);
        assert_ne!(at(CERTIFICATE_VALID_DAYS * 2 / 3 + 1), first);
        let files = TlsFiles::in_directory(&place);
        tls::client_config(&files, Role::Cc).unwrap(); // key and certificate are a pair
        assert_eq!(tls::own_identity(&files).unwrap(), identity);
    }

    #[test]
    fn the_key_of_the_cloud_is_its_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        let ca = directory.path().join("ca");
        Authority::load_or_create(&ca).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&ca), mode(&ca.join("ca-key.pem"))), (0o700, 0o600));
    }
}
