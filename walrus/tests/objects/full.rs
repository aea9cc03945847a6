//! A disk that is full: each refusal says so, nothing is half done, what was acknowledged stays readable, and
//! with some room everything goes on.

use crate::harness::*;
use crate::house::{blob_files, check_dir, copy_store};
use karri_walrus::store::keeper::seal::SealWith;
use karri_walrus::store::objects::*;
use std::path::Path;
use std::process::Command;

const CHILD_DIR: &str = "KARRI_FULL_CHILD_DIR";
const DISK_MIB: usize = 32;
/// Room enough afterwards for SQLite to bring its log into the database and to be opened again.
const BALLAST_BYTES: usize = 12 << 20;

/// In a mount namespace of its own, on a disk of its own.
#[test]
fn a_full_disk_is_told_and_survived() {
    let dir = tempfile::tempdir().unwrap();
    let run = format!(
        "mount -t tmpfs -o size={DISK_MIB}m tmpfs '{0}' && exec '{1}' --exact full::child_on_a_small_disk --nocapture",
        dir.path().display(),
        std::env::current_exe().unwrap().display()
    );
    let mut unshare = Command::new("unshare");
    let output =
        unshare.args(["--map-root-user", "--mount", "sh", "-c", &run]).env(CHILD_DIR, dir.path()).output();
    let output = output.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("all was well"), "{text}");
}

/// By itself, as an ordinary test, it has nothing to do.
#[tokio::test(flavor = "multi_thread")]
async fn child_on_a_small_disk() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let dir = Path::new(&dir);
    for size in [3_000, 20_000, 500_000] {
        fill(&dir.join(format!("store{size}")), size).await;
    }
    keep_a_reserve(&dir.join("reserve")).await;
    check_needs_no_room(&dir.join("checked")).await;
    println!("all was well");
}

/// Fills the disk to its last byte.
async fn fill(dir: &Path, size: usize) {
    let store = Store { objects: open(config(dir)).await.unwrap(), dir: tempfile::tempdir().unwrap() };
    let bucket = store.bucket("b", Versioning::Off).await;
    let ballast = dir.with_extension("ballast");
    std::fs::write(&ballast, vec![1; BALLAST_BYTES]).unwrap();
    let mut kept = 0;
    loop {
        match try_put(&store, bucket, &format!("k{kept}"), &pattern(size, kept)).await {
            Ok(()) => kept += 1,
            Err(StoreError::Full) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(kept > 10, "{kept}");
    for _ in 0..10 {
        let more = try_put(&store, bucket, "more", &pattern(size, 7)).await;
        assert!(matches!(more, Ok(()) | Err(StoreError::Full)), "{more:?}");
    }
    verify(&store, bucket, size, kept).await;

    std::fs::remove_file(&ballast).unwrap();
    try_put(&store, bucket, "room", &pattern(size, 1)).await.unwrap();
    store.delete(bucket, "more", None).await;
    verify(&store, bucket, size, kept).await;
    store.objects.close().await;
    let report = check_dir(dir).await;
    assert!(report.is_clean() && report.leftovers == 0, "{report}");
    std::fs::remove_dir_all(dir).unwrap();
}

async fn try_put(store: &Store, bucket: BucketId, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let mut writer = store.objects.begin_write(Some(bytes.len() as u64), SealWith::Plain)?;
    for chunk in bytes.chunks(60_000) {
        writer.write(chunk).await?;
    }
    let content = writer.finish().await?;
    store.objects.object_put(new_object(bucket, key, content, bytes)).await.map(drop)
}

async fn verify(store: &Store, bucket: BucketId, size: usize, kept: usize) {
    for n in 0..kept {
        assert_eq!(store.get(bucket, &format!("k{n}")).await.unwrap(), pattern(size, n));
    }
}

/// With a reserve, what is refused is refused early and there is room to delete.
async fn keep_a_reserve(dir: &Path) {
    let config = ObjectsConfig { reserve_bytes: BALLAST_BYTES as u64, ..config(dir) };
    let store = Store { objects: open(config).await.unwrap(), dir: tempfile::tempdir().unwrap() };
    let bucket = store.bucket("b", Versioning::Off).await;
    let mut kept = 0;
    while try_put(&store, bucket, &format!("k{kept}"), &pattern(300_000, kept)).await.is_ok() {
        kept += 1;
    }
    let early = store.objects.begin_write(Some(1 << 40), SealWith::Plain);
    assert!(matches!(early, Err(StoreError::Full)));
    verify(&store, bucket, 300_000, kept).await;
    for n in 0..kept {
        store.delete(bucket, &format!("k{n}"), None).await;
    }
    while store.objects.sweep().await.unwrap().blobs > 0 {}
    assert_eq!(blob_files(dir).len(), 0);
    try_put(&store, bucket, "again", &pattern(300_000, 1)).await.unwrap();
}

/// A store that was closed and one that was cut off are checked on a disk without a free byte, and stay as they are.
async fn check_needs_no_room(dir: &Path) {
    let (closed, cut_off) = (dir.join("closed"), dir.join("cut-off"));
    let store = Store { objects: open(config(&closed)).await.unwrap(), dir: tempfile::tempdir().unwrap() };
    let bucket = store.bucket("b", Versioning::Off).await;
    for n in 0..20 {
        store.put(bucket, &format!("k{n}"), &pattern(n * 5_000, n)).await;
    }
    // What a loss of power leaves: the log is full of content, and the shared memory is gone.
    let log = closed.join("walrus.db-wal");
    assert!(log.metadata().unwrap().len() > 100_000);
    std::fs::create_dir(&cut_off).unwrap();
    copy_store(&closed, &cut_off);
    std::fs::copy(&log, cut_off.join("walrus.db-wal")).unwrap();
    store.objects.close().await;
    assert!(!log.exists());

    let ballast = dir.with_extension("ballast");
    let mut filled = std::fs::File::create(&ballast).unwrap();
    while std::io::Write::write_all(&mut filled, &[1; 4096]).is_ok() {}
    for dir in [&closed, &cut_off] {
        let before = names(dir);
        let report = check_dir(dir).await;
        assert!(report.is_clean() && report.versions == 20, "{}: {report}", dir.display());
        assert_eq!(names(dir), before);
    }
    std::fs::remove_file(&ballast).unwrap();
}

/// With their sizes.
fn names(dir: &Path) -> Vec<(std::ffi::OsString, u64)> {
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    let mut names: Vec<_> =
        entries.map(|entry| (entry.file_name(), entry.metadata().unwrap().len())).collect();
    names.sort();
    names
}
