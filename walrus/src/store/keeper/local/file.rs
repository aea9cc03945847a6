//! Reading a blob's file: at once from the page cache, or on a thread that may wait for the disk.

use super::super::Blob;
use super::super::buffer::Buffer;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rustix::fs::Advice;
use rustix::io::ReadWriteFlags;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use tokio::task::spawn_blocking;

#[derive(Debug)]
pub struct LocalBlob {
    file: Arc<File>,
    bytes: u64,
}

impl LocalBlob {
    /// Blocking.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { file: Arc::new(file), bytes })
    }
}

impl Blob for LocalBlob {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read_now(&self, offset: u64, count: usize, into: &mut Buffer) -> io::Result<bool> {
        let room = &mut [IoSliceMut::new(into.fill(count))];
        let read = rustix::io::preadv2(&*self.file, room, offset, ReadWriteFlags::NOWAIT);
        // Whatever went wrong, reading with waiting finds out.
        Ok(read == Ok(count))
    }

    fn read(&self, offset: u64, count: usize, mut into: Buffer) -> BoxFuture<'static, io::Result<Buffer>> {
        let file = self.file.clone();
        let reading = spawn_blocking(move || {
            file.read_exact_at(into.fill(count), offset)?;
            Ok(into)
        });
        reading.map(|read| read.map_err(io::Error::other)?).boxed()
    }

    fn forget(&self, offset: u64, count: u64) {
        let _ = rustix::fs::fadvise(&*self.file, offset, NonZeroU64::new(count), Advice::DontNeed);
    }
}
