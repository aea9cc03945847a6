//! MD5: the ETag of an object, and `Content-MD5`, by which a client has its upload checked.
//!
//! Must not: be taken for security. It tells damage, not intent.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::refusal::S3Refusal;

/// One under way.
pub struct Md5(fast_md5::Md5);

impl Default for Md5 {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Md5 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Md5")
    }
}

impl Md5 {
    pub fn new() -> Self {
        Self(fast_md5::Md5::new())
    }

    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    pub fn finish(self) -> [u8; 16] {
        self.0.finalize()
    }
}

/// The header's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentMd5([u8; 16]);

impl ContentMd5 {
    /// # Errors
    /// `InvalidDigest`: it is not base64 of 16 bytes.
    pub fn parse(header: &str) -> Result<Self, S3Refusal> {
        let decoded = if header.len() == 24 { BASE64_STANDARD.decode(header).ok() } else { None };
        decoded.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or_else(|| {
            S3Refusal::new(400, "InvalidDigest", "The Content-MD5 you specified was invalid.")
                .with("Content-MD5", header)
        })
    }

    /// # Errors
    /// `BadDigest`: the body has another one.
    pub fn check(&self, computed: &[u8; 16]) -> Result<(), S3Refusal> {
        if self.0 == *computed {
            return Ok(());
        }
        let text = "The Content-MD5 you specified did not match what we received.";
        Err(S3Refusal::new(400, "BadDigest", text)
            .with("ExpectedDigest", hex::encode(self.0))
            .with("CalculatedDigest", BASE64_STANDARD.encode(computed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use md5::Digest as _;
    use proptest::prelude::*;

    #[test]
    fn the_header_is_base64_of_sixteen_bytes() {
        let md5 = ContentMd5::parse("1B2M2Y8AsgTpgAmY7PhCfg==").unwrap();
        md5.check(&Md5::new().finish()).unwrap();
        let refusal = md5.check(&[0; 16]).unwrap_err();
        assert_eq!(refusal.code, "BadDigest");
        assert_eq!(refusal.field("ExpectedDigest"), Some("d41d8cd98f00b204e9800998ecf8427e"));
        for bad in ["", "invalid", "1B2M2Y8AsgTpgAmY7PhCfg=", "1B2M2Y8AsgTpgAmY7PhCfgAA", "AWS HAHAHA"] {
            assert_eq!(ContentMd5::parse(bad).unwrap_err().code, "InvalidDigest", "{bad}");
        }
    }

    proptest! {
        /// The crate that we use is written in assembly: a plain one judges it.
        #[test]
        fn agrees_with_another_implementation(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..8)
        ) {
            let (mut ours, mut judge) = (Md5::new(), md5::Md5::new());
            for piece in &pieces {
                ours.update(piece);
                judge.update(piece);
            }
            let judged: [u8; 16] = judge.finalize().into();
            prop_assert_eq!(ours.finish(), judged);
        }
    }
}
