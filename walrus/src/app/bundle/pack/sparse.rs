//! Where a disk has data: what is between is nothing, and is not packed.

use super::super::tar::Extent;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use std::fs::File;
use std::io;

/// Half of what our own reader takes.
const EXTENTS_MAX: usize = 128 * 1024;
/// Smaller holes cost more than they save.
const HOLE_BYTES_MIN: u64 = 64 * 1024;

/// In order; where the file system knows no holes, one over all of it.
pub fn extents(disk: &File, bytes: u64) -> io::Result<Vec<Extent>> {
    let mut found: Vec<Extent> = Vec::new();
    let (mut at, mut hole_min) = (0, HOLE_BYTES_MIN);
    while at < bytes {
        let start = match seek(disk, SeekFrom::Data(at)) {
            Err(Errno::NXIO) => break, // nothing but a hole is left
            start => start?.min(bytes),
        };
        let end = seek(disk, SeekFrom::Hole(start))?.min(bytes);
        add(&mut found, Extent { at: start, bytes: end - start }, hole_min);
        while found.len() > EXTENTS_MAX {
            hole_min *= 2;
            for extent in std::mem::take(&mut found) {
                add(&mut found, extent, hole_min);
            }
        }
        at = end;
    }
    Ok(found)
}

/// Small holes are filled.
fn add(found: &mut Vec<Extent>, extent: Extent, hole_bytes_min: u64) {
    match found.last_mut() {
        Some(last) if extent.at - (last.at + last.bytes) < hole_bytes_min => {
            last.bytes = extent.at + extent.bytes - last.at;
        }
        _ if extent.bytes > 0 => found.push(extent),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn holes_are_found_and_small_ones_filled() {
        let file = tempfile::tempfile().unwrap();
        let bytes = 8 << 20;
        file.set_len(bytes).unwrap();
        assert_eq!(extents(&file, bytes).unwrap(), []);
        for at in [1 << 20, (1 << 20) + 8192, 4 << 20] {
            file.write_all_at(&[7; 4096], at).unwrap();
        }
        let found = extents(&file, bytes).unwrap();
        assert_eq!(found, [Extent { at: 1 << 20, bytes: 12_288 }, Extent { at: 4 << 20, bytes: 4096 }]);
        file.write_all_at(&[7; 512], bytes - 512).unwrap();
        let last = *extents(&file, bytes).unwrap().last().unwrap();
        assert_eq!(last.at + last.bytes, bytes);
    }
}
