//! A body in pieces of the size that the store writes. The connection's own buffer is free again as soon as it
//! is copied from, and so used for all of the body, however long its digests and the disk take with a piece.

use super::payload::Payload;
use crate::store::keeper::buffer::Buffer;
use bytes::Bytes;
use karri_proto::aws::s3::S3Fault;

pub struct Gathered<'a> {
    payload: &'a mut Payload,
    large: bool,
    /// What did not fit into the piece before.
    rest: Bytes,
}

impl<'a> Gathered<'a> {
    /// A body that is not large comes as it is sent.
    pub fn new(payload: &'a mut Payload, large: bool) -> Self {
        Self { payload, large, rest: Bytes::new() }
    }

    /// Full pieces, and at last one that may not be.
    ///
    /// # Errors
    /// As [`Payload::next`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, S3Fault> {
        if !self.large {
            return self.payload.next().await;
        }
        if self.rest.is_empty() {
            match self.payload.next().await? {
                Some(first) => self.rest = first,
                None => return Ok(None),
            }
        }
        let mut piece = Buffer::new();
        loop {
            let mut left = &self.rest[..];
            piece.take_from(&mut left);
            let taken = self.rest.len() - left.len();
            drop(self.rest.split_to(taken));
            if piece.is_full() {
                break;
            }
            match self.payload.next().await? {
                Some(more) => self.rest = more,
                None => break,
            }
        }
        Ok(Some(Bytes::from_owner(piece)))
    }
}
