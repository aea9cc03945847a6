//! What a VMDK file says of itself, read before any tool opens it.
//!
//! A VMDK is described by a text, the descriptor, that may name other files: extents and a parent. Only
//! the two kinds that are whole in themselves pass, monolithicSparse and streamOptimized, with the
//! descriptor inside and a single extent in it.

use super::{Refusal, bytes_at, shown};

pub const MAGIC: [u8; 4] = *b"KDMV";
const SECTOR: u64 = 512;
const DESCRIPTOR_SECTORS_MAX: u64 = 64;
/// As much of a file's beginning as [`parse`] looks at.
pub const HEAD_BYTES: usize = 64 * 1024;
/// The end of a streamOptimized file: footer marker, footer, end-of-stream marker.
pub const TAIL_BYTES: usize = 1536;
/// A grain directory "at the end" is found through the footer, a second header.
const DIRECTORY_AT_END: u64 = u64::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub virtual_bytes: u64,
}

fn refused<T>(what: impl std::fmt::Display) -> Result<T, Refusal> {
    Err(Refusal::new(format!("this VMDK file {what}")))
}

/// `head` and `tail` are the file's beginning and end (all of it, when it is shorter).
pub fn parse(head: &[u8], tail: &[u8], virtual_bytes_max: u64) -> Result<Header, Refusal> {
    let u32_at = |data: &[u8], at| u32::from_le_bytes(bytes_at(data, at));
    let u64_at = |data: &[u8], at| u64::from_le_bytes(bytes_at(data, at));
    let version = u32_at(head, 4);
    if !(1..=3).contains(&version) {
        return refused(format_args!("is of version {version}; versions 1 to 3 are known"));
    }
    if bytes_at::<4>(head, 73) != *b"\n \r\n" {
        return refused("was damaged on its way: its line ends have been translated");
    }
    // With a capacity of 0 a reader would take the disk from the extents that the descriptor names.
    let capacity = checked_capacity(u64_at(head, 12), virtual_bytes_max)?;
    if u64_at(head, 56) == DIRECTORY_AT_END {
        let footer = tail.len().checked_sub(2 * 512).map(|at| &tail[at..]).unwrap_or_default();
        if !footer.starts_with(&MAGIC) {
            return refused("is truncated: it has no footer");
        }
        if u64_at(footer, 12) != u64_at(head, 12) {
            return refused("gives two different sizes in header and footer");
        }
    }
    check_descriptor(head, u64_at(head, 28), u64_at(head, 36))?;
    Ok(Header { virtual_bytes: capacity })
}

fn checked_capacity(sectors: u64, virtual_bytes_max: u64) -> Result<u64, Refusal> {
    match sectors.checked_mul(SECTOR) {
        Some(0) => refused("is only a description; its data is in other files"),
        Some(bytes) if bytes <= virtual_bytes_max => Ok(bytes),
        _ => refused(format_args!(
            "describes a disk of {sectors} sectors; the limit is {virtual_bytes_max} bytes"
        )),
    }
}

fn check_descriptor(head: &[u8], offset: u64, sectors: u64) -> Result<(), Refusal> {
    if offset == 0 || sectors == 0 || sectors > DESCRIPTOR_SECTORS_MAX {
        return refused("carries no description of itself");
    }
    let from = usize::try_from(offset.saturating_mul(SECTOR)).unwrap_or(usize::MAX);
    let bytes = from.checked_add((sectors * SECTOR) as usize).and_then(|to| head.get(from..to));
    let Some(bytes) = bytes else {
        return refused("is truncated: it ends inside its description");
    };
    // Readers look for a parent at a fixed place, whatever the header says of the descriptor's.
    if find(head, b"parentFileNameHint") {
        return refused("needs a parent file: export the disk without snapshots");
    }
    let text = bytes.split(|b| *b == 0).next().unwrap_or_default();
    let Ok(text) = std::str::from_utf8(text) else {
        return refused("has a description that is not text");
    };
    check_text(text)
}

fn find(data: &[u8], needle: &[u8]) -> bool {
    data.windows(needle.len()).any(|window| window.eq_ignore_ascii_case(needle))
}

fn check_text(text: &str) -> Result<(), Refusal> {
    let (mut kind, mut extents) = (None, Vec::new());
    for line in text.lines().map(str::trim) {
        if let Some(value) = setting(line, "createType") {
            kind = Some(value);
        } else if let Some(value) = setting(line, "parentCID") {
            if !value.eq_ignore_ascii_case("ffffffff") {
                return refused("needs a parent file: export the disk without snapshots");
            }
        } else if ["RW ", "RDONLY ", "NOACCESS "].iter().any(|access| line.starts_with(access)) {
            extents.push(line);
        }
    }
    match kind {
        Some("monolithicSparse" | "streamOptimized") => {}
        Some(other) => {
            let kind = shown(other.as_bytes());
            return refused(format_args!(
                "is of the kind {kind}; monolithicSparse and streamOptimized can be imported"
            ));
        }
        None => return refused("does not say of which kind it is (createType)"),
    }
    match extents.as_slice() {
        [extent] => check_extent(extent),
        _ => refused(format_args!("has {} extents where one is expected", extents.len())),
    }
}

fn setting<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let (name, value) = line.split_once('=')?;
    name.trim().eq_ignore_ascii_case(key).then(|| value.trim().trim_matches('"'))
}

fn check_extent(line: &str) -> Result<(), Refusal> {
    let kind = line.split_whitespace().nth(2).unwrap_or_default();
    let name = line.split('"').nth(1).unwrap_or_default();
    if kind != "SPARSE" || name.is_empty() || name.contains(['/', '\\', ':']) {
        let line = shown(line.as_bytes());
        return refused(format_args!("has an extent that is not itself ({line})"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n\
        createType=\"monolithicSparse\"\n\n# Extent description\nRW 2048 SPARSE \"disk.vmdk\"\n\n#DDB\n";

    fn file(text: &str, patches: &[(usize, &[u8])]) -> Vec<u8> {
        let mut head = vec![0; HEAD_BYTES];
        let base: &[(usize, &[u8])] = &[
            (0, &MAGIC),
            (4, &1u32.to_le_bytes()),
            (12, &2048u64.to_le_bytes()),
            (28, &1u64.to_le_bytes()),
            (36, &20u64.to_le_bytes()),
            (73, b"\n \r\n"),
            (512, text.as_bytes()),
        ];
        for (at, bytes) in base.iter().chain(patches) {
            head[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        head
    }

    fn check(text: &str, patches: &[(usize, &[u8])], expected: &str) {
        let message = parse(&file(text, patches), &[], 1 << 40).unwrap_err().0;
        assert!(message.contains(expected), "{message} should say: {expected}");
    }

    #[test]
    fn a_file_that_is_whole_in_itself_passes() {
        assert_eq!(parse(&file(TEXT, &[]), &[], 1 << 40), Ok(Header { virtual_bytes: 1 << 20 }));
    }

    #[test]
    fn what_names_other_files_is_refused() {
        check(&TEXT.replace("disk.vmdk", "/etc/shadow"), &[], "not itself");
        check(&TEXT.replace("disk.vmdk", "nbd:x"), &[], "not itself");
        check(&TEXT.replace("SPARSE", "FLAT"), &[], "not itself");
        check(&TEXT.replace("parentCID=ffffffff", "parentCID=1234abcd"), &[], "parent");
        check(&format!("{TEXT}parentFileNameHint=\"/etc/shadow\"\n"), &[], "parent");
        check(TEXT, &[(9000, b"parentFileNameHint=\"/etc/shadow\"")], "parent");
        check(&TEXT.replace("monolithicSparse", "monolithicFlat"), &[], "monolithicFlat");
        check(&TEXT.replace("RW ", "RW 2048 SPARSE \"a\"\nRW "), &[], "2 extents");
        check(&TEXT.replace("RW ", "# "), &[], "0 extents");
        check(TEXT, &[(12, &[0; 8])], "other files");
    }

    #[test]
    fn lies_and_damage_are_refused() {
        check(TEXT, &[(12, &u64::MAX.to_le_bytes())], "limit");
        check(TEXT, &[(12, &(1u64 << 54).to_le_bytes())], "limit");
        check(TEXT, &[(4, &9u32.to_le_bytes())], "version 9");
        check(TEXT, &[(73, b"\n \n\n")], "damaged");
        check(TEXT, &[(28, &[0; 8])], "no description");
        check(TEXT, &[(28, &u64::MAX.to_le_bytes())], "truncated");
        check(TEXT, &[(36, &u64::MAX.to_le_bytes())], "no description");
        check(TEXT, &[(56, &u64::MAX.to_le_bytes())], "no footer");
        check(&TEXT.replace("createType", "type"), &[], "createType");
    }

    #[test]
    fn the_footer_must_agree_with_the_header() {
        let head = file(TEXT, &[(56, &u64::MAX.to_le_bytes())]);
        let mut tail = vec![0; TAIL_BYTES];
        tail[512..1024].copy_from_slice(&file(TEXT, &[])[..512]);
        assert!(parse(&head, &tail, 1 << 40).is_ok());
        tail[524..532].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(parse(&head, &tail, 1 << 40).unwrap_err().0.contains("two different sizes"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(
            start in 0usize..1400,
            noise in proptest::collection::vec(any::<u8>(), 0..120),
            keep in 0usize..20_000,
        ) {
            let mut head = file(TEXT, &[]);
            head[start..start + noise.len()].copy_from_slice(&noise);
            head.truncate(keep);
            let _ = parse(&head, &noise, u64::MAX);
            let _ = parse(&noise, &head, u64::MAX);
        }
    }
}
