//! IMDSv2 session tokens: an expiry and a seal over it and the instance, so that none is stored and
//! none is of use to another instance.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use karri_proto::ids::InstanceId;
use sha2::Sha256;

pub const TTL_SECS_MAX: u64 = 21_600;
pub const KEY_BYTES: usize = 32;
const EXPIRY_BYTES: usize = 8;
const TOKEN_CHARS_MAX: usize = 128;

/// Kept in the state directory: tokens outlive a restart.
#[derive(Clone)]
pub struct TokenKey([u8; KEY_BYTES]);

impl TokenKey {
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    fn seal(&self, id: &InstanceId, expiry: [u8; EXPIRY_BYTES]) -> Hmac<Sha256> {
        let mut mac = Hmac::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(&expiry); // of fixed length, so the two parts cannot run into each other
        mac.update(id.as_str().as_bytes());
        mac
    }

    pub fn issue(&self, id: &InstanceId, now_unix_secs: u64, ttl_secs: u64) -> String {
        let expiry = now_unix_secs.saturating_add(ttl_secs).to_be_bytes();
        let mut token = expiry.to_vec();
        token.extend(self.seal(id, expiry).finalize().into_bytes());
        URL_SAFE_NO_PAD.encode(token)
    }

    pub fn is_valid(&self, id: &InstanceId, now_unix_secs: u64, token: &str) -> bool {
        if token.len() > TOKEN_CHARS_MAX {
            return false;
        }
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(token) else { return false };
        let Some((expiry, seal)) = bytes.split_first_chunk::<EXPIRY_BYTES>() else { return false };
        self.seal(id, *expiry).verify_slice(seal).is_ok() && u64::from_be_bytes(*expiry) > now_unix_secs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_instance_until_it_expires() {
        let (mine, other): (InstanceId, InstanceId) =
            ("i-00000001".parse().unwrap(), "i-00000002".parse().unwrap());
        let key = TokenKey::new([7; KEY_BYTES]);
        let token = key.issue(&mine, 1_000, 60);
        assert!(key.is_valid(&mine, 1_059, &token));
        assert!(!key.is_valid(&mine, 1_060, &token));
        assert!(!key.is_valid(&other, 1_000, &token));
        assert!(!TokenKey::new([8; KEY_BYTES]).is_valid(&mine, 1_000, &token));
    }

    #[test]
    fn nonsense_is_no_token() {
        let id: InstanceId = "i-00000001".parse().unwrap();
        let key = TokenKey::new([7; KEY_BYTES]);
        for bad in ["", "x", "AAAA", "====", &"A".repeat(54), &"A".repeat(10_000)] {
            assert!(!key.is_valid(&id, 0, bad));
        }
    }
}
