//! Secret keys, the signing keys that Version 4 derives from them, and a small cache of the latter.
//!
//! Must not: print a secret, or keep one longer than its owner does. The cache holds derived keys
//! (good for one day, region and service) under a fingerprint, never the secret itself.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use super::claim::Scope;

/// Derived keys kept at most. A full cache is emptied: filling it again costs four HMACs a key.
const CACHED_KEYS_MAX: usize = 4096;

/// A user's secret access key.
#[derive(Clone)]
pub struct Secret {
    text: String,
    fingerprint: [u8; 32],
}

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        let fingerprint = Sha256::digest(text.as_bytes()).into();
        Self { text, fingerprint }
    }

    /// Tells this secret from a later one in its place, and nothing about it.
    pub fn mark(&self) -> String {
        hex::encode(&Sha256::digest([b"karri-secret-mark".as_slice(), &self.fingerprint].concat())[..8])
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

pub(super) fn hmac_sha256(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(data);
    mac.finalize().into_bytes().into()
}

pub(super) fn signing_key(secret: &Secret, scope: &Scope) -> [u8; 32] {
    let root = [b"AWS4", secret.bytes()].concat();
    [scope.date.as_str(), &scope.region, &scope.service, "aws4_request"]
        .iter()
        .fold(None, |key: Option<[u8; 32]>, part| {
            Some(hmac_sha256(key.as_ref().map_or(&root[..], |k| k), part.as_bytes()))
        })
        .expect("the list of parts is not empty")
}

type CacheKey = ([u8; 32], String);

/// Signing keys of signatures that turned out right.
#[derive(Default)]
pub(super) struct KeyCache(Mutex<HashMap<CacheKey, [u8; 32]>>);

impl KeyCache {
    pub(super) fn get(&self, secret: &Secret, scope_text: &str) -> Option<[u8; 32]> {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.get(&(secret.fingerprint, scope_text.to_owned())).copied()
    }

    /// Called only once a signature has matched, so that a stranger who knows an access key id
    /// cannot push real keys out with invented scopes.
    pub(super) fn put(&self, secret: &Secret, scope_text: &str, key: [u8; 32]) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= CACHED_KEYS_MAX {
            keys.clear();
        }
        keys.insert((secret.fingerprint, scope_text.to_owned()), key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// AWS's published derivation example.
    #[test]
    fn derives_the_documented_key() {
        let scope = Scope { date: "20150830".into(), region: "us-east-1".into(), service: "iam".into() };
        let key = signing_key(&Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"), &scope);
        assert_eq!(hex::encode(key), "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9");
    }

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(…)");
    }

    #[test]
    fn the_cache_is_bounded() {
        let (cache, secret) = (KeyCache::default(), Secret::new("s"));
        for n in 0..=CACHED_KEYS_MAX {
            cache.put(&secret, &n.to_string(), [0; 32]);
        }
        assert_eq!(cache.0.lock().unwrap().len(), 1);
        assert!(cache.get(&secret, &CACHED_KEYS_MAX.to_string()).is_some());
    }
}
