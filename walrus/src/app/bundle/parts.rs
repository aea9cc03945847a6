//! The parts of a bundle, fetched one after the other, checked and joined.
//!
//! Two ends of one bounded channel: [`feed`] runs among the async tasks and fetches, [`Joined`] is read on
//! a thread that computes. Either end that goes away ends the other.

use super::error::BundleError;
use super::manifest::{Image, Part};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use sha1::{Digest as _, Sha1};
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::mpsc;

/// So many pieces, as large as their source makes them, may wait.
pub(super) const PIECES_WAITING_MAX: usize = 4;

pub type PartStream = Pin<Box<dyn Stream<Item = Result<Bytes, PartError>> + Send>>;

/// Where parts come from.
#[async_trait::async_trait]
pub trait PartSource: Send + Sync {
    /// The bytes of one part, in pieces that are small against memory (64 KiB to 1 MiB).
    async fn part(&self, filename: &str) -> Result<PartStream, PartError>;
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PartError {
    #[error("it is not there")]
    Missing,
    #[error("{0}")]
    Failed(String),
}

/// Called with the bytes of the bundle that have been fetched, and all that there are.
pub type Progress = Arc<dyn Fn(u64, u64) + Send + Sync>;

pub(super) enum Piece {
    Bytes(Bytes),
    /// The part that the bytes before belong to is complete.
    End,
    Failed(BundleError),
}

/// Fetches all parts of `image`. Returns early when nobody reads any more.
pub(super) async fn feed(
    source: Arc<dyn PartSource>,
    image: Arc<Image>,
    progress: Progress,
    to: mpsc::Sender<Piece>,
) {
    let mut done = 0;
    for part in &image.parts {
        let mut stream = match source.part(&part.filename).await {
            Ok(stream) => stream,
            Err(error) => return drop(to.send(Piece::Failed(failed(part, error))).await),
        };
        while let Some(bytes) = stream.next().await {
            let piece = match bytes {
                Ok(bytes) => {
                    done += bytes.len() as u64;
                    Piece::Bytes(bytes)
                }
                Err(error) => Piece::Failed(failed(part, error)),
            };
            let ended = matches!(piece, Piece::Failed(_));
            if to.send(piece).await.is_err() || ended {
                return;
            }
            progress(done.min(image.bundled_bytes), image.bundled_bytes);
        }
        if to.send(Piece::End).await.is_err() {
            return;
        }
    }
}

fn failed(part: &Part, error: PartError) -> BundleError {
    let filename = part.filename.clone();
    match error {
        PartError::Missing => BundleError::PartMissing(filename),
        PartError::Failed(reason) => BundleError::PartFailed { filename, reason },
    }
}

/// The parts' bytes in one row. A part's digest is known only at its end, after its bytes were given out:
/// whoever uses them must read on to the end before trusting what came of them.
pub(super) struct Joined {
    from: mpsc::Receiver<Piece>,
    image: Arc<Image>,
    /// Which part is being read.
    number: usize,
    sum: Sha1,
    bytes: u64,
}

impl Joined {
    pub(super) fn new(from: mpsc::Receiver<Piece>, image: Arc<Image>) -> Self {
        Self { from, image, number: 0, sum: Sha1::new(), bytes: 0 }
    }

    /// None when every part has been read and found right. Blocking.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, BundleError> {
        while self.number < self.image.parts.len() {
            if let Some(bytes) = self.step()? {
                return Ok(Some(bytes));
            }
        }
        let (expected, found) = (self.image.bundled_bytes, self.bytes);
        if found == expected { Ok(None) } else { Err(BundleError::PartsShort { expected, found }) }
    }

    /// None at the end of a part.
    fn step(&mut self) -> Result<Option<Bytes>, BundleError> {
        match self.from.blocking_recv() {
            Some(Piece::Bytes(bytes)) => {
                self.bytes += bytes.len() as u64;
                if self.bytes > self.image.bundled_bytes {
                    return Err(BundleError::PartsLong(self.image.bundled_bytes));
                }
                self.sum.update(&bytes);
                Ok(Some(bytes))
            }
            Some(Piece::End) => {
                let part = &self.image.parts[self.number];
                self.number += 1;
                if self.sum.finalize_reset()[..] != part.digest {
                    return Err(BundleError::PartDigest(part.filename.clone()));
                }
                Ok(None)
            }
            Some(Piece::Failed(error)) => Err(error),
            None => Err(BundleError::Abandoned),
        }
    }

    /// What may be behind an error in what was made of the bytes: the part that they came from is not what
    /// the manifest says, or is cut.
    pub(super) fn cause(&mut self) -> Option<BundleError> {
        if self.number >= self.image.parts.len() {
            return None;
        }
        loop {
            match self.step() {
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(BundleError::Abandoned) => return None,
                Err(error) => return Some(error),
            }
        }
    }
}
