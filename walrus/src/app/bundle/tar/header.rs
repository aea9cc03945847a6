//! One header block of a tar archive: the fields that matter here, each bounded.

use crate::app::shown;

pub const BLOCK_BYTES: usize = 512;
pub type Block = [u8; BLOCK_BYTES];
/// In a header and in each block that continues it.
const EXTENTS_IN_HEADER: usize = 4;
const EXTENTS_IN_BLOCK: usize = 21;
const EXTENT_BYTES: usize = 24;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub name: Vec<u8>,
    pub bytes: u64,
    pub kind: u8,
}

/// A run of data in a sparse file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub at: u64,
    pub bytes: u64,
}

impl Header {
    pub fn parse(block: &Block) -> Result<Self, String> {
        check_sum(block)?;
        let name = text(&block[..100])?;
        let is_posix = block[257..263] == *b"ustar\0";
        let prefix = if is_posix { text(&block[345..500])? } else { &[] };
        let name = if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() };
        let bytes = number(&block[124..136]).ok_or("claims an impossible length")?;
        Ok(Self { name, bytes, kind: block[156] })
    }
}

/// The length of a sparse file, its extents in this header, and whether more follow.
pub fn sparse(block: &Block) -> Result<(u64, Vec<Extent>, bool), String> {
    let bytes = number(&block[483..495]).ok_or("claims an impossible length")?;
    Ok((bytes, extents(&block[386..], EXTENTS_IN_HEADER)?, block[482] != 0))
}

/// As [`sparse`], of a block that continues the header.
pub fn sparse_more(block: &Block) -> Result<(Vec<Extent>, bool), String> {
    let more = block[EXTENTS_IN_BLOCK * EXTENT_BYTES] != 0;
    Ok((extents(block, EXTENTS_IN_BLOCK)?, more))
}

fn extents(fields: &[u8], count: usize) -> Result<Vec<Extent>, String> {
    let mut found = Vec::new();
    for field in fields.chunks_exact(EXTENT_BYTES).take(count) {
        if field[12] == 0 {
            break;
        }
        let (at, bytes) = (number(&field[..12]), number(&field[12..]));
        let (Some(at), Some(bytes)) = (at, bytes) else {
            return Err("has a damaged map of its sparse file".to_owned());
        };
        found.push(Extent { at, bytes });
    }
    Ok(found)
}

/// Up to the first NUL. What follows it must be nothing: other readers may not stop there.
fn text(field: &[u8]) -> Result<&[u8], String> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    if field[end..].iter().any(|byte| *byte != 0) {
        return Err(format!("hides something behind the name {}", shown(&field[..end])));
    }
    Ok(&field[..end])
}

/// Octal digits, or what GNU tar writes for large numbers: a set bit and the number in base 256.
fn number(field: &[u8]) -> Option<u64> {
    let (first, rest) = field.split_first()?;
    if *first & 0x80 != 0 {
        let (high, low) = rest.split_at(rest.len().checked_sub(8)?);
        let fits = *first == 0x80 && high.iter().all(|byte| *byte == 0);
        return fits.then_some(u64::from_be_bytes(low.try_into().ok()?));
    }
    let blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| *byte != b' ').unwrap_or(field.len());
    let digits = &field[start..];
    let end = digits.iter().position(blank).unwrap_or(digits.len());
    if !digits[end..].iter().all(blank) {
        return None;
    }
    digits[..end].iter().try_fold(0u64, |sum, digit| match digit {
        b'0'..=b'7' => sum.checked_mul(8)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// Gives the first blocks checksums that fit: a header that is written, and fuzzing, which would not get past them.
pub fn seal(archive: &mut [u8]) {
    for block in archive.chunks_exact_mut(BLOCK_BYTES).take(4) {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

/// Some writers have added up signed bytes.
fn check_sum(block: &Block) -> Result<(), String> {
    let in_sum = |at: usize| if (148..156).contains(&at) { b' ' } else { block[at] };
    let unsigned: u64 = (0..BLOCK_BYTES).map(|at| u64::from(in_sum(at))).sum();
    let signed: i64 = (0..BLOCK_BYTES).map(|at| i64::from(in_sum(at) as i8)).sum();
    match number(&block[148..156]) {
        Some(sum) if sum == unsigned || i64::try_from(sum) == Ok(signed) => Ok(()),
        _ => Err("is not a tar archive, or is damaged: a header's checksum is wrong".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_binary_and_never_too_large() {
        for (field, expected) in [
            (&b"00000001750\0"[..], Some(1000)),
            (b"     1750 \0\0", Some(1000)),
            (b"777777777777", Some(0o777_777_777_777)),
            (b"\x80\0\0\0\0\0\0\x02\0\0\0\0", Some(2 << 32)),
            (b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", Some(u64::MAX)),
            (b"\0\0\0\0\0\0\0\0\0\0\0\0", Some(0)),
            (b"\x80\0\0\x01\0\0\0\0\0\0\0\0", None),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"00000001x50\0", None),
            (b"00001\x0000001\0", None),
            (b"-0000001750\0", None),
        ] {
            assert_eq!(number(field), expected, "{field:?}");
        }
    }
}
