//! What a file is, by its content. Names and declared types are not believed.
//!
//! Raw has no mark of its own: it is what carries no other format's mark. So every format that people
//! send by mistake is known here and told by its name, with what to do.

use super::content::{content, suits};
use super::{Refusal, bytes_at, qcow2, vhd, vhdx, vmdk};
use flate2::read::GzDecoder;
use karri_proto::internal::blobs::Content;
use std::io::Read;

/// How much of a file's beginning and end the decisions need.
pub const HEAD_BYTES: usize = 64 * 1024;
pub const TAIL_BYTES: usize = vmdk::TAIL_BYTES;
const _: () = assert!(HEAD_BYTES >= qcow2::HEAD_BYTES && HEAD_BYTES >= vmdk::HEAD_BYTES);
const _: () = assert!(HEAD_BYTES >= vhd::HEAD_BYTES && TAIL_BYTES >= vhd::TAIL_BYTES);

const IMAGE_HEAD_MIN: usize = 512;
const IMAGE_BYTES_MIN: u64 = IMAGE_HEAD_MIN as u64;
const SECTOR: u64 = 512;

/// What the sender says that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Nothing: a disk, a root file system, a kernel, or a gzipped ramdisk.
    Any,
    /// A disk or a root file system.
    Disk,
    Kernel,
    /// A ramdisk in any compression, kept as it is.
    Ramdisk,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Raw,
    Qcow2,
    Vmdk,
    Vhd,
    Vhdx,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Raw => "raw",
            Kind::Qcow2 => "qcow2",
            Kind::Vmdk => "vmdk",
            Kind::Vhd => "vhd",
            Kind::Vhdx => "vhdx",
        }
    }
}

/// A look at a file: its beginning, its end, its length.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    pub head: &'a [u8],
    pub tail: &'a [u8],
    pub bytes: u64,
}

/// From the beginning alone: may be refused before the rest has arrived.
pub fn early(head: &[u8], purpose: Purpose) -> Result<Kind, Refusal> {
    if purpose == Purpose::Ramdisk {
        return suits(content(Kind::Raw, head), purpose).map(|()| Kind::Raw);
    }
    if head.starts_with(&qcow2::MAGIC) {
        let version = u32::from_be_bytes(bytes_at(head, 4));
        return if version == 1 { looks_like("a qcow (version 1) image", CONVERT) } else { Ok(Kind::Qcow2) };
    }
    if head.starts_with(&vmdk::MAGIC) {
        return Ok(Kind::Vmdk);
    }
    if head.starts_with(&vhd::MAGIC) {
        return Ok(Kind::Vhd);
    }
    if head.starts_with(&vhdx::MAGIC) {
        return Ok(Kind::Vhdx);
    }
    if is_gzipped_ramdisk(head) {
        return suits(Content::Ramdisk, purpose).map(|()| Kind::Raw);
    }
    refuse_web_page(head)?;
    for (at, mark, name, advice) in FOREIGN {
        if head.get(*at..).is_some_and(|rest| rest.starts_with(mark)) {
            return looks_like(name, advice);
        }
    }
    refuse_optical(head)?;
    // What is shorter is told by its length.
    if head.len() >= IMAGE_HEAD_MIN {
        suits(content(Kind::Raw, head), purpose)?;
    }
    Ok(Kind::Raw)
}

/// From all of the file.
pub fn decide(sample: Sample<'_>, purpose: Purpose) -> Result<Kind, Refusal> {
    if sample.bytes == 0 {
        return Err(Refusal::new("the image is empty"));
    }
    let mut kind = early(sample.head, purpose)?;
    if kind == Kind::Raw && purpose != Purpose::Ramdisk && vhd::ends_as_one(sample.tail) {
        kind = Kind::Vhd; // of fixed size: a raw disk with a mark at its end
    }
    if sample.bytes < IMAGE_BYTES_MIN {
        return Err(Refusal::new(format!("the image is only {} bytes long", sample.bytes)));
    }
    suits(content(kind, sample.head), purpose)?;
    if kind == Kind::Raw && purpose != Purpose::Ramdisk {
        refuse_by_tail(sample.tail)?;
        refuse_cut_partition_table(sample)?;
    }
    Ok(kind)
}

const CONVERT: &str = "convert it with qemu-img convert -O qcow2";
const UNPACK: &str = "unpack it first";

type Mark = (usize, &'static [u8], &'static str, &'static str);

const FOREIGN: &[Mark] = &[
    (0x40, b"\x7f\x10\xda\xbe", "a VDI image", CONVERT),
    (0, b"COWD", "a VMDK image of VMware's old sparse kind", CONVERT),
    (0, b"# Disk DescriptorFile", "a VMDK description without its data", CONVERT),
    (0, b"QED\0", "a QED image", CONVERT),
    (0, b"WithoutFreeSpace", "a Parallels image", CONVERT),
    (0, b"WithouFreSpacExt", "a Parallels image", CONVERT),
    (0, b"\x1f\x8b", "a gzip archive", "decompress it first"),
    (0, b"BZh", "a bzip2 archive", "decompress it first"),
    (0, b"\xfd7zXZ\0", "an xz archive", "decompress it first (a ramdisk: import it as a ramdisk)"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd archive", "decompress it first (a ramdisk: import it as a ramdisk)"),
    (0, b"\x04\x22\x4d\x18", "an lz4 archive", "decompress it first (a ramdisk: import it as a ramdisk)"),
    (0, b"\x02\x21\x4c\x18", "an lz4 archive", "decompress it first (a ramdisk: import it as a ramdisk)"),
    (0, b"LZIP", "an lzip archive", "decompress it first"),
    (0, b"PK\x03\x04", "a zip archive", UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (0, b"Rar!", "a rar archive", UNPACK),
    (257, b"ustar", "a tar archive (an OVA is one too)", UNPACK),
    (0, b"!<arch>", "an ar archive or a Debian package", UNPACK),
    (0, b"\xed\xab\xee\xdb", "an RPM package", UNPACK),
    (0, b"%PDF-", "a PDF document", "send a disk image"),
    (0, b"version https://git-lfs", "a Git LFS pointer", "send the file that it stands for"),
];

fn looks_like<T>(what: &str, advice: &str) -> Result<T, Refusal> {
    Err(Refusal::new(format!(
        "this looks like {what}; raw, qcow2, vmdk, vhd and vhdx images can be imported: {advice}"
    )))
}

/// The kernel takes gzipped cpio archives as ramdisks; any other gzip is a compressed disk.
fn is_gzipped_ramdisk(head: &[u8]) -> bool {
    let mut magic = [0; 6];
    head.starts_with(b"\x1f\x8b")
        && GzDecoder::new(head).read_exact(&mut magic).is_ok()
        && matches!(&magic, b"070701" | b"070702")
}

fn refuse_web_page(head: &[u8]) -> Result<(), Refusal> {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let starts = |mark: &[u8]| text.get(..mark.len()).is_some_and(|start| start.eq_ignore_ascii_case(mark));
    if starts(b"<!doctype") || starts(b"<html") {
        return looks_like("a web page (HTML)", "was the address of the image the right one?");
    }
    if starts(b"<?xml") || starts(b"<error") {
        return looks_like("an XML document", "was the address of the image the right one?");
    }
    Ok(())
}

/// An optical image boots as a disk only when it carries a boot sector too.
fn refuse_optical(head: &[u8]) -> Result<(), Refusal> {
    let optical = bytes_at::<5>(head, 0x8001) == *b"CD001";
    let boot_sector = bytes_at::<2>(head, 510) == [0x55, 0xaa];
    if optical && !boot_sector {
        return looks_like("an ISO 9660 image that no disk can boot from", "install it to a disk first");
    }
    Ok(())
}

fn refuse_by_tail(tail: &[u8]) -> Result<(), Refusal> {
    let from_end = |bytes: usize| tail.len().checked_sub(bytes).map(|at| &tail[at..]).unwrap_or_default();
    if from_end(511).starts_with(&vhd::MAGIC) {
        return looks_like("a VHD image of Virtual PC's first version", CONVERT);
    }
    if from_end(512).starts_with(b"koly") {
        return looks_like("an Apple disk image", CONVERT);
    }
    Ok(())
}

/// A GPT disk says where it ends.
fn refuse_cut_partition_table(sample: Sample<'_>) -> Result<(), Refusal> {
    if bytes_at::<8>(sample.head, 512) != *b"EFI PART" {
        return Ok(());
    }
    let last_sector = u64::from_le_bytes(bytes_at(sample.head, 512 + 32));
    match last_sector.checked_add(1).and_then(|sectors| sectors.checked_mul(SECTOR)) {
        Some(end) if end <= sample.bytes => Ok(()),
        _ => Err(Refusal::new(format!(
            "this raw image is truncated: its partition table (GPT) reaches to sector {last_sector}, the image \
             has {} bytes",
            sample.bytes
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;
    use std::io::Write;

    fn sample(bytes: &[u8]) -> Sample<'_> {
        let tail = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
        Sample { head: &bytes[..bytes.len().min(HEAD_BYTES)], tail, bytes: bytes.len() as u64 }
    }

    fn disk(patches: &[(usize, &[u8])]) -> Vec<u8> {
        let mut disk = vec![0; 1 << 20];
        for (at, bytes) in patches {
            disk[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        disk
    }

    fn refused(bytes: &[u8], expected: &str) {
        let message = decide(sample(bytes), Purpose::Any).unwrap_err().0;
        assert!(message.contains(expected), "{message} should say: {expected}");
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn the_formats_are_known_by_content() {
        for (patch, kind) in [
            (&b"QFI\xfb\0\0\0\x03"[..], Kind::Qcow2),
            (b"KDMV", Kind::Vmdk),
            (b"conectix", Kind::Vhd),
            (b"vhdxfile", Kind::Vhdx),
            (b"\x55\xaa", Kind::Raw),
            (b"\x7fELF", Kind::Raw),
        ] {
            assert_eq!(decide(sample(&disk(&[(0, patch)])), Purpose::Any), Ok(kind));
        }
        let fixed = disk(&[((1 << 20) - 512, b"conectix")]);
        assert_eq!(decide(sample(&fixed), Purpose::Disk), Ok(Kind::Vhd));
        assert!(decide(sample(&fixed), Purpose::Kernel).is_err());
    }

    #[test]
    fn every_foreign_mark_is_told_by_its_name() {
        for (at, mark, name, _) in FOREIGN {
            refused(&disk(&[(*at, mark)]), name);
        }
        refused(&disk(&[((1 << 20) - 511, b"conectix")]), "VHD image of Virtual PC's first");
        refused(&disk(&[((1 << 20) - 512, b"koly")]), "Apple");
        refused(&disk(&[(0, b"QFI\xfb\0\0\0\x01")]), "version 1");
        refused(&disk(&[(0x8001, b"CD001")]), "ISO 9660");
        refused(&disk(&[(0, b"  \n<!DOCTYPE html><p>404")]), "web page");
        refused(&disk(&[(0, b"\xef\xbb\xbf<?xml version='1.0'?>")]), "XML");
        refused(b"", "empty");
        refused(b"hello", "only 5 bytes");
        refused(&b"root:x:0:0:root:/root:/bin/sh\n".repeat(40), "plain text");
    }

    #[test]
    fn an_optical_image_with_a_boot_sector_is_a_disk() {
        let hybrid = disk(&[(0x8001, b"CD001"), (510, b"\x55\xaa")]);
        assert_eq!(decide(sample(&hybrid), Purpose::Any), Ok(Kind::Raw));
    }

    #[test]
    fn a_gzipped_ramdisk_is_kept_and_a_gzipped_disk_is_not() {
        let mut archive = b"070701".to_vec();
        archive.resize(4096, b'0');
        assert_eq!(decide(sample(&gzip(&archive)), Purpose::Any), Ok(Kind::Raw));
        refused(&gzip(&disk(&[])), "gzip");
        let zstd = disk(&[(0, b"\x28\xb5\x2f\xfd")]);
        assert_eq!(decide(sample(&zstd), Purpose::Ramdisk), Ok(Kind::Raw));
        assert!(decide(sample(&disk(&[(0, b"QFI\xfb\0\0\0\x03")])), Purpose::Ramdisk).is_err());
    }

    #[test]
    fn a_disk_that_ends_before_its_partition_table_says_is_truncated() {
        let gpt = |last: u64| disk(&[(512, b"EFI PART"), (544, &last.to_le_bytes())]);
        assert!(decide(sample(&gpt(2047)), Purpose::Any).is_ok());
        refused(&gpt(2048), "truncated");
        refused(&gpt(u64::MAX), "truncated");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            head in proptest::collection::vec(any::<u8>(), 0..700),
            tail in proptest::collection::vec(any::<u8>(), 0..600),
            bytes in any::<u64>(),
        ) {
            let _ = decide(Sample { head: &head, tail: &tail, bytes }, Purpose::Any);
        }
    }
}
