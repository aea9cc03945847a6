//! What every engine must do, as tests that are run against each of them.

use super::buffer::{BUFFER_BYTES, Buffer};
use super::format::{BLOCK_BYTES, FormatError, Layout};
use super::pace::Pace;
use super::read::{BlobReader, ReadError, verify};
use super::seal::{CustomerKey, KEY_BYTES, WrappingKey};
use super::write::BlobWriter;
use super::{BlobId, Keeper};
use crate::store::keeper::local::LocalKeeper;
use futures_util::future::BoxFuture;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

const BLOCK: u64 = BLOCK_BYTES as u64;
pub const DEADLINE: Duration = Duration::from_secs(20);

/// An engine, and what lies behind it.
pub trait Place: Send + Sync {
    fn keeper(&self) -> Arc<dyn Keeper>;
    /// The blob as it lies there.
    fn raw(&self, id: BlobId) -> BoxFuture<'_, Option<Vec<u8>>>;
    /// Rot, or a hand that meddles.
    fn replace(&self, id: BlobId, bytes: Vec<u8>) -> BoxFuture<'_, ()>;
    /// Blobs that somebody writes, and that are not whole.
    fn unfinished(&self) -> BoxFuture<'_, usize>;
}

/// Makes a test of each function here, for the place that `$place` makes.
macro_rules! conforms {
    ($place:expr => $($test:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                $crate::store::keeper::conformance::$test(&$place.await).await;
            }
        )*
    };
    ($place:expr) => {
        $crate::store::keeper::conformance::conforms!($place =>
            payloads_of_every_edge_read_back_whole_and_in_ranges,
            pieces_that_fit_and_pieces_that_do_not_make_the_same_blob,
            an_encrypted_blob_shows_nothing_and_opens_with_its_key_only,
            a_flipped_bit_anywhere_is_told_and_other_blocks_are_still_read,
            a_dropped_writer_leaves_nothing,
            blobs_are_listed_linked_copied_out_and_removed,
            many_writers_write_side_by_side,
            a_blob_of_many_pieces_reads_back_from_anywhere,
            a_reader_may_stop_and_another_be_slow,
        );
    };
}
pub(crate) use conforms;

/// After which `payload` begins anew: with no block of any store does it fall together.
const PERIOD: u64 = 253 * 256;

pub fn payload(bytes: u64) -> Vec<u8> {
    let period: Vec<u8> = (0..PERIOD.min(bytes)).map(|n| (n * 31 + n / 253) as u8).collect();
    let mut all = period.repeat(bytes.div_ceil(PERIOD) as usize);
    all.truncate(bytes as usize);
    all
}

pub fn key(byte: u8) -> WrappingKey {
    CustomerKey::new([byte; KEY_BYTES]).wrapping().clone()
}

pub async fn try_put(
    keeper: &dyn Keeper,
    id: u64,
    bytes: &[u8],
    key: Option<&WrappingKey>,
) -> std::io::Result<u64> {
    let mut writer = BlobWriter::create(keeper, BlobId(id), None, key).await?;
    for chunk in bytes.chunks(100_000) {
        writer.write(chunk).await?;
    }
    writer.finish().await
}

pub async fn put(keeper: &dyn Keeper, id: u64, bytes: &[u8], key: Option<&WrappingKey>) {
    assert_eq!(try_put(keeper, id, bytes, key).await.unwrap(), bytes.len() as u64);
}

pub async fn get(
    keeper: &dyn Keeper,
    id: u64,
    bytes: u64,
    range: Range<u64>,
    key: Option<&WrappingKey>,
) -> Result<Vec<u8>, ReadError> {
    let find = |_| key.cloned();
    let mut reader = BlobReader::open(keeper, BlobId(id), bytes, range, &find).await?;
    let mut all = Vec::new();
    while let Some(piece) = reader.next().await? {
        all.extend_from_slice(&piece);
    }
    Ok(all)
}

pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub async fn payloads_of_every_edge_read_back_whole_and_in_ranges(place: &impl Place) {
    let keeper = &*place.keeper();
    let edges = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 4 * BLOCK, 4 * BLOCK + 1, 20 * BLOCK + 7];
    for (n, bytes) in edges.into_iter().enumerate() {
        for (sealed, key) in [None, Some(key(7))].into_iter().enumerate() {
            let id = (n * 2 + sealed) as u64;
            let all = payload(bytes);
            put(keeper, id, &all, key.as_ref()).await;
            let there = place.raw(BlobId(id)).await.unwrap().len() as u64;
            assert_eq!(there, Layout { payload_bytes: bytes, sealed: key.is_some() }.blob_bytes());
            let cuts = [0, 1, BLOCK - 1, BLOCK, 5 * BLOCK, bytes.saturating_sub(1), bytes];
            for from in cuts.into_iter().filter(|cut| *cut <= bytes) {
                for to in cuts.into_iter().filter(|cut| (from..=bytes).contains(cut)) {
                    let found = get(keeper, id, bytes, from..to, key.as_ref()).await.unwrap();
                    assert!(found == all[from as usize..to as usize], "{bytes} {from}..{to}");
                }
            }
            assert_eq!(verify(keeper, BlobId(id), &mut Pace::unlimited()).await.unwrap(), bytes);
        }
    }
}

pub async fn pieces_that_fit_and_pieces_that_do_not_make_the_same_blob(place: &impl Place) {
    let keeper = &*place.keeper();
    let all = payload(13 * BLOCK + 5);
    let turns: [&[usize]; 4] =
        [&[BUFFER_BYTES], &[BUFFER_BYTES, 1, BUFFER_BYTES - 1], &[7, BUFFER_BYTES], &[BUFFER_BYTES - 1]];
    for (n, sizes) in turns.into_iter().enumerate() {
        for (sealed, key) in [None, Some(key(7))].into_iter().enumerate() {
            let id = (n * 2 + sealed) as u64;
            let mut writer = BlobWriter::create(keeper, BlobId(id), None, key.as_ref()).await.unwrap();
            let (mut rest, mut sizes) = (&all[..], sizes.iter().cycle());
            while !rest.is_empty() {
                let (piece, later) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                writer.write_piece(bytes::Bytes::copy_from_slice(piece)).await.unwrap();
                rest = later;
            }
            assert_eq!(writer.finish().await.unwrap(), all.len() as u64);
            let found = get(keeper, id, all.len() as u64, 0..all.len() as u64, key.as_ref()).await.unwrap();
            assert!(found == all, "{sizes:?} {sealed}");
        }
    }
}

pub async fn an_encrypted_blob_shows_nothing_and_opens_with_its_key_only(place: &impl Place) {
    let keeper = &*place.keeper();
    let all = vec![b'a'; 100_000];
    put(keeper, 1, &all, Some(&key(1))).await;
    let there = place.raw(BlobId(1)).await.unwrap();
    assert!(!there.windows(8).any(|window| window == b"aaaaaaaa"));
    let wrong = get(keeper, 1, 100_000, 0..10, Some(&key(2))).await;
    assert!(matches!(wrong, Err(ReadError::Key(_))));
    assert!(matches!(get(keeper, 1, 100_000, 0..10, None).await, Err(ReadError::Key(_))));
}

pub async fn a_flipped_bit_anywhere_is_told_and_other_blocks_are_still_read(place: &impl Place) {
    let keeper = &*place.keeper();
    let bytes = 3 * BLOCK + 5;
    let layout = Layout { payload_bytes: bytes, sealed: false };
    for at in [
        0,
        BLOCK + 9,
        bytes - 1,
        layout.entry_offset(0) + 1,
        layout.entry_offset(3),
        layout.blob_bytes() - 60,
    ] {
        put(keeper, at, &payload(bytes), None).await;
        let mut there = place.raw(BlobId(at)).await.unwrap();
        there[at as usize] ^= 4;
        place.replace(BlobId(at), there).await;
        let verified = verify(keeper, BlobId(at), &mut Pace::unlimited()).await;
        assert!(matches!(verified, Err(ReadError::Format(_))), "{at}");
        let whole = get(keeper, at, bytes, 0..bytes, None).await;
        assert!(matches!(whole, Err(ReadError::Format(_))), "{at}");
    }
    assert!(get(keeper, 0, bytes, BLOCK..bytes, None).await.is_ok());
    let shorter = get(keeper, 0, bytes - 1, 0..1, None).await;
    assert!(matches!(shorter, Err(ReadError::Format(FormatError::Length))));
    let mut there = place.raw(BlobId(0)).await.unwrap();
    there.truncate(BLOCK as usize);
    place.replace(BlobId(0), there).await;
    let cut = verify(keeper, BlobId(0), &mut Pace::unlimited()).await;
    assert!(matches!(cut, Err(ReadError::Format(FormatError::Trailer))));
}

pub async fn a_dropped_writer_leaves_nothing(place: &impl Place) {
    let keeper = &*place.keeper();
    for (id, bytes) in [(5, 1 << 20), (6, 20 << 20)] {
        let mut writer = BlobWriter::create(keeper, BlobId(id), None, None).await.unwrap();
        writer.write(&payload(bytes)).await.unwrap();
        drop(writer);
        eventually("nothing is unfinished", async || place.unfinished().await == 0).await;
        let opened = keeper.open(BlobId(id)).await.map(drop);
        assert_eq!(opened.unwrap_err().kind(), std::io::ErrorKind::NotFound);
    }
    assert!(keeper.list(None, 10).await.unwrap().is_empty());
}

pub async fn blobs_are_listed_linked_copied_out_and_removed(place: &impl Place) {
    let keeper = &*place.keeper();
    let ids = [3, 4095, 4096, 9000, 1 << 40];
    for id in ids {
        put(keeper, id, &payload(id % 1000), None).await;
    }
    let listed = async |after: Option<u64>, limit| {
        let found = keeper.list(after.map(BlobId), limit).await.unwrap();
        found.into_iter().map(|id| id.0).collect::<Vec<_>>()
    };
    assert_eq!(listed(None, 10).await, ids);
    assert!(listed(None, 0).await.is_empty());
    assert_eq!(listed(Some(3), 2).await, [4095, 4096]);
    assert_eq!(listed(Some(5000), 10).await, [9000, 1 << 40]);
    assert!(listed(Some(1 << 40), 10).await.is_empty());
    keeper.link(BlobId(3), BlobId(7)).await.unwrap();
    for _ in 0..2 {
        keeper.remove(BlobId(3)).await.unwrap();
    }
    assert_eq!(get(keeper, 7, 3, 0..3, None).await.unwrap(), payload(3));
    let gone = get(keeper, 3, 3, 0..3, None).await;
    assert!(matches!(gone, Err(ReadError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound));
    let none = keeper.link(BlobId(3), BlobId(8)).await.unwrap_err();
    assert_eq!(none.kind(), std::io::ErrorKind::NotFound);
    let copy = tempfile::tempdir().unwrap();
    put(keeper, 10, &payload(2_000_000), Some(&key(1))).await;
    for id in [4096, 10] {
        keeper.copy_out(BlobId(id), copy.path()).await.unwrap();
    }
    let absent = keeper.copy_out(BlobId(3), copy.path()).await.unwrap_err();
    assert_eq!(absent.kind(), std::io::ErrorKind::NotFound);
    assert_eq!(std::fs::read_dir(copy.path()).unwrap().count(), 1, "blobs/, and nothing half done");
    let copied = LocalKeeper::open(copy.path()).unwrap();
    assert_eq!(get(&copied, 4096, 96, 0..96, None).await.unwrap(), payload(96));
    assert!(get(&copied, 10, 2_000_000, 0..2_000_000, Some(&key(1))).await.unwrap() == payload(2_000_000));
}

pub async fn many_writers_write_side_by_side(place: &impl Place) {
    let tasks: Vec<_> = (0..40u64)
        .map(|id| {
            let keeper = place.keeper();
            tokio::spawn(async move { put(&*keeper, id, &payload(70_000 + id), None).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let keeper = place.keeper();
    for id in 0..40 {
        assert_eq!(verify(&*keeper, BlobId(id), &mut Pace::unlimited()).await.unwrap(), 70_000 + id);
    }
}

pub async fn a_blob_of_many_pieces_reads_back_from_anywhere(place: &impl Place) {
    let keeper = &*place.keeper();
    // As many bytes as two parts of an upload, and as two and a bit.
    for (id, bytes) in [(1, (16 << 20) - 1156), (2, (20 << 20) + 4321)] {
        let all = payload(bytes);
        put(keeper, id, &all, Some(&key(3))).await;
        for range in [0..bytes, (8 << 20) - 5..(8 << 20) + 5, bytes - 1..bytes, 7_000_001..15_000_002] {
            let found = get(keeper, id, bytes, range.clone(), Some(&key(3))).await.unwrap();
            assert!(found == all[range.start as usize..range.end as usize], "{range:?}");
        }
        let to = BlobId(id + 100);
        keeper.link(BlobId(id), to).await.unwrap();
        assert_eq!(verify(keeper, to, &mut Pace::unlimited()).await.unwrap(), bytes);
    }
    assert_eq!(place.unfinished().await, 0);
}

pub async fn a_reader_may_stop_and_another_be_slow(place: &impl Place) {
    let keeper = &*place.keeper();
    let bytes = 4 << 20;
    let all = payload(bytes);
    put(keeper, 1, &all, None).await;
    let find = |_| None;
    let mut stopped = BlobReader::open(keeper, BlobId(1), bytes, 0..bytes, &find).await.unwrap();
    let first = stopped.next().await.unwrap().unwrap();
    assert!(first == all[..first.len()]);
    let mut slow = BlobReader::open(keeper, BlobId(1), bytes, 0..bytes, &find).await.unwrap();
    let mut found = slow.next().await.unwrap().unwrap().to_vec();
    drop(stopped);
    // One that gives up a piece in the middle goes on behind it.
    let blob = keeper.open(BlobId(1)).await.unwrap();
    blob.expect(0..bytes);
    drop(blob.read(0, BLOCK_BYTES, Buffer::new()));
    let piece = blob.read(BLOCK, BLOCK_BYTES, Buffer::new()).await.unwrap();
    assert!(*piece == all[BLOCK_BYTES..2 * BLOCK_BYTES]);
    while let Some(piece) = slow.next().await.unwrap() {
        found.extend_from_slice(&piece);
    }
    assert!(found == all);
}
