//! What kind of thing a blob is, told by marks that its kind must carry.
//!
//! This is for keeping images apart from one another: a kernel that is registered as a disk, a document
//! that is imported by mistake. It is no promise that the thing works.

use super::sniff::{Kind, Purpose};
use super::{Refusal, bytes_at};
use karri_proto::internal::blobs::Content;

const ELF_EXECUTABLE: u16 = 2;
const ELF_MACHINES: [u16; 2] = [3, 62]; // i386, x86-64

/// What a ramdisk begins with: a cpio archive, or one of the compressions that kernels know.
const RAMDISK_MARKS: [&[u8]; 9] = [
    b"070701",
    b"070702",
    b"\x1f\x8b",
    b"\x28\xb5\x2f\xfd",
    b"\xfd7zXZ\0",
    b"\x02\x21\x4c\x18",
    b"BZh",
    b"\x5d\0\0",
    b"\x89LZO",
];

const FILE_SYSTEM_MARKS: [(usize, &[u8]); 8] = [
    (0x438, b"\x53\xef"),         // ext2, ext3, ext4
    (0, b"XFSB"),                 // XFS
    (0, b"hsqs"),                 // squashfs
    (0x400, b"\xe2\xe1\xf5\xe0"), // EROFS
    (0x400, b"\x10\x20\xf5\xf2"), // F2FS
    (0x8001, b"CD001"),           // ISO 9660
    (512, b"LABELONE"),           // an LVM volume
    (0, b"LUKS\xba\xbe"),         // encrypted
];

/// `head` is the file's beginning.
pub fn content(kind: Kind, head: &[u8]) -> Content {
    if kind != Kind::Raw {
        return Content::Disk; // what its guest sees is not looked at
    }
    let marked = |at: usize, mark: &[u8]| head.get(at..).is_some_and(|rest| rest.starts_with(mark));
    if is_kernel(head) {
        Content::Kernel
    } else if is_ramdisk(head) {
        Content::Ramdisk
    } else if marked(510, b"\x55\xaa") || marked(512, b"EFI PART") {
        Content::Disk
    } else if FILE_SYSTEM_MARKS.iter().any(|(at, mark)| marked(*at, mark)) {
        Content::FileSystem
    } else if is_text(head) {
        Content::Text
    } else {
        Content::Unknown
    }
}

/// Linux for x86: a bzImage, or an ELF program that a hypervisor starts itself.
fn is_kernel(head: &[u8]) -> bool {
    let number = |at| u16::from_le_bytes(bytes_at(head, at));
    let elf =
        head.starts_with(b"\x7fELF") && number(16) == ELF_EXECUTABLE && ELF_MACHINES.contains(&number(18));
    elf || bytes_at::<4>(head, 0x202) == *b"HdrS" && bytes_at::<2>(head, 510) == [0x55, 0xaa]
}

pub fn is_ramdisk(head: &[u8]) -> bool {
    RAMDISK_MARKS.iter().any(|mark| head.starts_with(mark))
}

/// Nothing but lines of characters; the last one may be cut.
fn is_text(head: &[u8]) -> bool {
    let plain = |b: &u8| matches!(b, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b) || (*b >= b' ' && *b != 0x7f);
    let whole = std::str::from_utf8(head).map_or_else(|error| error.error_len().is_none(), |_| true);
    !head.is_empty() && whole && head.iter().all(plain)
}

/// Whether it can be what its sender says that it is.
pub fn suits(content: Content, purpose: Purpose) -> Result<(), Refusal> {
    let refused = |what: &str| Err(Refusal::new(what));
    match (purpose, content) {
        (_, Content::Text) => refused(
            "this looks like plain text; raw, qcow2, vmdk, vhd and vhdx images can be imported: send a disk image",
        ),
        (Purpose::Disk, Content::Kernel) => refused("this is a kernel, not a disk: import it as a kernel"),
        (Purpose::Disk, Content::Ramdisk) => refused("this is a ramdisk, not a disk: import it as a ramdisk"),
        (Purpose::Kernel, Content::Kernel)
        | (Purpose::Ramdisk, Content::Ramdisk)
        | (Purpose::Any | Purpose::Disk, _) => Ok(()),
        (Purpose::Kernel, _) => {
            refused("this does not look like a kernel: neither a Linux bzImage nor an ELF program for x86")
        }
        (Purpose::Ramdisk, _) => {
            refused("this does not look like a ramdisk: neither a cpio archive nor a compressed one")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(patches: &[(usize, &[u8])]) -> Vec<u8> {
        let mut head = vec![0; 64 * 1024];
        for (at, bytes) in patches {
            head[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        head
    }

    #[test]
    fn each_kind_is_told_by_its_marks() {
        let cases: [(Vec<u8>, Content); 12] = [
            (head(&[(0, b"MZ"), (510, b"\x55\xaa"), (0x202, b"HdrS")]), Content::Kernel),
            (head(&[(0, b"\x7fELF"), (16, b"\x02\0\x3e\0")]), Content::Kernel),
            (head(&[(0, b"\x7fELF"), (16, b"\x03\0\x3e\0")]), Content::Unknown),
            (head(&[(0, b"070701")]), Content::Ramdisk),
            (head(&[(0, b"\x28\xb5\x2f\xfd")]), Content::Ramdisk),
            (head(&[(510, b"\x55\xaa")]), Content::Disk),
            (head(&[(512, b"EFI PART")]), Content::Disk),
            (head(&[(0x438, b"\x53\xef")]), Content::FileSystem),
            (head(&[]), Content::Unknown),
            (b"root:x:0:0:root:/root:/bin/bash\n".repeat(40), Content::Text),
            ("für alle Fälle ".repeat(100).into_bytes()[..1001].to_vec(), Content::Text),
            (vec![], Content::Unknown),
        ];
        for (head, expected) in cases {
            assert_eq!(content(Kind::Raw, &head), expected, "{:?}", &head[..head.len().min(8)]);
        }
        assert_eq!(content(Kind::Qcow2, b"QFI\xfb"), Content::Disk);
    }

    #[test]
    fn every_purpose_has_what_suits_it() {
        use Content::{Disk, FileSystem, Kernel, Ramdisk, Text, Unknown};
        let all = [Kernel, Ramdisk, Disk, FileSystem, Text, Unknown];
        let suited = |purpose| all.into_iter().filter(|c| suits(*c, purpose).is_ok()).collect::<Vec<_>>();
        assert_eq!(suited(Purpose::Any), [Kernel, Ramdisk, Disk, FileSystem, Unknown]);
        assert_eq!(suited(Purpose::Disk), [Disk, FileSystem, Unknown]);
        assert_eq!(suited(Purpose::Kernel), [Kernel]);
        assert_eq!(suited(Purpose::Ramdisk), [Ramdisk]);
    }
}
