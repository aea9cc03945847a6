//! A body as it arrives: taken out of its `aws-chunked` framing, held to its length, and not waited for
//! without end.
//!
//! Nothing is polled before a handler asks: the client of a request that is refused by its head, and that
//! waits for `100 Continue`, has then sent nothing.

use super::cx::{Cx, Leftover};
use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use karri_proto::aws::s3::{S3Code, S3Fault};
use karri_proto::checksum::{self, Algorithm, Announced, Checksum, ContentMd5, Hasher, Place};
use karri_proto::refusal::S3Refusal;
use karri_proto::sign::{ChunkDecoder, DeclaredHash, PayloadSeal, Trailers, decoded_length, header_list};
use std::sync::Arc;
use std::time::Duration;

pub struct Payload {
    body: Rest,
    idle: Duration,
    decoder: Option<ChunkDecoder>,
    buffer: Bytes,
    /// How long the data is that comes out; nothing: the head did not say.
    pub length: Option<u64>,
    /// The length is what comes out to be; it was limited otherwise.
    pub open_ended: bool,
    pub claims: Claims,
}

/// What the head says of the data, to be held against it.
#[derive(Debug, Default)]
pub struct Claims {
    pub sha256: Option<DeclaredHash>,
    pub md5: Option<ContentMd5>,
    pub checksum: Option<Announced>,
}

/// The body, given back when nobody reads it to its end.
struct Rest {
    body: Option<Body>,
    left: Arc<Leftover>,
}

impl Drop for Rest {
    fn drop(&mut self) {
        if let Some(body) = self.body.take() {
            self.left.put(body);
        }
    }
}

impl Payload {
    /// # Errors
    /// The head contradicts itself.
    pub fn new(cx: &Cx, body: Body, seal: PayloadSeal) -> Result<Self, S3Fault> {
        let rest = Rest { body: Some(body), left: cx.left.clone() };
        let headers = header_list(&cx.headers);
        let framed = matches!(seal, PayloadSeal::Framed(_));
        let checksum = checksum::announced(&headers, framed).map_err(unreadable)?;
        Self::with(cx, rest, seal, checksum)
    }

    /// For a document whose checksum headers speak of something else.
    ///
    /// # Errors
    /// As [`Payload::new`].
    pub fn without_checksum(cx: &Cx, body: Body, seal: PayloadSeal) -> Result<Self, S3Fault> {
        let rest = Rest { body: Some(body), left: cx.left.clone() };
        Self::with(cx, rest, seal, None)
    }

    fn with(cx: &Cx, rest: Rest, seal: PayloadSeal, checksum: Option<Announced>) -> Result<Self, S3Fault> {
        let md5 = cx.headers.get("content-md5").map(|value| value.to_str().unwrap_or_default());
        let md5 = md5.map(ContentMd5::parse).transpose()?;
        let sent = cx.header("content-length").and_then(|text| text.trim().parse().ok());
        let (mut length, mut decoder, mut sha256) = (sent, None, None);
        match seal {
            PayloadSeal::Framed(framing) => {
                let decoded = decoded_length(cx.header("x-amz-decoded-content-length"))?;
                let trailer = checksum.as_ref().filter(|announced| announced.place == Place::Trailer);
                length = Some(decoded);
                decoder =
                    Some(ChunkDecoder::new(framing, decoded, trailer.map(|announced| announced.algorithm)));
            }
            PayloadSeal::Declared(hash) => sha256 = Some(hash),
            PayloadSeal::Checked | PayloadSeal::Unsigned => {}
        }
        let open_ended = length.is_none() && cx.headers.contains_key(http::header::TRANSFER_ENCODING);
        let claims = Claims { sha256, md5, checksum };
        Ok(Self {
            body: rest,
            idle: cx.s3.options.idle,
            decoder,
            buffer: Bytes::new(),
            length,
            open_ended,
            claims,
        })
    }

    /// The next piece of data; nothing at the end.
    ///
    /// # Errors
    /// The body breaks off or stalls, or its framing is wrong.
    pub async fn next(&mut self) -> Result<Option<Bytes>, S3Fault> {
        loop {
            if let Some(decoder) = &mut self.decoder {
                if let Some(data) = decoder.decode(&mut self.buffer)? {
                    return Ok(Some(data));
                }
            } else if !self.buffer.is_empty() {
                return Ok(Some(std::mem::take(&mut self.buffer)));
            }
            match self.raw().await? {
                Some(bytes) => self.buffer = bytes,
                None => return Ok(None),
            }
        }
    }

    async fn raw(&mut self) -> Result<Option<Bytes>, S3Fault> {
        let Some(body) = &mut self.body.body else { return Ok(None) };
        loop {
            let Ok(frame) = tokio::time::timeout(self.idle, body.frame()).await else {
                return Err(self.timed_out());
            };
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Ok(Some(data)),
                    // Trailers of HTTP's own say nothing to S3.
                    Ok(_) | Err(_) => {}
                },
                Some(Err(error)) => {
                    self.body.body = None;
                    return Err(S3Fault::new(S3Code::IncompleteBody).because(error));
                }
                None => {
                    self.body.body = None;
                    return Ok(None);
                }
            }
        }
    }

    /// What followed the data, once all of it was read.
    ///
    /// # Errors
    /// The framing broke off.
    pub fn finish(&mut self) -> Result<Trailers, S3Fault> {
        self.decoder.take().map_or(Ok(Trailers::new()), |decoder| Ok(decoder.finish()?))
    }

    /// Holds a whole document against what the head says, once all of it was read.
    ///
    /// # Errors
    /// It is another one, or its framing broke off.
    pub fn check_whole(mut self, body: &[u8]) -> Result<(), S3Fault> {
        let trailers = self.finish()?;
        self.claims.check_whole(body, &trailers)
    }

    /// Who was not quick enough is not listened to any more either.
    pub fn timed_out(&mut self) -> S3Fault {
        self.body.body = None;
        S3Fault::new(S3Code::RequestTimeout)
    }
}

impl Claims {
    fn check_whole(&self, body: &[u8], trailers: &Trailers) -> Result<(), S3Fault> {
        let digest = |algorithm| Hasher::digest(algorithm, body);
        let sha256 = self.sha256.as_ref().map(|_| digest(Algorithm::Sha256));
        let md5 = self.md5.as_ref().map(|_| digest(Algorithm::Md5));
        let checksum = self.checksum.as_ref().map(|announced| digest(announced.algorithm));
        self.check(sha256.as_ref(), md5.as_ref(), checksum.as_ref(), trailers)
    }

    /// Holds what was computed against what was said, in AWS's order.
    ///
    /// # Errors
    /// `XAmzContentSHA256Mismatch`, `BadDigest`
    pub fn check(
        &self,
        sha256: Option<&Checksum>,
        md5: Option<&Checksum>,
        checksum: Option<&Checksum>,
        trailers: &Trailers,
    ) -> Result<(), S3Fault> {
        if let (Some(declared), Some(computed)) = (&self.sha256, sha256) {
            declared.check(&array(computed.digest()))?;
        }
        if let (Some(declared), Some(computed)) = (&self.md5, md5) {
            declared.check(&array(computed.digest()))?;
        }
        if let (Some(announced), Some(computed)) = (&self.checksum, checksum) {
            match &announced.place {
                Place::Header(sent) => sent.check(computed)?,
                Place::Trailer => checksum::check_trailer(trailers, computed)?,
            }
        }
        Ok(())
    }

    /// Whether the data has anything that protects it, as some operations want.
    pub fn protects(&self) -> bool {
        self.md5.is_some() || self.checksum.is_some()
    }
}

/// A value that is no checksum is a checksum that is not the body's.
fn unreadable(refusal: S3Refusal) -> S3Fault {
    let of_value = refusal.message.starts_with("Value for x-amz-checksum-")
        && refusal.message.ends_with("header is invalid.");
    match of_value {
        true => S3Fault::saying(S3Code::BadDigest, refusal.message),
        false => refusal.into(),
    }
}

/// A digest has its algorithm's size.
pub fn array<const N: usize>(digest: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    let length = digest.len().min(N);
    out[..length].copy_from_slice(&digest[..length]);
    out
}
