//! Each operation by itself.

use crate::harness::*;
use karri_walrus::store::keeper::seal::{CustomerKey, MasterKeys, Seal, SealWith};
use karri_walrus::store::objects::*;
use std::sync::Arc;

#[tokio::test]
async fn objects_of_every_size_read_back_before_and_after_a_restart() {
    let store = Store::new().await;
    let bucket = store.bucket("b", Versioning::Off).await;
    let sizes = [0, 1, INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1, 1 << 20];
    for size in sizes {
        let object = store.put(bucket, &format!("k{size}"), &pattern(size, 1)).await;
        assert_eq!((object.version, object.size), (VersionId::Null, size as u64));
    }
    let store = store.reopen().await;
    for size in sizes {
        for _ in 0..2 {
            assert_eq!(store.get(bucket, &format!("k{size}")).await.unwrap(), pattern(size, 1));
        }
    }
    let object = store.objects.object_fetch(bucket, "k1048576", None).await.unwrap();
    let part = read(&store.objects, &object, 70_000..400_000, None).await.unwrap();
    assert_eq!(part, pattern(1 << 20, 1)[70_000..400_000]);
    let usage = store.objects.bucket_usage(bucket).await.unwrap();
    assert_eq!(usage, Usage { versions: 5, bytes: sizes.iter().sum::<usize>() as u64 });
}

#[tokio::test]
async fn buckets_are_made_found_changed_listed_and_deleted() {
    let store = Store::new().await;
    let objects = &store.objects;
    assert!(matches!(objects.bucket_fetch("b").await, Err(StoreError::NoSuchBucket)));
    let id = store.bucket("b", Versioning::Off).await;
    let again = NewBucket {
        name: "b".into(),
        owner: "x".into(),
        region: "y".into(),
        object_lock: false,
        settings: vec![],
    };
    let exists = objects.bucket_create(again).await;
    assert!(matches!(exists, Err(StoreError::BucketExists(owned)) if &*owned.owner == OWNER));

    objects.bucket_setting_put(id, "policy", "{}".into()).await.unwrap();
    let bucket = objects.bucket_fetch("b").await.unwrap();
    assert_eq!(bucket.setting("policy").map(|p| &**p), Some("{}"));
    let parse = |text: &str| Ok::<_, ()>(text.len());
    let one = bucket.parsed("policy", parse).unwrap().unwrap();
    let two =
        bucket.parsed("policy", |_| -> Result<usize, ()> { panic!("parsed already") }).unwrap().unwrap();
    assert!(Arc::ptr_eq(&one, &two));
    objects.bucket_setting_put(id, "policy", "{1}".into()).await.unwrap();
    objects.bucket_setting_delete(id, "cors").await.unwrap();
    assert_eq!(*objects.bucket_fetch("b").await.unwrap().parsed("policy", parse).unwrap().unwrap(), 3);

    for name in ["a", "c", "d"] {
        store.bucket(name, Versioning::Off).await;
    }
    let query = BucketQuery { owner: Some(OWNER.into()), limit: 3, ..BucketQuery::default() };
    let page = objects.bucket_list(&query).await.unwrap();
    let names: Vec<&str> = page.buckets.iter().map(|bucket| &*bucket.name).collect();
    assert_eq!((names, page.next.as_deref()), (vec!["a", "b", "c"], Some("c")));
    let rest = objects.bucket_list(&BucketQuery { after: page.next, ..query }).await.unwrap();
    assert_eq!((rest.buckets.len(), rest.next), (1, None));
    let none = BucketQuery { prefix: "x".into(), limit: 3, ..BucketQuery::default() };
    assert_eq!(objects.bucket_list(&none).await.unwrap().buckets.len(), 0);

    let store = store.reopen().await;
    assert_eq!(store.objects.bucket_fetch("b").await.unwrap().setting("policy").map(|p| &**p), Some("{1}"));
    store.put(id, "k", b"x").await;
    assert!(matches!(store.objects.bucket_delete(id).await, Err(StoreError::BucketNotEmpty)));
    store.delete(id, "k", None).await;
    store.objects.bucket_delete(id).await.unwrap();
    assert!(matches!(store.objects.bucket_fetch("b").await, Err(StoreError::NoSuchBucket)));
    assert!(matches!(store.objects.bucket_delete(id).await, Err(StoreError::NoSuchBucket)));
    let gone = store.objects.object_put(new_object(id, "k", Stored::empty(), b"")).await;
    assert!(matches!(gone, Err(StoreError::NoSuchBucket)));
    assert_ne!(store.bucket("b", Versioning::Off).await, id, "an id is not used twice");
}

#[tokio::test]
async fn versions_come_and_go() {
    let store = Store::new().await;
    let bucket = store.bucket("b", Versioning::Enabled).await;
    let one = store.put(bucket, "k", b"one").await.version;
    let two = store.put(bucket, "k", b"two").await.version;
    assert_ne!(one, two);
    assert_eq!(store.get(bucket, "k").await.unwrap(), b"two");
    assert_eq!(store.get_version(bucket, "k", Some(one)).await.unwrap(), b"one");
    let deleted = store.delete(bucket, "k", None).await;
    assert!(deleted.marker && deleted.existed);
    let gone = store.get(bucket, "k").await;
    assert!(matches!(gone, Err(StoreError::NoSuchKey { marker }) if marker == deleted.version));
    let marker = store.objects.object_fetch(bucket, "k", deleted.version).await.unwrap();
    assert!(marker.is_marker);
    store.delete(bucket, "k", Some(two)).await;
    assert!(store.get(bucket, "k").await.is_err(), "the marker is still the newest");
    let removed = store.delete(bucket, "k", deleted.version).await;
    assert!(removed.marker);
    assert_eq!(store.get(bucket, "k").await.unwrap(), b"one");
    assert!(!store.delete(bucket, "k", Some(two)).await.existed);
    store.objects.bucket_versioning_put(bucket, Versioning::Suspended).await.unwrap();
    assert_eq!(store.put(bucket, "k", b"null").await.version, VersionId::Null);
    assert_eq!(store.put(bucket, "k", b"null 2").await.version, VersionId::Null);
    assert_eq!(store.get_version(bucket, "k", Some(one)).await.unwrap(), b"one");
    let marker = store.delete(bucket, "k", None).await;
    assert_eq!((marker.version, marker.marker), (Some(VersionId::Null), true));
    store.delete(bucket, "k", Some(VersionId::Null)).await;
    assert_eq!(store.get(bucket, "k").await.unwrap(), b"one");
    store.delete(bucket, "k", Some(one)).await;
    assert!(matches!(store.get(bucket, "k").await, Err(StoreError::NoSuchKey { marker: None })));
    store.objects.bucket_delete(bucket).await.unwrap();
}

fn refuse() -> Refusal {
    Refusal::new(std::io::Error::other("no"))
}

#[tokio::test]
async fn a_check_sees_what_is_there_and_refuses_without_a_trace() {
    let store = Store::new().await;
    let bucket = store.bucket("b", Versioning::Off).await;
    let if_absent: Check =
        Arc::new(|existing| if existing.current.is_some() { Err(refuse()) } else { Ok(()) });
    let put = |bytes: &'static [u8]| {
        let (store, check) = (&store, if_absent.clone());
        async move {
            let content = store.store(bytes).await;
            let put = ObjectPut { check: Some(check), ..new_object(bucket, "k", content, bytes) };
            store.objects.object_put(put).await
        }
    };
    put(b"one").await.unwrap();
    assert!(matches!(put(b"two").await, Err(StoreError::Refused(_))));
    assert_eq!(store.get(bucket, "k").await.unwrap(), b"one");
    let check: Check = Arc::new(|existing| if existing.target.is_some() { Err(refuse()) } else { Ok(()) });
    let locked = ObjectDelete { check: Some(check), ..delete("k", None) };
    assert!(matches!(store.objects.object_delete(bucket, locked).await, Err(StoreError::Refused(_))));
    assert!(store.get(bucket, "k").await.is_ok());

    let many = (0..20).map(|_| put(b"race"));
    store.delete(bucket, "k", None).await;
    let won = futures_util::future::join_all(many).await.into_iter().filter(Result::is_ok).count();
    assert_eq!(won, 1);
}

#[tokio::test]
async fn what_belongs_together_is_there_at_once_or_not_at_all() {
    let store = Store::new().await;
    let bucket = store.bucket("b", Versioning::Enabled).await;
    let bytes = [b"small".to_vec(), pattern(100_000, 3), Vec::new()];
    let puts = async |check: Option<Check>| {
        let mut puts = Vec::new();
        for (key, bytes) in ["part.0", "part.1", "whole"].into_iter().zip(&bytes) {
            puts.push(new_object(bucket, key, store.store(bytes).await, bytes));
        }
        puts[1].check = check;
        store.objects.objects_put(puts).await
    };
    let refused: Check = Arc::new(|_| Err(refuse()));
    assert!(puts(Some(refused)).await.is_err());
    let keys = async || store.list(bucket, ListQuery { limit: 9, ..ListQuery::default() }).await.0;
    assert_eq!(keys().await, [""; 0]);
    let there = puts(None).await.unwrap();
    assert!(there.iter().map(|object| object.seq).is_sorted(), "in the order that was asked for");
    assert_eq!(keys().await, ["part.0", "part.1", "whole"]);
    for (object, bytes) in there.iter().zip(&bytes) {
        assert_eq!(store.get_version(bucket, &object.key, Some(object.version)).await.unwrap(), *bytes);
    }
}

#[tokio::test]
async fn facts_change_without_the_bytes() {
    let store = Store::new().await;
    let bucket = store.bucket("b", Versioning::Enabled).await;
    let big = pattern(100_000, 3);
    let old = store.put(bucket, "k", &big).await;
    store.put(bucket, "k", b"new").await;
    let change: ObjectChange = Arc::new(|_, facts| {
        facts.tags = vec![("a".into(), "b".into())];
        Ok(())
    });
    for version in [None, Some(old.version)] {
        store.objects.object_update(bucket, "k", version, change.clone()).await.unwrap();
        let object = store.objects.object_fetch(bucket, "k", version).await.unwrap();
        assert_eq!(object.facts.tags, [("a".to_owned(), "b".to_owned())]);
    }
    assert_eq!(store.get(bucket, "k").await.unwrap(), b"new");
    assert_eq!(store.get_version(bucket, "k", Some(old.version)).await.unwrap(), big);
    let no = store.objects.object_update(bucket, "x", None, change.clone()).await;
    assert!(matches!(no, Err(StoreError::NoSuchKey { .. })));
    let no = store.objects.object_update(bucket, "k", Some(VersionId::Seq(7)), change).await;
    assert!(matches!(no, Err(StoreError::NoSuchVersion)));
}

#[tokio::test]
async fn listings_roll_up_and_go_on() {
    let store = Store::new().await;
    let bucket = store.bucket("b", Versioning::Off).await;
    for key in ["a", "b/1", "b/2", "b/c/3", "c", "d/1", "e"] {
        store.put(bucket, key, b"x").await;
    }
    let query = |prefix: &str, after: Option<&str>, limit| ListQuery {
        prefix: prefix.into(),
        delimiter: Some("/".into()),
        after: after.map(Into::into),
        limit,
    };
    let all = store.list(bucket, query("", None, 100)).await;
    assert_eq!(all, (vec!["a".into(), "c".into(), "e".into()], vec!["b/".into(), "d/".into()], None));
    let first = store.list(bucket, query("", None, 2)).await;
    assert_eq!(first, (vec!["a".into()], vec!["b/".into()], Some("b/".into())));
    let second = store.list(bucket, query("", Some("b/"), 2)).await;
    assert_eq!(second, (vec!["c".into()], vec!["d/".into()], Some("d/".into())));
    let inner = store.list(bucket, query("b/", None, 100)).await;
    assert_eq!(inner, (vec!["b/1".into(), "b/2".into()], vec!["b/c/".into()], None));
    let flat = ListQuery { limit: 3, ..ListQuery::default() };
    let flat = store.list(bucket, flat).await;
    assert_eq!(flat, (vec!["a".into(), "b/1".into(), "b/2".into()], vec![], Some("b/2".into())));
    assert_eq!(store.list(bucket, query("", None, 0)).await, (vec![], vec![], None));
}

#[tokio::test]
async fn bytes_are_sealed_shared_and_opened() {
    let dir = tempfile::tempdir().unwrap();
    let config = ObjectsConfig { master_keys: MasterKeys::of(&[(1, [7; 32])]), ..config(dir.path()) };
    let store = Store { objects: open(config).await.unwrap(), dir };
    let bucket = store.bucket("b", Versioning::Off).await;
    let customer = CustomerKey::new([9; 32]);
    for (seal, key) in [(SealWith::Master, None), (SealWith::Customer(customer.clone()), Some(&customer))] {
        for size in [1000, 200_000] {
            let bytes = pattern(size, 5);
            let content = store.store_sealed(&bytes, seal.clone()).await;
            let object = store.objects.object_put(new_object(bucket, "k", content, &bytes)).await.unwrap();
            assert_eq!(object.seal, seal.seal());
            let object = store.objects.object_fetch(bucket, "k", None).await.unwrap();
            assert_eq!(read(&store.objects, &object, 10..900, key).await.unwrap(), bytes[10..900]);
            if object.seal == Seal::Customer {
                let wrong = CustomerKey::new([1; 32]);
                let wrong = read(&store.objects, &object, 0..10, Some(&wrong)).await;
                assert!(matches!(wrong, Err(StoreError::WrongKey)));
            }
            let shared = store.objects.content_share(&object).await.unwrap().unwrap();
            store.objects.object_put(new_object(bucket, "copy", shared, &bytes)).await.unwrap();
            store.delete(bucket, "k", None).await;
            let copy = store.objects.object_fetch(bucket, "copy", None).await.unwrap();
            assert_eq!(read(&store.objects, &copy, 0..size as u64, key).await.unwrap(), bytes);
        }
    }
}

#[tokio::test]
async fn bytes_under_a_named_key_open_under_that_name() {
    let dir = tempfile::tempdir().unwrap();
    let config = ObjectsConfig { master_keys: MasterKeys::of(&[(1, [7; 32])]), ..config(dir.path()) };
    let store = Store { objects: open(config).await.unwrap(), dir };
    let bucket = store.bucket("b", Versioning::Off).await;
    for size in [1000, 200_000] {
        for (name, opens) in [("a", true), ("b", false)] {
            let bytes = pattern(size, 5);
            let content = store.store_sealed(&bytes, SealWith::Named("a".into())).await;
            let mut put = new_object(bucket, "k", content, &bytes);
            put.facts.key_name = Some(name.to_owned());
            store.objects.object_put(put).await.unwrap();
            let object = store.objects.object_fetch(bucket, "k", None).await.unwrap();
            let got = read(&store.objects, &object, 0..size as u64, None).await;
            assert_eq!(got.ok(), opens.then_some(bytes), "{name} {size}");
        }
    }
}

#[tokio::test]
async fn a_reader_keeps_the_bytes_that_it_began_with() {
    let store = Store::new().await;
    let bucket = store.bucket("b", Versioning::Off).await;
    let old = store.put(bucket, "k", &pattern(900_000, 1)).await;
    store.put(bucket, "k", &pattern(900_000, 2)).await;
    store.delete(bucket, "k", None).await;
    let bytes = read(&store.objects, &old, 0..900_000, None).await.unwrap();
    assert_eq!(bytes, pattern(900_000, 1));
}
