//! Buffers of one size that are used again and again. A fresh one costs the kernel 64 page faults, which
//! is more than what is done with its bytes.

use std::sync::{Mutex, PoisonError};

/// Four blocks: fits a core's second-level cache, so that reading, checking and sending one touch memory once.
pub const BUFFER_BYTES: usize = 256 * 1024;
/// A disk that is written to past the page cache takes nothing else.
pub const ALIGNMENT: usize = 4096;
/// Idle buffers that are kept (16 MiB); more are given back to the system.
const IDLE_MAX: usize = 64;

static IDLE: Mutex<Vec<Box<[u8]>>> = Mutex::new(Vec::new());

/// Up to [`BUFFER_BYTES`] bytes.
#[derive(Debug)]
pub struct Buffer {
    /// [`ALIGNMENT`] more than is used.
    room: Box<[u8]>,
    /// Where the bytes begin, so that they are aligned.
    from: usize,
    len: usize,
}

impl Buffer {
    pub fn new() -> Self {
        let idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let room = idle.unwrap_or_else(|| vec![0; BUFFER_BYTES + ALIGNMENT].into_boxed_slice());
        let from = room.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { room, from, len: 0 }
    }

    /// Takes what it has room for from the front of `bytes`.
    pub fn take_from(&mut self, bytes: &mut &[u8]) {
        let (now, later) = bytes.split_at(bytes.len().min(BUFFER_BYTES - self.len));
        let at = self.from + self.len;
        self.room[at..at + now.len()].copy_from_slice(now);
        self.len += now.len();
        *bytes = later;
    }

    pub fn is_full(&self) -> bool {
        self.len == BUFFER_BYTES
    }

    /// Its first `count` bytes, to be filled. What they were is anyone's guess.
    pub fn fill(&mut self, count: usize) -> &mut [u8] {
        self.len = count.min(BUFFER_BYTES);
        self.bytes_mut()
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.room[self.from..self.from + self.len]
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Self::new()
    }
}

impl std::ops::Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.room[self.from..self.from + self.len]
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let room = std::mem::take(&mut self.room);
        let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(room);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_fits_and_leaves_the_rest() {
        let all = vec![7; BUFFER_BYTES + 5];
        let (mut rest, mut buffer) = (&all[..10], Buffer::new());
        buffer.take_from(&mut rest);
        assert_eq!((buffer.len(), rest.len(), buffer.is_full()), (10, 0, false));
        let mut rest = &all[..];
        buffer.take_from(&mut rest);
        assert!(buffer.is_full() && buffer.iter().all(|byte| *byte == 7));
        assert_eq!(rest.len(), 15);
    }
}
