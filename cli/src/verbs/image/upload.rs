//! Streams bytes to the image store and shows how far it is: a bar on a terminal, lines elsewhere.

use super::Kind;
use super::source::{Opened, Source};
use crate::cloud::Cloud;
use anyhow::Context;
use bytes::Bytes;
use futures_util::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use karri_proto::instance::BlobRef;
use karri_proto::internal::blobs::{BlobPurpose, ImportedBlob};
use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

const LINE_EVERY: Duration = Duration::from_secs(5);
const MIB: u64 = 1 << 20;

pub async fn import(cloud: &Cloud, source: &Source, kind: Kind) -> anyhow::Result<ImportedBlob> {
    let Opened { total, bytes } = source.open().await?;
    let mut meter = Meter::new(&source.label(), total);
    let counted = bytes.inspect(move |chunk| {
        if let Ok(chunk) = chunk {
            meter.advance(chunk.len() as u64);
        }
    });
    send(cloud, reqwest::Body::wrap_stream(counted), kind).await.with_context(|| source.label())
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

/// Ends with its stream.
struct Meter {
    label: String,
    total: Option<u64>,
    sent: u64,
    bar: Option<ProgressBar>,
    said: Instant,
}

impl Meter {
    fn new(label: &str, total: Option<u64>) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| bar(label, total));
        Self { label: label.to_owned(), total, sent: 0, bar, said: Instant::now() }
    }

    fn advance(&mut self, bytes: u64) {
        self.sent += bytes;
        match &self.bar {
            Some(bar) => bar.inc(bytes),
            None if self.said.elapsed() > LINE_EVERY => {
                self.said = Instant::now();
                eprintln!("{}", line(&self.label, self.sent, self.total));
            }
            None => {}
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        match &self.bar {
            Some(bar) => bar.finish(),
            None => eprintln!("{}", line(&self.label, self.sent, self.total)),
        }
    }
}

fn bar(label: &str, total: Option<u64>) -> ProgressBar {
    let template = match total {
        Some(_) => "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        None => "{msg} {spinner} {bytes} {bytes_per_sec}",
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    bar.with_style(style).with_message(crate::output::printable(label))
}

fn line(label: &str, sent: u64, total: Option<u64>) -> String {
    let label = crate::output::printable(label);
    match total {
        Some(total) if total > 0 => {
            let (unit, name) = unit(total);
            format!("{label}: {} of {} {name} sent ({} %)", sent / unit, total / unit, sent * 100 / total)
        }
        _ => {
            let (unit, name) = unit(sent);
            format!("{label}: {} {name} sent", sent / unit)
        }
    }
}

/// The largest unit that the amount is several of.
fn unit(bytes: u64) -> (u64, &'static str) {
    [(MIB, "MiB"), (1 << 10, "KiB")].into_iter().find(|(unit, _)| bytes >= 2 * unit).unwrap_or((1, "bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_how_far_it_is() {
        assert_eq!(line("x", 5 * MIB, Some(20 * MIB)), "x: 5 of 20 MiB sent (25 %)");
        assert_eq!(line("x", 5 * MIB, None), "x: 5 MiB sent");
        assert_eq!(line("x", 0, Some(0)), "x: 0 bytes sent");
        assert_eq!(line("x", 700, Some(1400)), "x: 700 of 1400 bytes sent (50 %)");
        assert_eq!(line("x", MIB, Some(MIB)), "x: 1024 of 1024 KiB sent (100 %)");
    }
}
