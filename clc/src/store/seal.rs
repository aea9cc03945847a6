//! Encrypts secret access keys for the database, with a key that is kept elsewhere.
//!
//! AES-256-GCM with a random nonce; the access key id is bound in, so a sealed secret cannot be moved
//! to another row. Must not: log or print a secret.

use super::StoreError;
use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, Key, KeyInit, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use karri_proto::runtime::keys::{KeyFileError, load_or_create_key};
use rand::RngCore;
use std::path::Path;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;

#[derive(Clone)]
pub struct Sealer(Aes256Gcm);

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(…)")
    }
}

impl Sealer {
    pub fn new(key: [u8; KEY_BYTES]) -> Self {
        Self(Aes256Gcm::new(&Key::<Aes256Gcm>::from(key)))
    }

    /// Reads the key file (64 hex digits), or makes it.
    pub fn load_or_create(path: &Path) -> Result<Self, StoreError> {
        let failed = |error: KeyFileError| StoreError::KeyFile { path: error.path, cause: error.cause };
        Ok(Self::new(load_or_create_key(path).map_err(failed)?))
    }

    pub fn seal(&self, access_key_id: &str, secret: &str) -> String {
        let mut nonce = [0; NONCE_BYTES];
        rand::rngs::OsRng.fill_bytes(&mut nonce);
        let payload = Payload { msg: secret.as_bytes(), aad: access_key_id.as_bytes() };
        let sealed = self.0.encrypt(Nonce::from_slice(&nonce), payload).expect("short texts always encrypt");
        STANDARD.encode([&nonce[..], &sealed].concat())
    }

    pub fn open(&self, access_key_id: &str, sealed: &str) -> Result<String, StoreError> {
        let corrupt = |cause: &str| StoreError::corrupt("sealed secret", cause);
        let bytes = STANDARD.decode(sealed).map_err(|_| corrupt("not base64"))?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_BYTES).ok_or_else(|| corrupt("too short"))?;
        let payload = Payload { msg: sealed, aad: access_key_id.as_bytes() };
        let plain = self.0.decrypt(Nonce::from_slice(nonce), payload);
        let plain = plain.map_err(|_| corrupt("the key file is not the one it was encrypted with"))?;
        String::from_utf8(plain).map_err(|_| corrupt("not text"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_secret_opens_only_under_its_own_key_and_id() {
        let sealer = Sealer::new([7; 32]);
        let sealed = sealer.seal("AKIA1", "hunter2");
        assert!(!sealed.contains("hunter2"));
        assert_eq!(sealer.open("AKIA1", &sealed).unwrap(), "hunter2");
        assert!(sealer.open("AKIA2", &sealed).is_err());
        assert!(Sealer::new([8; 32]).open("AKIA1", &sealed).is_err());
        assert!(sealer.open("AKIA1", "AAAA").is_err());
    }
}
