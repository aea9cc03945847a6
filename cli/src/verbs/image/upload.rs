//! Streams bytes to the image store and shows how far it is.

use super::Kind;
use super::source::{Opened, Source};
use crate::cloud::Cloud;
use crate::meter::Meter;
use anyhow::Context;
use bytes::Bytes;
use futures_util::StreamExt;
use karri_proto::instance::BlobRef;
use karri_proto::internal::blobs::{BlobPurpose, ImportedBlob};
use std::path::Path;
use std::sync::{Arc, OnceLock};

pub async fn import(cloud: &Cloud, source: &Source, kind: Kind) -> anyhow::Result<ImportedBlob> {
    let Opened { total, bytes } = source.open().await?;
    let mut meter = Meter::new(&source.label(), "sent", total);
    // When the source breaks off the image store hears it first, and is not to blame.
    let broken: Arc<OnceLock<String>> = Arc::default();
    let breaking = broken.clone();
    let counted = bytes.inspect(move |chunk| match chunk {
        Ok(chunk) => meter.advance(chunk.len() as u64),
        Err(error) => drop(breaking.set(error.to_string())),
    });
    let sent = send(cloud, reqwest::Body::wrap_stream(counted), kind).await;
    let sent = sent.map_err(|error| match broken.get() {
        Some(why) => anyhow::anyhow!("it cannot be read to its end: {why}"),
        None => error,
    });
    sent.with_context(|| source.label())
}

/// Without a word, for the demo image of `up`.
pub async fn import_file(cloud: &Cloud, path: &Path, kind: Kind) -> anyhow::Result<ImportedBlob> {
    let opened = Source::File(path.to_owned()).open().await?;
    send(cloud, reqwest::Body::wrap_stream(opened.bytes), kind)
        .await
        .with_context(|| path.display().to_string())
}

pub async fn import_bytes(cloud: &Cloud, bytes: Vec<u8>) -> anyhow::Result<BlobRef> {
    Ok(send(cloud, reqwest::Body::from(Bytes::from(bytes)), Kind::Machine).await?.blob)
}

async fn send(cloud: &Cloud, body: reqwest::Body, kind: Kind) -> anyhow::Result<ImportedBlob> {
    let (walrus, caller) = (cloud.walrus()?, cloud.caller());
    let purpose = match kind {
        Kind::Machine => BlobPurpose::Disk,
        Kind::Kernel => BlobPurpose::Kernel,
        Kind::Ramdisk => BlobPurpose::Ramdisk,
    };
    Ok(walrus.blob_import_as(caller, purpose, body).await?)
}
