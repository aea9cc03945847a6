//! AES-128-CBC over the joined parts, in large buffers, in place.
//!
//! Padding that is wrong is not an error of its own: the last block is then handed on whole, and the
//! gzip stream, which ends elsewhere, tells. An answer about padding would decrypt blocks for a stranger
//! who asks often (Vaudenay).

use super::keys::Secrets;
use super::parts::Joined;
use aes::Aes128;
use cbc::cipher::inout::InOutBuf;
use cbc::cipher::{BlockDecryptMut, KeyIvInit};
use std::io::{self, BufRead, Read};

const BUFFER_BYTES: usize = 256 * 1024;
const BLOCK_BYTES: usize = 16;

pub(super) struct Decrypting {
    joined: Joined,
    cipher: cbc::Decryptor<Aes128>,
    buffer: Vec<u8>,
    /// `buffer[at..plain]` is decrypted and not yet taken; after it lies ciphertext.
    at: usize,
    plain: usize,
    ended: bool,
}

impl Decrypting {
    pub(super) fn new(joined: Joined, secrets: &Secrets) -> Self {
        let cipher = cbc::Decryptor::new(&secrets.key.into(), &secrets.iv.into());
        Self { joined, cipher, buffer: Vec::new(), at: 0, plain: 0, ended: false }
    }

    pub(super) fn joined(&mut self) -> &mut Joined {
        &mut self.joined
    }

    /// Decrypts the next buffer. The last block is held back until it is known to be the last.
    fn refill(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.plain);
        (self.at, self.plain) = (0, 0);
        while self.buffer.len() < BUFFER_BYTES {
            match self.joined.next().map_err(|error| error.into_io())? {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None => {
                    self.ended = true;
                    break;
                }
            }
        }
        let whole = self.buffer.len() / BLOCK_BYTES * BLOCK_BYTES;
        let held = if self.ended || whole < self.buffer.len() { 0 } else { BLOCK_BYTES };
        let end = whole - held;
        let (blocks, _) = InOutBuf::from(&mut self.buffer[..end]).into_chunks();
        self.cipher.decrypt_blocks_inout_mut(blocks);
        self.plain = end;
        if self.ended {
            self.plain -= padding(&self.buffer[..end]);
            self.buffer.truncate(self.plain);
        }
        Ok(())
    }
}

/// How many bytes of padding are at the end: none where it is not padding.
fn padding(plain: &[u8]) -> usize {
    let bytes = plain.last().copied().unwrap_or_default();
    let count = usize::from(bytes);
    let is_padding = (1..=BLOCK_BYTES).contains(&count)
        && plain.len() >= count
        && plain[plain.len() - count..].iter().all(|byte| *byte == bytes);
    if is_padding { count } else { 0 }
}

impl BufRead for Decrypting {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at == self.plain && !self.ended {
            self.refill()?;
        }
        Ok(&self.buffer[self.at..self.plain])
    }

    fn consume(&mut self, bytes: usize) {
        self.at = (self.at + bytes).min(self.plain);
    }
}

impl Read for Decrypting {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?.read(into)?;
        self.consume(bytes);
        Ok(bytes)
    }
}
