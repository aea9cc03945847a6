//! Uploads in parts.

use crate::harness::*;
use karri_walrus::store::keeper::seal::Seal;
use karri_walrus::store::objects::*;
use std::sync::Arc;

async fn create(store: &Store, bucket: BucketId, key: &str) -> Upload {
    let new = NewUpload {
        bucket,
        key: key.into(),
        owner: OWNER.into(),
        initiator: OWNER.into(),
        seal: Seal::Plain,
        facts: Facts { content_type: Some("x/y".into()), ..Facts::default() },
    };
    store.objects.upload_create(new).await.unwrap()
}

async fn put(store: &Store, upload: &Upload, number: u16, bytes: &[u8]) -> Result<Part, StoreError> {
    let content = store.store(bytes).await;
    put_stored(store, upload, number, content, bytes).await
}

async fn put_stored(
    store: &Store,
    upload: &Upload,
    number: u16,
    content: Stored,
    bytes: &[u8],
) -> Result<Part, StoreError> {
    let put = PartPut {
        bucket: upload.bucket,
        key: upload.key.clone(),
        upload: upload.id,
        number,
        etag: etag_of(bytes),
        content,
        checksums: Vec::new(),
    };
    store.objects.part_put(put).await
}

fn complete(upload: &Upload, numbers: &[u16]) -> UploadComplete {
    let numbers = numbers.to_vec();
    UploadComplete {
        bucket: upload.bucket,
        key: upload.key.clone(),
        upload: upload.id,
        assemble: Arc::new(move |upload, parts| {
            let have: Vec<u16> = parts.iter().map(|part| part.number).collect();
            if !numbers.iter().all(|number| have.contains(number)) {
                return Err(Refusal::new(std::io::Error::other("InvalidPart")));
            }
            let parts = numbers.iter().map(|number| AssembledPart { number: *number, checksum: None });
            Ok(Assembly {
                parts: parts.collect(),
                etag: ETag { md5: [1; 16], parts: numbers.len() as u16 },
                facts: upload.facts.clone(),
            })
        }),
        check: None,
        tell: None,
    }
}

#[tokio::test]
async fn parts_become_an_object_without_the_parts_that_were_not_chosen() {
    let store = Store::new().await;
    let bucket = store.bucket("b", Versioning::Off).await;
    let upload = create(&store, bucket, "k").await;
    let (one, two, three) = (pattern(100_000, 1), pattern(70_000, 2), pattern(100, 3));
    for (number, bytes) in [(1, &two), (1, &one), (3, &two), (7, &three), (9, &one)] {
        put(&store, &upload, number, bytes).await.unwrap();
    }
    let (parts, more) = store.objects.part_list(&upload, 1, 2).await.unwrap();
    assert_eq!(parts.iter().map(|part| part.number).collect::<Vec<_>>(), [3, 7]);
    assert!(more);
    let wrong = store.objects.upload_complete(complete(&upload, &[1, 2])).await;
    assert!(matches!(wrong, Err(StoreError::Refused(_))));

    let done = store.objects.upload_complete(complete(&upload, &[1, 3, 7])).await.unwrap();
    assert!(!done.again);
    let whole = [&one[..], &two, &three].concat();
    assert_eq!(store.get(bucket, "k").await.unwrap(), whole);
    let object = store.objects.object_fetch(bucket, "k", None).await.unwrap();
    assert_eq!((object.etag.parts, object.size), (3, whole.len() as u64));
    assert_eq!(object.facts.content_type.as_deref(), Some("x/y"));
    for range in [0..1, 99_999..100_001, 169_990..170_050, 50_000..170_100, 100_000..170_000] {
        let part = read(&store.objects, &object, range.clone(), None).await.unwrap();
        assert_eq!(part, whole[range.start as usize..range.end as usize]);
    }
    let parts = store.objects.object_parts(&object).await.unwrap();
    let shown: Vec<_> = parts.iter().map(|part| (part.number, part.offset, part.size)).collect();
    assert_eq!(shown, [(1, 0, 100_000), (3, 100_000, 70_000), (7, 170_000, 100)]);

    let again = store.objects.upload_complete(complete(&upload, &[1, 3, 7])).await.unwrap();
    assert!(again.again && again.object.etag == object.etag && again.object.seq == object.seq);
    assert!(matches!(put(&store, &upload, 1, b"late").await, Err(StoreError::NoSuchUpload)));
    let fetched = store.objects.upload_fetch(bucket, "k", upload.id).await;
    assert!(matches!(fetched, Err(StoreError::NoSuchUpload)));
    assert_eq!(sweep(&store).await, 2, "a part that was replaced, and one that was not chosen");
    let store = store.reopen().await;
    assert_eq!(store.get(bucket, "k").await.unwrap(), whole);
    store.delete(bucket, "k", None).await;
    drop(object);
    assert_eq!(sweep(&store).await, 2);
    assert_eq!(blobs(&store), 0);
}

/// Until nothing is left to do; how many blobs were removed.
async fn sweep(store: &Store) -> usize {
    let mut blobs = 0;
    loop {
        let swept = store.objects.sweep().await.unwrap();
        blobs += swept.blobs;
        if swept.blobs + swept.manifests == 0 {
            return blobs;
        }
    }
}

fn blobs(store: &Store) -> usize {
    let directories = std::fs::read_dir(store.dir.path().join("blobs")).unwrap();
    directories.map(|directory| std::fs::read_dir(directory.unwrap().path()).unwrap().count()).sum()
}

#[tokio::test]
async fn copies_share_their_blob_with_the_source_as_objects_and_as_parts() {
    let store = Store::new().await;
    let bucket = store.bucket("b", Versioning::Off).await;
    let whole = pattern(200_000, 1);
    store.put(bucket, "k", &whole).await;
    let source = store.objects.object_fetch(bucket, "k", None).await.unwrap();
    let share = async || store.objects.content_share(&source).await.unwrap().unwrap();
    let copy = store.objects.object_put(new_object(bucket, "copy", share().await, &whole)).await.unwrap();
    assert_eq!(store.objects.object_parts(&copy).await.unwrap(), []);

    let upload = create(&store, bucket, "big").await;
    for number in [1, 2] {
        put_stored(&store, &upload, number, share().await, &whole).await.unwrap();
    }
    put(&store, &upload, 3, b"end").await.unwrap();
    store.objects.upload_complete(complete(&upload, &[1, 2, 3])).await.unwrap();
    store.delete(bucket, "k", None).await;
    drop(source);
    assert_eq!(sweep(&store).await, 1);
    assert_eq!(store.get(bucket, "copy").await.unwrap(), whole);
    assert_eq!(store.get(bucket, "big").await.unwrap(), [&whole[..], &whole, b"end"].concat());
    let big = store.objects.object_fetch(bucket, "big", None).await.unwrap();
    let parts = store.objects.object_parts(&big).await.unwrap();
    let places: Vec<_> = parts.iter().map(|part| (part.number, part.offset, part.size)).collect();
    assert_eq!(places, [(1, 0, 200_000), (2, 200_000, 200_000), (3, 400_000, 3)]);
    assert!(store.objects.content_share(&big).await.unwrap().is_none(), "a copy of it would be in no parts");
    drop((big, copy));
    store.delete(bucket, "big", None).await;
    store.delete(bucket, "copy", None).await;
    sweep(&store).await;
    assert_eq!(blobs(&store), 0);
}

#[tokio::test]
async fn uploads_are_listed_scanned_and_given_up() {
    let store = Store::new().await;
    let bucket = store.bucket("b", Versioning::Off).await;
    let mut uploads = Vec::new();
    for key in ["a", "a", "b/1", "b/2", "c"] {
        uploads.push(create(&store, bucket, key).await);
    }
    let list = |query: UploadQuery| {
        let objects = store.objects.clone();
        async move { objects.upload_list(bucket, &query).await.unwrap() }
    };
    let all = list(UploadQuery { limit: 10, ..UploadQuery::default() }).await;
    assert_eq!(all.entries, uploads);
    let rolled = UploadQuery { delimiter: Some("/".into()), limit: 3, ..UploadQuery::default() };
    let page = list(rolled.clone()).await;
    assert_eq!((page.entries.len(), &page.prefixes[..]), (2, &["b/".to_owned()][..]));
    let page = list(UploadQuery { key_marker: page.next.map(|next| next.key), ..rolled }).await;
    assert_eq!((page.entries, page.next), (vec![uploads[4].clone()], None));
    let first = list(UploadQuery { limit: 1, ..UploadQuery::default() }).await;
    let next = first.next.unwrap();
    let query = UploadQuery {
        key_marker: Some(next.key),
        upload_marker: next.upload,
        limit: 1,
        ..UploadQuery::default()
    };
    assert_eq!(list(query).await.entries, [uploads[1].clone()]);

    let scan = store.objects.upload_scan(bucket, "", i64::MAX, Some(&uploads[0]), 2).await.unwrap();
    assert_eq!(scan, uploads[1..3]);
    assert_eq!(store.objects.upload_scan(bucket, "b/", 0, None, 9).await.unwrap(), []);
    put(&store, &uploads[2], 1, &pattern(100_000, 1)).await.unwrap();
    put(&store, &uploads[2], 2, b"small").await.unwrap();
    assert!(matches!(store.objects.bucket_delete(bucket).await, Err(StoreError::BucketNotEmpty)));
    for upload in &uploads {
        store.objects.upload_abort(bucket, &upload.key, upload.id).await.unwrap();
    }
    let gone = store.objects.upload_abort(bucket, "c", uploads[4].id).await;
    assert!(matches!(gone, Err(StoreError::NoSuchUpload)));
    assert_eq!(sweep(&store).await, 1);
    store.objects.bucket_delete(bucket).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn completing_while_parts_come_is_one_or_the_other() {
    let store = Arc::new(Store::new().await);
    let bucket = store.bucket("b", Versioning::Off).await;
    for round in 0..20 {
        let upload = create(&store, bucket, "k").await;
        put(&store, &upload, 1, &pattern(1000, round)).await.unwrap();
        let (other, late) = (store.clone(), upload.clone());
        let putting = tokio::spawn(async move { put(&other, &late, 1, &pattern(1000, round + 100)).await });
        let (a, b) = tokio::join!(
            store.objects.upload_complete(complete(&upload, &[1])),
            store.objects.upload_complete(complete(&upload, &[1]))
        );
        assert_ne!(a.unwrap().again, b.unwrap().again);
        let replaced = putting.await.unwrap().is_ok();
        let seed = if replaced { round + 100 } else { round };
        assert_eq!(store.get(bucket, "k").await.unwrap(), pattern(1000, seed));
    }
}

/// An object of one part.
pub async fn put_together(store: &Store, bucket: BucketId, key: &str) {
    let upload = create(store, bucket, key).await;
    put(store, &upload, 1, &pattern(100, 1)).await.unwrap();
    store.objects.upload_complete(complete(&upload, &[1])).await.unwrap();
}

#[tokio::test]
async fn slow_readers_of_many_objects_do_not_keep_the_space_of_others() {
    let store = Store::new().await;
    let bucket = store.bucket("b", Versioning::Off).await;
    let mut held = Vec::new();
    for n in 0..20 {
        let key = format!("held{n}");
        put_together(&store, bucket, &key).await;
        held.push(store.objects.object_fetch(bucket, &key, None).await.unwrap());
        store.delete(bucket, &key, None).await;
    }
    put_together(&store, bucket, "free").await;
    store.delete(bucket, "free", None).await;
    let swept = store.objects.sweep().await.unwrap();
    assert_eq!((swept.manifests, swept.held), (1, 20));
    drop(held);
    assert_eq!(store.objects.sweep().await.unwrap().manifests, 20);
}
