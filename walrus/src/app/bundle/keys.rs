//! Who signed a manifest, and the key that its parts are encrypted with.
//!
//! A certificate stands for its key alone: it is trusted because it is the account's, whatever dates and
//! issuer it names, as it always was in EC2.
//!
//! Unwrapping never fails. Where the padding is wrong it gives a random key, so that a wrong cloud, a
//! damaged key and a damaged image end alike, after the same work: an answer that told them apart would let
//! a stranger decrypt keys by asking often (Bleichenbacher).

use super::error::BundleError;
use super::manifest::{Manifest, Signature, Wrapped};
use rand::RngCore;
use rand::rngs::OsRng;
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::traits::PublicKeyParts as _;
use rsa::{BigUint, Pkcs1v15Encrypt, Pkcs1v15Sign, RsaPrivateKey, RsaPublicKey};
use sha1::{Digest as _, Sha1};
use x509_parser::pem::Pem;
use x509_parser::public_key::PublicKey;

const RSA_BITS_MIN: usize = 1024;
/// Larger ones take long to check.
const RSA_BITS_MAX: usize = 8192;
pub const AES_KEY_BYTES: usize = 16;

/// A user's X.509 certificate.
#[derive(Debug, Clone)]
pub struct Certificate(RsaPublicKey);

impl Certificate {
    /// Every certificate of a text in PEM.
    pub fn list(pem: &str) -> Result<Vec<Self>, BundleError> {
        let mut certificates = Vec::new();
        for (number, block) in Pem::iter_from_buffer(pem.as_bytes()).enumerate() {
            let error = |problem: String| BundleError::Certificate { number, problem };
            let block = block.map_err(|e| error(e.to_string()))?;
            let certificate = block.parse_x509().map_err(|e| error(e.to_string()))?;
            let Ok(PublicKey::RSA(key)) = certificate.public_key().parsed() else {
                return Err(error("it holds no RSA key".to_owned()));
            };
            let [modulus, exponent] = [key.modulus, key.exponent].map(BigUint::from_bytes_be);
            if modulus.bits() < RSA_BITS_MIN {
                return Err(error(format!("its key has less than {RSA_BITS_MIN} bits")));
            }
            let key = RsaPublicKey::new_with_max_size(modulus, exponent, RSA_BITS_MAX);
            certificates.push(Self(key.map_err(|e| error(e.to_string()))?));
        }
        Ok(certificates)
    }

    /// What the certificate's holder alone can read.
    pub fn wrap(&self, secrets: &Secrets) -> Result<Wrapped, String> {
        let wrap = |value: &[u8; AES_KEY_BYTES]| {
            let text = hex::encode(value);
            self.0.encrypt(&mut OsRng, Pkcs1v15Encrypt, text.as_bytes()).map_err(|error| error.to_string())
        };
        Ok(Wrapped { key: wrap(&secrets.key)?, iv: wrap(&secrets.iv)? })
    }
}

/// Whose signatures count for an account: its own certificates', and the cloud's on what it has bundled for that very
/// account. The account stands in what is signed.
pub fn trusted(
    manifest: &Manifest,
    account: &str,
    mut certificates: Vec<Certificate>,
    cloud: Certificate,
) -> Vec<Certificate> {
    if manifest.image.user == account {
        certificates.push(cloud);
    }
    certificates
}

/// Which of `certificates` signed the manifest; None when nobody did. `text` is what was parsed.
pub fn signer(
    manifest: &Manifest,
    text: &[u8],
    certificates: &[Certificate],
) -> Result<Option<usize>, BundleError> {
    let Signature::Signed(signature) = &manifest.signature else { return Ok(None) };
    let [machine, image] = manifest.signed_bytes(text);
    let digest = Sha1::new().chain_update(machine).chain_update(image).finalize();
    let made_by = |certificate: &Certificate| {
        certificate.0.verify(Pkcs1v15Sign::new::<Sha1>(), &digest, signature).is_ok()
    };
    match certificates.iter().position(made_by) {
        Some(number) => Ok(Some(number)),
        None => Err(BundleError::Signature(certificates.len())),
    }
}

/// The private half of the cloud's certificate that bundlers encrypt for.
pub struct CloudKey(RsaPrivateKey);

impl CloudKey {
    /// PKCS#8 or PKCS#1, in PEM.
    pub fn from_pem(pem: &str) -> Result<Self, String> {
        let key = RsaPrivateKey::from_pkcs8_pem(pem).or_else(|_| RsaPrivateKey::from_pkcs1_pem(pem));
        match key {
            Ok(key) if key.n().bits() >= RSA_BITS_MIN => Ok(Self(key)),
            Ok(_) => Err(format!("the cloud's key has less than {RSA_BITS_MIN} bits")),
            Err(error) => Err(format!("the cloud's key cannot be read: {error}")),
        }
    }

    /// Its other half.
    pub fn certificate(&self) -> Certificate {
        Certificate(self.0.to_public_key())
    }

    /// As a bundler signs with its user's key.
    pub fn sign(&self, text: &[u8]) -> Result<Vec<u8>, String> {
        let padding = Pkcs1v15Sign::new::<Sha1>();
        self.0.sign_with_rng(&mut OsRng, padding, &Sha1::digest(text)).map_err(|error| error.to_string())
    }

    /// Random where `wrapped` was not made for this cloud.
    pub fn unwrap(&self, wrapped: &Wrapped) -> Secrets {
        let secrets = [&wrapped.key, &wrapped.iv].map(|ciphertext| {
            let mut instead = [0; AES_KEY_BYTES];
            OsRng.fill_bytes(&mut instead);
            self.unwrap_one(ciphertext).unwrap_or(instead)
        });
        let [key, iv] = secrets;
        Secrets { key, iv }
    }

    fn unwrap_one(&self, ciphertext: &[u8]) -> Option<[u8; AES_KEY_BYTES]> {
        let plain = self.0.decrypt_blinded(&mut OsRng, Pkcs1v15Encrypt, ciphertext).ok()?;
        let mut value = [0; AES_KEY_BYTES];
        hex::decode_to_slice(plain, &mut value).ok()?;
        Some(value)
    }
}

impl std::fmt::Debug for CloudKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CloudKey(…)")
    }
}

/// What a bundle's parts are encrypted with.
pub struct Secrets {
    pub(super) key: [u8; AES_KEY_BYTES],
    pub(super) iv: [u8; AES_KEY_BYTES],
}

impl Secrets {
    /// For a bundle that is to be made.
    pub fn random() -> Self {
        let [mut key, mut iv] = [[0; AES_KEY_BYTES]; 2];
        OsRng.fill_bytes(&mut key);
        OsRng.fill_bytes(&mut iv);
        Self { key, iv }
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(…)")
    }
}
