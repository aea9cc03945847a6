//! A blob on its way back. Its end comes with its length, in one request, since its checks are there; the bytes
//! that a reader has announced come in one more, ahead of the reader, which a broken connection only delays.

use super::super::Blob;
use super::super::BlobId;
use super::super::buffer::{BUFFER_BYTES, Buffer};
use super::Inner;
use super::engine::{Call, Engine, TRIES, pause};
use super::fault::EngineError;
use super::requests::content_range;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;

/// The trailer and the checks of 1 GiB (200 MiB when encrypted), or the whole of a small blob.
const TAIL_BYTES: u64 = 64 << 10;
/// Pieces that wait for the reader.
const AHEAD: usize = 1;

pub struct S3Blob {
    inner: Arc<Inner>,
    key: String,
    bytes: u64,
    /// The end, until it is to be forgotten.
    tail: Mutex<Option<Bytes>>,
    expected: Mutex<Range<u64>>,
    ahead: Arc<tokio::sync::Mutex<Ahead>>,
}

#[derive(Debug)]
struct Piece {
    from: u64,
    buffer: Buffer,
}

/// What comes from [`pump`].
#[derive(Debug, Default)]
struct Ahead {
    coming: Option<mpsc::Receiver<Result<Piece, EngineError>>>,
    next: Option<Piece>,
}

impl S3Blob {
    pub async fn open(inner: Arc<Inner>, id: BlobId) -> Result<Self, EngineError> {
        let key = inner.names.key(id);
        let call = Call::new("GET", key.clone()).header("range", format!("bytes=-{TAIL_BYTES}"));
        let answer = inner.engine.call(&call).await?;
        let bytes = match (answer.status, content_range(&answer.headers)) {
            (206, Some((from, to, total))) if to == total && to - from == answer.body.len() as u64 => total,
            // An engine may send the whole of what is no longer than that.
            (200, _) if answer.body.len() as u64 <= TAIL_BYTES => answer.body.len() as u64,
            (status, _) => return Err(EngineError::Nonsense(format!("{status} to a range at the end"))),
        };
        let (tail, expected, ahead) = (Mutex::new(Some(answer.body)), Mutex::default(), Arc::default());
        Ok(Self { inner, key, bytes, tail, expected, ahead })
    }

    fn tail(&self) -> MutexGuard<'_, Option<Bytes>> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expected(&self) -> MutexGuard<'_, Range<u64>> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where what is at hand begins.
    fn tail_from(&self, tail: &Bytes) -> u64 {
        self.bytes - tail.len() as u64
    }
}

impl Ahead {
    /// The piece, if it is the next one that comes.
    async fn take(&mut self, offset: u64, count: usize) -> Result<Option<Buffer>, EngineError> {
        loop {
            let piece = match (self.next.take(), &mut self.coming) {
                (Some(piece), _) => piece,
                (None, Some(coming)) => match coming.recv().await {
                    Some(piece) => piece?,
                    None => return Ok(None),
                },
                (None, None) => return Ok(None),
            };
            if piece.from > offset {
                self.next = Some(piece);
                return Ok(None);
            }
            if piece.from == offset {
                return Ok((piece.buffer.len() == count).then_some(piece.buffer));
            }
        }
    }
}

impl Blob for S3Blob {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read_now(&self, offset: u64, count: usize, into: &mut Buffer) -> io::Result<bool> {
        let tail = self.tail();
        let Some(tail) = tail.as_ref() else { return Ok(false) };
        let Some(from) = offset.checked_sub(self.tail_from(tail)) else { return Ok(false) };
        let Some(bytes) = tail.get(from as usize..from as usize + count) else { return Ok(false) };
        into.fill(count).copy_from_slice(bytes);
        Ok(true)
    }

    fn read(&self, offset: u64, count: usize, into: Buffer) -> BoxFuture<'static, io::Result<Buffer>> {
        let range = offset..offset + count as u64;
        let direct = direct(self.inner.clone(), self.key.clone(), range.clone(), self.bytes, into);
        let expected = self.expected().clone();
        if expected.start <= range.start && range.end <= expected.end {
            let ahead = self.ahead.clone();
            return async move {
                match ahead.lock().await.take(offset, count).await? {
                    Some(buffer) => Ok(buffer),
                    None => direct.await,
                }
            }
            .boxed();
        }
        let reading = tokio::spawn(direct);
        async move { reading.await.map_err(io::Error::other)? }.boxed()
    }

    fn forget(&self, offset: u64, count: u64) {
        let mut tail = self.tail();
        if tail.as_ref().is_some_and(|tail| offset + count > self.tail_from(tail)) {
            *tail = None;
        }
    }

    fn expect(&self, range: Range<u64>) {
        let at_hand = self.tail().as_ref().is_some_and(|tail| range.start >= self.tail_from(tail));
        if range.is_empty() || range.end > self.bytes || at_hand {
            return;
        }
        let (tell, coming) = mpsc::channel(AHEAD);
        // Nobody else has it: reads come after this.
        let Ok(mut ahead) = self.ahead.try_lock() else { return };
        *ahead = Ahead { coming: Some(coming), next: None };
        *self.expected() = range.clone();
        tokio::spawn(pump(self.inner.clone(), self.key.clone(), range, self.bytes, tell));
    }
}

/// Exactly the range, in one request of its own.
async fn direct(
    inner: Arc<Inner>,
    key: String,
    range: Range<u64>,
    total: u64,
    mut into: Buffer,
) -> io::Result<Buffer> {
    let answer = inner.engine.call(&Engine::range(key, &range)).await?;
    let found = content_range(&answer.headers);
    if answer.status != 206 || found != Some((range.start, range.end, total)) {
        return Err(EngineError::Nonsense(format!("{} {found:?} to {range:?}", answer.status)).into());
    }
    let room = into.fill(answer.body.len());
    if answer.body.len() as u64 != range.end - range.start || room.len() != answer.body.len() {
        return Err(EngineError::Nonsense(format!("{} bytes to {range:?}", answer.body.len())).into());
    }
    room.copy_from_slice(&answer.body);
    Ok(into)
}

/// Sends the range piece by piece until nobody takes one any more. A connection that breaks is made anew from the
/// piece that was cut; only when that happens again and again without a piece between is it told.
async fn pump(
    inner: Arc<Inner>,
    key: String,
    range: Range<u64>,
    total: u64,
    tell: mpsc::Sender<Result<Piece, EngineError>>,
) {
    let (mut at, mut broken) = (range.start, 0);
    while at < range.end {
        let before = at;
        let Err(error) = stretch(&inner.engine, &key, &mut at, range.end, total, &tell).await else { return };
        broken = if at > before { 1 } else { broken + 1 };
        if !error.is_passing() || broken >= TRIES {
            let _ = tell.send(Err(error)).await; // a reader that is gone does not miss it
            return;
        }
        tokio::time::sleep(pause(broken)).await;
    }
}

/// One request; `at` is behind the last piece that was sent. Ends without an error when no more is wanted.
async fn stretch(
    engine: &Engine,
    key: &str,
    at: &mut u64,
    end: u64,
    total: u64,
    tell: &mpsc::Sender<Result<Piece, EngineError>>,
) -> Result<(), EngineError> {
    let mut response = engine.stream(&Engine::range(key.to_owned(), &(*at..end))).await?;
    let found = content_range(response.headers());
    if response.status().as_u16() != 206 || found != Some((*at, end, total)) {
        let status = response.status();
        return Err(EngineError::Nonsense(format!("{status} {found:?} to {:?}", *at..end)));
    }
    let mut buffer = Buffer::new();
    loop {
        let chunk = tokio::select! {
            chunk = engine.chunk(&mut response) => chunk?,
            () = tell.closed() => return Ok(()),
        };
        let Some(chunk) = chunk else { break };
        let mut rest = &chunk[..];
        while !rest.is_empty() {
            buffer.take_from(&mut rest);
            let behind = *at + buffer.len() as u64;
            if behind > end {
                return Err(EngineError::Nonsense("more bytes than were asked for".to_owned()));
            }
            if buffer.is_full() || behind == end {
                let piece = Piece { from: *at, buffer: std::mem::take(&mut buffer) };
                *at = behind;
                if tell.send(Ok(piece)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
    if *at == end {
        Ok(())
    } else {
        Err(EngineError::Broken("the answer is shorter than its head says".to_owned()))
    }
}

const _: () = assert!(TAIL_BYTES <= BUFFER_BYTES as u64);
