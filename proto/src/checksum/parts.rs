//! What becomes of the parts' checksums when a multipart upload is completed.
//!
//! Must not: read the parts. Their checksums and sizes are enough: that is what both forms are for.

use super::algorithm::Algorithm;
use super::combine::Combiner;
use super::hasher::{Hasher, big_endian};
use super::md5::Md5;
use super::value::Checksum;

/// The checksum of the parts' checksums, one after the other; S3 writes `-N` behind it.
pub fn composite<'a>(algorithm: Algorithm, parts: impl IntoIterator<Item = &'a Checksum>) -> Checksum {
    let mut hasher = Hasher::new(algorithm);
    for part in parts {
        hasher.update(part.digest());
    }
    hasher.finish()
}

/// The checksum of the whole object, from those of its parts and their sizes in bytes. Only CRCs can do that:
/// nothing for another algorithm, or for a part with another one's.
pub fn full_object<'a>(
    algorithm: Algorithm,
    parts: impl IntoIterator<Item = (&'a Checksum, u64)>,
) -> Option<Checksum> {
    let mut whole = Combiner::new(algorithm)?;
    for (part, bytes) in parts {
        if part.algorithm() != algorithm {
            return None;
        }
        whole.append(number(part.digest()), bytes);
    }
    Checksum::new(algorithm, big_endian(whole.crc(), algorithm.size()))
}

fn number(digest: &[u8]) -> u64 {
    digest.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The MD5 of the parts' MD5s; the ETag has the number of parts behind it.
pub fn multipart_etag<'a>(parts: impl IntoIterator<Item = &'a [u8; 16]>) -> [u8; 16] {
    let mut md5 = Md5::new();
    for part in parts {
        md5.update(part);
    }
    md5.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_etag_is_the_md5_of_md5s() {
        let md5 = |text: &[u8]| {
            let mut md5 = Md5::new();
            md5.update(text);
            md5.finish()
        };
        let parts = [md5(b"a"), md5(b"b")];
        assert_eq!(multipart_etag(&parts), md5(&parts.concat()));
    }

    #[test]
    fn no_parts_are_an_empty_object() {
        let empty = Hasher::digest(Algorithm::Crc64Nvme, b"");
        assert_eq!(full_object(Algorithm::Crc64Nvme, []), Some(empty.clone()));
        assert_eq!(full_object(Algorithm::Sha256, []), None);
        assert_eq!(full_object(Algorithm::Crc32, [(&empty, 0)]), None);
    }

    proptest! {
        #[test]
        fn crcs_of_parts_combine_to_that_of_the_whole(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..500), 1..6)
        ) {
            let whole = parts.concat();
            for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme] {
                let checksums: Vec<_> =
                    parts.iter().map(|p| (Hasher::digest(algorithm, p), p.len() as u64)).collect();
                let combined = full_object(algorithm, checksums.iter().map(|(c, size)| (c, *size)));
                prop_assert_eq!(combined, Some(Hasher::digest(algorithm, &whole)));
            }
        }
    }
}
