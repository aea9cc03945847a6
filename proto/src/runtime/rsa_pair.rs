//! RSA keys with a certificate, for image bundles: the cloud's, which bundles are encrypted for, and users', which
//! sign them. No X.509 authority has a part in it: a certificate is known or it is not.
//!
//! Must not: print a key.

use crate::runtime::endpoint::write_durably;
use crate::runtime::pki::write_secret;
use crate::runtime::tls::fingerprint;
use rcgen::{CertificateParams, DnType, KeyPair, KeyUsagePurpose};
use rsa::pkcs8::{EncodePrivateKey as _, LineEnding};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::fmt;
use std::path::Path;
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

const RSA_BITS: usize = 2048;
/// A manifest must be readable for as long as its image is used.
const CERTIFICATE_VALID_DAYS: i64 = 20 * 365;
/// Users' clocks may be a little behind.
const BACKDATED: Duration = Duration::hours(1);
/// Of a certificate that somebody brings.
const RSA_BITS_ACCEPTED: std::ops::RangeInclusive<usize> = 1024..=8192;
const PEM_BYTES_MAX: usize = 16 * 1024;

#[derive(Debug, thiserror::Error)]
#[error("{path}: {cause}")]
pub struct KeyFileError {
    pub path: String,
    pub cause: String,
}

impl KeyFileError {
    fn new(path: &Path, cause: impl fmt::Display) -> Self {
        Self { path: path.display().to_string(), cause: cause.to_string() }
    }
}

fn make_directory(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), std::fs::create_dir_all)
}

/// An RSA key and its certificate, as image bundles want them.
#[derive(Clone)]
pub struct RsaPair {
    /// PKCS #8.
    pub key_pem: String,
    /// Signed by the key itself: least of all the authority that controllers trust should vouch for it.
    pub certificate_pem: String,
}

impl fmt::Debug for RsaPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RsaPair(…)")
    }
}

impl RsaPair {
    /// Takes up to some seconds of a processor: not for an async thread.
    pub fn generate(name: &str) -> Result<Self, String> {
        let key = rsa::RsaPrivateKey::new(&mut rand::rngs::OsRng, RSA_BITS).map_err(|e| e.to_string())?;
        let key_pem = key.to_pkcs8_pem(LineEnding::LF).map_err(|e| e.to_string())?;
        let certificate_pem = self_signed(&key_pem, name).map_err(|e| e.to_string())?;
        Ok(Self { key_pem: key_pem.to_string(), certificate_pem })
    }

    /// Reads both files, or makes what is missing.
    pub fn load_or_create(key: &Path, certificate: &Path, name: &str) -> Result<Self, KeyFileError> {
        let key_failed = |cause: String| KeyFileError::new(key, cause);
        let key_pem = match std::fs::read_to_string(key) {
            Ok(text) if !text.is_empty() => text,
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(key_failed(error.to_string()));
            }
            // Not there, or cut short before it was filled.
            _ => {
                let made = Self::generate(name).map_err(key_failed)?;
                make_directory(key).map_err(|error| key_failed(error.to_string()))?;
                write_secret(key, made.key_pem.as_bytes()).map_err(|error| key_failed(error.to_string()))?;
                // One of an earlier key would be of no use.
                let _ = std::fs::remove_file(certificate);
                made.key_pem
            }
        };
        let certificate_failed = |cause: String| KeyFileError::new(certificate, cause);
        let certificate_pem = match std::fs::read_to_string(certificate) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let text = self_signed(&key_pem, name).map_err(|error| key_failed(error.to_string()))?;
                make_directory(certificate).map_err(|error| certificate_failed(error.to_string()))?;
                write_durably(certificate, text.as_bytes())
                    .map_err(|error| certificate_failed(error.to_string()))?;
                text
            }
            Err(error) => return Err(certificate_failed(error.to_string())),
        };
        Ok(Self { key_pem, certificate_pem })
    }
}

fn self_signed(key_pem: &str, name: &str) -> Result<String, rcgen::Error> {
    let key = KeyPair::from_pem(key_pem)?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.not_before = OffsetDateTime::now_utc() - BACKDATED;
    params.not_after = OffsetDateTime::now_utc() + Duration::days(CERTIFICATE_VALID_DAYS);
    Ok(params.self_signed(&key)?.pem())
}

/// The SHA-256 of a certificate that somebody brings, in hex.
///
/// # Errors
/// It is not one X.509 certificate of an RSA key of a usual size; the sentence says why.
pub fn check_rsa_certificate(pem: &str) -> Result<String, String> {
    let not_one = || "expecting one X.509 certificate in PEM form".to_owned();
    if pem.len() > PEM_BYTES_MAX || pem.matches("-----BEGIN ").count() != 1 {
        return Err(not_one());
    }
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| not_one())?;
    let (rest, parsed) = X509Certificate::from_der(&der).map_err(|_| not_one())?;
    let Ok(PublicKey::RSA(key)) = parsed.public_key().parsed() else {
        return Err("the certificate's key must be an RSA key".to_owned());
    };
    if !rest.is_empty() || !RSA_BITS_ACCEPTED.contains(&key.key_size()) {
        return Err(format!(
            "the certificate's key must have {} to {} bits",
            RSA_BITS_ACCEPTED.start(),
            RSA_BITS_ACCEPTED.end()
        ));
    }
    fingerprint(pem).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_pair_is_made_once_and_its_certificate_again() {
        let directory = tempfile::tempdir().unwrap();
        let (key, certificate) = (directory.path().join("keys/pk.pem"), directory.path().join("cert.pem"));
        let made = RsaPair::load_or_create(&key, &certificate, "Karri").unwrap();
        assert_eq!(mode(&key), 0o600);
        let again = RsaPair::load_or_create(&key, &certificate, "Karri").unwrap();
        assert_eq!((&again.key_pem, &again.certificate_pem), (&made.key_pem, &made.certificate_pem));
        let fingerprint = check_rsa_certificate(&made.certificate_pem).unwrap();
        assert_eq!(fingerprint.len(), 64);
        std::fs::remove_file(&certificate).unwrap();
        let renewed = RsaPair::load_or_create(&key, &certificate, "Karri").unwrap();
        assert_eq!(renewed.key_pem, made.key_pem);
        check_rsa_certificate(&renewed.certificate_pem).unwrap();
        assert!(!format!("{made:?}").contains("BEGIN"));
    }

    #[test]
    fn only_one_certificate_of_an_rsa_key_is_taken() {
        let elliptic = KeyPair::generate().unwrap();
        let elliptic = CertificateParams::default().self_signed(&elliptic).unwrap().pem();
        for (pem, why) in [
            ("", "one X.509"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "one X.509"),
            (elliptic.as_str(), "RSA"),
            (format!("{elliptic}{elliptic}").as_str(), "one X.509"),
        ] {
            let refused = check_rsa_certificate(pem).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
    }
}
