//! A new file that is written past the page cache for as long as what comes is aligned. Copying there costs as much
//! as an MD5 does, for pages that push out those which somebody reads; what a reader does ask for, the kernel keeps.

use crate::store::keeper::buffer::ALIGNMENT;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Debug)]
pub struct Straight {
    file: File,
    /// Not again once it was not possible.
    past_cache: AtomicBool,
}

impl Straight {
    /// Blocking.
    pub fn create(path: &Path, mode: u32, past_cache: bool) -> io::Result<Self> {
        let create = |flags: OFlags| {
            let flags = flags.bits().cast_signed();
            File::options().write(true).create_new(true).mode(mode).custom_flags(flags).open(path)
        };
        if past_cache {
            match create(OFlags::DIRECT) {
                Ok(file) => return Ok(Self { file, past_cache: AtomicBool::new(true) }),
                // A file system that knows nothing of it; some have made the file by then.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => super::remove_if_there(path)?,
                Err(error) => return Err(error),
            }
        }
        Ok(Self { file: create(OFlags::empty())?, past_cache: AtomicBool::new(false) })
    }

    /// Blocking. One write at a time.
    pub fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        if self.past_cache.load(Ordering::Acquire) {
            if is_aligned(bytes, at) {
                match self.file.write_all_at(bytes, at) {
                    Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                    written => return written,
                }
            }
            let flags = fcntl_getfl(&self.file)?;
            fcntl_setfl(&self.file, flags - OFlags::DIRECT)?;
            self.past_cache.store(false, Ordering::Release);
        }
        self.file.write_all_at(bytes, at)
    }

    /// Blocking.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Memory, place and number of bytes.
fn is_aligned(bytes: &[u8], at: u64) -> bool {
    let whole = bytes.len().is_multiple_of(ALIGNMENT) && at.is_multiple_of(ALIGNMENT as u64);
    whole && bytes.as_ptr().align_offset(ALIGNMENT) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::keeper::buffer::{BUFFER_BYTES, Buffer};

    fn buffer(count: usize, with: u8) -> Buffer {
        let mut buffer = Buffer::new();
        buffer.fill(count).fill(with);
        buffer
    }

    #[test]
    fn what_is_not_aligned_goes_through_the_cache_and_all_is_there() {
        let directory = tempfile::tempdir().unwrap();
        for past_cache in [true, false] {
            let path = directory.path().join(past_cache.to_string());
            let file = Straight::create(&path, 0o600, past_cache).unwrap();
            let mut all = Vec::new();
            for (number, count) in
                [BUFFER_BYTES, BUFFER_BYTES, 5, BUFFER_BYTES, ALIGNMENT].into_iter().enumerate()
            {
                let piece = buffer(count, number as u8);
                file.write(&piece, all.len() as u64).unwrap();
                all.extend_from_slice(&piece);
            }
            assert!(!file.past_cache.load(Ordering::Acquire), "after five bytes nothing is aligned");
            file.sync().unwrap();
            assert!(std::fs::read(&path).unwrap() == all);
            assert!(Straight::create(&path, 0o600, past_cache).is_err(), "it is there");
        }
    }

    #[test]
    fn whole_buffers_are_aligned() {
        let whole = buffer(BUFFER_BYTES, 0);
        assert!(is_aligned(&whole, 0) && is_aligned(&whole, BUFFER_BYTES as u64));
        assert!(!is_aligned(&whole, 1) && !is_aligned(&whole[1..], 0) && !is_aligned(&whole[..5], 0));
    }
}
