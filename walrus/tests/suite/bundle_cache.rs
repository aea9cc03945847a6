//! A bundle's image is made once, told about while it is made, let go when nobody waits, and found again.

use crate::bundler::{Draft, Source};
use crate::bundles::{Store, unsigned};
use crate::harness::{Server, caller, disk, eventually};
use karri_proto::internal::Role;
use karri_proto::internal::error::ApiErrorKind;
use karri_walrus::app::bundle::{PartError, PartSource, PartStream, Progress, cache};
use karri_walrus::app::import::{For, ImportError};
use karri_walrus::store::bundles::BundleName;
use karri_walrus::store::holds::Hold;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

#[tokio::test]
async fn an_image_is_made_once_and_again_when_its_manifest_changes() {
    let store = Store::new();
    let bundle = Draft::of(&disk(1)).seal();
    let source = Source::of(&bundle);
    let ask = async |manifest: &str, hold| {
        store
            .image_of(manifest, source.clone(), "a", hold)
            .await
            .map(|made| (made.image.blob.digest, made.cached))
    };
    let (two, three) = tokio::join!(ask(&bundle.manifest, Hold::Cached), ask(&bundle.manifest, Hold::Cached));
    let (two, three) = (two.unwrap(), three.unwrap());
    assert_eq!((two.0.clone(), two.1 ^ three.1), (three.0.clone(), true), "who comes second waits");
    assert_eq!(source.asked(), bundle.parts.len());

    let overwritten = unsigned(&bundle, "<name>disk.img</name>", "<name>b</name>");
    assert_eq!(ask(&overwritten.manifest, Hold::Cached).await.unwrap(), (two.0.clone(), false));
    let name = BundleName { bucket: "images".into(), key: "a".into() };
    store.bundles.forget(&name).await.unwrap();
    assert_eq!(store.blobs.blob_list(), vec![], "a copy goes with its manifest");
    assert_eq!(ask(&bundle.manifest, Hold::Registered).await.unwrap(), (two.0.clone(), false));
    store.bundles.forget(&name).await.unwrap();
    assert_eq!(store.blobs.blob_info(&two.0).unwrap().hold, Hold::Registered, "an image stays");
    let forged = bundle.manifest.replace("<user>1", "<user>2");
    assert!(ask(&forged, Hold::Cached).await.is_err(), "the signature is checked each time");
}

#[tokio::test]
async fn a_bundle_larger_than_the_cache_is_there_for_who_asked_and_goes_when_it_is_let_go() {
    let store = Store::with_cache(1000);
    let (bundle, other) = (Draft::of(&disk(2)).seal(), Draft::of(&disk(1)).seal());
    let source = Source::of(&bundle);
    let ask = async |hold| store.image_of(&bundle.manifest, source.clone(), "a", hold).await.unwrap();
    let made = ask(Hold::Cached).await;
    let digest = made.image.blob.digest;
    assert!(
        made.image.blob.bytes > 1000 && store.blobs.blob_info(&digest).is_some(),
        "who asked holds it next"
    );
    assert!(ask(Hold::Registered).await.cached);
    store.image_of(&other.manifest, Source::of(&other), "b", Hold::Cached).await.unwrap();
    assert!(store.blobs.blob_info(&digest).is_some(), "an image is on it");
    store.bundles.release(&digest).unwrap();
    assert!(store.blobs.blob_info(&digest).is_none(), "as a copy it has no room");
    let asked = source.asked();
    assert!(!ask(Hold::Registered).await.cached, "it is made once more");
    assert_eq!(source.asked(), 2 * asked);
}

#[tokio::test]
async fn progress_is_told_in_bytes_of_the_bundle() {
    let store = Store::new();
    let bundle = Draft::of(&disk(2)).seal();
    let told = Arc::new(Mutex::new(Vec::new()));
    let progress: Progress = {
        let told = told.clone();
        Arc::new(move |done, all| told.lock().unwrap().push((done, all)))
    };
    let name = BundleName { bucket: "b".into(), key: "k".into() };
    let manifest = bundle.manifest.as_bytes();
    let asked = cache::Bundle { name: &name, etag: "e", manifest, certificates: &store.certificates };
    store
        .bundles
        .image(asked, Source::of(&bundle), Hold::Cached, progress, For::job("1", "req-7"))
        .await
        .unwrap();
    let all: u64 = bundle.parts.values().map(|part| part.len() as u64).sum();
    let told = told.lock().unwrap();
    assert!(told.is_sorted() && told.iter().all(|(_, of)| *of == all));
    assert_eq!(told.last(), Some(&(all, all)));
}

#[tokio::test]
async fn a_copy_that_may_go_is_nothing_to_register_an_image_on() {
    let server = Server::start().await;
    let bytes = disk(1);
    let kept = server.import(bytes.clone()).await.unwrap().blob.digest;
    let info = server.state_dir.join("blobs").join(&kept.hex()[..2]).join(format!("{}.json", kept.hex()));
    let text = std::fs::read_to_string(&info).unwrap();
    assert!(text.contains("\"hold\":\"imported\""), "{text}");
    std::fs::write(&info, text.replace("\"imported\"", "\"cached\"")).unwrap();
    let server = server.restart().await;
    let client = server.client(Role::Clc);
    assert_eq!(client.blob_info(&caller(), &kept).await.unwrap_err().kind, ApiErrorKind::NotFound);
    assert_eq!(server.read(&kept).await, bytes, "whoever has it in use can read it");
    server.import(bytes).await.unwrap();
    assert_eq!(client.blob_info(&caller(), &kept).await.unwrap().blob.digest, kept, "now somebody wants it");
}

/// Gives a first piece and then nothing; counts those that are still held.
struct Stuck(Arc<AtomicU64>);

#[async_trait::async_trait]
impl PartSource for Stuck {
    async fn part(&self, _: &str) -> Result<PartStream, PartError> {
        use futures_util::StreamExt;
        let (held, guard) = (self.0.clone(), Held(self.0.clone()));
        held.fetch_add(1, Ordering::SeqCst);
        let first = futures_util::stream::iter([Ok(vec![7; 1000].into())]);
        Ok(Box::pin(first.chain(futures_util::stream::pending()).inspect(move |_| {
            let _ = &guard; // held as long as the stream
        })))
    }
}

struct Held(Arc<AtomicU64>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn when_the_caller_goes_away_all_stages_end() {
    let store = Store::new();
    let bundle = Draft::of(&disk(1)).seal();
    let held = Arc::new(AtomicU64::new(0));
    {
        let asking = store.image_of(&bundle.manifest, Arc::new(Stuck(held.clone())), "a", Hold::Cached);
        let gone = tokio::time::timeout(std::time::Duration::from_millis(300), asking).await;
        assert!(gone.is_err());
    }
    eventually("the source is let go", || held.load(Ordering::SeqCst) == 0).await;
    eventually("nothing is left of the import", || {
        std::fs::read_dir(store.state.path().join("incoming")).unwrap().count() == 0
    })
    .await;
    assert!(store.image(&bundle).await.is_ok(), "and the next one is served");
}

#[tokio::test]
async fn an_image_that_is_larger_than_may_be_imported_is_refused_before_it_is_fetched() {
    let store = Store::new();
    let bundle = unsigned(&Draft::of(&disk(1)).seal(), "<size>1048576", "<size>99999999999999");
    let source = Source::of(&bundle);
    let error = store.image_of(&bundle.manifest, source.clone(), "a", Hold::Cached).await.unwrap_err();
    assert!(matches!(error, ImportError::TooLarge(_)), "{error}");
    assert_eq!(source.asked(), 0);
}
