//! Blob in, verified payload out. A piece is read at once when the system has it in memory; when it has not,
//! one more is read ahead while the reader sends the one before. No byte is handed out before its block
//! has been verified, and a block that does not verify is asked of the medium a second time.

use super::buffer::{BUFFER_BYTES, Buffer};
use super::format::{BLOCK_BYTES, FormatError, Layout, TAG_BYTES, TRAILER_BYTES, Trailer, block_crc};
use super::pace::Pace;
use super::seal::{BlockCipher, WrappingKey, WrongKey};
use super::{Blob, BlobId, Keeper};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;

const BLOCK: u64 = BLOCK_BYTES as u64;
/// Entries of the table are read for this many blocks (64 MiB of payload) at a time.
const WINDOW_BLOCKS: u64 = 1024;

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{0}")]
    Format(#[from] FormatError),
    #[error("{0}")]
    Key(#[from] WrongKey),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// What opens an encrypted blob, by the number of its master key; 0 is a customer's.
pub type FindKey<'a> = &'a (dyn Fn(u32) -> Option<WrappingKey> + Send + Sync);

pub struct BlobReader {
    blob: Arc<dyn Blob>,
    trailer: Trailer,
    cipher: Option<BlockCipher>,
    /// The entries of the blocks from `window_from`.
    window: Vec<u8>,
    window_from: u64,
    /// The payload that is still to be answered.
    rest: Range<u64>,
    /// Where the next piece that is not yet asked for begins.
    next: u64,
    ahead: VecDeque<Piece>,
}

struct Piece {
    from: u64,
    bytes: PieceBytes,
}

enum PieceBytes {
    There(Buffer),
    Coming(BoxFuture<'static, io::Result<Buffer>>),
}

impl BlobReader {
    /// `payload_bytes` is what the object says.
    pub async fn open(
        keeper: &dyn Keeper,
        id: BlobId,
        payload_bytes: u64,
        range: Range<u64>,
        key: FindKey<'_>,
    ) -> Result<Self, ReadError> {
        let blob = keeper.open(id).await?;
        let trailer = read_trailer(&*blob).await?;
        if trailer.payload_bytes != payload_bytes || trailer.layout().blob_bytes() != blob.bytes() {
            return Err(FormatError::Length.into());
        }
        let cipher = trailer.sealed.as_ref().map(|sealed| {
            let wrapping = key(sealed.master).ok_or(WrongKey)?;
            BlockCipher::open(&wrapping, sealed)
        });
        let cipher = cipher.transpose()?;
        Ok(Self::new(blob, trailer, cipher, range))
    }

    /// The bytes of whole blocks that a range of the payload is in.
    fn blocks_of(range: &Range<u64>, payload_bytes: u64) -> Range<u64> {
        range.start / BLOCK * BLOCK..(range.end.div_ceil(BLOCK) * BLOCK).min(payload_bytes)
    }

    fn new(blob: Arc<dyn Blob>, trailer: Trailer, cipher: Option<BlockCipher>, rest: Range<u64>) -> Self {
        let blocks = Self::blocks_of(&rest, trailer.payload_bytes);
        let next = blocks.start;
        if !rest.is_empty() {
            blob.expect(blocks);
        }
        Self { blob, trailer, cipher, window: Vec::new(), window_from: 0, rest, next, ahead: VecDeque::new() }
    }

    fn layout(&self) -> Layout {
        self.trailer.layout()
    }

    /// The next verified piece; nothing at the end of the range.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        if self.ahead.is_empty() {
            self.ask()?;
        }
        let Some(piece) = self.ahead.pop_front() else { return Ok(None) };
        let mut buffer = match piece.bytes {
            PieceBytes::There(buffer) => buffer,
            PieceBytes::Coming(coming) => {
                if self.ahead.is_empty() {
                    self.ask()?;
                }
                coming.await?
            }
        };
        if let Err(error) = self.verify(piece.from, &mut buffer).await {
            buffer = self.once_more(piece.from, buffer.len(), error).await?;
        }
        let from = self.rest.start - piece.from;
        let to = (self.rest.end - piece.from).min(buffer.len() as u64);
        self.rest.start = piece.from + to;
        Ok(Some(Bytes::from_owner(buffer).slice(from as usize..to as usize)))
    }

    /// Asks for the next piece, if there is one.
    fn ask(&mut self) -> io::Result<()> {
        let from = self.next;
        if from >= self.rest.end {
            return Ok(());
        }
        let blocks = Self::blocks_of(&self.rest, self.trailer.payload_bytes);
        let to = blocks.end.min(from + BUFFER_BYTES as u64);
        let count = (to - from) as usize;
        let mut buffer = Buffer::new();
        let bytes = if self.blob.read_now(from, count, &mut buffer)? {
            PieceBytes::There(buffer)
        } else {
            PieceBytes::Coming(self.blob.read(from, count, buffer))
        };
        self.next = to;
        self.ahead.push_back(Piece { from, bytes });
        Ok(())
    }

    /// Verifies and decrypts the blocks of a piece.
    async fn verify(&mut self, from: u64, buffer: &mut Buffer) -> Result<(), ReadError> {
        for (number, bytes) in buffer.bytes_mut().chunks_mut(BLOCK_BYTES).enumerate() {
            let block = from / BLOCK + number as u64;
            let (crc, tag) = self.entry(block).await?;
            if block_crc(self.trailer.salt, block, bytes) != crc {
                return Err(FormatError::Block(block).into());
            }
            if let Some(cipher) = &self.cipher {
                cipher.open_block(block, bytes, tag).map_err(|_| FormatError::Block(block))?;
            }
        }
        Ok(())
    }

    async fn once_more(&mut self, from: u64, count: usize, error: ReadError) -> Result<Buffer, ReadError> {
        if !matches!(error, ReadError::Format(FormatError::Block(_))) {
            return Err(error);
        }
        self.blob.forget(0, self.blob.bytes());
        self.window.clear();
        let mut buffer = self.blob.read(from, count, Buffer::new()).await?;
        self.verify(from, &mut buffer).await?;
        tracing::warn!(offset = from, "a block verified only when it was read a second time");
        Ok(buffer)
    }

    /// The table's entry of a block: its CRC and, of an encrypted one, its tag.
    async fn entry(&mut self, block: u64) -> Result<(u32, [u8; TAG_BYTES]), ReadError> {
        let layout = self.layout();
        let width = layout.entry_bytes();
        let held = (self.window.len() / width) as u64;
        if block < self.window_from || block >= self.window_from + held {
            let blocks = WINDOW_BLOCKS.min(layout.blocks() - block);
            let (offset, count) = (layout.entry_offset(block), blocks as usize * width);
            self.window = fetch(&*self.blob, offset, count).await?.to_vec();
            self.window_from = block;
        }
        let at = (block - self.window_from) as usize * width;
        let entry = self.window.get(at..at + width).ok_or(FormatError::Table)?;
        let (crc, rest) = entry.split_first_chunk().ok_or(FormatError::Table)?;
        let tag = rest.first_chunk().copied().unwrap_or_default();
        Ok((u32::from_le_bytes(*crc), tag))
    }
}

async fn fetch(blob: &dyn Blob, offset: u64, count: usize) -> io::Result<Buffer> {
    let mut buffer = Buffer::new();
    if blob.read_now(offset, count, &mut buffer)? {
        return Ok(buffer);
    }
    blob.read(offset, count, buffer).await
}

async fn read_trailer(blob: &dyn Blob) -> Result<Trailer, ReadError> {
    let at = blob.bytes().checked_sub(TRAILER_BYTES as u64).ok_or(FormatError::Trailer)?;
    Ok(Trailer::decode(&fetch(blob, at, TRAILER_BYTES).await?)?)
}

/// Reads a blob whole from the medium, without its key, and verifies everything in it; the number of payload
/// bytes. Nothing of it is remembered by the system for having been read here.
pub async fn verify(keeper: &dyn Keeper, id: BlobId, pace: &mut Pace) -> Result<u64, ReadError> {
    let blob = keeper.open(id).await?;
    blob.forget(0, blob.bytes());
    let trailer = read_trailer(&*blob).await?;
    let layout = trailer.layout();
    if layout.blob_bytes() != blob.bytes() {
        return Err(FormatError::Length.into());
    }
    let mut crc = crc32fast::Hasher::new();
    let (mut offset, end) = (layout.entry_offset(0), layout.entry_offset(layout.blocks()));
    while offset < end {
        let part = fetch(&*blob, offset, (end - offset).min(BUFFER_BYTES as u64) as usize).await?;
        crc.update(&part);
        offset += part.len() as u64;
        pace.spent(part.len() as u64).await;
    }
    if crc.finalize() != trailer.table_crc {
        return Err(FormatError::Table.into());
    }
    let payload_bytes = trailer.payload_bytes;
    let mut reader = BlobReader::new(blob.clone(), trailer, None, 0..payload_bytes);
    let mut at = 0;
    while let Some(piece) = reader.next().await? {
        let bytes = piece.len() as u64;
        blob.forget(at, bytes);
        at += bytes;
        pace.spent(bytes).await;
    }
    blob.forget(0, blob.bytes());
    Ok(payload_bytes)
}
