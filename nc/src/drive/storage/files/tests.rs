//! Copies of disks, by the real qemu-img.

use super::*;
use crate::app::sample;
use crate::drive::blobs::{BlobSource, BlobStream};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use tempfile::TempDir;

const TASK: &str = "bun-0123456789abcdef0";
const DISK_BYTES: u64 = 4 << 20;

struct NoBlobs;

#[async_trait]
impl BlobSource for NoBlobs {
    async fn open(&self, _: &str, _: &Digest, _: u64) -> Result<BlobStream, BlobError> {
        Err(BlobError::Refused("there are none".to_owned()))
    }
}

/// Keeps what it is sent; refuses for as long as it is told to.
#[derive(Default)]
struct Sink {
    refusal: Mutex<Option<BlobError>>,
    sent: Mutex<Vec<Vec<u8>>>,
}

#[async_trait]
impl CaptureSink for Sink {
    async fn send(&self, request_id: &str, task: &BundleTaskId, file: &Path) -> Result<Digest, BlobError> {
        assert_eq!((request_id, task.as_str()), ("req-1", TASK));
        let refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner).take();
        refusal.map_or(Ok(()), Err)?;
        self.sent.lock().unwrap().push(std::fs::read(file).unwrap());
        Ok(Digest::from_sha256([9; 32]))
    }
}

struct Fixture {
    directory: TempDir,
    storage: FileStorage,
    sink: Arc<Sink>,
    intent: InstanceIntent,
}

impl Fixture {
    /// An instance whose guest has written over a part of its image.
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let images = ImageCache::open(&directory.path().join("images"), 1 << 30, Arc::new(NoBlobs)).unwrap();
        let mut intent = sample::intent();
        let root = &mut intent.spec.boot.root;
        (root.bytes, root.virtual_bytes) = (DISK_BYTES, DISK_BYTES);
        intent.spec.need.disk_gib = 0;
        std::fs::write(images.path(root), vec![1; DISK_BYTES as usize]).unwrap();
        let instances = directory.path().join("instances");
        std::fs::create_dir_all(instances.join(intent.id.as_str())).unwrap();
        let sink = Arc::<Sink>::default();
        let storage = FileStorage::new(&instances, images, sink.clone());
        storage.make_disk(&intent, &Default::default).await.unwrap();
        let fixture = Self { directory, storage, sink, intent };
        fixture.write("write -P 2 64k 64k");
        fixture
    }

    fn write(&self, command: &str) {
        let disk = self.storage.disk(&self.intent.id);
        let ran = Command::new("qemu-io").args(["-c", command]).arg(disk).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }

    async fn capture(&self) -> Result<Digest, StorageError> {
        self.storage.capture(&self.intent, &TASK.parse().unwrap()).await
    }

    /// What a guest would see of the newest that was sent.
    fn seen(&self) -> Vec<u8> {
        let (sent, raw) = (self.directory.path().join("sent"), self.directory.path().join("raw"));
        std::fs::write(&sent, self.sink.sent.lock().unwrap().last().unwrap()).unwrap();
        let convert = ["convert", "-f", "qcow2", "-O", "raw"];
        assert!(Command::new("qemu-img").args(convert).arg(&sent).arg(&raw).status().unwrap().success());
        std::fs::read(raw).unwrap()
    }

    async fn lying(&self) -> Lying {
        self.storage.lying(&self.intent.id).await
    }
}

fn expected() -> Vec<u8> {
    let mut disk = vec![1; DISK_BYTES as usize];
    disk[64 << 10..128 << 10].fill(2);
    disk
}

#[tokio::test]
async fn a_copy_has_the_whole_disk_leans_on_nothing_and_goes_without_the_disk() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.capture().await.unwrap(), Digest::from_sha256([9; 32]));
    assert!(fixture.seen() == expected());
    overlay::inspect(&fixture.directory.path().join("sent"), karri_proto::instance::BlobFormat::Qcow2)
        .await
        .unwrap();
    assert_eq!(fixture.lying().await, Lying { disk: true, files: true, copy: true });
    fixture.storage.drop_copy(&fixture.intent.id).await.unwrap();
    assert_eq!(fixture.lying().await, Lying { disk: true, files: true, copy: false });
    fixture.storage.remove_files(&fixture.intent.id).await.unwrap();
    assert_eq!(fixture.lying().await, Lying::default());
}

#[tokio::test]
async fn what_could_not_be_sent_is_sent_again_and_not_copied_again() {
    let fixture = Fixture::new().await;
    let refuse = |error| *fixture.sink.refusal.lock().unwrap() = Some(error);
    refuse(BlobError::Broken("the line broke".to_owned()));
    assert!(matches!(fixture.capture().await, Err(StorageError::Later(_))));
    let copy = fixture.storage.copy(&fixture.intent.id, &TASK.parse().unwrap());
    let made = std::fs::metadata(&copy).unwrap().modified().unwrap();
    refuse(BlobError::Refused("the image store is full".to_owned()));
    let refused = fixture.capture().await.unwrap_err();
    assert!(matches!(&refused, StorageError::Broken(why) if why.contains("store is full")), "{refused}");
    fixture.capture().await.unwrap();
    assert_eq!(std::fs::metadata(&copy).unwrap().modified().unwrap(), made);
    assert!(fixture.seen() == expected());
}

#[tokio::test]
async fn a_copy_for_another_task_or_cut_short_is_not_taken_for_this_one() {
    let fixture = Fixture::new().await;
    let directory = fixture.storage.directory(&fixture.intent.id);
    let left = ["copy-bun-0123456789abcdef1.qcow2", "copy-bun-0123456789abcdef0.new"];
    left.iter().for_each(|name| std::fs::write(directory.join(name), "old").unwrap());
    assert!(fixture.lying().await.copy);
    fixture.capture().await.unwrap();
    assert!(fixture.seen() == expected());
    assert!(left.iter().all(|name| !directory.join(name).exists()));
}
