//! How a service wants its requests signed.
//!
//! Must not: decide anything; see `verify`.

use time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    pub path: PathRule,
    pub payload: PayloadRule,
    /// How far the signer's clock may be off, either way.
    pub skew: Duration,
    /// Whether the session token may be added after signing, as a few services ask.
    pub token_unsigned: bool,
    /// Whether the Query services' Version 2 is still taken. S3's own is another scheme.
    pub version_2: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathRule {
    /// Dot segments removed, then encoded once more.
    Normalised,
    /// Encoded once more, otherwise as sent.
    Reencoded,
    /// The object key, encoded once.
    S3,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadRule {
    /// The signature covers the body's SHA-256.
    Hashed,
    /// The signature covers `x-amz-content-sha256`, which may waive the hash.
    S3,
}

impl Rules {
    pub const EC2: Rules = Rules {
        path: PathRule::Normalised,
        payload: PayloadRule::Hashed,
        skew: Duration::minutes(5),
        token_unsigned: false,
        version_2: true,
    };
    /// STS, IAM and the other Query services.
    pub const QUERY: Rules = Rules { skew: Duration::minutes(15), ..Rules::EC2 };
    pub const S3: Rules =
        Rules { path: PathRule::S3, payload: PayloadRule::S3, version_2: false, ..Rules::QUERY };
}
