//! A checksum that was computed or sent.
//!
//! Must not: compute one.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::algorithm::Algorithm;
use crate::refusal::S3Refusal;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksum {
    algorithm: Algorithm,
    digest: Vec<u8>,
}

impl Checksum {
    /// Nothing when `digest` has not the algorithm's size.
    pub fn new(algorithm: Algorithm, digest: Vec<u8>) -> Option<Self> {
        (digest.len() == algorithm.size()).then_some(Self { algorithm, digest })
    }

    /// From base64, exactly as S3 writes it.
    pub fn parse(algorithm: Algorithm, text: &str) -> Option<Self> {
        // No longer text can be one, and decoding it would cost.
        let encoded = algorithm.size().div_ceil(3) * 4;
        if text.len() != encoded {
            return None;
        }
        Self::new(algorithm, BASE64_STANDARD.decode(text).ok()?)
    }

    /// From base64, with the number of parts behind it if it is a composite one (`…-3`).
    pub fn parse_of_parts(algorithm: Algorithm, text: &str) -> Option<(Self, Option<u16>)> {
        // `-` is no character of this base64.
        match text.split_once('-') {
            None => Some((Self::parse(algorithm, text)?, None)),
            Some((text, parts)) if parts.bytes().all(|b| b.is_ascii_digit()) => {
                Some((Self::parse(algorithm, text)?, Some(parts.parse().ok()?)))
            }
            Some(_) => None,
        }
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub fn digest(&self) -> &[u8] {
        &self.digest
    }

    pub fn to_base64(&self) -> String {
        BASE64_STANDARD.encode(&self.digest)
    }

    /// Holds what was sent (`self`) against what was computed.
    ///
    /// # Errors
    /// `BadDigest`
    pub fn check(&self, computed: &Checksum) -> Result<(), S3Refusal> {
        if self == computed {
            return Ok(());
        }
        let text =
            format!("The {} you specified did not match the calculated checksum.", self.algorithm.name());
        Err(S3Refusal::new(400, "BadDigest", text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_base64_of_the_right_size() {
        let checksum = Checksum::parse(Algorithm::Crc32, "y/Q5Jg==").unwrap();
        assert_eq!(checksum.digest(), [0xcb, 0xf4, 0x39, 0x26]);
        assert_eq!(checksum.to_base64(), "y/Q5Jg==");
        for bad in
            ["", "y/Q5Jg", "y/Q5Jg=", "y/Q5JgA=", "y/Q5Jgg=", "y-Q5Jg==", "y/Q5J===", &"A".repeat(1 << 20)]
        {
            assert_eq!(Checksum::parse(Algorithm::Crc32, bad), None, "{bad:.20}");
        }
        assert_eq!(Checksum::new(Algorithm::Sha1, vec![0; 4]), None);
    }

    #[test]
    fn composites_name_the_number_of_parts() {
        let parse = |text| Checksum::parse_of_parts(Algorithm::Crc32, text);
        let plain = Checksum::parse(Algorithm::Crc32, "y/Q5Jg==").unwrap();
        assert_eq!(parse("y/Q5Jg=="), Some((plain.clone(), None)));
        assert_eq!(parse("y/Q5Jg==-10000"), Some((plain, Some(10_000))));
        for bad in ["y/Q5Jg==-", "y/Q5Jg==--1", "y/Q5Jg==-70000", "-1", "y/Q5Jg==-1-1"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
