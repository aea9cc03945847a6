//! What the header of a qcow2 file asks of a reader, looked at before any tool opens the file.
//!
//! Walrus has examined every blob; a node trusts the header alone with nothing. `qemu-img` and QEMU open the files
//! that a header names, with their own rights: one that names any goes no further than here. Sizes and tables are the
//! tool's to judge, within its limits.

/// As much of a file's beginning as [`check`] looks at.
pub const HEAD_BYTES: usize = 104;

const MAGIC: &[u8; 4] = b"QFI\xfb";
const V2_HEAD_BYTES: usize = 72;

const EXTERNAL_DATA: u64 = 1 << 2;
const COMPRESSION_TYPE: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;

/// What is wrong with it, told of "the image".
pub fn check(head: &[u8]) -> Result<(), &'static str> {
    if head.len() < V2_HEAD_BYTES || !head.starts_with(MAGIC) {
        return Err("is not qcow2");
    }
    if number::<8>(head, 8) != 0 || number::<4>(head, 16) != 0 {
        return Err("has a backing file");
    }
    if number::<4>(head, 32) != 0 {
        return Err("is encrypted");
    }
    let incompatible = match number::<4>(head, 4) {
        2 => 0,
        3 if head.len() >= HEAD_BYTES => number::<8>(head, 72),
        _ => return Err("is qcow2 of an unknown version"),
    };
    if incompatible & EXTERNAL_DATA != 0 {
        return Err("has an external data file");
    }
    if incompatible & !(COMPRESSION_TYPE | EXTENDED_L2) != 0 {
        return Err("needs unknown features, or was not closed cleanly");
    }
    Ok(())
}

/// `N` bytes at `at`, big-endian; bytes that are not there are 0.
fn number<const N: usize>(head: &[u8], at: usize) -> u64 {
    head.iter().skip(at).take(N).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(version: u8) -> Vec<u8> {
        let mut head = vec![0; HEAD_BYTES];
        head[..4].copy_from_slice(MAGIC);
        head[7] = version;
        head
    }

    fn with(at: usize, byte: u8) -> Vec<u8> {
        let mut head = plain(3);
        head[at] = byte;
        head
    }

    #[test]
    fn only_what_leans_on_nothing_passes() {
        for (head, verdict) in [
            (plain(2), Ok(())),
            (plain(3), Ok(())),
            (plain(2)[..72].to_vec(), Ok(())),
            (with(79, 0b01000), Ok(())), // another compression
            (with(79, 0b10000), Ok(())), // finer tables
            (plain(3)[..103].to_vec(), Err("is qcow2 of an unknown version")),
            (plain(4), Err("is qcow2 of an unknown version")),
            (plain(3)[..71].to_vec(), Err("is not qcow2")),
            (vec![0; HEAD_BYTES], Err("is not qcow2")),
            (Vec::new(), Err("is not qcow2")),
            (with(8, 1), Err("has a backing file")),
            (with(15, 1), Err("has a backing file")),
            (with(19, 1), Err("has a backing file")),
            (with(35, 2), Err("is encrypted")),
            (with(79, 0b00100), Err("has an external data file")),
            (with(79, 0b01100), Err("has an external data file")),
            (with(79, 0b00001), Err("needs unknown features, or was not closed cleanly")),
            (with(72, 0b00001), Err("needs unknown features, or was not closed cleanly")),
        ] {
            assert_eq!(check(&head), verdict, "{head:?}");
        }
    }
}
