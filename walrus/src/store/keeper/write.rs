//! Payload in, blob out: fills buffers, encrypts and checks their blocks, hands them to the engine, and ends
//! with the table and the trailer. Holds two buffers at most besides what the engine holds.

use super::buffer::Buffer;
use super::format::{BLOCK_BYTES, Sealed, Trailer, block_crc};
use super::seal::{BlockCipher, WrappingKey, random};
use super::{Append, BlobId, Keeper};
use std::io;

pub struct BlobWriter {
    append: Box<dyn Append>,
    buffer: Buffer,
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
        let (buffer, table) = (Buffer::new(), Vec::new());
        Ok(Self { append, buffer, payload_bytes: 0, blocks: 0, salt, table, cipher })
    }

    pub async fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let before = bytes.len();
            self.buffer.take_from(&mut bytes);
            self.payload_bytes += (before - bytes.len()) as u64;
            if self.buffer.is_full() {
                self.pass_on().await?;
            }
        }
        Ok(())
    }

    async fn pass_on(&mut self) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        for block in buffer.bytes_mut().chunks_mut(BLOCK_BYTES) {
            let tag = self.cipher.as_ref().map(|(cipher, _)| cipher.seal_block(self.blocks, block));
            self.table.extend_from_slice(&block_crc(self.salt, self.blocks, block).to_le_bytes());
            if let Some(tag) = tag {
                self.table.extend_from_slice(&tag?);
            }
            self.blocks += 1;
        }
        self.append.append(buffer).await
    }

    /// Durable when it returns; the number of payload bytes.
    pub async fn finish(mut self) -> io::Result<u64> {
        if !self.buffer.is_empty() {
            self.pass_on().await?;
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
            self.append.append(buffer).await?;
        }
        self.append.finish().await?;
        Ok(self.payload_bytes)
    }
}
