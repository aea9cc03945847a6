//! The archive around an image: one file, in GNU tar's form, which has room for sizes beyond 8 GiB. A file with holes is
//! told by a map of its data, as `tar -S` does it, with which EC2's and Eucalyptus' tools make theirs.

use super::super::tar::{Extent, seal};

const BLOCK_BYTES: usize = 512;
const RECORD_BYTES: u64 = 20 * BLOCK_BYTES as u64;
const NAME_BYTES_MAX: usize = 100;
/// What eleven octal digits hold.
const OCTAL_BYTES_MAX: u64 = (1 << 33) - 1;
const EXTENTS_IN_HEADER: usize = 4;
const EXTENTS_IN_BLOCK: usize = 21;
const EXTENT_BYTES: usize = 24;
/// In a header, and in a block that continues it: where the map is, and whether it goes on.
const MAP_AT: usize = 386;
const GOES_ON_AT: usize = 482;
const REAL_BYTES_AT: usize = 483;

/// Twelve bytes: octal digits, or where they do not suffice the number itself.
fn number(block: &mut [u8], at: usize, value: u64) {
    if value <= OCTAL_BYTES_MAX {
        block[at..at + 12].copy_from_slice(format!("{value:011o}\0").as_bytes());
    } else {
        block[at..at + 4].copy_from_slice(&[0x80, 0, 0, 0]);
        block[at + 4..at + 12].copy_from_slice(&value.to_be_bytes());
    }
}

fn map(block: &mut [u8], at: usize, extents: &[Extent]) {
    for (index, extent) in extents.iter().enumerate() {
        number(block, at + index * EXTENT_BYTES, extent.at);
        number(block, at + index * EXTENT_BYTES + 12, extent.bytes);
    }
}

/// All that stands before the data. Nothing reads the name; one that does not fit is another.
pub(super) fn header(name: &str, bytes: u64, extents: &[Extent]) -> Vec<u8> {
    let name = if name.len() <= NAME_BYTES_MAX { name } else { "image" };
    let mut block = vec![0; BLOCK_BYTES];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(136, b"00000000000\0");
    put(257, b"ustar  \0");
    number(&mut block, 124, stored_bytes(extents));
    let whole = matches!(extents, [Extent { at: 0, bytes: all }] if *all == bytes);
    block[156] = if whole { b'0' } else { b'S' };
    let mut more = Vec::new();
    if !whole {
        // A file that ends with a hole is told by a piece of nothing at its end.
        let mut extents = extents.to_vec();
        if extents.last().is_none_or(|last| last.at + last.bytes < bytes) {
            extents.push(Extent { at: bytes, bytes: 0 });
        }
        let (first, rest) = extents.split_at(extents.len().min(EXTENTS_IN_HEADER));
        map(&mut block, MAP_AT, first);
        block[GOES_ON_AT] = u8::from(!rest.is_empty());
        number(&mut block, REAL_BYTES_AT, bytes);
        more = continued(rest);
    }
    seal(&mut block);
    block.extend(more);
    block
}

fn continued(extents: &[Extent]) -> Vec<u8> {
    let blocks = extents.len().div_ceil(EXTENTS_IN_BLOCK);
    let mut all = vec![0; blocks * BLOCK_BYTES];
    for (index, extents) in extents.chunks(EXTENTS_IN_BLOCK).enumerate() {
        let block = &mut all[index * BLOCK_BYTES..(index + 1) * BLOCK_BYTES];
        map(block, 0, extents);
        block[EXTENTS_IN_BLOCK * EXTENT_BYTES] = u8::from(index + 1 < blocks);
    }
    all
}

pub(super) fn stored_bytes(extents: &[Extent]) -> u64 {
    extents.iter().map(|extent| extent.bytes).sum()
}

/// So many zeros follow header and data: to the end of the data's block, two blocks, and to the end of the record.
pub(super) fn end_bytes(header_bytes: usize, stored_bytes: u64) -> usize {
    let written = header_bytes as u64 + stored_bytes;
    let end = (written.next_multiple_of(BLOCK_BYTES as u64) + 2 * BLOCK_BYTES as u64)
        .next_multiple_of(RECORD_BYTES);
    usize::try_from(end - written).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::super::tar::Tar;
    use super::*;
    use std::io::Read as _;

    fn opened(bytes: u64, extents: &[Extent]) -> u64 {
        let header = header("disk.img", bytes, extents);
        let (stored, before) = (stored_bytes(extents), header.len());
        let end = end_bytes(before, stored);
        assert_eq!((before as u64 + stored + end as u64) % RECORD_BYTES, 0, "{bytes}");
        assert!(end >= 2 * BLOCK_BYTES);
        Tar::open(header.as_slice().chain(std::io::repeat(0))).unwrap().bytes()
    }

    #[test]
    fn our_own_reader_takes_an_image_of_any_size() {
        for bytes in [1, 511, 512, 513, 10_240 - 1536, 10_240 - 1535, OCTAL_BYTES_MAX, OCTAL_BYTES_MAX + 1] {
            assert_eq!(opened(bytes, &[Extent { at: 0, bytes }]), bytes);
            assert_eq!(opened(bytes, &[]), bytes, "nothing but a hole");
        }
        assert_eq!(&header(&"x".repeat(101), 1, &[])[..6], b"image\0");
    }

    #[test]
    fn a_map_of_any_length_is_read_back() {
        for count in [1, 3, 4, 5, 25, 26, 1000] {
            let piece = |number: u64| Extent { at: number << 30, bytes: 4096 };
            let extents: Vec<Extent> = (0..count).map(piece).collect();
            assert_eq!(opened((count << 30) + 7, &extents), (count << 30) + 7);
            let ends_with_data = ((count - 1) << 30) + 4096;
            assert_eq!(opened(ends_with_data, &extents), ends_with_data);
        }
    }
}
