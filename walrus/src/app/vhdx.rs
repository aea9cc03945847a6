//! What a VHDX file says of itself, read before any tool opens it.
//!
//! ```text
//!   0         "vhdxfile"
//!   192 KiB   region table ──► where the metadata are
//!   …         metadata ──► size of the disk, whether it needs a parent file
//! ```
//!
//! A differencing disk names its parent's file: it is refused. Checksums, the log and the table of blocks are
//! `qemu-img check`'s matter.

use super::{Refusal, bytes_at};

pub const MAGIC: [u8; 8] = *b"vhdxfile";
pub const REGIONS_AT: u64 = 192 << 10;
pub const REGIONS_BYTES: u64 = 64 << 10;
/// As much of the metadata as [`parse`] looks at: the table, and the items behind it.
pub const METADATA_BYTES: u64 = 1 << 20;

const ENTRY_BYTES: usize = 32;
const REGION_ENTRIES_AT: usize = 16;
const METADATA_ENTRIES_AT: usize = 32;
const REGIONS_MAX: u32 = 2047;
const ITEMS_MAX: u16 = 2047;
const HAS_PARENT: u32 = 2;
const SECTOR: u64 = 512;

/// As they lie in the file: the first three groups of a GUID are little-endian.
const METADATA: [u8; 16] = *b"\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e";
const FILE_PARAMETERS: [u8; 16] = *b"\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b";
const DISK_SIZE: [u8; 16] = *b"\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8";
const PARENT_LOCATOR: [u8; 16] = *b"\x2d\x5f\xd3\xa8\x0b\xb3\x4d\x45\xab\xf7\xd3\xd8\x48\x34\xab\x0c";

fn refused<T>(what: impl std::fmt::Display) -> Result<T, Refusal> {
    Err(Refusal::new(format!("this VHDX file {what}")))
}

/// Where the metadata begin; `regions` are the [`REGIONS_BYTES`] at [`REGIONS_AT`], or what there is of them.
pub fn metadata_at(regions: &[u8], file_bytes: u64) -> Result<u64, Refusal> {
    if !regions.starts_with(b"regi") {
        return refused("is truncated: it has no region table");
    }
    let count = u32::from_le_bytes(bytes_at(regions, 8)).min(REGIONS_MAX);
    let entries = (0..count as usize).map(|number| REGION_ENTRIES_AT + number * ENTRY_BYTES);
    let mut found = entries.filter(|at| bytes_at::<16>(regions, *at) == METADATA);
    let (Some(at), None) = (found.next(), found.next()) else {
        return refused("does not say where its metadata are");
    };
    let begin = u64::from_le_bytes(bytes_at(regions, at + 16));
    let bytes = u64::from(u32::from_le_bytes(bytes_at(regions, at + 24)));
    match begin.checked_add(bytes) {
        Some(end) if begin >= REGIONS_AT + REGIONS_BYTES && end <= file_bytes => Ok(begin),
        _ => refused("is truncated: its metadata lie outside of it"),
    }
}

/// The size of the disk; `metadata` are the [`METADATA_BYTES`] where they begin, or what there is of them.
pub fn parse(metadata: &[u8], virtual_bytes_max: u64) -> Result<u64, Refusal> {
    if !metadata.starts_with(b"metadata") {
        return refused("has damaged metadata");
    }
    let count = u16::from_le_bytes(bytes_at(metadata, 10)).min(ITEMS_MAX);
    let item = |id: [u8; 16]| {
        let entries = (0..usize::from(count)).map(|number| METADATA_ENTRIES_AT + number * ENTRY_BYTES);
        let mut found = entries.filter(move |at| bytes_at::<16>(metadata, *at) == id);
        found.next().map(|at| u32::from_le_bytes(bytes_at(metadata, at + 16)) as usize)
    };
    let (Some(parameters), Some(size)) = (item(FILE_PARAMETERS), item(DISK_SIZE)) else {
        return refused("has no metadata about its size");
    };
    let flags = u32::from_le_bytes(bytes_at(metadata, parameters + 4));
    if flags & HAS_PARENT != 0 || item(PARENT_LOCATOR).is_some() {
        return refused("needs a parent file: merge the disk with its parent first");
    }
    let bytes = u64::from_le_bytes(bytes_at(metadata, size));
    if bytes == 0 || !bytes.is_multiple_of(SECTOR) {
        return refused(format_args!("describes a disk of {bytes} bytes"));
    }
    if bytes > virtual_bytes_max {
        return refused(format_args!(
            "describes a disk of {bytes} bytes; the limit is {virtual_bytes_max} bytes"
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE_BYTES: u64 = 8 << 20;
    const AT: u64 = 2 << 20;

    fn regions() -> Vec<u8> {
        let mut regions = vec![0; REGIONS_BYTES as usize];
        regions[..4].copy_from_slice(b"regi");
        regions[8..12].copy_from_slice(&2u32.to_le_bytes());
        regions[48..64].copy_from_slice(&METADATA);
        regions[64..72].copy_from_slice(&AT.to_le_bytes());
        regions[72..76].copy_from_slice(&(1u32 << 20).to_le_bytes());
        regions
    }

    fn metadata(flags: u32, disk_bytes: u64, more: Option<[u8; 16]>) -> Vec<u8> {
        let mut metadata = vec![0; METADATA_BYTES as usize];
        metadata[..8].copy_from_slice(b"metadata");
        let items = [Some((FILE_PARAMETERS, 65536u32)), Some((DISK_SIZE, 65544)), more.map(|id| (id, 65600))];
        for (number, (id, at)) in items.into_iter().flatten().enumerate() {
            let entry = METADATA_ENTRIES_AT + number * ENTRY_BYTES;
            metadata[entry..entry + 16].copy_from_slice(&id);
            metadata[entry + 16..entry + 20].copy_from_slice(&at.to_le_bytes());
            metadata[10] = number as u8 + 1;
        }
        metadata[65540..65544].copy_from_slice(&flags.to_le_bytes());
        metadata[65544..65552].copy_from_slice(&disk_bytes.to_le_bytes());
        metadata
    }

    #[test]
    fn the_size_is_found_behind_two_tables() {
        assert_eq!(metadata_at(&regions(), FILE_BYTES), Ok(AT));
        assert_eq!(parse(&metadata(0, 1 << 30, None), 1 << 40), Ok(1 << 30));
    }

    #[test]
    fn a_disk_that_needs_another_file_is_refused() {
        for metadata in [metadata(HAS_PARENT, 1 << 30, None), metadata(0, 1 << 30, Some(PARENT_LOCATOR))] {
            assert!(parse(&metadata, 1 << 40).unwrap_err().0.contains("parent"));
        }
    }

    #[test]
    fn tables_that_lie_are_refused() {
        assert!(metadata_at(&regions(), AT).unwrap_err().0.contains("outside"));
        let mut overlapping = regions();
        overlapping[64..72].copy_from_slice(&0u64.to_le_bytes());
        assert!(metadata_at(&overlapping, FILE_BYTES).is_err());
        let mut twice = regions();
        twice.copy_within(48..80, 16);
        assert!(metadata_at(&twice, FILE_BYTES).is_err());
        assert!(metadata_at(b"", FILE_BYTES).unwrap_err().0.contains("no region table"));
        for bytes in [0, 511, 1 << 41] {
            assert!(parse(&metadata(0, bytes, None), 1 << 40).is_err(), "{bytes}");
        }
        assert!(parse(b"metadata", 1 << 40).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), count in any::<u16>()) {
            let mut region = [&b"regi\0\0\0\0"[..], &u32::from(count).to_le_bytes(), &bytes].concat();
            let _ = metadata_at(&region, u64::MAX);
            region.splice(..8, *b"metadata");
            let _ = parse(&region, u64::MAX);
        }
    }
}
