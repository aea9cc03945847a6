//! Temporary credentials: an access key `ASIA…`, a secret, and a session token that says whose they are.
//!
//! ```text
//!   token = base64(nonce ‖ AES-256-GCM(grant))        bound to the access key; the key is that of `secrets.key_file`
//! ```
//!
//! Nothing is written down: the token itself is the record, and every controller of the cloud can open it. What it
//! grants is what the long-term key that it was asked for with may do when it is used, so it ends with that key.
//!
//! Must not: log or print a secret or a token.

use super::account::{BASE32, BASE62, random_text};
use super::{App, now_ms};
use crate::app::identity::Signer;
use crate::store::Sealer;
use crate::store::account::user_arn;
use karri_proto::policy::managed;
use serde::{Deserialize, Serialize};

/// Ours are shorter; longer ones are not opened.
pub const TOKEN_CHARS_MAX: usize = 8192;
/// A sealed text is longer by its nonce and its tag.
const SEAL_BYTES: usize = 28;

/// What a token holds.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The long-term key that it was asked for with.
    pub key: String,
    /// That key's secret, as it was: whoever replaces it ends its sessions.
    pub key_mark: String,
    /// That key's user, `AIDA…`.
    pub user_id: String,
    pub secret: String,
    pub issued_ms: i64,
    pub expires_ms: i64,
    pub federation: Option<Federation>,
}

/// A federated user, who is nobody in the account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Federation {
    pub name: String,
    /// What narrows the user's policies: names of built-in ones, or documents.
    pub policies: Vec<String>,
}

/// Says nothing of the secret.
impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grant")
            .field("key", &self.key)
            .field("expires_ms", &self.expires_ms)
            .finish_non_exhaustive()
    }
}

impl Grant {
    /// At least so many bytes long.
    pub fn seal(&self, sealer: &Sealer, access_key_id: &str, bytes_min: usize) -> String {
        let mut text = serde_json::to_string(self).expect("texts and numbers are JSON");
        let plain_min = (bytes_min.div_ceil(4) * 3).saturating_sub(SEAL_BYTES);
        text.extend(std::iter::repeat_n(' ', plain_min.saturating_sub(text.len())));
        sealer.seal(&bound_to(access_key_id), &text)
    }

    /// Nothing: the token is not this key's, or not of this cloud.
    pub fn open(sealer: &Sealer, access_key_id: &str, token: &str) -> Option<Self> {
        if token.len() > TOKEN_CHARS_MAX {
            return None;
        }
        let text = sealer.open(&bound_to(access_key_id), token).ok()?;
        serde_json::from_str(&text).ok()
    }

    pub fn arn(&self, account: &str, user: &str) -> String {
        match &self.federation {
            Some(federation) => federated_arn(account, &federation.name),
            None => user_arn(account, user),
        }
    }

    pub fn caller_id(&self, account: &str) -> String {
        match &self.federation {
            Some(federation) => federated_id(account, &federation.name),
            None => self.user_id.clone(),
        }
    }

    /// The policies that narrow the user's, as documents. Nothing: there is nothing to narrow them.
    pub fn documents(&self) -> Option<Vec<String>> {
        let document =
            |text: &String| managed(text).map_or_else(|| text.clone(), |known| known.document.to_owned());
        Some(self.federation.as_ref()?.policies.iter().map(document).collect())
    }
}

/// No long-term key is written so: a sealed secret can never be taken for a token.
fn bound_to(access_key_id: &str) -> String {
    format!("session:{access_key_id}")
}

pub fn federated_arn(account: &str, name: &str) -> String {
    format!("arn:aws:sts::{account}:federated-user/{name}")
}

pub fn federated_id(account: &str, name: &str) -> String {
    format!("{account}:{name}")
}

/// Credentials as they are handed out.
pub struct Issued {
    pub access_key_id: String,
    pub secret: String,
    pub token: String,
    pub expires_ms: i64,
}

impl App {
    /// Temporary credentials of a user who signs with a long-term key.
    pub fn session_issue(
        &self,
        signer: &Signer,
        seconds: i64,
        token_bytes_min: usize,
        federation: Option<Federation>,
    ) -> Issued {
        let access_key_id = format!("ASIA{}", random_text(BASE32, 16));
        let issued_ms = now_ms();
        let grant = Grant {
            key: signer.access_key_id.clone(),
            key_mark: signer.secret.mark(),
            user_id: signer.user_id.clone(),
            secret: random_text(BASE62, 40),
            issued_ms,
            // The second that the answer names.
            expires_ms: (issued_ms / 1000 + seconds) * 1000,
            federation,
        };
        let token = grant.seal(self.identities.sealer(), &access_key_id, token_bytes_min);
        Issued { access_key_id, secret: grant.secret, token, expires_ms: grant.expires_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ASIA2345672345672345";

    fn grant(federation: Option<Federation>) -> Grant {
        Grant {
            key: "AKIAALICE".into(),
            key_mark: "0123".into(),
            user_id: "AIDA1".into(),
            secret: "hunter2".into(),
            issued_ms: 1,
            expires_ms: 2,
            federation,
        }
    }

    fn sam() -> Federation {
        let policies = vec!["ReadOnlyAccess".to_owned(), "{}".to_owned()];
        Federation { name: "sam".into(), policies }
    }

    #[test]
    fn a_token_opens_for_its_own_key_in_its_own_cloud_only() {
        let (sealer, grant) = (Sealer::new([7; 32]), grant(Some(sam())));
        let token = grant.seal(&sealer, KEY, 0);
        assert_eq!(Grant::open(&sealer, KEY, &token), Some(grant));
        let mut other = token.clone();
        other.replace_range(..1, if token.starts_with('A') { "B" } else { "A" });
        let cut = &token[..token.len() - 4];
        let secret = sealer.seal(KEY, "hunter2");
        let long = token.repeat(TOKEN_CHARS_MAX / token.len() + 1);
        for wrong in [other.as_str(), cut, &secret, &long, "", "é", "AAAA"] {
            assert_eq!(Grant::open(&sealer, KEY, wrong), None, "{wrong}");
        }
        assert_eq!(Grant::open(&sealer, "ASIA2345672345672346", &token), None, "another key's");
        assert_eq!(Grant::open(&Sealer::new([8; 32]), KEY, &token), None, "another cloud's");
        assert!(sealer.open(KEY, &token).is_err(), "a token is no secret");
    }

    #[test]
    fn a_token_is_as_long_as_it_is_asked_to_be() {
        let sealer = Sealer::new([7; 32]);
        let plain = grant(None).seal(&sealer, KEY, 0).len();
        for bytes_min in [plain, plain + 1, plain + 2, plain + 3, 1000, 4096] {
            let token = grant(None).seal(&sealer, KEY, bytes_min);
            assert!((bytes_min..bytes_min + 4).contains(&token.len()), "{bytes_min}: {}", token.len());
            assert_eq!(Grant::open(&sealer, KEY, &token), Some(grant(None)));
        }
        assert_eq!(grant(None).seal(&sealer, KEY, 10).len(), plain);
    }

    #[test]
    fn it_says_who_uses_it() {
        let (user, federated) = (grant(None), grant(Some(sam())));
        assert_eq!(user.arn("1", "alice"), "arn:aws:iam::1:user/alice");
        assert_eq!((user.caller_id("1").as_str(), user.documents()), ("AIDA1", None));
        assert_eq!(federated.arn("1", "alice"), "arn:aws:sts::1:federated-user/sam");
        assert_eq!(federated.caller_id("1"), "1:sam");
        let documents = federated.documents().unwrap();
        assert!(documents[0].contains("ec2:Describe*") && documents[1] == "{}", "{documents:?}");
    }

    #[test]
    fn it_is_not_debugged() {
        assert!(!format!("{:?}", grant(None)).contains("hunter2"));
    }
}
