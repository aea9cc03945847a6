//! The archive inside a bundle: exactly one regular file, and nothing to trick a reader with.
//!
//! Taken: plain headers (v7, ustar, GNU), long names (GNU `L`, pax `path`), large sizes (base 256, pax
//! `size`), GNU tar's own sparse format (`tar -S`, as EC2's first tools called it), pax headers in general.
//! Refused: every other kind of member (links, directories, devices, continued volumes), pax sparse files,
//! names that are not the plain name of a file, a second member, anything but zeros after the first, an
//! archive without its end. No name is used for anything: an image has none.

mod header;
#[cfg(test)]
mod tests;

use super::error::BundleError;
use crate::app::shown;
use bytes::{Bytes, BytesMut};
use header::{BLOCK_BYTES, Block, Header};
use std::io::Read;

pub(super) use header::{Extent, seal};

/// Pieces of the file that are given out.
pub(super) const PIECE_BYTES: usize = 256 * 1024;
const ZEROS: &[u8] = &[0; PIECE_BYTES];
const EXTENSIONS_MAX: usize = 8;
const EXTENSION_BYTES_MAX: u64 = 64 * 1024;
const NAME_BYTES_MAX: usize = 255;
/// Of a sparse file: 4 MiB of memory.
const EXTENTS_MAX: usize = 256 * 1024;
/// Two blocks of zeros end an archive; writers fill it up to their record size.
const END_BYTES_MIN: u64 = 2 * BLOCK_BYTES as u64;
const END_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Tar<R> {
    from: R,
    bytes: u64,
    /// Where the file's data is; between is nothing but zeros.
    extents: std::vec::IntoIter<Extent>,
    extent: Option<Extent>,
    at: u64,
    /// What fills the last block of the data.
    padding_bytes: u64,
}

fn refused<T>(what: impl Into<String>) -> Result<T, BundleError> {
    Err(BundleError::Tar(what.into()))
}

impl<R: Read> Tar<R> {
    /// Reads on to the file's data.
    pub(super) fn open(mut from: R) -> Result<Self, BundleError> {
        let (mut long_name, mut pax) = (None, Pax::default());
        for _ in 0..=EXTENSIONS_MAX {
            let block = read_block(&mut from)?;
            if block.iter().all(|byte| *byte == 0) {
                return refused("is empty");
            }
            let header = Header::parse(&block).map_err(BundleError::Tar)?;
            match header.kind {
                b'L' => {
                    let text = read_extension(&mut from, header.bytes)?;
                    long_name = Some(text.strip_suffix(b"\0").unwrap_or(&text).to_vec());
                }
                b'x' => pax = Pax::parse(&read_extension(&mut from, header.bytes)?)?,
                b'g' => drop(read_extension(&mut from, header.bytes)?),
                b'0' | 0 | b'S' => {
                    check_name(pax.path.as_deref().or(long_name.as_deref()).unwrap_or(&header.name))?;
                    let stored_bytes = pax.bytes.unwrap_or(header.bytes);
                    return Self::member(from, &block, header.kind, stored_bytes);
                }
                other => return refused(format!("holds {}, not a regular file", kind_phrase(other))),
            }
        }
        refused(format!("has more than {EXTENSIONS_MAX} extended headers"))
    }

    fn member(mut from: R, block: &Block, kind: u8, stored_bytes: u64) -> Result<Self, BundleError> {
        let (bytes, extents) = if kind == b'S' {
            read_map(&mut from, block, stored_bytes)?
        } else {
            (stored_bytes, vec![Extent { at: 0, bytes: stored_bytes }])
        };
        let padding_bytes = stored_bytes.wrapping_neg() % BLOCK_BYTES as u64;
        let mut extents = extents.into_iter();
        let extent = extents.next();
        Ok(Self { from, bytes, extents, extent, at: 0, padding_bytes })
    }

    /// The file's length.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next piece of the file; None when it and the archive have ended as they should.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, BundleError> {
        if self.at == self.bytes {
            return self.finish().map(|()| None);
        }
        while self.extent.is_some_and(|extent| extent.at + extent.bytes <= self.at) {
            self.extent = self.extents.next();
        }
        let (end, is_data) = match self.extent {
            Some(extent) if extent.at <= self.at => (extent.at + extent.bytes, true),
            Some(extent) => (extent.at, false),
            None => (self.bytes, false),
        };
        let bytes = usize::try_from(end - self.at).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        let piece = if is_data {
            let mut piece = BytesMut::zeroed(bytes);
            read_exact(&mut self.from, &mut piece)?;
            piece.freeze()
        } else {
            Bytes::from_static(&ZEROS[..bytes])
        };
        self.at += bytes as u64;
        Ok(Some(piece))
    }

    /// Reads to the end: only there are the checksums of what lies below known.
    fn finish(&mut self) -> Result<(), BundleError> {
        let mut zeros = 0u64;
        let mut buffer = [0; 8 * BLOCK_BYTES];
        loop {
            let bytes = read(&mut self.from, &mut buffer)?;
            if bytes == 0 {
                break;
            }
            if buffer[..bytes].iter().any(|byte| *byte != 0) {
                return refused("holds something after its file: one file is expected");
            }
            zeros += bytes as u64;
            if zeros > END_BYTES_MAX {
                return refused(format!("is filled up with more than {END_BYTES_MAX} bytes"));
            }
        }
        let expected = self.padding_bytes + END_BYTES_MIN;
        if zeros < expected { refused("ends early: its end mark is missing") } else { Ok(()) }
    }
}

fn kind_phrase(kind: u8) -> &'static str {
    match kind {
        b'1' | b'2' | b'K' => "a link",
        b'3' | b'4' => "a device",
        b'5' | b'D' => "a directory",
        b'6' => "a pipe",
        b'M' => "a file that began in another archive",
        _ => "something unknown",
    }
}

fn check_name(name: &[u8]) -> Result<(), BundleError> {
    let is_plain = |byte: &u8| !matches!(byte, b'/' | b'\\' | 0x7f) && *byte >= b' ';
    let dots = matches!(name, b"." | b"..");
    if !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.iter().all(is_plain) && !dots {
        return Ok(());
    }
    refused(format!("holds a file named {}, which is not the plain name of a file", shown(name)))
}

/// The length and the data of a sparse file, whose map may go on in the blocks that follow.
fn read_map<R: Read>(
    from: &mut R,
    block: &Block,
    stored_bytes: u64,
) -> Result<(u64, Vec<Extent>), BundleError> {
    let (bytes, mut extents, mut more) = header::sparse(block).map_err(BundleError::Tar)?;
    while more {
        if extents.len() > EXTENTS_MAX {
            return refused(format!("holds a sparse file of more than {EXTENTS_MAX} pieces"));
        }
        let (next, goes_on) = header::sparse_more(&read_block(from)?).map_err(BundleError::Tar)?;
        extents.extend(next);
        more = goes_on;
    }
    let (mut end, mut sum) = (0, 0u64);
    let last = extents.iter().rposition(|extent| extent.bytes > 0);
    for (number, extent) in extents.iter().enumerate() {
        let whole = extent.bytes.is_multiple_of(BLOCK_BYTES as u64) || last == Some(number);
        let next = extent.at.checked_add(extent.bytes).filter(|next| *next <= bytes);
        match next {
            Some(next) if extent.at >= end && whole => end = next,
            _ => return refused("has a map of its sparse file that contradicts itself"),
        }
        sum += extent.bytes; // not more than `end` each, and they do not overlap
    }
    if sum != stored_bytes {
        return refused("has a map of its sparse file that contradicts its length");
    }
    Ok((bytes, extents))
}

/// What a pax header says that matters here.
#[derive(Debug, Default)]
struct Pax {
    path: Option<Vec<u8>>,
    bytes: Option<u64>,
}

impl Pax {
    /// Records of the form `LENGTH KEY=VALUE\n`, where the length counts itself.
    fn parse(mut rest: &[u8]) -> Result<Self, BundleError> {
        let mut pax = Self::default();
        while !rest.is_empty() {
            let Some((key, value, after)) = record(rest) else {
                return refused("has a damaged pax header");
            };
            match key {
                b"path" => pax.path = Some(value.to_vec()),
                b"size" => {
                    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                    pax.bytes =
                        Some(number.ok_or_else(|| BundleError::Tar("claims an impossible length".into()))?);
                }
                _ if key.starts_with(b"GNU.sparse.") => {
                    return refused("holds a sparse file in the pax format: archive it with --format=gnu");
                }
                _ => {}
            }
            rest = after;
        }
        Ok(pax)
    }
}

fn record(rest: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = rest.iter().position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&rest[..blank]).ok()?.parse().ok()?;
    let (record, after) = rest.split_at_checked(length)?;
    let text = record.get(blank + 1..)?.strip_suffix(b"\n")?;
    let equals = text.iter().position(|byte| *byte == b'=')?;
    Some((&text[..equals], &text[equals + 1..], after))
}

fn read_extension<R: Read>(from: &mut R, bytes: u64) -> Result<Vec<u8>, BundleError> {
    if bytes > EXTENSION_BYTES_MAX {
        return refused(format!(
            "has an extended header of {bytes} bytes; {EXTENSION_BYTES_MAX} are allowed"
        ));
    }
    let bytes = bytes as usize;
    let mut text = vec![0; bytes.next_multiple_of(BLOCK_BYTES)];
    read_exact(from, &mut text)?;
    text.truncate(bytes);
    Ok(text)
}

fn read_block<R: Read>(from: &mut R) -> Result<Block, BundleError> {
    let mut block = [0; BLOCK_BYTES];
    read_exact(from, &mut block)?;
    Ok(block)
}

fn read_exact<R: Read>(from: &mut R, mut into: &mut [u8]) -> Result<(), BundleError> {
    while !into.is_empty() {
        let bytes = read(from, into)?;
        if bytes == 0 {
            return refused("ends early");
        }
        into = &mut into[bytes..];
    }
    Ok(())
}

fn read<R: Read>(from: &mut R, into: &mut [u8]) -> Result<usize, BundleError> {
    from.read(into).map_err(|error| BundleError::from_io(error, |other| BundleError::Tar(other.to_string())))
}
