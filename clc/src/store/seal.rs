//! Encrypts secret access keys for the database, with a key that is kept elsewhere.
//!
//! AES-256-GCM with a random nonce; the access key id is bound in, so a sealed secret cannot be moved
//! to another row. Must not: log or print a secret.

use super::StoreError;
use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, Key, KeyInit, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use karri_proto::runtime::pki::write_secret;
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
        let failed = |cause: String| StoreError::KeyFile { path: path.display().to_string(), cause };
        let text = match std::fs::read_to_string(path) {
            Ok(text) if !text.is_empty() => text,
            // Empty: a first start was cut short between making the file and filling it.
            Ok(_) => Self::create_key_file(path).map_err(failed)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Self::create_key_file(path).map_err(failed)?
            }
            Err(error) => return Err(failed(error.to_string())),
        };
        let mut key = [0; KEY_BYTES];
        hex::decode_to_slice(text.trim(), &mut key)
            .map_err(|_| failed("expecting 64 hex digits".to_owned()))?;
        Ok(Self::new(key))
    }

    fn create_key_file(path: &Path) -> Result<String, String> {
        let mut key = [0; KEY_BYTES];
        rand::rngs::OsRng.fill_bytes(&mut key);
        let text = hex::encode(key);
        let directory = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(directory).map_err(|e| e.to_string())?;
        write_secret(path, text.as_bytes()).map_err(|e| e.to_string())?;
        Ok(text)
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

    #[test]
    fn the_key_file_is_made_once_and_only_for_its_owner() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/secrets.key");
        let sealed = Sealer::load_or_create(&path).unwrap().seal("A", "s");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Sealer::load_or_create(&path).unwrap().open("A", &sealed).unwrap(), "s");
        std::fs::write(&path, "short").unwrap();
        assert!(Sealer::load_or_create(&path).unwrap_err().to_string().contains("secrets.key"));
    }
}
