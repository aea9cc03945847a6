//! What is in a blob, version 1. Numbers are little-endian.
//!
//! ```text
//!   payload    blocks of 64 KiB, the last one shorter; byte n of the object is byte n of the blob
//!   table      one entry a block: CRC-32 (4 bytes) and, of an encrypted blob, the AES-GCM tag (16 bytes)
//!   trailer    128 bytes:
//!                0  "KARRIBLB"          8  version (2)      10  log2 of the block size (1)
//!               11  flags (1): 1 = encrypted                12  number of the master key, or 0 (4)
//!               16  payload bytes (8)  24  salt (8)         32  wrapped data key (60), or zeros
//!               92  CRC-32 of the table (4)                 96  zeros     124  CRC-32 of bytes 0..124
//! ```
//!
//! A block's CRC covers the salt, the block's number and its bytes as they lie on disk: a block that was
//! written to another place, or belongs to another blob, does not verify, and an encrypted blob is
//! verified without its key. The trailer is last, so a blob that was cut short has none.

pub const BLOCK_BYTES: usize = 64 * 1024;
pub const TRAILER_BYTES: usize = 128;
pub const WRAPPED_KEY_BYTES: usize = 60;
const BLOCK_LOG2: u8 = 16;
const MAGIC: &[u8; 8] = b"KARRIBLB";
const VERSION: u16 = 1;
const FLAG_SEALED: u8 = 1;
const CRC_BYTES: usize = 4;
pub const TAG_BYTES: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trailer {
    pub payload_bytes: u64,
    pub salt: u64,
    pub sealed: Option<Sealed>,
    pub table_crc: u32,
}

/// How the data key is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    pub master: u32,
    pub wrapped: [u8; WRAPPED_KEY_BYTES],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    #[error("is no blob: it was cut short or overwritten")]
    Trailer,
    #[error("has format version {0}, which this program does not know")]
    Version(u16),
    #[error("has a payload of another length than its object")]
    Length,
    #[error("block {0} does not match its check")]
    Block(u64),
    #[error("the table of checks does not match its own check")]
    Table,
}

/// Where things lie in a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    pub payload_bytes: u64,
    pub sealed: bool,
}

impl Layout {
    pub fn blocks(self) -> u64 {
        self.payload_bytes.div_ceil(BLOCK_BYTES as u64)
    }

    pub fn entry_bytes(self) -> usize {
        if self.sealed { CRC_BYTES + TAG_BYTES } else { CRC_BYTES }
    }

    pub fn table_bytes(self) -> u64 {
        self.blocks() * self.entry_bytes() as u64
    }

    pub fn blob_bytes(self) -> u64 {
        self.payload_bytes + self.table_bytes() + TRAILER_BYTES as u64
    }

    /// Where the entry of a block lies in the blob.
    pub fn entry_offset(self, block: u64) -> u64 {
        self.payload_bytes + block * self.entry_bytes() as u64
    }
}

impl Trailer {
    pub fn layout(&self) -> Layout {
        Layout { payload_bytes: self.payload_bytes, sealed: self.sealed.is_some() }
    }

    pub fn encode(&self) -> [u8; TRAILER_BYTES] {
        let mut bytes = [0; TRAILER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10] = BLOCK_LOG2;
        bytes[16..24].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.salt.to_le_bytes());
        if let Some(sealed) = &self.sealed {
            bytes[11] = FLAG_SEALED;
            bytes[12..16].copy_from_slice(&sealed.master.to_le_bytes());
            bytes[32..92].copy_from_slice(&sealed.wrapped);
        }
        bytes[92..96].copy_from_slice(&self.table_crc.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..124]);
        bytes[124..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let bytes: &[u8; TRAILER_BYTES] = bytes.try_into().map_err(|_| FormatError::Trailer)?;
        let crc = u32::from_le_bytes(part(bytes, 124));
        if &bytes[..8] != MAGIC || crc32fast::hash(&bytes[..124]) != crc {
            return Err(FormatError::Trailer);
        }
        let version = u16::from_le_bytes(part(bytes, 8));
        if version != VERSION || bytes[10] != BLOCK_LOG2 || bytes[11] > FLAG_SEALED {
            return Err(FormatError::Version(version));
        }
        let master = u32::from_le_bytes(part(bytes, 12));
        let sealed = (bytes[11] == FLAG_SEALED).then(|| Sealed { master, wrapped: part(bytes, 32) });
        Ok(Self {
            payload_bytes: u64::from_le_bytes(part(bytes, 16)),
            salt: u64::from_le_bytes(part(bytes, 24)),
            sealed,
            table_crc: u32::from_le_bytes(part(bytes, 92)),
        })
    }
}

fn part<const N: usize>(bytes: &[u8; TRAILER_BYTES], at: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&bytes[at..at + N]);
    part
}

pub fn block_crc(salt: u64, block: u64, bytes: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    let mut place = [0; 16];
    place[..8].copy_from_slice(&salt.to_le_bytes());
    place[8..].copy_from_slice(&block.to_le_bytes());
    crc.update(&place);
    crc.update(bytes);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trailer(sealed: Option<Sealed>) -> Trailer {
        Trailer { payload_bytes: 3 * BLOCK_BYTES as u64 + 1, salt: 42, sealed, table_crc: 7 }
    }

    #[test]
    fn a_trailer_reads_back_and_each_flipped_bit_is_seen() {
        let sealed = Some(Sealed { master: 3, wrapped: [9; WRAPPED_KEY_BYTES] });
        for trailer in [trailer(None), trailer(sealed)] {
            let bytes = trailer.encode();
            assert_eq!(Trailer::decode(&bytes), Ok(trailer));
            for bit in 0..TRAILER_BYTES * 8 {
                let mut bytes = bytes;
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(Trailer::decode(&bytes).is_err(), "bit {bit}");
            }
        }
        assert_eq!(Trailer::decode(&[]), Err(FormatError::Trailer));
    }

    #[test]
    fn places_follow_from_the_length() {
        let layout = trailer(None).layout();
        assert_eq!((layout.blocks(), layout.table_bytes()), (4, 16));
        assert_eq!(layout.blob_bytes(), 3 * 65_536 + 1 + 16 + 128);
        let sealed = Layout { sealed: true, ..layout };
        assert_eq!(sealed.entry_offset(2), 3 * 65_536 + 1 + 40);
        assert_eq!(Layout { payload_bytes: 0, sealed: false }.blob_bytes(), 128);
        assert_eq!(Layout { payload_bytes: 65_536, sealed: false }.blocks(), 1);
    }

    #[test]
    fn a_block_verifies_only_in_its_own_place() {
        let crc = block_crc(1, 2, b"bytes");
        assert_ne!(crc, block_crc(1, 3, b"bytes"));
        assert_ne!(crc, block_crc(2, 2, b"bytes"));
        assert_ne!(crc, block_crc(1, 2, b"bytez"));
    }
}
