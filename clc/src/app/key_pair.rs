//! Key pairs: made here or brought along; only the public half is kept.
//!
//! Making an RSA key takes a second of a processor: `make` does it off the async threads, a few at a time.

mod format;

pub use format::{Imported, import};

use karri_proto::fault::{Fault, FaultCode, shown};
use rsa::pkcs1::EncodeRsaPrivateKey as _;
use rsa::pkcs8::EncodePrivateKey as _;
use sha1::Digest as _;
use ssh_key::LineEnding;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;

pub const NAME_CHARS_MAX: usize = 255;
const RSA_BITS: usize = 2048;
const GENERATED_AT_ONCE_MAX: usize = 2;
const ASKED_PER_ACCOUNT_MAX: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// `key-…`
    pub id: String,
    pub account: String,
    pub name: String,
    /// `rsa` or `ed25519`.
    pub kind: String,
    pub fingerprint: String,
    /// One line in OpenSSH's form.
    pub openssh: String,
    pub created_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    Rsa,
    Ed25519,
}

impl KeyKind {
    pub fn as_str(self) -> &'static str {
        match self {
            KeyKind::Rsa => "rsa",
            KeyKind::Ed25519 => "ed25519",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Rsa, Self::Ed25519].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A new key. The private half leaves with the answer and is nowhere else.
pub struct Generated {
    pub private_pem: String,
    pub fingerprint: String,
    /// Without a comment.
    pub openssh: String,
}

/// Any text that is not blank at an end, for old clients name keys as they like.
pub fn check_name(name: &str) -> Result<(), Fault> {
    let invalid = |why: &str| {
        let shown = shown(name);
        Err(Fault::invalid_parameter(format!("Value ({shown}) for parameter KeyName is invalid. {why}")))
    };
    if name.is_empty() {
        return invalid("It should not be blank");
    }
    if name.chars().count() > NAME_CHARS_MAX {
        return invalid("Length exceeds maximum of 255.");
    }
    if name.trim() != name || name.chars().any(char::is_control) {
        return invalid("Leading or trailing blanks and control characters are not allowed.");
    }
    Ok(())
}

pub fn duplicate(name: &str) -> Fault {
    Fault::new(FaultCode::InvalidKeyDuplicate, format!("The keypair '{}' already exists.", shown(name)))
}

/// The name goes where OpenSSH has its comment.
pub fn with_comment(openssh: &str, name: &str) -> String {
    format!("{openssh} {name}")
}

/// `generate`, waiting for its turn. Who has too many under way is to come back: the others wait behind them.
pub async fn make(account: &str, kind: KeyKind) -> Result<Generated, Fault> {
    static TURNS: Semaphore = Semaphore::const_new(GENERATED_AT_ONCE_MAX);
    let _asked = Asked::by(account)?;
    let _turn = TURNS.acquire().await.map_err(Fault::internal)?;
    tokio::task::spawn_blocking(move || generate(kind)).await.map_err(Fault::internal)?
}

/// A key that an account waits for, counted while it does.
struct Asked(String);

fn under_way() -> MutexGuard<'static, BTreeMap<String, usize>> {
    static UNDER_WAY: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Asked {
    fn by(account: &str) -> Result<Self, Fault> {
        let mut all = under_way();
        let count = all.entry(account.to_owned()).or_default();
        if *count >= ASKED_PER_ACCOUNT_MAX {
            return Err(Fault::new(FaultCode::RequestLimitExceeded, "Request limit exceeded."));
        }
        *count += 1;
        Ok(Self(account.to_owned()))
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut all = under_way();
        if let Some(count) = all.get_mut(&self.0) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.0);
            }
        }
    }
}

pub fn generate(kind: KeyKind) -> Result<Generated, Fault> {
    match kind {
        KeyKind::Rsa => generate_rsa(),
        KeyKind::Ed25519 => generate_ed25519(),
    }
}

fn generate_rsa() -> Result<Generated, Fault> {
    let key = rsa::RsaPrivateKey::new(&mut rand::rngs::OsRng, RSA_BITS).map_err(Fault::internal)?;
    let private_pem = key.to_pkcs1_pem(rsa::pkcs1::LineEnding::LF).map_err(Fault::internal)?;
    let pkcs8 = key.to_pkcs8_der().map_err(Fault::internal)?;
    Ok(Generated {
        private_pem: private_pem.to_string(),
        fingerprint: colons(&sha1::Sha1::digest(pkcs8.as_bytes())),
        openssh: format::rsa_openssh(&key.to_public_key())?,
    })
}

fn generate_ed25519() -> Result<Generated, Fault> {
    let key = ssh_key::PrivateKey::random(&mut rand::rngs::OsRng, ssh_key::Algorithm::Ed25519);
    let key = key.map_err(Fault::internal)?;
    let private_pem = key.to_openssh(LineEnding::LF).map_err(Fault::internal)?;
    Ok(Generated {
        private_pem: private_pem.to_string(),
        fingerprint: format::openssh_fingerprint(key.public_key()),
        openssh: format::openssh_line(key.public_key())?,
    })
}

/// `ab:cd:…`
fn colons(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(":")
}

#[cfg(test)]
mod tests;
