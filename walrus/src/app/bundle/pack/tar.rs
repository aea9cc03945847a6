//! The archive around an image: one plain file, in GNU tar's form, which has room for sizes beyond 8 GiB.

use super::super::tar::seal;

const BLOCK_BYTES: usize = 512;
const RECORD_BYTES: usize = 20 * BLOCK_BYTES;
const NAME_BYTES_MAX: usize = 100;
/// What eleven octal digits hold.
const OCTAL_BYTES_MAX: u64 = (1 << 33) - 1;

/// Nothing reads the name; one that does not fit is another.
pub(super) fn header(name: &str, bytes: u64) -> [u8; BLOCK_BYTES] {
    let name = if name.len() <= NAME_BYTES_MAX { name } else { "image" };
    let mut block = [0; BLOCK_BYTES];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    if bytes <= OCTAL_BYTES_MAX {
        put(124, format!("{bytes:011o}\0").as_bytes());
    } else {
        put(124, &[0x80, 0, 0, 0]);
        put(128, &bytes.to_be_bytes());
    }
    put(136, b"00000000000\0");
    put(156, b"0");
    put(257, b"ustar  \0");
    seal(&mut block);
    block
}

/// So many zeros follow the file: to the end of its block, two blocks, and to the end of the record.
pub(super) fn end_bytes(bytes: u64) -> usize {
    let rest = |of: usize, by: usize| (by - of % by) % by;
    let within = usize::try_from(bytes % RECORD_BYTES as u64).unwrap_or(0);
    let file = rest(within, BLOCK_BYTES);
    let ended = BLOCK_BYTES + within + file + 2 * BLOCK_BYTES;
    file + 2 * BLOCK_BYTES + rest(ended, RECORD_BYTES)
}

#[cfg(test)]
mod tests {
    use super::super::super::tar::Tar;
    use super::*;
    use std::io::Read as _;

    #[test]
    fn our_own_reader_takes_an_image_of_any_size() {
        for bytes in
            [1, 511, 512, 513, 10_240 - 1536, 10_240 - 1535, OCTAL_BYTES_MAX, OCTAL_BYTES_MAX + 1, 1 << 40]
        {
            let head = header("disk.img", bytes);
            let archive = head.as_slice().chain(std::io::repeat(0));
            assert_eq!(Tar::open(archive).unwrap().bytes(), bytes);
            let all = BLOCK_BYTES as u64 + bytes + end_bytes(bytes) as u64;
            assert_eq!(all % RECORD_BYTES as u64, 0, "{bytes}");
            assert!(end_bytes(bytes) >= 2 * BLOCK_BYTES && end_bytes(bytes) < RECORD_BYTES + 2 * BLOCK_BYTES);
        }
        assert_eq!(&header(&"x".repeat(101), 1)[..6], b"image\0");
    }
}
