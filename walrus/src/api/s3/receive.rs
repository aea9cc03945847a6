//! A body into the store. Its last bytes are made durable while its digests are computed to their end; no
//! version names it before it has turned out to be what its head says.

use super::cx::Cx;
use super::digests::Digests;
use super::fault::About;
use super::gathered::Gathered;
use super::payload::{Payload, array};
use crate::app::s3::checksum;
use crate::app::s3::encryption::{ClientKey, Wanted};
use crate::store::keeper::seal::CustomerKey;
use crate::store::objects::{Body, Object, Stored};
use futures_util::StreamExt as _;
use karri_proto::aws::s3::{S3Code, S3Fault};
use karri_proto::checksum::{Algorithm, Checksum};
use std::ops::Range;
use std::sync::Arc;

/// Of one PUT or one part.
pub const UPLOAD_BYTES_MAX: u64 = 5 << 30;
/// Up to here a thread would cost more than it earns.
const INLINE_BYTES_MAX: u64 = 128 << 10;

/// A body that is in the store, and is what it should be.
pub struct Received {
    pub content: Stored,
    pub md5: [u8; 16],
    /// The one that the client announced, or the one that every object has, comes first.
    pub checksums: Vec<Checksum>,
}

/// The length that the head tells; nothing for one that is told by the framing of HTTP.
///
/// # Errors
/// `MissingContentLength`, `EntityTooLarge`
pub fn length(payload: &Payload) -> Result<Option<u64>, S3Fault> {
    let length = match payload.length {
        Some(length) => length,
        None if payload.open_ended => return Ok(None),
        None => return Err(S3Fault::new(S3Code::MissingContentLength)),
    };
    if length > UPLOAD_BYTES_MAX {
        return Err(S3Fault::new(S3Code::EntityTooLarge)
            .with("ProposedSize", length.to_string())
            .with("MaxSizeAllowed", UPLOAD_BYTES_MAX.to_string()));
    }
    Ok(Some(length))
}

/// Which checksums an upload gets.
#[derive(Debug, Clone, Copy)]
pub struct Checksums {
    /// Of a body that brings none.
    pub default: Algorithm,
    /// Besides the one that the body brings.
    pub always: Option<Algorithm>,
}

impl Checksums {
    pub const OF_OBJECT: Self = Self { default: checksum::DEFAULT, always: None };
}

pub async fn receive(
    cx: &Cx,
    mut payload: Payload,
    wanted: &Wanted,
    checksums: Checksums,
) -> Result<Received, S3Fault> {
    let expected = length(&payload)?;
    let announced = payload.claims.checksum.as_ref().map(|announced| announced.algorithm);
    if announced.is_some_and(|algorithm| checksum::kept(algorithm).is_none()) {
        return Err(checksum::named("").err().unwrap_or_else(|| S3Fault::new(S3Code::InvalidRequest)));
    }
    let main = announced.unwrap_or(checksums.default);
    let sha256 = payload.claims.sha256.as_ref().map(|_| Algorithm::Sha256);
    let mut algorithms = vec![Algorithm::Md5, main];
    for algorithm in [checksums.always, sha256].into_iter().flatten() {
        if !algorithms.contains(&algorithm) {
            algorithms.push(algorithm);
        }
    }
    let large = expected.is_none_or(|bytes| bytes > INLINE_BYTES_MAX);
    let mut digests = Digests::new(&algorithms, large);
    let fault = |error| About::default().fault(error);
    let mut writer = cx.s3.objects.begin_write(expected, wanted.seal_with()).map_err(fault)?;
    let mut gathered = Gathered::new(&mut payload, large);
    while let Some(data) = gathered.next().await? {
        digests.update(&data).await;
        writer.write_piece(data).await.map_err(fault)?;
        if writer.len() > UPLOAD_BYTES_MAX {
            return Err(S3Fault::new(S3Code::EntityTooLarge));
        }
    }
    let trailers = payload.finish()?;
    if expected.is_some_and(|expected| writer.len() != expected) {
        return Err(S3Fault::new(S3Code::IncompleteBody));
    }
    let (computed, content) = tokio::join!(digests.finish(), writer.finish());
    let of = |algorithm| computed.iter().find(|one| one.algorithm() == algorithm);
    payload.claims.check(of(Algorithm::Sha256), of(Algorithm::Md5), of(main), &trailers)?;
    let content = content.map_err(fault)?;
    received(content, &computed, [Some(main), checksums.always])
}

fn received(
    content: Stored,
    computed: &[Checksum],
    kept: [Option<Algorithm>; 2],
) -> Result<Received, S3Fault> {
    let of = |algorithm| computed.iter().find(|checksum| checksum.algorithm() == algorithm);
    let md5 = of(Algorithm::Md5).map(|checksum| array(checksum.digest())).unwrap_or_default();
    let mut checksums: Vec<Checksum> = Vec::new();
    for algorithm in kept.into_iter().flatten() {
        let computed = of(algorithm).ok_or_else(|| S3Fault::internal("a checksum was not computed"))?;
        if !checksums.contains(computed) {
            checksums.push(computed.clone());
        }
    }
    Ok(Received { content, md5, checksums })
}

/// Bytes of an object once more, as something new: read, digested, written.
pub async fn reread(
    cx: &Cx,
    object: &Arc<Object>,
    span: Range<u64>,
    key: Option<&ClientKey>,
    wanted: &Wanted,
    algorithm: Algorithm,
) -> Result<Received, S3Fault> {
    let fault = |error| About::default().fault(error);
    let length = span.end - span.start;
    let key = key.map(|key| CustomerKey::new(key.key));
    let mut digests = Digests::new(&[Algorithm::Md5, algorithm], length > INLINE_BYTES_MAX);
    let mut writer = cx.s3.objects.begin_write(Some(length), wanted.seal_with()).map_err(fault)?;
    match cx.s3.objects.read(object, span, key.as_ref()).await.map_err(fault)? {
        Body::Whole(bytes) => {
            digests.update(&bytes).await;
            writer.write_piece(bytes).await.map_err(fault)?;
        }
        Body::Stream(mut stream) => {
            while let Some(piece) = stream.next().await {
                let piece = piece.map_err(fault)?;
                digests.update(&piece).await;
                writer.write_piece(piece).await.map_err(fault)?;
            }
        }
    }
    let (computed, content) = tokio::join!(digests.finish(), writer.finish());
    received(content.map_err(fault)?, &computed, [Some(algorithm), None])
}
