//! Random operations on the store and on a plain model of it: both must always show the same.

use crate::harness::*;
use futures_util::future::{BoxFuture, join_all};
use karri_walrus::store::objects::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

const KEYS: [&str; 9] = ["a", "a/1", "a/2", "a/b/3", "a0", "b//c", "b/é", "b/é/z", "c"];
const CASES: u32 = 24;
const SIZES: [usize; 4] = [0, 10, 3_000, 40_000];

#[derive(Debug, Clone)]
enum Op {
    Put { key: usize, size: usize, seed: usize },
    Delete { key: usize },
    DeleteVersion { key: usize, nth: usize },
    Tag { key: usize, nth: usize, tag: u8 },
}

#[derive(Debug, Clone)]
enum Step {
    /// Asked for at once, so that they share a transaction.
    Group(Vec<Op>),
    Versioning(bool),
    Reopen,
    Sweep,
    List {
        prefix: usize,
        delimiter: usize,
        limit: usize,
    },
}

const PREFIXES: [&str; 5] = ["", "a", "a/", "b/", "x"];
const DELIMITERS: [Option<&str>; 4] = [None, Some("/"), Some("//"), Some("é")];

#[derive(Debug, Clone)]
struct Version {
    id: VersionId,
    bytes: Option<Vec<u8>>,
    tag: Option<u8>,
}

#[derive(Debug, Default)]
struct Model {
    versioning: Option<bool>,
    /// Newest first.
    keys: BTreeMap<String, Vec<Version>>,
}

impl Model {
    /// Adds a version whose id the store has given.
    fn add(&mut self, key: &str, version: Version) {
        let versions = self.keys.entry(key.to_owned()).or_default();
        assert_eq!(version.id == VersionId::Null, self.versioning != Some(true));
        versions.retain(|old| old.id != VersionId::Null || version.id != VersionId::Null);
        versions.insert(0, version);
    }

    fn remove(&mut self, key: &str, id: VersionId) -> bool {
        let Some(versions) = self.keys.get_mut(key) else { return false };
        let before = versions.len();
        versions.retain(|version| version.id != id);
        versions.len() < before
    }

    fn live(&self) -> impl Iterator<Item = (&str, &Vec<u8>)> {
        self.keys.iter().filter_map(|(key, versions)| Some((&**key, versions.first()?.bytes.as_ref()?)))
    }

    fn version(&self, key: &str, nth: usize) -> Option<VersionId> {
        let versions = self.keys.get(key).filter(|versions| !versions.is_empty())?;
        Some(versions[nth % versions.len()].id)
    }
}

enum Done {
    Put(String, Vec<u8>, Arc<Object>),
    Deleted(String, Option<VersionId>, Deleted),
    Tagged(String, VersionId, u8, Result<(), ()>),
}

async fn prepare<'s>(
    store: &'s Store,
    bucket: BucketId,
    model: &Model,
    op: &Op,
) -> Option<BoxFuture<'s, Done>> {
    Some(match op {
        Op::Put { key, size, seed } => {
            let (key, bytes) = (KEYS[*key].to_owned(), pattern(SIZES[*size], *seed));
            let content = store.store(&bytes).await;
            Box::pin(async move {
                let put = new_object(bucket, &key, content, &bytes);
                let object = store.objects.object_put(put).await.unwrap();
                Done::Put(key, bytes, object)
            })
        }
        Op::Delete { key } => {
            let key = KEYS[*key].to_owned();
            Box::pin(async move { Done::Deleted(key.clone(), None, store.delete(bucket, &key, None).await) })
        }
        Op::DeleteVersion { key, nth } => {
            let key = KEYS[*key].to_owned();
            let id = model.version(&key, *nth)?;
            Box::pin(async move {
                Done::Deleted(key.clone(), Some(id), store.delete(bucket, &key, Some(id)).await)
            })
        }
        Op::Tag { key, nth, tag } => {
            let (key, tag) = (KEYS[*key].to_owned(), *tag);
            let id = model.version(&key, *nth)?;
            let change: ObjectChange = Arc::new(move |_, facts| {
                facts.tags = vec![("t".into(), tag.to_string())];
                Ok(())
            });
            Box::pin(async move {
                let done = store.objects.object_update(bucket, &key, Some(id), change).await;
                Done::Tagged(key, id, tag, done.map(drop).map_err(drop))
            })
        }
    })
}

fn apply(model: &mut Model, done: Done) {
    match done {
        Done::Put(key, bytes, object) => {
            model.add(&key, Version { id: object.version, bytes: Some(bytes), tag: None });
        }
        Done::Deleted(key, Some(id), deleted) => {
            assert_eq!(model.remove(&key, id), deleted.existed);
        }
        Done::Deleted(key, None, deleted) => {
            let existed = model.live().any(|(live, _)| live == key);
            assert_eq!(deleted.existed, existed);
            match model.versioning {
                None => drop(model.keys.remove(&key)),
                Some(_) => {
                    let id = deleted.version.unwrap();
                    model.add(&key, Version { id, bytes: None, tag: None });
                }
            }
        }
        Done::Tagged(key, id, tag, done) => {
            let versions = model.keys.entry(key).or_default();
            let found = versions.iter_mut().find(|version| version.id == id);
            assert_eq!(done.is_ok(), found.is_some());
            if let Some(version) = found {
                version.tag = Some(tag);
            }
        }
    }
}

/// Everything that can be fetched.
async fn compare(store: &Store, bucket: BucketId, model: &Model) {
    for key in KEYS {
        let versions = model.keys.get(key).map_or(&[][..], |versions| versions);
        let newest = store.get(bucket, key).await;
        match versions.first() {
            Some(Version { bytes: Some(bytes), .. }) => assert_eq!(&newest.unwrap(), bytes),
            first => {
                let expected = first.map(|version| version.id);
                assert!(matches!(newest, Err(StoreError::NoSuchKey { marker }) if marker == expected));
            }
        }
        for version in versions {
            let object = store.objects.object_fetch(bucket, key, Some(version.id)).await.unwrap();
            assert_eq!(object.is_marker, version.bytes.is_none());
            assert_eq!(
                object.facts.tags.first().map(|(_, tag)| tag.clone()),
                version.tag.map(|t| t.to_string())
            );
            if let Some(bytes) = &version.bytes {
                assert_eq!(&read(&store.objects, &object, 0..object.size, None).await.unwrap(), bytes);
            }
        }
    }
    let kept = model.keys.values().flatten().filter_map(|version| version.bytes.as_ref());
    let expected = Usage { versions: kept.clone().count() as u64, bytes: kept.map(|b| b.len() as u64).sum() };
    assert_eq!(store.objects.bucket_usage(bucket).await.unwrap(), expected);
}

/// What a key is shown as, and whether that is a common prefix.
fn roll<'k>(key: &'k str, prefix: &str, delimiter: Option<&str>) -> Option<(&'k str, bool)> {
    let below = key.strip_prefix(prefix)?;
    match delimiter.and_then(|delimiter| Some(below.find(delimiter)? + delimiter.len())) {
        Some(end) => Some((&key[..prefix.len() + end], true)),
        None => Some((key, false)),
    }
}

async fn compare_list(store: &Store, bucket: BucketId, model: &Model, query: ListQuery) {
    let delimiter = query.delimiter.as_deref();
    let shown = model.live().filter_map(|(key, _)| Some(roll(key, &query.prefix, delimiter)?.0));
    let mut expected: Vec<String> = shown.map(str::to_owned).collect();
    expected.dedup();
    let (mut found, mut query) = (Vec::new(), query);
    loop {
        let (keys, prefixes, next) = store.list(bucket, query.clone()).await;
        let mut page = [keys, prefixes].concat();
        page.sort();
        assert!(page.len() <= query.limit && (next.is_none() || page.len() == query.limit));
        found.extend(page);
        match next {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
    assert_eq!(found, expected);
}

/// A key with a version, whether it is the newest and whether it is a marker; or a common prefix.
type Shown = (String, Option<(VersionId, bool, bool)>);

async fn compare_versions(store: &Store, bucket: BucketId, model: &Model, query: ListQuery) {
    let mut expected: Vec<Shown> = Vec::new();
    for (key, versions) in model.keys.iter().filter(|(_, versions)| !versions.is_empty()) {
        match roll(key, &query.prefix, query.delimiter.as_deref()) {
            Some((_, false)) => expected.extend(
                versions
                    .iter()
                    .enumerate()
                    .map(|(n, version)| (key.clone(), Some((version.id, n == 0, version.bytes.is_none())))),
            ),
            Some((prefix, true)) => expected.push((prefix.to_owned(), None)),
            None => {}
        }
    }
    expected.dedup();
    let (prefix, delimiter, limit) = (query.prefix, query.delimiter, query.limit);
    let mut query = VersionQuery { prefix, delimiter, limit, ..VersionQuery::default() };
    let mut found = Vec::new();
    loop {
        let page = store.objects.version_list(bucket, &query).await.unwrap();
        let shown = page.entries.iter().map(|shown| {
            let facts = (shown.entry.version, shown.is_latest, shown.is_marker);
            (shown.entry.key.to_string(), Some(facts))
        });
        let mut items: Vec<_> = shown.chain(page.prefixes.into_iter().map(|prefix| (prefix, None))).collect();
        items.sort_by(|a, b| a.0.cmp(&b.0)); // stable: versions of a key stay in order
        assert!(items.len() <= limit);
        found.extend(items);
        let Some(next) = page.next else { break };
        query = VersionQuery { key_marker: Some(next.key), version_marker: next.version, ..query };
    }
    assert_eq!(found, expected);
}

async fn run(steps: Vec<Step>) {
    let mut store = Store::new().await;
    let bucket = store.bucket("b", Versioning::Off).await;
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Group(ops) => {
                let mut works = Vec::new();
                for op in &ops {
                    works.extend(prepare(&store, bucket, &model, op).await);
                }
                for done in join_all(works).await {
                    apply(&mut model, done);
                }
            }
            Step::Versioning(enabled) => {
                let versioning = if enabled { Versioning::Enabled } else { Versioning::Suspended };
                store.objects.bucket_versioning_put(bucket, versioning).await.unwrap();
                model.versioning = Some(enabled);
            }
            Step::Reopen => store = store.reopen().await,
            Step::Sweep => drop(store.objects.sweep().await.unwrap()),
            Step::List { prefix, delimiter, limit } => {
                let delimiter = DELIMITERS[delimiter].map(Into::into);
                let query = ListQuery { prefix: PREFIXES[prefix].into(), delimiter, after: None, limit };
                compare_list(&store, bucket, &model, query.clone()).await;
                compare_versions(&store, bucket, &model, query).await;
            }
        }
        compare(&store, bucket, &model).await;
    }
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => (0..KEYS.len(), 0..SIZES.len(), 0..1000usize).prop_map(|(key, size, seed)| Op::Put { key, size, seed }),
        2 => (0..KEYS.len()).prop_map(|key| Op::Delete { key }),
        2 => (0..KEYS.len(), 0..4usize).prop_map(|(key, nth)| Op::DeleteVersion { key, nth }),
        1 => (0..KEYS.len(), 0..4usize, any::<u8>()).prop_map(|(key, nth, tag)| Op::Tag { key, nth, tag }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(op(), 1..12).prop_map(Step::Group),
        1 => any::<bool>().prop_map(Step::Versioning),
        1 => Just(Step::Reopen),
        1 => Just(Step::Sweep),
        4 => (0..PREFIXES.len(), 0..DELIMITERS.len(), 1..6usize)
            .prop_map(|(prefix, delimiter, limit)| Step::List { prefix, delimiter, limit }),
    ]
}

fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let cases = cases.unwrap_or(CASES);
    ProptestConfig { cases, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_store_shows_what_the_model_shows(steps in prop::collection::vec(step(), 1..16)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}
