//! Blobs through the local engine: what goes in comes out, whatever is in the way is told, nothing is left.

use super::*;
use crate::store::keeper::buffer::BUFFER_BYTES;
use crate::store::keeper::format::{BLOCK_BYTES, FormatError, Layout};
use crate::store::keeper::pace::Pace;
use crate::store::keeper::read::{BlobReader, ReadError, verify};
use crate::store::keeper::seal::{CustomerKey, KEY_BYTES, WrappingKey};
use crate::store::keeper::write::BlobWriter;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use tempfile::TempDir;

const BLOCK: u64 = BLOCK_BYTES as u64;

fn keeper() -> (TempDir, LocalKeeper) {
    let directory = tempfile::tempdir().unwrap();
    let keeper = LocalKeeper::open(directory.path()).unwrap();
    (directory, keeper)
}

fn payload(bytes: u64) -> Vec<u8> {
    (0..bytes).map(|n| (n * 31 + n / 253) as u8).collect()
}

#[tokio::test]
async fn pieces_that_fit_and_pieces_that_do_not_make_the_same_blob() {
    let (_directory, keeper) = keeper();
    let all = payload(13 * BLOCK + 5);
    let turns: [&[usize]; 4] =
        [&[BUFFER_BYTES], &[BUFFER_BYTES, 1, BUFFER_BYTES - 1], &[7, BUFFER_BYTES], &[BUFFER_BYTES - 1]];
    for (n, sizes) in turns.into_iter().enumerate() {
        for (sealed, key) in [None, Some(key(7))].into_iter().enumerate() {
            let id = (n * 2 + sealed) as u64;
            put_pieces(&keeper, id, &all, sizes, key.as_ref()).await;
            let found = get(&keeper, id, all.len() as u64, 0..all.len() as u64, key.as_ref()).await.unwrap();
            assert!(found == all, "{sizes:?} {sealed}");
        }
    }
}

fn key(byte: u8) -> WrappingKey {
    CustomerKey::new([byte; KEY_BYTES]).wrapping().clone()
}

async fn put(keeper: &LocalKeeper, id: u64, bytes: &[u8], key: Option<&WrappingKey>) {
    let mut writer = BlobWriter::create(keeper, BlobId(id), None, key).await.unwrap();
    for chunk in bytes.chunks(100_000) {
        writer.write(chunk).await.unwrap();
    }
    assert_eq!(writer.finish().await.unwrap(), bytes.len() as u64);
}

/// As pieces of these sizes, by turns.
async fn put_pieces(keeper: &LocalKeeper, id: u64, bytes: &[u8], sizes: &[usize], key: Option<&WrappingKey>) {
    let mut writer = BlobWriter::create(keeper, BlobId(id), None, key).await.unwrap();
    let (mut rest, mut sizes) = (bytes, sizes.iter().cycle());
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
        writer.write_piece(bytes::Bytes::copy_from_slice(piece)).await.unwrap();
        rest = later;
    }
    assert_eq!(writer.finish().await.unwrap(), bytes.len() as u64);
}

async fn get(
    keeper: &LocalKeeper,
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

#[tokio::test]
async fn payloads_of_every_edge_read_back_whole_and_in_ranges() {
    let (_directory, keeper) = keeper();
    let edges = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 4 * BLOCK - 1, 4 * BLOCK, 4 * BLOCK + 1, 20 * BLOCK + 7];
    for (n, bytes) in edges.into_iter().enumerate() {
        for (sealed, key) in [None, Some(key(7))].into_iter().enumerate() {
            let id = (n * 2 + sealed) as u64;
            let all = payload(bytes);
            put(&keeper, id, &all, key.as_ref()).await;
            let file = std::fs::metadata(keeper.directories.path(BlobId(id))).unwrap().len();
            assert_eq!(file, Layout { payload_bytes: bytes, sealed: key.is_some() }.blob_bytes());
            let cuts = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK, bytes.saturating_sub(1), bytes];
            for from in cuts.into_iter().filter(|cut| *cut <= bytes) {
                for to in cuts.into_iter().filter(|cut| (from..=bytes).contains(cut)) {
                    let found = get(&keeper, id, bytes, from..to, key.as_ref()).await.unwrap();
                    assert!(found == all[from as usize..to as usize], "{bytes} {from}..{to}");
                }
            }
            assert_eq!(verify(&keeper, BlobId(id), &mut Pace::unlimited()).await.unwrap(), bytes);
        }
    }
}

#[tokio::test]
async fn an_encrypted_blob_shows_nothing_and_opens_with_its_key_only() {
    let (_directory, keeper) = keeper();
    let all = vec![b'a'; 100_000];
    put(&keeper, 1, &all, Some(&key(1))).await;
    let file = std::fs::read(keeper.directories.path(BlobId(1))).unwrap();
    assert!(!file.windows(8).any(|window| window == b"aaaaaaaa"));
    let wrong = get(&keeper, 1, 100_000, 0..10, Some(&key(2))).await;
    assert!(matches!(wrong, Err(ReadError::Key(_))));
    assert!(matches!(get(&keeper, 1, 100_000, 0..10, None).await, Err(ReadError::Key(_))));
}

#[tokio::test]
async fn a_flipped_bit_anywhere_is_told_and_other_blocks_are_still_read() {
    let (_directory, keeper) = keeper();
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
        put(&keeper, at, &payload(bytes), None).await;
        let file = File::options().read(true).write(true).open(keeper.directories.path(BlobId(at))).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 4], at).unwrap();
        assert!(
            matches!(verify(&keeper, BlobId(at), &mut Pace::unlimited()).await, Err(ReadError::Format(_))),
            "{at}"
        );
        let whole = get(&keeper, at, bytes, 0..bytes, None).await;
        assert!(matches!(whole, Err(ReadError::Format(_))), "{at}");
    }
    assert!(get(&keeper, 0, bytes, BLOCK..bytes, None).await.is_ok());
    let shorter = get(&keeper, 0, bytes - 1, 0..1, None).await;
    assert!(matches!(shorter, Err(ReadError::Format(FormatError::Length))));
    let path = keeper.directories.path(BlobId(0));
    File::options().write(true).open(path).unwrap().set_len(BLOCK).unwrap();
    assert!(matches!(
        verify(&keeper, BlobId(0), &mut Pace::unlimited()).await,
        Err(ReadError::Format(FormatError::Trailer))
    ));
}

#[tokio::test]
async fn a_dropped_writer_and_a_crash_leave_nothing() {
    let (directory, keeper) = keeper();
    let mut writer = BlobWriter::create(&keeper, BlobId(5), None, None).await.unwrap();
    writer.write(&payload(1 << 20)).await.unwrap();
    let incoming = directory.path().join("incoming");
    assert_eq!(std::fs::read_dir(&incoming).unwrap().count(), 1);
    drop(writer);
    for _ in 0..200 {
        if std::fs::read_dir(&incoming).unwrap().count() == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(std::fs::read_dir(&incoming).unwrap().count(), 0);
    std::fs::write(incoming.join("0000000000000001"), "torn").unwrap();
    LocalKeeper::open(directory.path()).unwrap();
    assert_eq!(std::fs::read_dir(&incoming).unwrap().count(), 0);
    assert_eq!(keeper.newest().await.unwrap(), None);
}

#[tokio::test]
async fn blobs_are_listed_linked_copied_out_and_removed() {
    let (directory, keeper) = keeper();
    let ids = [3, 4095, 4096, 9000, 1 << 40];
    for id in ids {
        put(&keeper, id, &payload(10), None).await;
    }
    let listed = |after: Option<u64>, limit| {
        let keeper = keeper.clone();
        async move {
            let found = keeper.list(after.map(BlobId), limit).await.unwrap();
            found.into_iter().map(|id| id.0).collect::<Vec<_>>()
        }
    };
    assert_eq!(listed(None, 10).await, ids);
    assert_eq!(listed(Some(3), 2).await, [4095, 4096]);
    assert_eq!(keeper.newest().await.unwrap(), Some(BlobId(1 << 40)));
    keeper.link(BlobId(3), BlobId(7)).await.unwrap();
    keeper.remove(BlobId(3)).await.unwrap();
    keeper.remove(BlobId(3)).await.unwrap();
    assert_eq!(get(&keeper, 7, 10, 0..10, None).await.unwrap(), payload(10));
    keeper.remove(BlobId(9000)).await.unwrap();
    assert!(!directory.path().join("blobs/0000000000002").exists(), "an empty directory is removed");
    let copy = tempfile::tempdir().unwrap();
    keeper.copy_out(BlobId(4096), copy.path()).await.unwrap();
    let copied = LocalKeeper::open(copy.path()).unwrap();
    assert_eq!(get(&copied, 4096, 10, 0..10, None).await.unwrap(), payload(10));
    assert!(get(&keeper, 3, 10, 0..10, None).await.is_err());
}

#[tokio::test]
async fn a_blob_that_has_all_links_that_it_may_have_is_copied() {
    let (directory, keeper) = keeper();
    put(&keeper, 1, &payload(100_000), None).await;
    for (number, errno) in
        [(2, rustix::io::Errno::MLINK), (3, rustix::io::Errno::XDEV), (4, rustix::io::Errno::PERM)]
    {
        let hard_link = match errno {
            rustix::io::Errno::MLINK => |_: &Path, _: &Path| Err(rustix::io::Errno::MLINK.into()),
            rustix::io::Errno::XDEV => |_: &Path, _: &Path| Err(rustix::io::Errno::XDEV.into()),
            _ => |_: &Path, _: &Path| Err(rustix::io::Errno::PERM.into()),
        };
        let keeper = LocalKeeper { hard_link, ..keeper.clone() };
        keeper.link(BlobId(1), BlobId(number)).await.unwrap();
        assert_eq!(get(&keeper, number, 100_000, 0..100_000, None).await.unwrap(), payload(100_000));
    }
    assert_eq!(std::fs::read_dir(directory.path().join("incoming")).unwrap().count(), 0);
    let none = LocalKeeper { hard_link: |_, _| Err(rustix::io::Errno::IO.into()), ..keeper };
    assert!(none.link(BlobId(1), BlobId(5)).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_share_directories() {
    let (_directory, keeper) = keeper();
    let tasks: Vec<_> = (0..40u64)
        .map(|id| {
            let keeper = keeper.clone();
            tokio::spawn(async move { put(&keeper, id, &payload(70_000 + id), None).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    for id in 0..40 {
        assert_eq!(verify(&keeper, BlobId(id), &mut Pace::unlimited()).await.unwrap(), 70_000 + id);
    }
}
