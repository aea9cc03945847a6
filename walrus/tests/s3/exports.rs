//! Images that are written to buckets: the same disk in every format, by who may write there.

use crate::bundles::{Walrus, caller};
use crate::disks::{disk, seen};
use crate::harness::User;
use karri_proto::instance::Digest;
use karri_proto::internal::ApiError;
use karri_proto::internal::bundles::SourceKind;
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::exports::{
    ExportFormat, ExportProgress, ExportService as _, ExportTarget, ImageToExport,
};
use karri_walrus::api::exports::ExportDesk;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

fn target(user: User, key: &str) -> ExportTarget {
    let [bucket, key, access_key_id] = ["images", key, user.key()].map(str::to_owned);
    ExportTarget { bucket, key, access_key_id, session_token: None, address: None }
}

async fn written(desk: &ExportDesk, image: &ImageToExport) -> Result<u64, ApiError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match desk.export_make(&caller(), image).await? {
            ExportProgress::Exported { bytes, .. } => return Ok(bytes),
            ExportProgress::Exporting { .. } => assert!(Instant::now() < deadline, "it is not written"),
        }
    }
}

impl Walrus {
    /// The blob of `object`, as it was registered.
    pub async fn blob_of(&self, key: &str, object: &[u8]) -> Digest {
        self.server.put(&format!("/images/{key}"), object).await;
        let etag = self.disk(User::Ann, key).await.unwrap().etag;
        self.make_of(SourceKind::Disk, key, &etag).await.unwrap().blob.digest
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_format_holds_the_same_disk_and_can_be_imported_again() {
    let walrus = Walrus::start().await;
    walrus.server.bucket("images").await;
    let disk = disk();
    let raw = walrus.blob_of("raw", &disk).await;
    let qcow2 = walrus.blob_of("qcow2", &crate::disks::converted(&disk, "qcow2")).await;
    for digest in [raw, qcow2] {
        for (format, tool) in
            [(ExportFormat::Raw, "raw"), (ExportFormat::Vmdk, "vmdk"), (ExportFormat::Vhd, "vpc")]
        {
            let target = target(User::Ann, &format!("out/{tool}"));
            let image = ImageToExport { digest: digest.clone(), format, target };
            let bytes = written(&walrus.exports(), &image).await.unwrap();
            let object = walrus.server.call("GET", &format!("/images/out/{tool}")).expect(200).await.body;
            assert_eq!(object.len() as u64, bytes);
            let guest = seen(&object, tool);
            assert!(guest.starts_with(&disk) && guest[disk.len()..].iter().all(|byte| *byte == 0), "{tool}");
            walrus.disk(User::Ann, &format!("out/{tool}")).await.unwrap();
        }
    }
    assert_eq!(walrus.scratches(), 0, "what was converted has gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_must_be_permitted_to_write_there_also_when_it_is_written() {
    let walrus = Walrus::start().await;
    walrus.server.bucket("images").await;
    let digest = walrus.blob_of("raw", &disk()).await;
    let desk = walrus.exports();
    let asked = async |user: User, key: &str| desk.export_inspect(&caller(), &target(user, key)).await;
    asked(User::Ann, "out").await.unwrap();
    assert_eq!(asked(User::Bob, "out").await.unwrap_err().kind, ApiErrorKind::Forbidden);
    let elsewhere = ExportTarget { bucket: "no-such-bucket".into(), ..target(User::Ann, "out") };
    let error = desk.export_inspect(&caller(), &elsewhere).await.unwrap_err();
    assert_eq!(error.kind, ApiErrorKind::NotFound);
    let image = ImageToExport { digest, format: ExportFormat::Raw, target: target(User::Bob, "out") };
    assert_eq!(written(&desk, &image).await.unwrap_err().kind, ApiErrorKind::Forbidden);
    walrus.server.call("GET", "/images/out").expect(404).await;
    let absent = Digest::from_sha256([7; 32]);
    let image = ImageToExport { digest: absent, format: ExportFormat::Raw, target: target(User::Ann, "out") };
    let error = written(&desk, &image).await.unwrap_err();
    assert!(error.kind == ApiErrorKind::Invalid && error.message.contains("there is no blob"), "{error:?}");
}
