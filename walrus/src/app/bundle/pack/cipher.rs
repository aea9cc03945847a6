//! AES-128-CBC with padding, over whole buffers, in place.

use super::super::keys::Secrets;
use aes::Aes128;
use cbc::cipher::inout::InOutBuf;
use cbc::cipher::{BlockEncryptMut, KeyIvInit};
use std::io::{self, Write};

const BUFFER_BYTES: usize = 256 * 1024;
const BLOCK_BYTES: usize = 16;

pub(super) struct Encrypting<W> {
    inner: W,
    cipher: cbc::Encryptor<Aes128>,
    /// Not encrypted yet.
    plain: Vec<u8>,
}

impl<W: Write> Encrypting<W> {
    pub(super) fn new(inner: W, secrets: &Secrets) -> Self {
        let cipher = cbc::Encryptor::new(&secrets.key.into(), &secrets.iv.into());
        Self { inner, cipher, plain: Vec::with_capacity(BUFFER_BYTES) }
    }

    /// Hands on all that is there, which must be whole blocks.
    fn encrypt(&mut self) -> io::Result<()> {
        let (blocks, _) = InOutBuf::from(&mut self.plain[..]).into_chunks();
        self.cipher.encrypt_blocks_inout_mut(blocks);
        self.inner.write_all(&self.plain)?;
        self.plain.clear();
        Ok(())
    }

    /// With the padding, which is there always.
    pub(super) fn finish(mut self) -> io::Result<W> {
        let missing = BLOCK_BYTES - self.plain.len() % BLOCK_BYTES;
        let padding = u8::try_from(missing).map_err(io::Error::other)?;
        self.plain.resize(self.plain.len() + missing, padding);
        self.encrypt()?;
        Ok(self.inner)
    }
}

impl<W: Write> Write for Encrypting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(BUFFER_BYTES - self.plain.len());
        self.plain.extend_from_slice(&bytes[..taken]);
        if self.plain.len() == BUFFER_BYTES {
            self.encrypt()?;
        }
        Ok(taken)
    }

    /// Half a block must wait for its other half.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
