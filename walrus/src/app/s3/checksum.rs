//! Checksums between the wire and the store: which are kept, and where they are shown.

use crate::store::objects::{self, ChecksumAlgorithm, ChecksumType, Facts};
use karri_proto::aws::s3::{S3Code, S3Fault};
use karri_proto::checksum::{Algorithm, Checksum, Kind};

/// What an upload gets that brings none.
pub const DEFAULT: Algorithm = Algorithm::Crc64Nvme;

/// # Errors
/// `InvalidRequest`: not one that is served.
pub fn named(name: &str) -> Result<Algorithm, S3Fault> {
    let algorithm = Algorithm::from_name(name).filter(|algorithm| kept(*algorithm).is_some());
    algorithm.ok_or_else(|| unsupported())
}

fn unsupported() -> S3Fault {
    S3Fault::saying(
        S3Code::InvalidRequest,
        "Checksum algorithm provided is unsupported. Please try again with any of the valid types: \
         [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
    )
}

pub fn kept(algorithm: Algorithm) -> Option<ChecksumAlgorithm> {
    match algorithm {
        Algorithm::Crc32 => Some(ChecksumAlgorithm::Crc32),
        Algorithm::Crc32c => Some(ChecksumAlgorithm::Crc32c),
        Algorithm::Crc64Nvme => Some(ChecksumAlgorithm::Crc64Nvme),
        Algorithm::Sha1 => Some(ChecksumAlgorithm::Sha1),
        Algorithm::Sha256 => Some(ChecksumAlgorithm::Sha256),
        Algorithm::Sha512 | Algorithm::Md5 => None,
    }
}

pub fn algorithm(kept: ChecksumAlgorithm) -> Algorithm {
    match kept {
        ChecksumAlgorithm::Crc32 => Algorithm::Crc32,
        ChecksumAlgorithm::Crc32c => Algorithm::Crc32c,
        ChecksumAlgorithm::Crc64Nvme => Algorithm::Crc64Nvme,
        ChecksumAlgorithm::Sha1 => Algorithm::Sha1,
        ChecksumAlgorithm::Sha256 => Algorithm::Sha256,
    }
}

pub fn kind(kept: ChecksumType) -> Kind {
    match kept {
        ChecksumType::FullObject => Kind::FullObject,
        ChecksumType::Composite => Kind::Composite,
    }
}

pub fn kept_kind(kind: Kind) -> ChecksumType {
    match kind {
        Kind::FullObject => ChecksumType::FullObject,
        Kind::Composite => ChecksumType::Composite,
    }
}

pub fn to_store(checksum: &Checksum, kind: Kind) -> Option<objects::Checksum> {
    let algorithm = kept(checksum.algorithm())?;
    Some(objects::Checksum { algorithm, kind: kept_kind(kind), value: checksum.digest().to_vec() })
}

pub fn from_store(checksum: &objects::Checksum) -> Option<Checksum> {
    Checksum::new(algorithm(checksum.algorithm), checksum.value.clone())
}

/// A checksum as answers show it.
#[derive(Debug, Clone)]
pub struct Shown {
    pub algorithm: ChecksumAlgorithm,
    pub kind: ChecksumType,
    pub text: String,
}

/// The checksum that an object is known by; `parts` of the upload, 0 for one that was put at once.
pub fn shown(facts: &Facts, parts: u16) -> Option<Shown> {
    let checksum = facts.checksums.first()?;
    let mut text = from_store(checksum)?.to_base64();
    if checksum.kind == ChecksumType::Composite && parts > 0 {
        text.push_str(&format!("-{parts}"));
    }
    Some(Shown { algorithm: checksum.algorithm, kind: checksum.kind, text })
}

pub fn shown_part(checksum: &objects::Checksum) -> Option<Shown> {
    let text = from_store(checksum)?.to_base64();
    Some(Shown { algorithm: checksum.algorithm, kind: checksum.kind, text })
}

/// Puts a [`Shown`] where the wire's types have it: in the member that its algorithm names.
macro_rules! show_checksum {
    ($output:expr, $shown:expr) => {
        if let Some(shown) = $shown {
            let text = Some(shown.text.clone());
            match shown.algorithm {
                $crate::store::objects::ChecksumAlgorithm::Crc32 => $output.checksum_crc32 = text,
                $crate::store::objects::ChecksumAlgorithm::Crc32c => $output.checksum_crc32c = text,
                $crate::store::objects::ChecksumAlgorithm::Crc64Nvme => $output.checksum_crc64nvme = text,
                $crate::store::objects::ChecksumAlgorithm::Sha1 => $output.checksum_sha1 = text,
                $crate::store::objects::ChecksumAlgorithm::Sha256 => $output.checksum_sha256 = text,
            }
        }
    };
}
pub(crate) use show_checksum;

/// The checksums that a type of the wire carries, by algorithm.
macro_rules! checksums_of {
    ($input:expr) => {
        [
            (karri_proto::checksum::Algorithm::Crc32, $input.checksum_crc32.as_deref()),
            (karri_proto::checksum::Algorithm::Crc32c, $input.checksum_crc32c.as_deref()),
            (karri_proto::checksum::Algorithm::Crc64Nvme, $input.checksum_crc64nvme.as_deref()),
            (karri_proto::checksum::Algorithm::Sha1, $input.checksum_sha1.as_deref()),
            (karri_proto::checksum::Algorithm::Sha256, $input.checksum_sha256.as_deref()),
        ]
    };
}
pub(crate) use checksums_of;

pub fn kind_text(kept: ChecksumType) -> &'static str {
    kind(kept).name()
}
