//! A new file that is written past the page cache for as long as what comes is aligned. Copying there costs as much
//! as an MD5 does, for pages that push out those which somebody reads; what a reader does ask for, the kernel keeps.

use crate::store::keeper::buffer::ALIGNMENT;
use bytes::Bytes;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use std::fs::File;
use std::io::{self, IoSlice, Write as _};
use std::os::unix::fs::OpenOptionsExt;
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

    /// Blocking. Behind what was written before, all at once where that can be; one call at a time.
    pub fn append(&self, pieces: &[Bytes]) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut rest = &mut slices[..];
        IoSlice::advance_slices(&mut rest, 0); // what is empty goes
        while !rest.is_empty() {
            let aligned = match self.past_cache.load(Ordering::Acquire) {
                true => rest.iter().take_while(|piece| is_aligned(piece)).count(),
                false => 0,
            };
            if aligned == 0 {
                self.through_cache()?;
            }
            let now = if aligned > 0 { &rest[..aligned] } else { &rest[..] };
            match (&self.file).write_vectored(now) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => IoSlice::advance_slices(&mut rest, count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidInput && aligned > 0 => {
                    self.through_cache()?
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn through_cache(&self) -> io::Result<()> {
        if self.past_cache.swap(false, Ordering::AcqRel) {
            fcntl_setfl(&self.file, fcntl_getfl(&self.file)? - OFlags::DIRECT)?;
        }
        Ok(())
    }

    /// Blocking.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// The memory and the number of bytes; the place is, when that of all before was.
fn is_aligned(piece: &[u8]) -> bool {
    piece.len().is_multiple_of(ALIGNMENT) && piece.as_ptr().align_offset(ALIGNMENT) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::keeper::buffer::{BUFFER_BYTES, Buffer};

    fn piece(count: usize, with: u8) -> Bytes {
        let mut buffer = Buffer::new();
        buffer.fill(count).fill(with);
        Bytes::from_owner(buffer)
    }

    #[test]
    fn what_is_not_aligned_goes_through_the_cache_and_all_is_there() {
        let directory = tempfile::tempdir().unwrap();
        for past_cache in [true, false] {
            let path = directory.path().join(past_cache.to_string());
            let file = Straight::create(&path, 0o600, past_cache).unwrap();
            let mut all: Vec<u8> = Vec::new();
            for sizes in
                [&[BUFFER_BYTES, BUFFER_BYTES][..], &[], &[0, BUFFER_BYTES, 5, BUFFER_BYTES], &[ALIGNMENT]]
            {
                let pieces: Vec<Bytes> = sizes.iter().map(|size| piece(*size, all.len() as u8)).collect();
                file.append(&pieces).unwrap();
                all.extend(pieces.iter().flatten());
            }
            assert!(!file.past_cache.load(Ordering::Acquire), "after five bytes nothing is aligned");
            file.sync().unwrap();
            assert!(std::fs::read(&path).unwrap() == all);
            assert!(Straight::create(&path, 0o600, past_cache).is_err(), "it is there");
        }
    }

    #[test]
    fn whole_buffers_are_aligned() {
        let whole = piece(BUFFER_BYTES, 0);
        assert!(is_aligned(&whole) && !is_aligned(&whole[1..]) && !is_aligned(&whole[..5]));
    }
}
