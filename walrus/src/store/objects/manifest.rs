//! The parts of an object, one after the other. The manifest is a value of its own in the database, so that a
//! listing never reads it and a version moves without it.

use super::facts::Checksum;
use super::wire::{Reader, Writer};
use crate::store::keeper::BlobId;
use bytes::Bytes;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    pub pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub number: u16,
    pub size: u64,
    pub place: Place,
    pub checksum: Option<Checksum>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Blob(BlobId),
    /// A small part's bytes, encrypted if the object is.
    Here(Bytes),
}

const VERSION: u8 = 1;
const CRC_BYTES: usize = 4;
/// Stands in every manifest: without it the pieces were no parts that a client may ask for by their numbers.
const IN_PARTS: u8 = 1;
const PIECE_BLOB: u8 = 2;
const PIECE_HERE: u8 = 3;

impl Manifest {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(VERSION);
        out.field(IN_PARTS, |_| ());
        for piece in &self.pieces {
            let tag = if matches!(piece.place, Place::Blob(_)) { PIECE_BLOB } else { PIECE_HERE };
            out.field(tag, |field| {
                field.number(u64::from(piece.number));
                field.number(piece.size);
                match &piece.place {
                    Place::Blob(id) => field.number(id.0),
                    Place::Here(bytes) => field.bytes(bytes),
                }
                if let Some(checksum) = &piece.checksum {
                    checksum.write(field);
                }
            });
        }
        let mut bytes = out.done();
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Nothing when the bytes are not what `encode` writes.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_at_checked(bytes.len().checked_sub(CRC_BYTES)?)?;
        if crc32fast::hash(body) != u32::from_le_bytes(crc.try_into().ok()?) {
            return None;
        }
        let mut manifest = Manifest { pieces: Vec::new() };
        let mut fields = Reader::new(body, VERSION)?;
        while let Some((tag, mut field)) = fields.field()? {
            if tag == IN_PARTS {
                continue;
            }
            let (number, size) = (u16::try_from(field.number()?).ok()?, field.number()?);
            let place = match tag {
                PIECE_BLOB => Place::Blob(BlobId(field.number()?)),
                PIECE_HERE => Place::Here(Bytes::copy_from_slice(field.bytes()?)),
                _ => return None,
            };
            manifest.pieces.push(Piece { number, size, place, checksum: Checksum::read(&mut field) });
        }
        Some(manifest)
    }

    /// About what it takes in memory.
    pub fn weight(&self) -> usize {
        let beside = |piece: &Piece| {
            let here = if let Place::Here(bytes) = &piece.place { bytes.len() } else { 0 };
            here + piece.checksum.as_ref().map_or(0, |checksum| checksum.value.capacity())
        };
        self.pieces.capacity() * size_of::<Piece>() + self.pieces.iter().map(beside).sum::<usize>()
    }

    pub fn blobs(&self) -> impl Iterator<Item = (BlobId, u64)> {
        self.pieces.iter().filter_map(|piece| match piece.place {
            Place::Blob(id) => Some((id, piece.size)),
            Place::Here(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::objects::facts::{ChecksumAlgorithm, ChecksumType};

    #[test]
    fn a_manifest_reads_back_and_a_flipped_bit_is_seen() {
        let checksum = Checksum {
            algorithm: ChecksumAlgorithm::Sha1,
            kind: ChecksumType::FullObject,
            value: vec![5; 20],
        };
        let piece = |number, place, checksum| Piece { number, size: 1 << 33, place, checksum };
        let manifest = Manifest {
            pieces: vec![
                piece(1, Place::Blob(BlobId(1 << 50)), Some(checksum)),
                piece(10_000, Place::Here(Bytes::from_static(b"small")), None),
            ],
        };
        let bytes = manifest.encode();
        assert_eq!(Manifest::decode(&bytes), Some(manifest.clone()));
        assert_eq!(manifest.blobs().collect::<Vec<_>>(), [(BlobId(1 << 50), 1 << 33)]);
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Manifest::decode(&bytes), None);
        }
        assert_eq!(Manifest::decode(&[]), None);
    }
}
