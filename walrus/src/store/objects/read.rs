//! Bytes on their way out, verified, in bounded pieces.

use super::error::StoreError;
use super::lease;
use super::manifest::{Manifest, Place};
use super::object::{Content, Object};
use super::writer::damage::{Damage, Sound};
use super::{Inner, Objects};
use crate::store::keeper::BlobId;
use crate::store::keeper::read::{BlobReader, ReadError};
use crate::store::keeper::seal::{CustomerKey, Seal, WrappingKey, open_small};
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::{BoxStream, StreamExt, unfold};
use sqlx::Row as _;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The bytes of a range.
pub enum Body {
    Whole(Bytes),
    Stream(ByteStream),
}

/// Pieces of up to 256 KiB, together exactly the range; ends early with an error.
pub struct ByteStream(BoxStream<'static, Result<Bytes, StoreError>>);

impl Stream for ByteStream {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

/// A stretch of one blob, or of bytes that are here.
#[derive(Debug)]
struct Stretch {
    place: Place,
    /// All of it, of which `range` is wanted.
    size: u64,
    range: Range<u64>,
}

struct Reading {
    inner: Arc<Inner>,
    /// Holds the bytes.
    object: Arc<Object>,
    key: Option<CustomerKey>,
    /// The last one first.
    stretches: Vec<Stretch>,
    current: Option<(BlobId, BlobReader)>,
}

impl Objects {
    /// The bytes of `range`, which lies within the object. `key` is for what was encrypted with a
    /// customer's key.
    pub async fn read(
        &self,
        object: &Arc<Object>,
        range: Range<u64>,
        key: Option<&CustomerKey>,
    ) -> Result<Body, StoreError> {
        let range = range.start.min(object.size)..range.end.min(object.size);
        if range.is_empty() {
            return Ok(Body::Whole(Bytes::new()));
        }
        let stretches = match &object.content {
            Content::Empty => return Ok(Body::Whole(Bytes::new())),
            Content::Inline(Some(bytes)) => {
                let bytes = self.0.opened(object, bytes, key)?;
                return Ok(Body::Whole(bytes.slice(range.start as usize..range.end as usize)));
            }
            Content::Inline(None) => return Err(StoreError::NoSuchVersion),
            Content::Blob(id, _) => vec![Stretch { place: Place::Blob(*id), size: object.size, range }],
            Content::Manifest(..) => stretches(&*self.manifest(object).await?, range),
        };
        let (inner, object, key) = (self.0.clone(), object.clone(), key.cloned());
        let mut reading = Reading { inner, object, key, stretches, current: None };
        // What cannot be read at all is told before anything is promised.
        let Some(first) = reading.next().await? else { return Ok(Body::Whole(Bytes::new())) };
        let rest = unfold(Some(reading), |reading| async move {
            let mut reading = reading?;
            match reading.next().await {
                Ok(piece) => Some((Ok(piece?), Some(reading))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(Body::Stream(ByteStream(futures_util::stream::iter([Ok(first)]).chain(rest).boxed())))
    }

    pub(super) async fn manifest(&self, object: &Arc<Object>) -> Result<Arc<Manifest>, StoreError> {
        let Content::Manifest(_, known) = &object.content else { return Err(object.corrupt()) };
        if let Some(known) = known.get() {
            return Ok(known.clone());
        }
        let read = known.get_or_try_init(|| async {
            let row = sqlx::query("SELECT body FROM manifests WHERE id = ?").bind(object.seq as i64);
            let row = row.fetch_optional(&self.0.reader).await?.ok_or(StoreError::NoSuchVersion)?;
            let manifest = Manifest::decode(row.try_get(0)?).ok_or_else(|| object.corrupt())?;
            Ok::<_, StoreError>(Arc::new(manifest))
        });
        let manifest = read.await?.clone();
        // It is remembered with the object, and counted there.
        let is = |remembered: &Arc<Object>| Arc::ptr_eq(remembered, object);
        self.0.hot.reweigh((object.bucket, &*object.key), is, object.weight());
        Ok(manifest)
    }
}

fn stretches(manifest: &Manifest, range: Range<u64>) -> Vec<Stretch> {
    let (mut stretches, mut from) = (Vec::new(), 0);
    for piece in &manifest.pieces {
        let wanted = range.start.max(from)..range.end.min(from + piece.size);
        if wanted.start < wanted.end {
            let range = wanted.start - from..wanted.end - from;
            stretches.push(Stretch { place: piece.place.clone(), size: piece.size, range });
        }
        from += piece.size;
    }
    stretches.reverse();
    stretches
}

impl Reading {
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        loop {
            if let Some((id, reader)) = &mut self.current {
                match reader.next().await {
                    Ok(Some(piece)) => return Ok(Some(piece)),
                    Ok(None) => self.current = None,
                    Err(error) => return Err(self.inner.tell(&self.object, *id, error).await),
                }
            }
            let Some(Stretch { place, size, range }) = self.stretches.pop() else { return Ok(None) };
            match place {
                Place::Here(bytes) => {
                    let bytes = self.inner.opened(&self.object, &bytes, self.key.as_ref())?;
                    return Ok(Some(bytes.slice(range.start as usize..range.end as usize)));
                }
                Place::Blob(id) => {
                    let reader = self.inner.open(&self.object, id, size, range, self.key.as_ref()).await?;
                    self.current = Some((id, reader));
                }
            }
        }
    }
}

impl Inner {
    fn unwrapping(&self, object: &Object, number: u32, key: Option<&CustomerKey>) -> Option<WrappingKey> {
        match number {
            0 => key.map(|key| key.wrapping().clone()),
            _ => self.config.master_keys.get(number, object.facts.key_name.as_deref()),
        }
    }

    /// Small bytes as they were written.
    fn opened(&self, object: &Object, bytes: &Bytes, key: Option<&CustomerKey>) -> Result<Bytes, StoreError> {
        if object.seal == Seal::Plain {
            return Ok(bytes.clone());
        }
        let plain = open_small(|number| self.unwrapping(object, number, key), bytes);
        plain.map(Bytes::from).map_err(|_| no_key(object))
    }

    async fn open(
        &self,
        object: &Object,
        id: BlobId,
        size: u64,
        range: Range<u64>,
        key: Option<&CustomerKey>,
    ) -> Result<BlobReader, StoreError> {
        if self.is_damaged(id) {
            return Err(object.corrupt());
        }
        let find = |number| self.unwrapping(object, number, key);
        match BlobReader::open(&*self.keeper, id, size, range, &find).await {
            Ok(reader) => Ok(reader),
            Err(error) => Err(self.tell(object, id, error).await),
        }
    }

    /// What went wrong while a blob of `object` was read. Rot is told, and the blob is served no more.
    async fn tell(&self, object: &Object, id: BlobId, error: ReadError) -> StoreError {
        let rotten = match &error {
            ReadError::Format(_) => true,
            ReadError::Io(error) => error.kind() == io::ErrorKind::NotFound,
            ReadError::Key(_) => return no_key(object),
        };
        if !rotten {
            return error.into();
        }
        let (bucket, key, version) = (object.bucket.0, &object.key, object.version);
        tracing::error!(bucket, %key, %version, blob = %id, %error, "an object's bytes are damaged");
        self.damaged(id).await;
        object.corrupt()
    }

    /// Remembers that a blob is damaged, now and after a restart.
    pub(super) async fn damaged(&self, id: BlobId) {
        self.metrics.count("karri_walrus_damaged_blobs_total", &[]);
        self.shared.note_damage(id);
        if let Err(error) = self.queue.run(Damage(id)).await {
            tracing::warn!(blob = %id, %error, "that a blob is damaged is remembered only until the next start");
        }
    }

    /// A blob that was damaged is not, or was not there for a while: it is served again.
    pub(super) async fn sound(&self, id: BlobId) -> bool {
        match self.queue.run(Sound(id)).await {
            Ok(()) => {
                self.shared.forget_damage(&[id.0]);
                tracing::info!(blob = %id, "a blob that did not verify does again");
                true
            }
            Err(error) => {
                tracing::warn!(blob = %id, %error, "that a blob is sound cannot be remembered");
                false
            }
        }
    }
}

/// A customer has sent another key; that one of the cloud's does not open it is no customer's fault.
fn no_key(object: &Object) -> StoreError {
    match object.seal {
        Seal::Customer => StoreError::WrongKey,
        Seal::Master | Seal::Plain => StoreError::NoMasterKey,
    }
}

/// Bytes of a row and the check beside them.
pub(super) fn inline_of(id: u64, crc: i64, bytes: &[u8]) -> Option<Bytes> {
    (super::writer::statements::inline_crc(id, bytes) == crc).then(|| Bytes::copy_from_slice(bytes))
}

/// What a lease is taken on.
pub(super) fn leased(object: &Object) -> Option<lease::Bytes> {
    match object.content {
        Content::Blob(id, _) => Some(lease::Bytes::Blob(id.0)),
        Content::Manifest(..) => Some(lease::Bytes::Manifest(object.seq)),
        Content::Empty | Content::Inline(_) => None,
    }
}
