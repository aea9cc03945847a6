//! Payload in, blob out: fills buffers, encrypts and checks their blocks, hands them to the engine, and ends
//! with the table and the trailer. Holds one buffer at most besides what the engine holds.

use super::buffer::{BUFFER_BYTES, Buffer};
use super::format::{BLOCK_BYTES, Sealed, Trailer, block_crc};
use super::seal::{BlockCipher, WrappingKey, random};
use super::{Append, BlobId, Keeper};
use bytes::Bytes;
use std::io;

pub struct BlobWriter {
    append: Box<dyn Append>,
    /// What does not fill a buffer yet.
    buffer: Option<Buffer>,
    payload_bytes: u64,
    blocks: u64,
    salt: u64,
    table: Vec<u8>,
    cipher: Option<(BlockCipher, Sealed)>,
}

impl BlobWriter {
    pub async fn create(
        keeper: &dyn Keeper,
        id: BlobId,
        expected_bytes: Option<u64>,
        wrapping: Option<&WrappingKey>,
    ) -> io::Result<Self> {
        let cipher = wrapping.map(BlockCipher::create).transpose()?;
        let append = keeper.create(id, expected_bytes).await?;
        let salt = u64::from_le_bytes(random()?);
        Ok(Self { append, buffer: None, payload_bytes: 0, blocks: 0, salt, table: Vec::new(), cipher })
    }

    pub async fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let before = bytes.len();
            let mut buffer = self.buffer.take().unwrap_or_default();
            buffer.take_from(&mut bytes);
            self.payload_bytes += (before - bytes.len()) as u64;
            match buffer.is_full() {
                true => self.pass_on(buffer).await?,
                false => self.buffer = Some(buffer),
            }
        }
        Ok(())
    }

    /// As [`BlobWriter::write`]; a whole buffer's worth is taken as it is where nothing has to change in it.
    pub async fn write_piece(&mut self, piece: Bytes) -> io::Result<()> {
        if self.cipher.is_some() || self.buffer.is_some() || piece.len() != BUFFER_BYTES {
            return self.write(&piece).await;
        }
        self.payload_bytes += piece.len() as u64;
        for block in piece.chunks(BLOCK_BYTES) {
            self.enter(block);
        }
        self.append.append(piece).await
    }

    async fn pass_on(&mut self, mut buffer: Buffer) -> io::Result<()> {
        for block in buffer.bytes_mut().chunks_mut(BLOCK_BYTES) {
            let tag = self.cipher.as_ref().map(|(cipher, _)| cipher.seal_block(self.blocks, block));
            self.enter(block);
            if let Some(tag) = tag {
                self.table.extend_from_slice(&tag?);
            }
        }
        self.append.append(Bytes::from_owner(buffer)).await
    }

    /// A block as it will be on the medium.
    fn enter(&mut self, block: &[u8]) {
        self.table.extend_from_slice(&block_crc(self.salt, self.blocks, block).to_le_bytes());
        self.blocks += 1;
    }

    /// Durable when it returns; the number of payload bytes.
    pub async fn finish(mut self) -> io::Result<u64> {
        if let Some(buffer) = self.buffer.take() {
            self.pass_on(buffer).await?;
        }
        let trailer = Trailer {
            payload_bytes: self.payload_bytes,
            salt: self.salt,
            sealed: self.cipher.map(|(_, sealed)| sealed),
            table_crc: crc32fast::hash(&self.table),
        };
        self.table.extend_from_slice(&trailer.encode());
        let mut rest = &self.table[..];
        while !rest.is_empty() {
            let mut buffer = Buffer::new();
            buffer.take_from(&mut rest);
            self.append.append(Bytes::from_owner(buffer)).await?;
        }
        self.append.finish().await?;
        Ok(self.payload_bytes)
    }
}
