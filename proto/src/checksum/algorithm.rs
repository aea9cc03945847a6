//! The algorithms, their names and how parts of an object combine under them.
//!
//! Must not: compute anything.

use crate::refusal::S3Refusal;

/// `x-amz-checksum-algorithm`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
    Sha512,
    Md5,
}

/// `x-amz-checksum-type`: of the bytes, or of the parts' checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    FullObject,
    Composite,
}

impl Algorithm {
    pub const ALL: [Algorithm; 7] = [
        Algorithm::Crc32,
        Algorithm::Crc32c,
        Algorithm::Crc64Nvme,
        Algorithm::Sha1,
        Algorithm::Sha256,
        Algorithm::Sha512,
        Algorithm::Md5,
    ];

    /// `CRC32`, as the API names it.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Crc32 => "CRC32",
            Algorithm::Crc32c => "CRC32C",
            Algorithm::Crc64Nvme => "CRC64NVME",
            Algorithm::Sha1 => "SHA1",
            Algorithm::Sha256 => "SHA256",
            Algorithm::Sha512 => "SHA512",
            Algorithm::Md5 => "MD5",
        }
    }

    /// The header or trailer that carries the value.
    pub fn header(self) -> &'static str {
        match self {
            Algorithm::Crc32 => "x-amz-checksum-crc32",
            Algorithm::Crc32c => "x-amz-checksum-crc32c",
            Algorithm::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Algorithm::Sha1 => "x-amz-checksum-sha1",
            Algorithm::Sha256 => "x-amz-checksum-sha256",
            Algorithm::Sha512 => "x-amz-checksum-sha512",
            Algorithm::Md5 => "x-amz-checksum-md5",
        }
    }

    /// In any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// In any case.
    pub fn from_header(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.header().eq_ignore_ascii_case(name))
    }

    /// Bytes of a value.
    pub fn size(self) -> usize {
        match self {
            Algorithm::Crc32 | Algorithm::Crc32c => 4,
            Algorithm::Crc64Nvme => 8,
            Algorithm::Md5 => 16,
            Algorithm::Sha1 => 20,
            Algorithm::Sha256 => 32,
            Algorithm::Sha512 => 64,
        }
    }

    /// What a multipart upload gets that does not say.
    pub fn default_kind(self) -> Kind {
        if self == Algorithm::Crc64Nvme { Kind::FullObject } else { Kind::Composite }
    }

    /// Whether a multipart upload may have it so: only CRCs of parts make one of the whole, and CRC64NVME
    /// makes nothing else.
    ///
    /// # Errors
    /// `InvalidRequest`
    pub fn check_kind(self, kind: Kind) -> Result<(), S3Refusal> {
        let allowed = match self {
            Algorithm::Crc64Nvme => kind == Kind::FullObject,
            Algorithm::Crc32 | Algorithm::Crc32c => true,
            Algorithm::Sha1 | Algorithm::Sha256 | Algorithm::Sha512 | Algorithm::Md5 => {
                kind == Kind::Composite
            }
        };
        let (kind, name) = (kind.name(), self.name().to_ascii_lowercase());
        let text = || format!("The {kind} checksum type cannot be used with the {name} checksum algorithm.");
        if allowed { Ok(()) } else { Err(S3Refusal::invalid(text())) }
    }
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::FullObject => "FULL_OBJECT",
            Kind::Composite => "COMPOSITE",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Kind::FullObject, Kind::Composite].into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_headers() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.header(), format!("x-amz-checksum-{}", algorithm.name().to_lowercase()));
            assert_eq!(Algorithm::from_name(&algorithm.name().to_lowercase()), Some(algorithm));
            assert_eq!(Algorithm::from_header(&algorithm.header().to_uppercase()), Some(algorithm));
            algorithm.check_kind(algorithm.default_kind()).unwrap();
        }
        assert_eq!(Algorithm::from_name("CRC"), None);
        let refusal = Algorithm::Sha256.check_kind(Kind::FullObject).unwrap_err();
        assert_eq!(
            refusal.message,
            "The FULL_OBJECT checksum type cannot be used with the sha256 checksum algorithm."
        );
        Algorithm::Crc64Nvme.check_kind(Kind::Composite).unwrap_err();
    }
}
