//! Housekeeping: space comes back, rot is found and never served, a store can be checked and copied.

use crate::harness::*;
use karri_walrus::store::keeper::local::LocalKeeper;
use karri_walrus::store::keeper::pace::Pace;
use karri_walrus::store::objects::*;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

pub fn blob_files(dir: &Path) -> Vec<PathBuf> {
    let directories =
        std::fs::read_dir(dir.join("blobs")).unwrap().map(|directory| directory.unwrap().path());
    let files = directories.flat_map(|directory| std::fs::read_dir(directory).unwrap());
    files.map(|file| file.unwrap().path()).collect()
}

pub async fn check_dir(dir: &Path) -> CheckReport {
    check(dir, &LocalKeeper::open_as_is(dir), &|_| {}).await.unwrap()
}

fn flip(path: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

#[tokio::test]
async fn space_comes_back_when_no_reader_is_left() {
    let store = Store::new().await;
    let bucket = store.bucket("b", Versioning::Off).await;
    let reader = store.put(bucket, "k", &pattern(100_000, 1)).await;
    store.put(bucket, "k", &pattern(100_000, 2)).await;
    let swept = store.objects.sweep().await.unwrap();
    assert_eq!((swept.blobs, swept.held), (0, 1));
    assert_eq!(read(&store.objects, &reader, 0..100_000, None).await.unwrap(), pattern(100_000, 1));
    drop(reader);
    assert_eq!(store.objects.sweep().await.unwrap().blobs, 1);
    assert_eq!(blob_files(store.dir.path()).len(), 1);
    drop(store.store(&pattern(100_000, 3)).await);
    for _ in 0..100 {
        if blob_files(store.dir.path()).len() == 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(blob_files(store.dir.path()).len(), 1, "bytes that nobody took are gone");
}

#[tokio::test]
async fn what_a_crash_leaves_is_removed_by_the_next_run() {
    let store = Store::new().await;
    let bucket = store.bucket("b", Versioning::Off).await;
    store.put(bucket, "k", &pattern(100_000, 1)).await;
    std::mem::forget(store.store(&pattern(100_000, 2)).await);
    let store = store.reopen().await;
    assert_eq!(check_dir(store.dir.path()).await.leftovers, 1);
    let fresh = store.store(&pattern(100_000, 3)).await;
    assert_eq!(store.objects.remove_leftovers().await.unwrap(), 1);
    assert_eq!(store.objects.remove_leftovers().await.unwrap(), 0);
    store.objects.object_put(new_object(bucket, "fresh", fresh, b"")).await.unwrap();
    assert_eq!(store.get(bucket, "fresh").await.unwrap(), pattern(100_000, 3));
    assert_eq!(store.get(bucket, "k").await.unwrap(), pattern(100_000, 1));
    assert!(check_dir(store.dir.path()).await.is_clean());
}

#[tokio::test]
async fn what_is_left_over_after_something_newer_was_removed_is_found() {
    let store = Store::new().await;
    for _ in 0..3 {
        std::mem::forget(store.store(&pattern(100_000, 1)).await);
    }
    let store = store.reopen().await;
    assert_eq!(store.objects.remove_leftovers().await.unwrap(), 3);
    // This run is killed before it comes to looking for what is left over.
    let store = store.reopen().await;
    std::mem::forget(store.store(&pattern(100_000, 2)).await);
    let store = store.reopen().await;
    assert_eq!(store.objects.remove_leftovers().await.unwrap(), 1);
    assert_eq!(blob_files(store.dir.path()).len(), 0);
}

#[tokio::test]
async fn rot_is_found_remembered_and_never_served() {
    let store = Store::new().await;
    let bucket = store.bucket("b", Versioning::Off).await;
    store.put(bucket, "k", &pattern(200_000, 1)).await;
    store.put(bucket, "good", &pattern(200_000, 2)).await;
    let mut files = blob_files(store.dir.path());
    files.sort();
    flip(&files[0], 150_000);
    let object = store.objects.object_fetch(bucket, "k", None).await.unwrap();
    assert!(read(&store.objects, &object, 0..1000, None).await.is_ok(), "another block");
    let mut ended = false;
    let mut damaged = 0;
    while !ended {
        let scrubbed = store.objects.scrub(1, &mut Pace::unlimited()).await.unwrap();
        (ended, damaged) = (scrubbed.ended, damaged + scrubbed.damaged);
    }
    assert_eq!(damaged, 1);
    for range in [0..1000, 140_000..160_000] {
        let answer = read(&store.objects, &object, range, None).await;
        assert!(matches!(answer, Err(StoreError::Corrupt(_))));
    }
    let store = store.reopen().await;
    assert!(matches!(store.get(bucket, "k").await, Err(StoreError::Corrupt(_))));
    let again = store.objects.recheck_damaged(&mut Pace::unlimited()).await.unwrap();
    assert_eq!((again.blobs, again.sound_again, again.damaged), (1, 0, 0), "it is still, and told once");
    assert_eq!(store.get(bucket, "good").await.unwrap(), pattern(200_000, 2));
    assert_eq!(check_dir(store.dir.path()).await.problems.len(), 1);
    store.put(bucket, "k", b"new").await;
    drop(object);
    store.objects.sweep().await.unwrap();
    assert_eq!(store.get(bucket, "k").await.unwrap(), b"new");
    assert!(check_dir(store.dir.path()).await.is_clean());
}

#[tokio::test]
async fn rot_that_a_reader_meets_ends_its_stream() {
    let store = Store::new().await;
    let bucket = store.bucket("b", Versioning::Off).await;
    let object = store.put(bucket, "k", &pattern(2_000_000, 1)).await;
    flip(&blob_files(store.dir.path())[0], 1_500_000);
    let answer = read(&store.objects, &object, 0..2_000_000, None).await;
    assert!(matches!(answer, Err(StoreError::Corrupt(_))));
    std::fs::remove_file(&blob_files(store.dir.path())[0]).unwrap();
    let other = store.put(bucket, "other", &pattern(100_000, 1)).await;
    std::fs::remove_file(&blob_files(store.dir.path())[0]).unwrap();
    let answer = read(&store.objects, &other, 0..10, None).await;
    assert!(matches!(answer, Err(StoreError::Corrupt(_))), "a lost blob is rot, too");
}

#[tokio::test]
async fn what_was_away_is_served_again() {
    let store = Store::new().await;
    let bucket = store.bucket("b", Versioning::Off).await;
    for (key, recheck) in [("one", true), ("two", false)] {
        let object = store.put(bucket, key, &pattern(100_000, 1)).await;
        let file = blob_files(store.dir.path()).into_iter().max().unwrap();
        let away = file.with_extension("away");
        std::fs::rename(&file, &away).unwrap();
        assert!(matches!(read(&store.objects, &object, 0..10, None).await, Err(StoreError::Corrupt(_))));
        std::fs::rename(&away, &file).unwrap();
        assert!(matches!(read(&store.objects, &object, 0..10, None).await, Err(StoreError::Corrupt(_))));
        let mut sound_again = 0;
        if recheck {
            sound_again = store.objects.recheck_damaged(&mut Pace::unlimited()).await.unwrap().sound_again;
        } else {
            let mut ended = false;
            while !ended {
                let scrubbed = store.objects.scrub(1, &mut Pace::unlimited()).await.unwrap();
                (ended, sound_again) = (scrubbed.ended, sound_again + scrubbed.sound_again);
            }
        }
        assert_eq!(sound_again, 1);
        assert_eq!(store.get(bucket, key).await.unwrap(), pattern(100_000, 1));
    }
    let store = store.reopen().await;
    assert_eq!(store.get(bucket, "one").await.unwrap(), pattern(100_000, 1));
}

#[tokio::test]
async fn the_scrub_keeps_to_its_pace_within_a_blob() {
    let store = Store::new().await;
    let bucket = store.bucket("b", Versioning::Off).await;
    store.put(bucket, "k", &pattern(2 << 20, 1)).await;
    let began = std::time::Instant::now();
    let scrubbed = store.objects.scrub(1, &mut Pace::of(8 << 20)).await.unwrap();
    assert_eq!((scrubbed.blobs, scrubbed.bytes), (1, 2 << 20));
    assert!(began.elapsed() >= std::time::Duration::from_millis(250), "{:?}", began.elapsed());
}

#[tokio::test]
async fn rot_of_every_kind_of_row_is_found() {
    let store = Store::new().await;
    let bucket = store.bucket("b", Versioning::Enabled).await;
    for key in ["one", "two", "three"] {
        for n in 0..40 {
            store.put(bucket, key, &pattern(10, n)).await;
        }
    }
    crate::multipart::put_together(&store, bucket, "parts").await;
    let round = |objects: Objects| async move {
        let (mut rows, mut damaged, mut ended) = (0, 0, false);
        while !ended {
            let scrubbed = objects.scrub(1, &mut Pace::unlimited()).await.unwrap();
            (rows, damaged, ended) = (rows + scrubbed.rows, damaged + scrubbed.damaged, scrubbed.ended);
        }
        (rows, damaged)
    };
    assert_eq!(round(store.objects.clone()).await, (120 + 121 + 1, 0), "each row, its bytes, a manifest");
    for sql in [
        "UPDATE live SET size = size + 1 WHERE key = CAST('two' AS BLOB)",
        "UPDATE history SET modified = 5 WHERE seq = (SELECT max(seq) FROM history)",
        "UPDATE manifests SET body = CAST('bad' AS BLOB)",
        "UPDATE inline SET crc = crc + 1 WHERE id = (SELECT min(id) FROM inline)",
    ] {
        database(store.dir.path(), sql).await;
    }
    assert_eq!(round(store.objects.clone()).await, (242, 4));
}

async fn database(dir: &Path, sql: &'static str) {
    use sqlx::{ConnectOptions, Connection};
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.join("walrus.db"));
    let mut connection = options.connect().await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_check_tells_what_is_wrong() {
    let store = Store::new().await;
    let bucket = store.bucket("b", Versioning::Enabled).await;
    for key in ["small", "other"] {
        store.put(bucket, key, b"old").await;
        store.put(bucket, key, b"new").await;
    }
    store.put(bucket, "big", &pattern(100_000, 1)).await;
    store.delete(bucket, "other", None).await;
    let Store { objects, dir } = store;
    objects.close().await;
    let clean = check_dir(dir.path()).await;
    assert!(clean.is_clean(), "{clean}");
    assert_eq!(
        (clean.versions, clean.markers, clean.inline, clean.blobs, clean.bytes),
        (5, 1, 4, 1, 100_012)
    );
    let cases = [
        ("UPDATE live SET size = size + 1 WHERE key = CAST('small' AS BLOB)", "the row of small"),
        (
            "UPDATE inline SET bytes = CAST('bad' AS BLOB) WHERE id = (SELECT min(id) FROM inline)",
            "does not verify",
        ),
        ("DELETE FROM inline WHERE id = (SELECT min(id) FROM inline)", "is missing"),
        ("INSERT INTO inline VALUES (7, 0, x'00')", "belongs to nothing"),
        ("DELETE FROM blobs", "is missing"),
        ("UPDATE buckets SET bytes = 0", "bucket b says 5 versions of 0 bytes, and has 5 of 100012"),
        ("DELETE FROM history WHERE flags & 2", "other has no current version"),
        ("INSERT INTO blobs VALUES (99, 5, 0)", "belongs to nothing"),
        ("DELETE FROM buckets", "is none"),
    ];
    for (sql, expected) in cases {
        let copy = tempfile::tempdir().unwrap();
        copy_store(dir.path(), copy.path());
        database(copy.path(), sql).await;
        let report = check_dir(copy.path()).await.to_string();
        assert!(report.contains(expected) && report.contains("NOT consistent"), "{sql}\n{report}");
    }
    std::fs::remove_file(&blob_files(dir.path())[0]).unwrap();
    let lost = check_dir(dir.path()).await;
    assert!(lost.problems[0].objects[0].starts_with("key big of bucket b, version "), "{lost}");
}

pub fn copy_store(from: &Path, to: &Path) {
    std::fs::copy(from.join("walrus.db"), to.join("walrus.db")).unwrap();
    for file in blob_files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(&file, target).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_busy_store_is_a_store() {
    let store = std::sync::Arc::new(Store::new().await);
    let bucket = store.bucket("b", Versioning::Off).await;
    for n in 0..20 {
        store.put(bucket, &format!("kept{n}"), &pattern(n * 10_000, n)).await;
    }
    let (busy, stop) = (store.clone(), std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let stopped = stop.clone();
    let writing = tokio::spawn(async move {
        let mut n = 0;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            busy.put(bucket, &format!("k{}", n % 10), &pattern(50_000, n)).await;
            busy.objects.sweep().await.unwrap();
            n += 1;
        }
    });
    let copy = tempfile::tempdir().unwrap();
    let report = store.objects.backup(&copy.path().join("backup"), &|_| {}).await.unwrap();
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    writing.await.unwrap();
    assert!(report.blobs >= 16 && report.blobs_missing == 0, "{report:?}");
    let copied = copy.path().join("backup");
    let check = check_dir(&copied).await;
    assert!(check.is_clean(), "{check}");
    let copied = open(config(&copied)).await.unwrap();
    for n in 0..20 {
        let object = copied.object_fetch(bucket, &format!("kept{n}"), None).await.unwrap();
        assert_eq!(read(&copied, &object, 0..object.size, None).await.unwrap(), pattern(n * 10_000, n));
    }
    assert!(store.objects.backup(copy.path(), &|_| {}).await.is_err(), "not over what is there");
}

#[tokio::test]
async fn a_scan_says_what_lifecycle_rules_ask() {
    let store = Store::new().await;
    let bucket = store.bucket("b", Versioning::Enabled).await;
    for _ in 0..3 {
        store.put(bucket, "k", b"x").await;
    }
    store.delete(bucket, "k", None).await;
    store.delete(bucket, "lone", None).await;
    store.put(bucket, "z", b"x").await;
    let (mut place, mut all) = (ScanPlace::default(), Vec::new());
    loop {
        let page = store.objects.version_scan(bucket, "", &mut place, 2).await.unwrap();
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    let seen: Vec<_> = all
        .iter()
        .map(|one| {
            let version = &one.version;
            let facts = (version.is_latest, version.is_marker, one.newer_noncurrent, one.is_alone);
            (&*version.entry.key, facts, one.noncurrent_since.is_some())
        })
        .collect();
    let expected = [
        ("k", (true, true, 0, false), false),
        ("k", (false, false, 0, false), true),
        ("k", (false, false, 1, false), true),
        ("k", (false, false, 2, false), true),
        ("lone", (true, true, 0, true), false),
        ("z", (true, false, 0, true), false),
    ];
    assert_eq!(seen, expected);
}

const BREAK_LIVE: &str = "UPDATE live SET size = size + 1 WHERE key = CAST('bad' AS BLOB)";

/// A store whose key `bad` has a current row that does not verify, over so many older versions.
async fn with_bad(versioning: Versioning, older: usize) -> (Store, BucketId) {
    let store = Store::new().await;
    let bucket = store.bucket("b", versioning).await;
    for n in 0..=older {
        store.put(bucket, "bad", &pattern(10, n)).await;
    }
    store.put(bucket, "good", b"good").await;
    database(store.dir.path(), BREAK_LIVE).await;
    let store = store.reopen().await;
    assert!(matches!(store.get(bucket, "bad").await, Err(StoreError::Corrupt(_))));
    (store, bucket)
}

async fn is_clean_afterwards(store: Store) {
    store.objects.sweep().await.unwrap();
    store.objects.close().await;
    let report = check_dir(store.dir.path()).await;
    // The bytes that only the lost row named: which they were nobody can say.
    assert!(
        report.problems.iter().all(|problem| problem.to_string().contains("belongs to nothing")),
        "{report}"
    );
}

#[tokio::test]
async fn a_version_whose_row_rotted_can_be_overwritten_and_deleted() {
    for versioning in [Versioning::Off, Versioning::Suspended, Versioning::Enabled] {
        let (store, bucket) = with_bad(versioning, 0).await;
        store.put(bucket, "bad", b"new").await;
        assert_eq!(store.get(bucket, "bad").await.unwrap(), b"new", "{versioning:?}");
        is_clean_afterwards(store).await;
        let (store, bucket) = with_bad(versioning, 0).await;
        assert!(store.delete(bucket, "bad", None).await.existed, "{versioning:?}");
        assert!(matches!(store.get(bucket, "bad").await, Err(StoreError::NoSuchKey { .. })));
        assert_eq!(store.get(bucket, "good").await.unwrap(), b"good");
        is_clean_afterwards(store).await;
    }
}

#[tokio::test]
async fn a_version_that_cannot_be_read_is_deleted_by_its_id_and_others_stay() {
    let (store, bucket) = with_bad(Versioning::Enabled, 2).await;
    let query = VersionQuery { limit: 10, ..VersionQuery::default() };
    let versions = store.objects.version_list(bucket, &query).await.unwrap().entries;
    let current = versions.iter().find(|one| &*one.entry.key == "bad" && one.is_latest).unwrap();
    assert!(store.delete(bucket, "bad", Some(current.entry.version)).await.existed);
    assert_eq!(store.get(bucket, "bad").await.unwrap(), pattern(10, 1));
    database(store.dir.path(), "UPDATE history SET size = 5").await;
    let oldest = versions.iter().rfind(|one| &*one.entry.key == "bad").unwrap();
    let store = store.reopen().await;
    assert!(store.delete(bucket, "bad", Some(oldest.entry.version)).await.existed);
    assert_eq!(store.get(bucket, "bad").await.unwrap(), pattern(10, 1));
    is_clean_afterwards(store).await;
}

#[tokio::test]
async fn what_cannot_be_read_is_left_out_of_lists_and_the_pages_stay_whole() {
    let store = Store::new().await;
    let bucket = store.bucket("b", Versioning::Enabled).await;
    for n in 0..30 {
        store.put(bucket, &format!("k{n:02}"), b"x").await;
    }
    database(store.dir.path(), "UPDATE live SET etag = x'00' WHERE substr(key, 3) IN (x'33', x'34')").await;
    let store = store.reopen().await;
    let good: Vec<String> =
        (0..30).filter(|n| ![3, 4].contains(&(n % 10))).map(|n| format!("k{n:02}")).collect();
    for delimiter in [None, Some("/".to_owned())] {
        for limit in [1, 3, 10, 100] {
            let (mut listed, mut after) = (Vec::new(), None);
            loop {
                let query = ListQuery { limit, after, delimiter: delimiter.clone(), ..ListQuery::default() };
                let (keys, _, next) = store.list(bucket, query).await;
                assert!(keys.len() == limit || next.is_none());
                listed.extend(keys);
                after = next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(listed, good, "{delimiter:?} {limit}");
            let query = VersionQuery { limit, delimiter: delimiter.clone(), ..VersionQuery::default() };
            let page = store.objects.version_list(bucket, &query).await.unwrap();
            let keys: Vec<_> = page.entries.iter().map(|one| one.entry.key.to_string()).collect();
            assert_eq!(keys, good[..limit.min(good.len())], "{delimiter:?} {limit}");
            assert_eq!(page.next.is_some(), limit < good.len());
        }
    }
}
