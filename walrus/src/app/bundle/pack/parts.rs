//! The ciphertext, cut into parts.

use super::super::manifest::{PARTS_MAX, Sha1Digest};
use bytes::Bytes;
use sha1::{Digest as _, Sha1};
use std::io::{self, Write};

/// As every bundler has them.
pub const PART_BYTES: u64 = 10 << 20;

/// What comes out, in order.
#[derive(Debug)]
pub enum PackedPiece {
    Bytes(Bytes),
    /// The part that the bytes before belong to is complete.
    End(PackedPart),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedPart {
    pub digest: Sha1Digest,
    pub bytes: u64,
}

pub(super) struct Parts<F> {
    take: F,
    sum: Sha1,
    /// Of the part that is being filled.
    bytes: u64,
    all_bytes: u64,
    count: usize,
}

impl<F: FnMut(PackedPiece) -> io::Result<()>> Parts<F> {
    pub(super) fn new(take: F) -> Self {
        Self { take, sum: Sha1::new(), bytes: 0, all_bytes: 0, count: 0 }
    }

    fn end(&mut self) -> io::Result<()> {
        self.count += 1;
        if self.count > PARTS_MAX {
            return Err(io::Error::other(format!("the bundle would have more than {PARTS_MAX} parts")));
        }
        let digest = self.sum.finalize_reset().into();
        let bytes = std::mem::take(&mut self.bytes);
        (self.take)(PackedPiece::End(PackedPart { digest, bytes }))
    }

    /// The bytes of all parts. Where the last one is full, an empty one follows: so do other bundlers.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        self.end()?;
        Ok(self.all_bytes)
    }
}

impl<F: FnMut(PackedPiece) -> io::Result<()>> Write for Parts<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = usize::try_from(PART_BYTES - self.bytes).unwrap_or(usize::MAX);
        let taken = bytes.len().min(room);
        self.sum.update(&bytes[..taken]);
        (self.take)(PackedPiece::Bytes(Bytes::copy_from_slice(&bytes[..taken])))?;
        self.bytes += taken as u64;
        self.all_bytes += taken as u64;
        if self.bytes == PART_BYTES {
            self.end()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(bytes: usize) -> (Vec<u64>, u64) {
        let mut lengths = Vec::new();
        let mut parts = Parts::new(|piece| {
            if let PackedPiece::End(part) = piece {
                lengths.push(part.bytes);
            }
            Ok(())
        });
        parts.write_all(&vec![7; bytes]).unwrap();
        let all = parts.finish().unwrap();
        (lengths, all)
    }

    #[test]
    fn parts_are_full_but_the_last_which_may_be_empty() {
        let part = PART_BYTES as usize;
        assert_eq!(cut(part + 5), (vec![PART_BYTES, 5], PART_BYTES + 5));
        assert_eq!(cut(part), (vec![PART_BYTES, 0], PART_BYTES));
        assert_eq!(cut(5), (vec![5], 5));
    }
}
