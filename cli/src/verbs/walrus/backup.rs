//! `karri walrus backup`: orders a copy of the running store, and shows how far it is.

use crate::cloud::Cloud;
use crate::meter::Meter;
use crate::output::Format;
use anyhow::{Context, bail};
use karri_proto::internal::objects::{BackupOrder, BackupProgress, BackupState, BackupStatus};
use std::path::Path;

pub async fn run(cloud: &Cloud, directory: &Path, output: Format) -> anyhow::Result<()> {
    let (walrus, caller) = (cloud.walrus()?, cloud.caller());
    let directory = std::path::absolute(directory)?;
    let directory = directory.to_str().context("DIR must be UTF-8")?.to_owned();
    let mut status = walrus.backup_begin(caller, &BackupOrder { directory }).await?;
    let mut meter = None;
    while status.state == BackupState::Running {
        status = walrus.backup_news(caller).await?;
        let all = status.copied.blob_bytes_total;
        if meter.is_none() && all > 0 {
            meter = Some(Meter::new("larger objects", "copied", Some(all)));
        }
        if let Some(meter) = &mut meter {
            meter.reach(status.copied.blob_bytes);
        }
    }
    drop(meter);
    if status.state == BackupState::Failed {
        bail!("{}: {}", status.directory, status.error.unwrap_or_default());
    }
    output.print(&status, text)
}

fn text(status: &BackupStatus) -> String {
    let BackupStatus { directory, copied, .. } = status;
    let BackupProgress { database_bytes, blobs, blob_bytes, blobs_missing, .. } = copied;
    let mut text = format!(
        "{directory}: a database of {database_bytes} bytes, {blobs} larger objects and parts of {blob_bytes} bytes\n"
    );
    if *blobs_missing > 0 {
        text += &format!("{blobs_missing} were lost before, and are not in it\n");
    }
    text + "not in it: master keys, and images of instances (docs/operating-walrus.md)\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_a_backup_is_told() {
        let copied = BackupProgress { blobs: 2, blobs_missing: 1, ..Default::default() };
        let status = BackupStatus { directory: "/b".into(), copied, ..Default::default() };
        let text = text(&status);
        for words in ["/b: ", "2 larger objects", "1 were lost before", "not in it: master keys"] {
            assert!(text.contains(words), "{text}");
        }
    }
}
