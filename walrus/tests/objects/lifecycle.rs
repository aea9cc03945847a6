//! Rounds of the lifecycle rules, at times that the test says.

use crate::harness::*;
use karri_walrus::app::s3::expiry::{Calendar, LIFECYCLE};
use karri_walrus::reconcile::lifecycle::{Round, round};
use karri_walrus::store::objects::*;

const DAY_MS: UnixMs = 10_000;

async fn rules(store: &Store, bucket: BucketId, inner: &str) {
    let rule = format!("<Rule><ID>r</ID><Status>Enabled</Status>{inner}</Rule>");
    let text = format!("<LifecycleConfiguration>{rule}</LifecycleConfiguration>");
    store.objects.bucket_setting_put(bucket, LIFECYCLE, text).await.unwrap();
}

/// A round so many days from now.
async fn after_days(store: &Store, days: UnixMs) -> Round {
    let now = now_unix_ms() + days * DAY_MS;
    round(&store.objects, Calendar::with_day_secs(10), now).await.unwrap()
}

async fn versions(store: &Store, bucket: BucketId) -> usize {
    let query = VersionQuery { limit: 100, ..VersionQuery::default() };
    store.objects.version_list(bucket, &query).await.unwrap().entries.len()
}

#[tokio::test]
async fn a_key_expires_when_its_days_are_over() {
    let store = Store::new().await;
    let bucket = store.bucket("b", Versioning::Off).await;
    rules(&store, bucket, "<Filter><Prefix>old/</Prefix></Filter><Expiration><Days>2</Days></Expiration>")
        .await;
    store.put(bucket, "old/k", b"x").await;
    store.put(bucket, "new/k", b"x").await;
    assert_eq!(after_days(&store, 1).await, Round::default());
    assert_eq!(after_days(&store, 3).await, Round { expired: 1, ..Round::default() });
    assert_eq!(after_days(&store, 3).await, Round::default(), "once is enough");
    assert!(store.get(bucket, "old/k").await.is_err());
    assert!(store.get(bucket, "new/k").await.is_ok());
}

#[tokio::test]
async fn old_versions_go_and_then_the_marker_that_hid_them() {
    let store = Store::new().await;
    let bucket = store.bucket("b", Versioning::Enabled).await;
    rules(
        &store,
        bucket,
        "<Prefix/><Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>\
         <NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>",
    )
    .await;
    store.put(bucket, "k", b"1").await;
    store.put(bucket, "k", b"2").await;
    store.delete(bucket, "k", None).await;
    assert_eq!(after_days(&store, 0).await, Round::default());
    assert_eq!(after_days(&store, 2).await, Round { versions: 2, ..Round::default() });
    assert_eq!(versions(&store, bucket).await, 1);
    assert_eq!(after_days(&store, 2).await, Round { versions: 1, ..Round::default() });
    assert_eq!(versions(&store, bucket).await, 0);
}

#[tokio::test]
async fn an_expired_key_keeps_its_versions_and_so_many_of_the_newest_old_ones_stay() {
    let store = Store::new().await;
    let bucket = store.bucket("b", Versioning::Enabled).await;
    for body in [b"1", b"2", b"3", b"4", b"5"] {
        store.put(bucket, "k", body).await;
    }
    rules(
        &store,
        bucket,
        "<Prefix/><NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays>\
         <NewerNoncurrentVersions>3</NewerNoncurrentVersions></NoncurrentVersionExpiration>",
    )
    .await;
    assert_eq!(after_days(&store, 2).await.versions, 1);
    assert_eq!((versions(&store, bucket).await, store.get(bucket, "k").await.unwrap()), (4, b"5".to_vec()));
    rules(&store, bucket, "<Prefix/><Expiration><Days>1</Days></Expiration>").await;
    assert_eq!(after_days(&store, 2).await, Round { expired: 1, ..Round::default() });
    assert_eq!(versions(&store, bucket).await, 5, "a delete marker more");
    assert!(store.get(bucket, "k").await.is_err());
}

#[tokio::test]
async fn a_lock_is_stronger_than_a_rule() {
    let store = Store::new().await;
    let bucket = store.bucket("b", Versioning::Enabled).await;
    let held = store.put(bucket, "k", b"1").await;
    let hold = std::sync::Arc::new(|_: &Object, facts: &mut Facts| {
        facts.legal_hold = true;
        Ok(())
    });
    store.objects.object_update(bucket, "k", Some(held.version), hold).await.unwrap();
    store.put(bucket, "k", b"2").await;
    rules(
        &store,
        bucket,
        "<Prefix/><NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>",
    )
    .await;
    assert_eq!(after_days(&store, 2).await, Round::default());
    assert_eq!(versions(&store, bucket).await, 2);
}

#[tokio::test]
async fn an_upload_that_nobody_finishes_is_given_up() {
    let store = Store::new().await;
    let bucket = store.bucket("b", Versioning::Off).await;
    for key in ["tmp/k", "k"] {
        let new = NewUpload {
            bucket,
            key: key.into(),
            owner: OWNER.into(),
            initiator: OWNER.into(),
            seal: karri_walrus::store::keeper::seal::Seal::Plain,
            facts: Facts::default(),
        };
        store.objects.upload_create(new).await.unwrap();
    }
    let abort = "<AbortIncompleteMultipartUpload><DaysAfterInitiation>2</DaysAfterInitiation>";
    rules(&store, bucket, &format!("<Prefix>tmp/</Prefix>{abort}</AbortIncompleteMultipartUpload>")).await;
    assert_eq!(after_days(&store, 1).await, Round::default());
    assert_eq!(after_days(&store, 3).await, Round { uploads: 1, ..Round::default() });
    assert_eq!(after_days(&store, 3).await, Round::default());
}

#[tokio::test]
async fn rules_that_cannot_be_read_stop_their_bucket_only() {
    let store = Store::new().await;
    let (broken, fine) = (store.bucket("a", Versioning::Off).await, store.bucket("b", Versioning::Off).await);
    store.objects.bucket_setting_put(broken, LIFECYCLE, "<x/>".to_owned()).await.unwrap();
    rules(&store, fine, "<Prefix/><Expiration><Days>1</Days></Expiration>").await;
    store.put(fine, "k", b"x").await;
    assert_eq!(after_days(&store, 2).await, Round { expired: 1, failed: 1, ..Round::default() });
}
