//! Key pairs as the cloud knows them.

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
