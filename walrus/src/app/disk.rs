//! What a disk image says of itself, from its beginning and its end: enough to refuse most of what cannot be taken
//! before its bytes are fetched.
//!
//! An import looks closer afterwards (`import::judge`): nothing rests on this look alone.

use super::sniff::{self, Kind, Purpose, Sample};
use super::{Refusal, qcow2, vhd, vmdk};

/// The format, and the size of the disk; None where it stands further in: a VHDX file's (`vhdx`).
pub fn look(sample: Sample<'_>, virtual_bytes_max: u64) -> Result<(Kind, Option<u64>), Refusal> {
    let kind = sniff::decide(sample, Purpose::Disk)?;
    let Sample { head, tail, bytes } = sample;
    let virtual_bytes = match kind {
        Kind::Raw => bytes,
        Kind::Qcow2 => qcow2::parse(head, bytes, virtual_bytes_max)?.virtual_bytes,
        Kind::Vmdk => vmdk::parse(head, tail, virtual_bytes_max)?.virtual_bytes,
        Kind::Vhdx => return Ok((kind, None)),
        Kind::Vhd => vhd::parse(head, tail, bytes, virtual_bytes_max)?.virtual_bytes,
    };
    Ok((kind, Some(virtual_bytes)))
}

/// Whether an object is taken for a bundle's manifest rather than for a disk.
pub fn is_manifest(key: &str, head: &[u8]) -> bool {
    let text = head.trim_ascii_start();
    key.ends_with(".manifest.xml") || text.starts_with(b"<?xml") || text.starts_with(b"<manifest")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u64 = 1 << 40;

    fn told(bytes: &[u8]) -> Result<(Kind, Option<u64>), String> {
        let tail = &bytes[bytes.len().saturating_sub(sniff::TAIL_BYTES)..];
        let head = &bytes[..bytes.len().min(sniff::HEAD_BYTES)];
        look(Sample { head, tail, bytes: bytes.len() as u64 }, MOST).map_err(|refusal| refusal.0)
    }

    #[test]
    fn a_raw_disk_is_as_large_as_its_file() {
        let mut disk = vec![0; 4096];
        disk[510..512].copy_from_slice(b"\x55\xaa");
        assert_eq!(told(&disk), Ok((Kind::Raw, Some(4096))));
    }

    #[test]
    fn what_is_no_disk_is_told_by_name() {
        for (begin, words) in [
            (&b"<!doctype html>"[..], "a web page"),
            (b"PK\x03\x04", "a zip archive"),
            (b"just words\n", "text"),
        ] {
            let mut bytes = begin.to_vec();
            bytes.resize(4096, b' ');
            let refusal = told(&bytes).unwrap_err();
            assert!(refusal.contains(words), "{refusal} should say: {words}");
        }
        assert!(told(b"").unwrap_err().contains("empty"));
    }

    #[test]
    fn a_qcow2_that_names_another_file_is_refused_by_its_header() {
        let mut bytes = vec![0; 1 << 17];
        bytes[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
        bytes[8..16].copy_from_slice(&112u64.to_be_bytes()); // a backing file's name is there
        bytes[16..20].copy_from_slice(&11u32.to_be_bytes());
        bytes[112..123].copy_from_slice(b"/etc/shadow");
        assert!(told(&bytes).unwrap_err().contains("backing file"));
    }

    #[test]
    fn manifests_are_known_by_name_or_by_how_they_begin() {
        assert!(is_manifest("a/b.manifest.xml", b"anything"));
        assert!(is_manifest("a", b"\n <?xml version='1.0'?>"));
        assert!(is_manifest("a", b"<manifest>"));
        assert!(!is_manifest("disk.img", b"QFI\xfb"));
        assert!(!is_manifest("page.html", b"<!doctype html>"));
    }
}
