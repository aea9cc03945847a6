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
mod tar;

pub use parts::{PART_BYTES, PackedPart, PackedPiece};

use super::keys::Secrets;
use super::manifest::Sha1Digest;
use cipher::Encrypting;
use flate2::Compression;
use flate2::write::GzEncoder;
use parts::Parts;
use sha1::{Digest as _, Sha1};
use std::io::{self, Read, Write};

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
/// hears how much of the image has been read.
pub fn pack(
    image: &mut impl Read,
    bytes: u64,
    name: &str,
    secrets: &Secrets,
    take: impl FnMut(PackedPiece) -> io::Result<()>,
    told: impl Fn(u64),
) -> io::Result<Packed> {
    let encrypting = Encrypting::new(Parts::new(take), secrets);
    let gzip = GzEncoder::new(encrypting, Compression::fast());
    let mut summing = Summing { inner: gzip, sum: Sha1::new() };
    summing.write_all(&tar::header(name, bytes))?;
    let mut buffer = vec![0; READ_BYTES];
    let mut done = 0;
    while done < bytes {
        let wanted = usize::try_from(bytes - done).unwrap_or(READ_BYTES).min(READ_BYTES);
        image.read_exact(&mut buffer[..wanted])?;
        summing.write_all(&buffer[..wanted])?;
        done += wanted as u64;
        told(done);
    }
    summing.write_all(&vec![0; tar::end_bytes(bytes)])?;
    let Summing { inner, sum } = summing;
    let bundled_bytes = inner.finish()?.finish()?.finish()?;
    Ok(Packed { digest: sum.finalize().into(), bundled_bytes })
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
