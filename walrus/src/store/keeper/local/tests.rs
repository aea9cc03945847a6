//! The local engine: what every engine must do, and what only files do.

use super::*;
use crate::store::keeper::conformance::{Place, conforms, get, payload, put};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use std::io::ErrorKind;
use tempfile::TempDir;

fn keeper() -> (TempDir, LocalKeeper) {
    let directory = tempfile::tempdir().unwrap();
    let keeper = LocalKeeper::open(directory.path()).unwrap();
    (directory, keeper)
}

struct Files(TempDir, LocalKeeper);

impl Place for Files {
    fn keeper(&self) -> Arc<dyn Keeper> {
        Arc::new(self.1.clone())
    }

    fn raw(&self, id: BlobId) -> BoxFuture<'_, Option<Vec<u8>>> {
        async move { fs::read(self.1.directories.path(id)).ok() }.boxed()
    }

    fn replace(&self, id: BlobId, bytes: Vec<u8>) -> BoxFuture<'_, ()> {
        async move { fs::write(self.1.directories.path(id), bytes).unwrap() }.boxed()
    }

    fn unfinished(&self) -> BoxFuture<'_, usize> {
        async move { fs::read_dir(self.0.path().join("incoming")).unwrap().count() }.boxed()
    }
}

conforms!(async {
    let (directory, keeper) = keeper();
    Files(directory, keeper)
});

#[tokio::test]
async fn a_crash_leaves_nothing_and_an_empty_directory_goes() {
    let (directory, keeper) = keeper();
    let incoming = directory.path().join("incoming");
    fs::write(incoming.join("0000000000000001"), "torn").unwrap();
    LocalKeeper::open(directory.path()).unwrap();
    assert_eq!(fs::read_dir(&incoming).unwrap().count(), 0);
    assert_eq!(keeper.newest().await.unwrap(), None);
    for id in [9000, 1 << 40] {
        put(&keeper, id, &payload(10), None).await;
    }
    assert_eq!(keeper.newest().await.unwrap(), Some(BlobId(1 << 40)));
    keeper.remove(BlobId(9000)).await.unwrap();
    assert!(!directory.path().join("blobs/0000000000002").exists(), "an empty directory is removed");
}

#[tokio::test]
async fn a_store_whose_blobs_were_moved_elsewhere_is_not_opened_without_them() {
    let (_directory, keeper) = keeper();
    let moved = StoreFacts { mark: 7, has_blobs: true };
    let refused = keeper.begin(moved).await.unwrap_err();
    assert!(
        refused.kind() == ErrorKind::Other && refused.to_string().starts_with("store.backend"),
        "{refused}"
    );
    for facts in [StoreFacts { mark: 0, ..moved }, StoreFacts { has_blobs: false, ..moved }] {
        keeper.begin(facts).await.unwrap();
    }
    put(&keeper, 1, &payload(10), None).await;
    keeper.begin(moved).await.unwrap();
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
