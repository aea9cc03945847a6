//! One checksum under way.
//!
//! Must not: cost more than the algorithm does. Callers hand in pieces of 64 KiB and more.

use crc_fast::CrcAlgorithm;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use super::algorithm::Algorithm;
use super::md5::Md5;
use super::value::Checksum;

/// What MD5 and SHA-256 take at a time.
const BLOCK_BYTES: usize = 64;

pub struct Hasher {
    algorithm: Algorithm,
    state: State,
}

enum State {
    Crc(crc_fast::Digest),
    Sha1(Sha1),
    Sha256(Sha256),
    Sha512(Sha512),
    Md5(Md5),
}

impl std::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hasher({})", self.algorithm.name())
    }
}

impl Hasher {
    pub fn new(algorithm: Algorithm) -> Self {
        let state = match algorithm {
            Algorithm::Crc32 => State::Crc(crc_fast::Digest::new(CrcAlgorithm::Crc32IsoHdlc)),
            Algorithm::Crc32c => State::Crc(crc_fast::Digest::new(CrcAlgorithm::Crc32Iscsi)),
            Algorithm::Crc64Nvme => State::Crc(crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme)),
            Algorithm::Sha1 => State::Sha1(Sha1::new()),
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
            Algorithm::Sha512 => State::Sha512(Sha512::new()),
            Algorithm::Md5 => State::Md5(Md5::new()),
        };
        Self { algorithm, state }
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub fn update(&mut self, data: &[u8]) {
        match &mut self.state {
            State::Crc(crc) => crc.update(data),
            State::Sha1(sha) => sha.update(data),
            State::Sha256(sha) => sha.update(data),
            State::Sha512(sha) => sha.update(data),
            State::Md5(md5) => md5.update(data),
        }
    }

    /// Several of the same bytes. An MD5 and then a SHA-256 take turns block by block: a core waits for each step of an
    /// MD5, and does the other's meanwhile, so that both take little longer than the MD5 alone.
    pub fn update_all(hashers: &mut [Self], data: &[u8]) {
        if let [Self { state: State::Md5(md5), .. }, Self { state: State::Sha256(sha), .. }] = hashers {
            for block in data.chunks(BLOCK_BYTES) {
                md5.update(block);
                sha.update(block);
            }
        } else {
            hashers.iter_mut().for_each(|hasher| hasher.update(data));
        }
    }

    /// Whether that holds here: a core without instructions for SHA-256 has no time to spare for one.
    pub fn md5_and_sha256_go_together() -> bool {
        #[cfg(target_arch = "x86_64")]
        return std::arch::is_x86_feature_detected!("sha");
        #[cfg(not(target_arch = "x86_64"))]
        return false;
    }

    pub fn finish(self) -> Checksum {
        let digest = match self.state {
            State::Crc(crc) => big_endian(crc.finalize(), self.algorithm.size()),
            State::Sha1(sha) => sha.finalize().to_vec(),
            State::Sha256(sha) => sha.finalize().to_vec(),
            State::Sha512(sha) => sha.finalize().to_vec(),
            State::Md5(md5) => md5.finish().to_vec(),
        };
        Checksum::new(self.algorithm, digest).expect("a digest has its algorithm's size")
    }

    /// All at once.
    pub fn digest(algorithm: Algorithm, data: &[u8]) -> Checksum {
        let mut hasher = Self::new(algorithm);
        hasher.update(data);
        hasher.finish()
    }
}

/// The last `size` bytes.
pub(super) fn big_endian(crc: u64, size: usize) -> Vec<u8> {
    let bytes = crc.to_be_bytes();
    bytes[bytes.len() - size..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check values of the algorithms' catalogues.
    #[test]
    fn known_answers() {
        let check = |algorithm, hex_digest: &str| {
            assert_eq!(hex::encode(Hasher::digest(algorithm, b"123456789").digest()), hex_digest);
        };
        check(Algorithm::Crc32, "cbf43926");
        check(Algorithm::Crc32c, "e3069283");
        check(Algorithm::Crc64Nvme, "ae8b14860a799888");
        check(Algorithm::Sha1, "f7c3bc1d808e04732adf679965ccc34ca7ae3441");
        check(Algorithm::Sha256, "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225");
        check(Algorithm::Md5, "25f9e794323b453885f5181f1b624d0b");
    }

    #[test]
    fn several_of_the_same_bytes_are_what_each_is_alone() {
        let data: Vec<u8> = (0..100_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let pairs = [[Algorithm::Md5, Algorithm::Sha256], [Algorithm::Sha256, Algorithm::Crc32]];
        let sizes = [100_000, 4097, 64, 63, 1];
        for (algorithms, size) in pairs.iter().flat_map(|pair| sizes.map(|size| (*pair, size))) {
            let mut hashers = algorithms.map(Hasher::new);
            data.chunks(size).for_each(|piece| Hasher::update_all(&mut hashers, piece));
            let alone = algorithms.map(|algorithm| Hasher::digest(algorithm, &data));
            assert_eq!(hashers.map(Hasher::finish), alone, "by {size}");
        }
    }

    #[test]
    fn pieces_make_no_difference() {
        let data: Vec<u8> = (0..100_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
        for algorithm in Algorithm::ALL {
            let whole = Hasher::digest(algorithm, &data);
            for size in [1, 63, 64, 65, 4095, 65_536] {
                let mut hasher = Hasher::new(algorithm);
                data.chunks(size).for_each(|piece| hasher.update(piece));
                assert_eq!(hasher.finish(), whole, "{} by {size}", algorithm.name());
            }
        }
    }
}
