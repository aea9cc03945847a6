//! What a qcow2 file says of itself, read before any tool opens it.
//!
//! A qcow2 header can name other files (a backing file, an external data file) that a reader opens with
//! its own rights, and can claim sizes that make a reader allocate memory. Only plain files pass: nothing
//! named, nothing encrypted, nothing unknown, every table inside the file. What this module passes,
//! `qemu-img check` then walks entry by entry.

use super::{Refusal, bytes_at, shown};

/// As much of a file's beginning as [`parse`] ever looks at: a header and its extensions fill one
/// cluster at most, and extensions of real files end long before.
pub const HEAD_BYTES: usize = 64 * 1024;

pub const MAGIC: [u8; 4] = *b"QFI\xfb";
const V2_HEADER_BYTES: u32 = 72;
const V3_HEADER_BYTES_MIN: u32 = 104;
const L1_ENTRIES_MAX: u32 = 4 << 20;
const REFCOUNT_TABLE_BYTES_MAX: u64 = 8 << 20;
const EXTENSIONS_MAX: usize = 64;

const DIRTY: u64 = 1 << 0;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const COMPRESSION_TYPE: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;
const KNOWN: u64 = DIRTY | CORRUPT | EXTERNAL_DATA | COMPRESSION_TYPE | EXTENDED_L2;

const EXTENSION_END: u32 = 0;
const EXTENSION_BACKING_FORMAT: u32 = 0xe279_2aca;
const EXTENSION_ENCRYPTION: u32 = 0x0537_be77;
const EXTENSION_DATA_FILE: u32 = 0x4441_5441;

/// The header of a file that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub version: u32,
    pub virtual_bytes: u64,
    pub cluster_bytes: u64,
}

/// `head` is the file's beginning ([`HEAD_BYTES`], or all of a shorter file).
pub fn parse(head: &[u8], file_bytes: u64, virtual_bytes_max: u64) -> Result<Header, Refusal> {
    let raw = Raw::read(head, file_bytes)?;
    raw.check_references(head)?;
    raw.check_features()?;
    raw.check_sizes(virtual_bytes_max)?;
    raw.check_tables(file_bytes)?;
    raw.check_extensions(head)?;
    Ok(Header { version: raw.version, virtual_bytes: raw.size, cluster_bytes: raw.cluster_bytes() })
}

fn refused<T>(what: impl std::fmt::Display) -> Result<T, Refusal> {
    Err(Refusal::new(format!("this qcow2 file {what}")))
}

/// The fields as they stand in the file.
struct Raw {
    version: u32,
    backing_offset: u64,
    backing_bytes: u32,
    cluster_bits: u32,
    size: u64,
    encryption: u32,
    l1_entries: u32,
    l1_offset: u64,
    refcount_offset: u64,
    refcount_clusters: u32,
    snapshots: u32,
    incompatible: u64,
    refcount_order: u32,
    header_bytes: u32,
    compression: u8,
}

impl Raw {
    fn read(head: &[u8], file_bytes: u64) -> Result<Self, Refusal> {
        let u32_at = |at| u32::from_be_bytes(bytes_at(head, at));
        let u64_at = |at| u64::from_be_bytes(bytes_at(head, at));
        let version = u32_at(4);
        if !matches!(version, 2 | 3) {
            return refused(format_args!("is of version {version}; versions 2 and 3 are known"));
        }
        let v3 = version == 3;
        let header_bytes = if v3 { u32_at(100) } else { V2_HEADER_BYTES };
        if file_bytes < u64::from(header_bytes) || head.len() < V2_HEADER_BYTES as usize {
            return refused("is truncated: it ends inside its header");
        }
        Ok(Self {
            version,
            backing_offset: u64_at(8),
            backing_bytes: u32_at(16),
            cluster_bits: u32_at(20),
            size: u64_at(24),
            encryption: u32_at(32),
            l1_entries: u32_at(36),
            l1_offset: u64_at(40),
            refcount_offset: u64_at(48),
            refcount_clusters: u32_at(56),
            snapshots: u32_at(60),
            incompatible: if v3 { u64_at(72) } else { 0 },
            refcount_order: if v3 { u32_at(96) } else { 4 },
            header_bytes,
            compression: if v3 && header_bytes > V3_HEADER_BYTES_MIN {
                bytes_at::<1>(head, 104)[0]
            } else {
                0
            },
        })
    }

    fn cluster_bytes(&self) -> u64 {
        1 << self.cluster_bits.min(63)
    }

    fn check_references(&self, head: &[u8]) -> Result<(), Refusal> {
        if self.backing_offset == 0 && self.backing_bytes == 0 {
            return Ok(());
        }
        let from = usize::try_from(self.backing_offset).unwrap_or(usize::MAX).min(head.len());
        let to = from.saturating_add(self.backing_bytes as usize).min(head.len());
        let name = shown(&head[from..to]);
        refused(format_args!("has a backing file ({name}): flatten it with qemu-img convert -O qcow2"))
    }

    fn check_features(&self) -> Result<(), Refusal> {
        let has = |feature| self.incompatible & feature != 0;
        if self.incompatible & !KNOWN != 0 {
            let unknown = self.incompatible & !KNOWN;
            return refused(format_args!("needs unknown features (incompatible bits {unknown:#x})"));
        }
        if has(EXTERNAL_DATA) {
            return refused("keeps its data in another file: flatten it with qemu-img convert -O qcow2");
        }
        if self.encryption != 0 {
            return refused("is encrypted: decrypt it with qemu-img convert");
        }
        if has(CORRUPT) || has(DIRTY) {
            return refused("was not closed cleanly: repair it with qemu-img check -r all");
        }
        if self.snapshots != 0 {
            return refused("holds internal snapshots: drop them with qemu-img convert -O qcow2");
        }
        if has(COMPRESSION_TYPE) != (self.compression != 0) || self.compression > 1 {
            return refused(format_args!("uses an unknown compression ({})", self.compression));
        }
        Ok(())
    }

    fn check_sizes(&self, virtual_bytes_max: u64) -> Result<(), Refusal> {
        let smallest_bits = if self.incompatible & EXTENDED_L2 != 0 { 14 } else { 9 };
        if !(smallest_bits..=21).contains(&self.cluster_bits) {
            return refused(format_args!("claims clusters of 2^{} bytes", self.cluster_bits));
        }
        let v3_header = u64::from(V3_HEADER_BYTES_MIN)..=self.cluster_bytes();
        let header_fits = self.version == 2 || v3_header.contains(&u64::from(self.header_bytes));
        if !header_fits || !self.header_bytes.is_multiple_of(8) {
            return refused(format_args!("claims a header of {} bytes", self.header_bytes));
        }
        if self.refcount_order > 6 {
            return refused(format_args!("claims reference counts of 2^{} bits", self.refcount_order));
        }
        match self.size {
            0 => refused("describes an empty disk"),
            size if size > virtual_bytes_max => {
                refused(format_args!("describes a disk of {size} bytes; the limit is {virtual_bytes_max}"))
            }
            size if !size.is_multiple_of(512) => {
                refused(format_args!("describes a disk of {size} bytes, not whole sectors"))
            }
            _ => Ok(()),
        }
    }

    fn check_tables(&self, file_bytes: u64) -> Result<(), Refusal> {
        let entry_bytes = if self.incompatible & EXTENDED_L2 != 0 { 16 } else { 8 };
        let mapped_per_l1 = u128::from(self.cluster_bytes()) * u128::from(self.cluster_bytes() / entry_bytes);
        let needed = u128::from(self.size).div_ceil(mapped_per_l1);
        if self.l1_entries > L1_ENTRIES_MAX || needed > u128::from(self.l1_entries) {
            let (has, size) = (self.l1_entries, self.size);
            return refused(format_args!("has an L1 table of {has} entries for a disk of {size} bytes"));
        }
        self.check_table("L1 table", self.l1_offset, u64::from(self.l1_entries) * 8, file_bytes)?;
        let refcount_bytes = u64::from(self.refcount_clusters) * self.cluster_bytes();
        if refcount_bytes == 0 || refcount_bytes > REFCOUNT_TABLE_BYTES_MAX {
            return refused(format_args!("has a reference count table of {refcount_bytes} bytes"));
        }
        self.check_table("reference count table", self.refcount_offset, refcount_bytes, file_bytes)
    }

    fn check_table(&self, name: &str, offset: u64, bytes: u64, file_bytes: u64) -> Result<(), Refusal> {
        if offset == 0 || !offset.is_multiple_of(self.cluster_bytes()) {
            return refused(format_args!("has its {name} at an impossible place ({offset})"));
        }
        match offset.checked_add(bytes) {
            Some(end) if end <= file_bytes => Ok(()),
            _ => refused(format_args!(
                "is truncated or lies: its {name} ({bytes} bytes at {offset}) is not inside the file \
                 ({file_bytes} bytes)"
            )),
        }
    }

    fn check_extensions(&self, head: &[u8]) -> Result<(), Refusal> {
        let end = usize::try_from(self.cluster_bytes()).unwrap_or(usize::MAX).min(head.len());
        let mut at = self.header_bytes as usize;
        for _ in 0..EXTENSIONS_MAX {
            if at + 8 > end {
                return Ok(());
            }
            let kind = u32::from_be_bytes(bytes_at(head, at));
            let bytes = u32::from_be_bytes(bytes_at(head, at + 4)) as usize;
            match kind {
                EXTENSION_END => return Ok(()),
                EXTENSION_BACKING_FORMAT => return refused("names the format of a backing file"),
                EXTENSION_DATA_FILE => {
                    return refused("names an external data file: flatten it with qemu-img convert -O qcow2");
                }
                EXTENSION_ENCRYPTION => return refused("is encrypted: decrypt it with qemu-img convert"),
                _ => at += 8 + bytes.div_ceil(8) * 8,
            }
            if at > end {
                return refused("has a header extension that is longer than its first cluster");
            }
        }
        refused(format_args!("has more than {EXTENSIONS_MAX} header extensions"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: u64 = 1 << 44;
    const FILE: u64 = 1 << 20;

    /// A valid version 3 header of a 1 GiB disk, with `(offset, bytes)` written over it.
    fn header(patches: &[(usize, &[u8])]) -> Vec<u8> {
        let mut head = vec![0; HEAD_BYTES];
        let base: &[(usize, &[u8])] = &[
            (0, &MAGIC),
            (4, &3u32.to_be_bytes()),
            (20, &16u32.to_be_bytes()),
            (24, &(1u64 << 30).to_be_bytes()),
            (36, &2u32.to_be_bytes()),
            (40, &0x3_0000u64.to_be_bytes()),
            (48, &0x1_0000u64.to_be_bytes()),
            (56, &1u32.to_be_bytes()),
            (96, &4u32.to_be_bytes()),
            (100, &112u32.to_be_bytes()),
        ];
        for (at, bytes) in base.iter().chain(patches) {
            head[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        head
    }

    fn check(patches: &[(usize, &[u8])], expected: &str) {
        let message = parse(&header(patches), FILE, MAX).unwrap_err().0;
        assert!(message.contains(expected), "{message} should say: {expected}");
    }

    #[test]
    fn a_plain_header_passes() {
        let header = parse(&header(&[]), FILE, MAX).unwrap();
        assert_eq!(header, Header { version: 3, virtual_bytes: 1 << 30, cluster_bytes: 1 << 16 });
    }

    #[test]
    fn what_reaches_outside_the_file_is_refused() {
        let name = b"/etc/hostname";
        check(&[(8, &512u64.to_be_bytes()), (16, &13u32.to_be_bytes()), (512, name)], "\"/etc/hostname\"");
        check(&[(8, &u64::MAX.to_be_bytes())], "backing file");
        check(&[(16, &u32::MAX.to_be_bytes())], "backing file");
        check(&[(72, &4u64.to_be_bytes())], "another file");
        check(&[(112, &0x4441_5441u32.to_be_bytes())], "external data file");
        check(&[(112, &0xe279_2acau32.to_be_bytes())], "backing file");
        let behind_another = [(112, &[0x23u8, 0x85, 0x28, 0x75, 0, 0, 0, 5][..]), (128, b"DATA")];
        check(&behind_another, "external data file");
    }

    #[test]
    fn what_cannot_be_read_faithfully_is_refused() {
        check(&[(72, &(1u64 << 63).to_be_bytes())], "unknown features");
        check(&[(72, &1u64.to_be_bytes())], "not closed cleanly");
        check(&[(72, &2u64.to_be_bytes())], "not closed cleanly");
        check(&[(32, &2u32.to_be_bytes())], "encrypted");
        check(&[(112, &0x0537_be77u32.to_be_bytes())], "encrypted");
        check(&[(60, &1u32.to_be_bytes())], "snapshots");
        check(&[(104, &[1])], "compression");
        check(&[(4, &1u32.to_be_bytes())], "version 1");
        check(&[(4, &9u32.to_be_bytes())], "version 9");
    }

    #[test]
    fn lies_about_sizes_are_refused() {
        check(&[(24, &(1u64 << 63).to_be_bytes())], "limit");
        check(&[(24, &u64::MAX.to_be_bytes())], "limit");
        check(&[(24, &[0; 8])], "empty disk");
        check(&[(24, &513u64.to_be_bytes())], "whole sectors");
        check(&[(36, &1u32.to_be_bytes())], "L1 table of 1 entries");
        check(&[(36, &u32::MAX.to_be_bytes())], "L1 table");
        check(&[(40, &FILE.to_be_bytes())], "not inside the file");
        check(&[(40, &(u64::MAX - 0xffff).to_be_bytes())], "not inside the file");
        check(&[(40, &0x3_0001u64.to_be_bytes())], "impossible place");
        check(&[(48, &FILE.to_be_bytes())], "not inside the file");
        check(&[(56, &u32::MAX.to_be_bytes())], "reference count table");
        check(&[(56, &[0; 4])], "reference count table of 0");
        check(&[(20, &[0xff; 4])], "clusters of 2^");
        check(&[(96, &7u32.to_be_bytes())], "reference counts of");
        check(&[(100, &113u32.to_be_bytes())], "header of 113");
        check(&[(116, &u32::MAX.to_be_bytes()), (112, &1u32.to_be_bytes())], "header extension");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(
            start in 0usize..140,
            noise in proptest::collection::vec(any::<u8>(), 0..120),
            keep in 0usize..4096,
            file_bytes in any::<u64>(),
        ) {
            let mut head = header(&[]);
            let end = (start + noise.len()).min(head.len());
            head[start..end].copy_from_slice(&noise[..end - start]);
            head.truncate(keep);
            let _ = parse(&head, file_bytes, MAX);
            let _ = parse(&noise, file_bytes, u64::MAX);
        }

        #[test]
        fn what_passes_lies_inside_the_file(
            l1 in any::<u32>(), offset in any::<u64>(), size in any::<u64>(), bits in 0u32..40,
        ) {
            let head = header(&[
                (20, &bits.to_be_bytes()), (24, &size.to_be_bytes()),
                (36, &l1.to_be_bytes()), (40, &offset.to_be_bytes()),
            ]);
            if let Ok(header) = parse(&head, FILE, MAX) {
                prop_assert!(offset + u64::from(l1) * 8 <= FILE);
                prop_assert!(header.virtual_bytes <= MAX);
            }
        }
    }
}
