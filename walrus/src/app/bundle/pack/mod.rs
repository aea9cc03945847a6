//! From an image's bytes to a bundle's parts: what `pipeline` does, the other way round.
//!
//! ```text
//!   image ► tar ► SHA-1 ► gzip ► AES-128-CBC ► parts, SHA-1 each
//! ```
//!
//! One thread computes, and waits where nobody takes the parts; memory is a buffer for each stage. Parts are cut as
//! they fill, so that how many there are is known last, as it is to the bundlers of EC2 and Eucalyptus.

mod cipher;
mod parts;
mod sparse;
mod tar;

pub use parts::{PART_BYTES, PackedPart, PackedPiece};

use super::keys::Secrets;
use super::manifest::Sha1Digest;
use cipher::Encrypting;
use flate2::Compression;
use flate2::write::GzEncoder;
use parts::Parts;
use sha1::{Digest as _, Sha1};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

const READ_BYTES: usize = 256 * 1024;

/// What is known of a bundle when all of it has been made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Of the tar stream.
    pub digest: Sha1Digest,
    /// Of all parts together.
    pub bundled_bytes: u64,
}

/// Packs `bytes` bytes of `image`. Each piece goes to `take`, which may wait, and ends it all by an error. `told`
/// hears how much has been read, of all that is to be.
pub fn pack(
    mut image: &File,
    bytes: u64,
    name: &str,
    secrets: &Secrets,
    take: impl FnMut(PackedPiece) -> io::Result<()>,
    told: impl Fn(u64, u64),
) -> io::Result<Packed> {
    let extents = sparse::extents(image, bytes)?;
    let encrypting = Encrypting::new(Parts::new(take), secrets);
    let gzip = GzEncoder::new(encrypting, Compression::fast());
    let mut summing = Summing { inner: gzip, sum: Sha1::new() };
    let header = tar::header(name, bytes, &extents);
    summing.write_all(&header)?;
    let (mut done, all) = (0, tar::stored_bytes(&extents));
    let mut buffer = vec![0; READ_BYTES];
    for extent in extents {
        image.seek(SeekFrom::Start(extent.at))?;
        let mut left = extent.bytes;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(READ_BYTES).min(READ_BYTES);
            image.read_exact(&mut buffer[..wanted])?;
            summing.write_all(&buffer[..wanted])?;
            (left, done) = (left - wanted as u64, done + wanted as u64);
            told(done, all);
        }
    }
    summing.write_all(&vec![0; tar::end_bytes(header.len(), all)])?;
    let Summing { inner, sum } = summing;
    let bundled_bytes = inner.finish()?.finish()?.finish()?;
    Ok(Packed { digest: sum.finalize().into(), bundled_bytes })
}

/// What `plain` is in the parts of a bundle.
pub(super) fn encrypted(plain: &[u8], secrets: &Secrets) -> Vec<u8> {
    let mut encrypting = Encrypting::new(Vec::new(), secrets);
    let written = encrypting.write_all(plain);
    written.and_then(|()| encrypting.finish()).unwrap_or_default()
}

/// SHA-1 of what is written.
struct Summing<W> {
    inner: W,
    sum: Sha1,
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.sum.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
