//! From parts to an image's bytes, as stages with bounded queues between them.
//!
//! ```text
//!   async task                    one thread that computes                           whoever polls
//!   PartSource ─ pieces ─► SHA-1 of each part ► AES ► gunzip ► SHA-1, untar ─ pieces ─► ImageStream
//! ```
//!
//! Nothing is started before the stream is polled, and dropping it ends all stages. What it yields is to
//! be believed only when it has ended without an error: the digests of parts and image, the archive's end
//! and the sizes are known last. Memory: two queues of a few pieces, one buffer of ciphertext, and what
//! gunzip keeps, whatever the sizes of bundle and image.

use super::cipher::Decrypting;
use super::error::BundleError;
use super::gzip::Gunzip;
use super::keys::Secrets;
use super::manifest::Image;
use super::parts::{Joined, PIECES_WAITING_MAX, PartSource, Piece, Progress, feed};
use super::tar::Tar;
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use sha1::{Digest as _, Sha1};
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, spawn_blocking};

pub type ImageStream = Pin<Box<dyn Stream<Item = Result<Bytes, BundleError>> + Send>>;

/// The bytes of the image whose parts `source` has.
pub fn image_stream(
    image: Arc<Image>,
    secrets: Secrets,
    source: Arc<dyn PartSource>,
    progress: Progress,
) -> ImageStream {
    let started = stream::once(async move {
        let stages = Stages::start(image, secrets, source, progress);
        stream::unfold(Some(stages), |stages| async {
            let mut stages = stages?;
            match stages.images.recv().await {
                Some(Decoded::Bytes(bytes)) => Some((Ok(bytes), Some(stages))),
                Some(Decoded::End) => None,
                Some(Decoded::Failed(error)) => Some((Err(error), None)),
                None => Some((Err(BundleError::Abandoned), None)),
            }
        })
    });
    Box::pin(started.flatten())
}

enum Decoded {
    Bytes(Bytes),
    /// All has been verified.
    End,
    Failed(BundleError),
}

/// What runs while the stream is there. The thread ends when either of its channels does.
struct Stages {
    feeding: AbortHandle,
    images: mpsc::Receiver<Decoded>,
}

impl Stages {
    fn start(image: Arc<Image>, secrets: Secrets, source: Arc<dyn PartSource>, progress: Progress) -> Self {
        let (to_thread, pieces) = mpsc::channel(PIECES_WAITING_MAX);
        let (to_stream, images) = mpsc::channel(PIECES_WAITING_MAX);
        let feeding = tokio::spawn(feed(source, image.clone(), progress, to_thread)).abort_handle();
        spawn_blocking(move || {
            let take =
                |bytes| to_stream.blocking_send(Decoded::Bytes(bytes)).map_err(|_| BundleError::Abandoned);
            let last = match decode(image, &secrets, pieces, take) {
                Ok(()) => Decoded::End,
                Err(error) => Decoded::Failed(error),
            };
            let _ = to_stream.blocking_send(last); // nobody may be left to hear it
        });
        Self { feeding, images }
    }
}

impl Drop for Stages {
    fn drop(&mut self) {
        self.feeding.abort();
    }
}

/// Runs on its own thread, to the end or to the first error, which may be that of `take`.
pub(super) fn decode(
    image: Arc<Image>,
    secrets: &Secrets,
    pieces: mpsc::Receiver<Piece>,
    take: impl FnMut(Bytes) -> Result<(), BundleError>,
) -> Result<(), BundleError> {
    let decrypting = Decrypting::new(Joined::new(pieces, image.clone()), secrets);
    let mut summing = Summing { inner: Gunzip::new(decrypting), sum: Sha1::new() };
    let outcome = untar(&mut summing, &image, take);
    let outcome = outcome.and_then(|()| {
        let found = summing.sum.clone().finalize();
        if found[..] == image.digest { Ok(()) } else { Err(BundleError::Digest) }
    });
    outcome.map_err(|error| {
        // The first thing that is wrong may be a part that no longer is what was uploaded.
        let cause = if is_of_content(&error) { summing.inner.inner() } else { None };
        cause.and_then(|decrypting| decrypting.joined().cause()).unwrap_or(error)
    })
}

/// Whether damaged bytes can be the reason.
fn is_of_content(error: &BundleError) -> bool {
    use BundleError::*;
    match error {
        NotForThisCloud | GzipCut | GzipDamaged(_) | GzipTrailing | Tar(_) | Size { .. } | Digest => true,
        Manifest(_) | ManifestGone | Signature(_) | Certificate { .. } | Abandoned => false,
        PartMissing(_) | PartFailed { .. } | PartDigest(_) | PartsShort { .. } | PartsLong(_) => false,
    }
}

fn untar(
    from: &mut impl Read,
    image: &Image,
    mut take: impl FnMut(Bytes) -> Result<(), BundleError>,
) -> Result<(), BundleError> {
    let mut tar = Tar::open(from)?;
    let (expected, found) = (image.bytes, tar.bytes());
    if found != expected {
        return Err(BundleError::Size { expected, found });
    }
    while let Some(bytes) = tar.next()? {
        take(bytes)?;
    }
    Ok(())
}

/// SHA-1 of what is read.
struct Summing<R> {
    inner: R,
    sum: Sha1,
}

impl<R: Read> Read for Summing<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.inner.read(into)?;
        self.sum.update(&into[..bytes]);
        Ok(bytes)
    }
}
