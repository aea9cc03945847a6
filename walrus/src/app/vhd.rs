//! What a VHD file says of itself, read before any tool opens it.
//!
//! A fixed VHD is a raw disk with a footer of one sector behind it. A dynamic one begins with a copy of that
//! footer, and a header says where the table of its blocks is. A differencing one names a parent and is
//! refused. No field names another file in the two kinds that pass. `qemu-img` has no check for VHD, so that
//! every block is inside the file is found out here, by [`Table::check`].

use super::{Refusal, bytes_at};

pub const MAGIC: [u8; 8] = *b"conectix";
const FOOTER_BYTES: usize = 512;
/// As much of a file's beginning and end as [`parse`] looks at.
pub const HEAD_BYTES: usize = 64 * 1024;
pub const TAIL_BYTES: usize = FOOTER_BYTES;
const SECTOR: u64 = 512;
const VERSION_MAJOR: u16 = 1;
const FIXED: u32 = 2;
const DYNAMIC: u32 = 3;
const DIFFERENCING: u32 = 4;

const HEADER_MAGIC: [u8; 8] = *b"cxsparse";
const HEADER_BYTES: usize = 1024;
const ENTRY_BYTES: u64 = 4;
/// 16 million blocks: 32 TiB in blocks of the usual size.
const TABLE_BYTES_MAX: u64 = 64 << 20;
const BLOCK_BYTES_MAX: u32 = 256 << 20;
/// A block that is not there.
const ABSENT: u32 = u32::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub virtual_bytes: u64,
    /// Of a dynamic one. It lies inside the file.
    pub table: Option<Table>,
}

/// Where the blocks of a dynamic disk are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    pub at: u64,
    pub entries: u32,
    pub block_bytes: u32,
}

fn refused<T>(what: impl std::fmt::Display) -> Result<T, Refusal> {
    Err(Refusal::new(format!("this VHD file {what}")))
}

/// Whether a file with this end is a VHD, whatever it begins with.
pub fn ends_as_one(tail: &[u8]) -> bool {
    footer_at_end(tail).starts_with(&MAGIC)
}

fn footer_at_end(tail: &[u8]) -> &[u8] {
    tail.len().checked_sub(FOOTER_BYTES).map(|at| &tail[at..]).unwrap_or_default()
}

/// `head` and `tail` are the file's beginning and end (all of it, when it is shorter).
pub fn parse(head: &[u8], tail: &[u8], file_bytes: u64, virtual_bytes_max: u64) -> Result<Header, Refusal> {
    let end = footer_at_end(tail);
    if !end.starts_with(&MAGIC) {
        return refused("is truncated: it has no footer");
    }
    let footer = Footer::read(end)?;
    if head.starts_with(&MAGIC) {
        let begin = Footer::read(head)?;
        if begin != footer {
            return refused("says one thing at its beginning and another at its end");
        }
    }
    footer.check(virtual_bytes_max)?;
    let is_dynamic = head.starts_with(&MAGIC);
    let table = match (footer.kind, is_dynamic) {
        (FIXED, false) => {
            let stored = file_bytes.saturating_sub(FOOTER_BYTES as u64);
            if footer.bytes > stored {
                let bytes = footer.bytes;
                return refused(format_args!("is truncated: it holds {stored} bytes of a disk of {bytes}"));
            }
            None
        }
        (DYNAMIC, true) => Some(read_table(head, &footer, file_bytes)?),
        (DIFFERENCING, _) => return refused("needs a parent file: merge the disk with its parent first"),
        (FIXED, true) => return refused("is of fixed size and begins with a footer"),
        (DYNAMIC, false) => return refused("is truncated: it does not begin with a copy of its footer"),
        (kind, _) => return refused(format_args!("is of an unknown kind ({kind})")),
    };
    Ok(Header { virtual_bytes: footer.bytes, table })
}

/// The fields that matter, at the end of the file and again at the beginning of a dynamic one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Footer {
    major: u16,
    header_at: u64,
    bytes: u64,
    kind: u32,
}

impl Footer {
    fn read(data: &[u8]) -> Result<Self, Refusal> {
        check_sum(data, FOOTER_BYTES, 64, "footer")?;
        Ok(Self {
            major: u16::from_be_bytes(bytes_at(data, 12)),
            header_at: u64::from_be_bytes(bytes_at(data, 16)),
            bytes: u64::from_be_bytes(bytes_at(data, 48)),
            kind: u32::from_be_bytes(bytes_at(data, 60)),
        })
    }

    fn check(&self, virtual_bytes_max: u64) -> Result<(), Refusal> {
        if self.major != VERSION_MAJOR {
            return refused(format_args!("is of version {}; version 1 is known", self.major));
        }
        match self.bytes {
            0 => refused("describes an empty disk"),
            bytes if bytes > virtual_bytes_max => {
                refused(format_args!("describes a disk of {bytes} bytes; the limit is {virtual_bytes_max}"))
            }
            bytes if !bytes.is_multiple_of(SECTOR) => {
                refused(format_args!("describes a disk of {bytes} bytes, not whole sectors"))
            }
            _ => Ok(()),
        }
    }
}

/// The complement of the sum of all bytes but the checksum's own.
fn check_sum(data: &[u8], bytes: usize, at: usize, name: &str) -> Result<(), Refusal> {
    let Some(data) = data.get(..bytes) else {
        return refused(format_args!("is truncated: it ends inside its {name}"));
    };
    let others = data.iter().enumerate().filter(|(place, _)| !(at..at + 4).contains(place));
    let sum: u32 = others.map(|(_, byte)| u32::from(*byte)).sum();
    if u32::from_be_bytes(bytes_at(data, at)) == !sum {
        return Ok(());
    }
    refused(format_args!("is damaged: the checksum of its {name} is wrong"))
}

fn read_table(head: &[u8], footer: &Footer, file_bytes: u64) -> Result<Table, Refusal> {
    let at = usize::try_from(footer.header_at).unwrap_or(usize::MAX);
    let Some(header) = head.get(at..).filter(|_| at >= FOOTER_BYTES) else {
        return refused(format_args!("has its header at an impossible place ({})", footer.header_at));
    };
    if !header.starts_with(&HEADER_MAGIC) {
        return refused("has no header where its footer says");
    }
    check_sum(header, HEADER_BYTES, 36, "header")?;
    let table = Table {
        at: u64::from_be_bytes(bytes_at(header, 16)),
        entries: u32::from_be_bytes(bytes_at(header, 28)),
        block_bytes: u32::from_be_bytes(bytes_at(header, 32)),
    };
    table.check_place(footer.bytes, file_bytes)?;
    Ok(table)
}

impl Table {
    pub fn bytes(&self) -> u64 {
        u64::from(self.entries) * ENTRY_BYTES
    }

    fn check_place(&self, virtual_bytes: u64, file_bytes: u64) -> Result<(), Refusal> {
        let block_bytes = self.block_bytes;
        if !block_bytes.is_power_of_two() || !(SECTOR as u32..=BLOCK_BYTES_MAX).contains(&block_bytes) {
            return refused(format_args!("claims blocks of {block_bytes} bytes"));
        }
        let mapped = u64::from(self.entries) * u64::from(block_bytes);
        if mapped < virtual_bytes || self.bytes() > TABLE_BYTES_MAX {
            let entries = self.entries;
            return refused(format_args!(
                "has a table of {entries} blocks for a disk of {virtual_bytes} bytes"
            ));
        }
        if self.at < FOOTER_BYTES as u64 || !self.at.is_multiple_of(SECTOR) {
            return refused(format_args!("has its table at an impossible place ({})", self.at));
        }
        match self.at.checked_add(self.bytes()) {
            Some(end) if end <= file_bytes => Ok(()),
            _ => refused("is truncated or lies: its table is not inside the file"),
        }
    }

    /// Whether the blocks that `entries`, a piece of the table, speaks of are inside the file.
    pub fn check(&self, entries: &[u8], file_bytes: u64) -> Result<(), Refusal> {
        // Each block begins with a bitmap of its sectors, rounded up to sectors itself.
        let bitmap_bytes = (u64::from(self.block_bytes) / SECTOR).div_ceil(8).next_multiple_of(SECTOR);
        let stored_bytes = bitmap_bytes + u64::from(self.block_bytes);
        for entry in entries.chunks_exact(ENTRY_BYTES as usize) {
            let sector = u32::from_be_bytes(bytes_at(entry, 0));
            let inside = u64::from(sector) * SECTOR + stored_bytes <= file_bytes;
            if sector != ABSENT && !(inside && sector > 0) {
                return refused(format_args!(
                    "is truncated or lies: its block at sector {sector} is not inside the file ({file_bytes} \
                     bytes)"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: u64 = 1 << 44;
    const MIB: usize = 1 << 20;

    fn seal(data: &mut [u8], at: usize) {
        data[at..at + 4].fill(0);
        let sum: u32 = data.iter().map(|byte| u32::from(*byte)).sum();
        data[at..at + 4].copy_from_slice(&(!sum).to_be_bytes());
    }

    fn patched(data: &mut [u8], patches: &[(usize, &[u8])]) {
        for (at, bytes) in patches {
            data[*at..at + bytes.len()].copy_from_slice(bytes);
        }
    }

    fn footer(kind: u32, header_at: u64, patches: &[(usize, &[u8])]) -> Vec<u8> {
        let mut footer = vec![0; FOOTER_BYTES];
        let base: &[(usize, &[u8])] = &[
            (0, &MAGIC),
            (12, &1u16.to_be_bytes()),
            (16, &header_at.to_be_bytes()),
            (48, &(MIB as u64).to_be_bytes()),
            (60, &kind.to_be_bytes()),
        ];
        patched(&mut footer, base);
        patched(&mut footer, patches);
        seal(&mut footer, 64);
        footer
    }

    fn fixed(patches: &[(usize, &[u8])]) -> Vec<u8> {
        let mut file = vec![7; MIB];
        file.extend(footer(FIXED, u64::MAX, patches));
        file
    }

    /// A disk of 1 MiB in two blocks of which the first is stored.
    fn dynamic(in_footer: &[(usize, &[u8])], in_header: &[(usize, &[u8])]) -> Vec<u8> {
        let footer = footer(DYNAMIC, 512, in_footer);
        let mut header = vec![0; HEADER_BYTES];
        let base: &[(usize, &[u8])] = &[
            (0, &HEADER_MAGIC),
            (8, &u64::MAX.to_be_bytes()),
            (16, &1536u64.to_be_bytes()),
            (28, &2u32.to_be_bytes()),
            (32, &(MIB as u32 / 2).to_be_bytes()),
        ];
        patched(&mut header, base);
        patched(&mut header, in_header);
        seal(&mut header, 36);
        let mut table = vec![0xff; 512];
        table[..4].copy_from_slice(&4u32.to_be_bytes());
        [footer.clone(), header, table, vec![0xff; 512], vec![7; MIB / 2], footer].concat()
    }

    fn judged(file: &[u8]) -> Result<Header, Refusal> {
        let bytes = file.len() as u64;
        let tail = &file[file.len().saturating_sub(TAIL_BYTES)..];
        let header = parse(&file[..file.len().min(HEAD_BYTES)], tail, bytes, MAX)?;
        if let Some(table) = header.table {
            table.check(&file[table.at as usize..][..table.bytes() as usize], bytes)?;
        }
        Ok(header)
    }

    fn check(file: &[u8], expected: &str) {
        let message = judged(file).unwrap_err().0;
        assert!(message.contains(expected), "{message} should say: {expected}");
    }

    #[test]
    fn both_kinds_that_are_whole_in_themselves_pass() {
        assert_eq!(judged(&fixed(&[])), Ok(Header { virtual_bytes: MIB as u64, table: None }));
        let table = Some(Table { at: 1536, entries: 2, block_bytes: MIB as u32 / 2 });
        assert_eq!(judged(&dynamic(&[], &[])), Ok(Header { virtual_bytes: MIB as u64, table }));
    }

    #[test]
    fn a_differencing_disk_is_refused() {
        check(&fixed(&[(60, &4u32.to_be_bytes())]), "parent");
        check(&dynamic(&[(60, &4u32.to_be_bytes())], &[]), "parent");
        check(&fixed(&[(60, &9u32.to_be_bytes())]), "unknown kind (9)");
    }

    #[test]
    fn what_has_been_cut_or_damaged_is_refused() {
        let file = dynamic(&[], &[]);
        check(&file[..file.len() - 512], "no footer");
        check(&[&file[..100_000], &file[file.len() - 512..]].concat(), "at sector 4 is not inside");
        check(&fixed(&[])[512..], "is truncated: it holds 1048064 bytes");
        let mut damaged = file.clone();
        damaged[50] ^= 1;
        check(&damaged, "checksum of its footer");
        let mut damaged = file.clone();
        damaged[600] ^= 1;
        check(&damaged, "checksum of its header");
        let mut other = file.clone();
        let end = other.len() - 512;
        other[end..].copy_from_slice(&footer(DYNAMIC, 512, &[(48, &512u64.to_be_bytes())]));
        check(&other, "one thing at its beginning");
        check(&[vec![7; 1024], footer(DYNAMIC, 512, &[])].concat(), "copy of its footer");
        check(&[footer(FIXED, 0, &[]), vec![7; MIB], footer(FIXED, 0, &[])].concat(), "begins with a footer");
    }

    #[test]
    fn lies_about_sizes_are_refused() {
        let size = |bytes: u64| fixed(&[(48, &bytes.to_be_bytes())]);
        check(&size(0), "empty disk");
        check(&size(513), "whole sectors");
        check(&size(u64::MAX), "limit");
        check(&fixed(&[(12, &2u16.to_be_bytes())]), "version 2");
        let header = |at, bytes: &[u8]| dynamic(&[], &[(at, bytes)]);
        check(&header(28, &1u32.to_be_bytes()), "table of 1 blocks");
        check(&header(28, &u32::MAX.to_be_bytes()), "table of 4294967295 blocks");
        check(&header(28, &(1u32 << 20).to_be_bytes()), "not inside the file");
        check(&header(32, &0u32.to_be_bytes()), "blocks of 0");
        check(&header(32, &1000u32.to_be_bytes()), "blocks of 1000");
        check(&header(32, &(1u32 << 31).to_be_bytes()), "blocks of 2147483648");
        check(&header(16, &u64::MAX.to_be_bytes()), "impossible place");
        check(&header(16, &(u64::MAX - 511).to_be_bytes()), "not inside the file");
        check(&header(16, &0u64.to_be_bytes()), "impossible place");
        for at in [0u64, 65_537, u64::MAX] {
            check(&dynamic(&[(16, &at.to_be_bytes())], &[]), "impossible place");
        }
        for at in [1024u64, 65_536] {
            check(&dynamic(&[(16, &at.to_be_bytes())], &[]), "no header");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(
            start in 0usize..2100,
            noise in proptest::collection::vec(any::<u8>(), 0..64),
            keep in 0usize..530_000,
            is_dynamic in any::<bool>(),
        ) {
            let mut file = if is_dynamic { dynamic(&[], &[]) } else { fixed(&[]) };
            file[start..start + noise.len()].copy_from_slice(&noise);
            if is_dynamic {
                seal(&mut file[..512], 64);
                seal(&mut file[512..1536], 36);
                let footer = file[..512].to_vec();
                let end = file.len() - 512;
                file[end..].copy_from_slice(&footer);
            }
            let _ = judged(&file);
            file.truncate(keep);
            let _ = judged(&file);
        }
    }
}
