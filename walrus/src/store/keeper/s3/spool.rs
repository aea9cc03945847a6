//! A part until the engine has it: a file without a name, so that a request can be made again from its first
//! byte, and so that memory does not grow with the number of writers. It is gone when it is closed, and
//! mostly before a disk has seen it.

use super::super::buffer::{BUFFER_BYTES, Buffer};
use super::super::local::{blocking, create_private};
use bytes::Bytes;
use futures_util::stream::unfold;
use reqwest::Body;
use ring::digest::{Context, SHA256};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// All parts of an upload have this many bytes but the last one; engines want 5 MiB at least.
pub const PART_BYTES: u64 = 8 << 20;

#[derive(Debug, Default)]
pub struct Spool {
    /// Nothing: no part can be begun.
    dir: Option<PathBuf>,
    next: AtomicU64,
}

impl Spool {
    pub fn open(dir: &Path) -> io::Result<Self> {
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        fs::create_dir_all(dir)?;
        Ok(Self { dir: Some(dir.to_owned()), next: AtomicU64::new(0) })
    }

    pub async fn begin(&self) -> io::Result<PartWriter> {
        let dir = self.dir.as_ref().ok_or_else(|| io::Error::other("this store is only looked at"))?;
        let path = dir.join(format!("part-{}", self.next.fetch_add(1, Ordering::Relaxed)));
        let file = blocking(move || {
            let file = create_private(&path)?;
            fs::remove_file(&path).map(|()| file)
        });
        Ok(PartWriter { file: file.await?, bytes: 0, sha256: Context::new(&SHA256) })
    }
}

pub struct PartWriter {
    file: File,
    bytes: u64,
    sha256: Context,
}

impl PartWriter {
    pub fn is_full(&self) -> bool {
        self.bytes == PART_BYTES
    }

    /// Takes what it has room for behind the first `from` bytes of `buffer`; up to where that was.
    pub async fn write(mut self, buffer: Buffer, from: usize) -> io::Result<(Self, Buffer, usize)> {
        let to = buffer.len().min(from + (PART_BYTES - self.bytes) as usize);
        blocking(move || {
            self.file.write_all_at(&buffer[from..to], self.bytes)?;
            self.sha256.update(&buffer[from..to]);
            self.bytes += (to - from) as u64;
            Ok((self, buffer, to))
        })
        .await
    }

    pub fn finish(self) -> Part {
        let sha256 = hex::encode(self.sha256.finish());
        Part { file: Arc::new(self.file), bytes: self.bytes, sha256 }
    }
}

#[derive(Debug, Clone)]
pub struct Part {
    file: Arc<File>,
    pub bytes: u64,
    pub sha256: String,
}

impl Part {
    /// From its first byte, however often.
    pub fn body(&self) -> Body {
        let pieces = unfold((self.file.clone(), 0, self.bytes), |(file, at, end)| async move {
            let count = (end - at).min(BUFFER_BYTES as u64) as usize;
            if count == 0 {
                return None;
            }
            let piece = read(file.clone(), at, count).await;
            Some((piece, (file, at + count as u64, end)))
        });
        Body::wrap_stream(pieces)
    }
}

async fn read(file: Arc<File>, at: u64, count: usize) -> io::Result<Bytes> {
    blocking(move || {
        let mut buffer = Buffer::new();
        file.read_exact_at(buffer.fill(count), at)?;
        Ok(Bytes::from_owner(buffer))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use sha2::Digest as _;

    #[tokio::test]
    async fn a_part_is_read_again_and_again_and_leaves_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(&directory.path().join("spool")).unwrap();
        let mut part = spool.begin().await.unwrap();
        let all: Vec<u8> = (0..PART_BYTES as usize + 5).map(|n| (n * 7 + n / 251) as u8).collect();
        let (mut rest, mut left) = (&all[..], 0);
        while !rest.is_empty() {
            let mut buffer = Buffer::new();
            buffer.take_from(&mut rest);
            let len = buffer.len();
            let taken;
            (part, _, taken) = part.write(buffer, 0).await.unwrap();
            left += len - taken;
        }
        assert!(part.is_full() && left == 5);
        let part = part.finish();
        assert_eq!(part.sha256, hex::encode(sha2::Sha256::digest(&all[..PART_BYTES as usize])));
        for _ in 0..2 {
            let body = part.body().collect().await.unwrap().to_bytes();
            assert!(body == all[..PART_BYTES as usize]);
        }
        assert_eq!(fs::read_dir(directory.path().join("spool")).unwrap().count(), 0);
    }
}
