//! Linearizability: clients put, get, list and delete a few keys at once, over HTTP and with conditions, while the
//! store sweeps and scrubs beneath them. What they saw is then checked, key by key.
//!
//! `KARRI_LINEAR_SECONDS` makes it longer, `KARRI_LINEAR_SEED` repeats the choices (not the timing).

mod checker;

use crate::harness::{Answer, Server, server};
use checker::{Did, Matched, Op, Value, check};
use karri_walrus::store::objects::HousekeepingConfig;
use proptest::test_runner::{RngAlgorithm, TestRng};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const SECONDS: u64 = 4;
const CLIENTS: usize = 6;
/// Of the second, versions are kept.
const BUCKETS: [&str; 2] = ["plain", "versioned"];
const KEYS: [&str; 2] = ["a", "b/c"];
/// In a row, in a row of another page size, in a file, in a file of two pieces.
const SIZES: [usize; 4] = [60, 20_000, 40_000, 300_000];
/// Of a history that fails, what is told before the violation.
const TOLD_BEFORE: usize = 24;

type Key = (&'static str, &'static str);

/// An operation as its client saw it; values by their entity tags, whose number may not be known yet.
struct Seen {
    key: Key,
    op: Op,
    /// Of what was read or expected.
    etag: Option<String>,
}

struct World {
    server: Server,
    began: Instant,
    values: AtomicU32,
}

impl World {
    fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    fn next_value(&self) -> u32 {
        self.values.fetch_add(1, Ordering::Relaxed)
    }
}

/// The bytes of a value; its number is in them.
fn body(value: u32) -> Vec<u8> {
    let size = SIZES[value as usize % SIZES.len()];
    let line = format!("value {value}\n");
    line.bytes().cycle().take(size).collect()
}

fn value_of(body: &[u8]) -> u32 {
    let end = body.iter().position(|byte| *byte == b'\n').unwrap();
    std::str::from_utf8(&body[6..end]).unwrap().parse().unwrap()
}

/// A client, with the entity tags that it knows.
struct Client {
    number: usize,
    world: Arc<World>,
    rng: TestRng,
    known: HashMap<Key, (u32, String)>,
    seen: Vec<Seen>,
}

fn pick<T: Copy>(rng: &mut TestRng, from: &[T]) -> T {
    use proptest::prelude::Rng;
    from[rng.next_u32() as usize % from.len()]
}

impl Client {
    async fn run(mut self, until: Duration) -> Vec<Seen> {
        while self.world.began.elapsed() < until {
            let key = (pick(&mut self.rng, &BUCKETS), pick(&mut self.rng, &KEYS));
            match pick(&mut self.rng, &[0, 0, 0, 1, 1, 2, 2, 3, 4, 5]) {
                0 => self.get(key).await,
                1 => self.put(key).await,
                2 => self.put_if_match(key).await,
                3 => self.put_if_absent(key).await,
                4 => self.delete(key).await,
                _ => self.list(key.0).await,
            }
        }
        self.seen
    }

    async fn call(
        &self,
        method: &str,
        (bucket, key): Key,
        body: &[u8],
        header: Option<(&str, &str)>,
    ) -> (Answer, Op) {
        let path = format!("/{bucket}/{key}");
        let mut call = self.world.server.call(method, &path).body(body);
        if let Some((name, value)) = header {
            call = call.header(name, value);
        }
        let called_ns = self.world.now();
        let answer = call.send().await;
        (answer, self.op(called_ns))
    }

    /// One that ends now; what it did is filled in.
    fn op(&self, called_ns: u64) -> Op {
        Op { client: self.number, called_ns, returned_ns: Some(self.world.now()), did: Did::Delete }
    }

    fn saw(&mut self, key: Key, op: Op, did: Did, etag: Option<String>) {
        self.seen.push(Seen { key, op: Op { did, ..op }, etag });
    }

    async fn get(&mut self, key: Key) {
        let (answer, op) = self.call("GET", key, b"", None).await;
        let value = match answer.status {
            200 => {
                let value = value_of(&answer.body);
                assert!(answer.body == body(value), "not the bytes of value {value}");
                self.known.insert(key, (value, answer.header("etag").to_owned()));
                Some(value)
            }
            404 => None,
            other => panic!("GET: {other} {}", answer.text()),
        };
        self.saw(key, op, Did::Read(value), value.map(|_| answer.header("etag").to_owned()));
    }

    /// A PUT that was taken.
    fn taken(&mut self, key: Key, op: Op, did: Did, value: u32, answer: &Answer) {
        let etag = answer.header("etag").to_owned();
        self.known.insert(key, (value, etag.clone()));
        self.saw(key, op, did, Some(etag));
    }

    async fn put(&mut self, key: Key) {
        let value = self.world.next_value();
        let (answer, op) = self.call("PUT", key, &body(value), None).await;
        assert_eq!(answer.status, 200, "PUT: {}", answer.text());
        self.taken(key, op, Did::Put(value), value, &answer);
    }

    async fn put_if_absent(&mut self, key: Key) {
        let value = self.world.next_value();
        let (answer, op) = self.call("PUT", key, &body(value), Some(("if-none-match", "*"))).await;
        match answer.status {
            200 => self.taken(key, op, Did::PutIfAbsent(value, true), value, &answer),
            412 => self.saw(key, op, Did::PutIfAbsent(value, false), None),
            other => panic!("PUT if absent: {other} {}", answer.text()),
        }
    }

    async fn put_if_match(&mut self, key: Key) {
        let Some((expected, etag)) = self.known.get(&key).cloned() else { return };
        let put = self.world.next_value();
        let (answer, op) = self.call("PUT", key, &body(put), Some(("if-match", &etag))).await;
        let did = |answer| Did::PutIfMatch { put, expected, answer };
        match answer.status {
            200 => self.taken(key, op, did(Matched::Taken), put, &answer),
            412 => self.saw(key, op, did(Matched::Another), None),
            404 => self.saw(key, op, did(Matched::Absent), None),
            other => panic!("PUT if match: {other} {}", answer.text()),
        }
    }

    async fn delete(&mut self, key: Key) {
        let (answer, op) = self.call("DELETE", key, b"", None).await;
        assert_eq!(answer.status, 204, "DELETE: {}", answer.text());
        self.saw(key, op, Did::Delete, None);
    }

    /// One read of every key.
    async fn list(&mut self, bucket: &'static str) {
        let called_ns = self.world.now();
        let answer = self.world.server.get(&format!("/{bucket}?list-type=2")).await;
        let op = self.op(called_ns);
        assert_eq!(answer.status, 200, "list: {}", answer.text());
        let text = answer.text();
        let told: HashMap<&str, &str> = text
            .split("<Contents>")
            .skip(1)
            .map(|entry| (between(entry, "<Key>", "</Key>"), between(entry, "<ETag>", "</ETag>")))
            .collect();
        for key in KEYS {
            let etag = told.get(key).map(|etag| etag.replace("&quot;", "\""));
            // The value is known when all have told theirs.
            self.saw((bucket, key), op, Did::Read(None), etag);
        }
    }
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    text.split_once(from).and_then(|(_, rest)| rest.split_once(to)).unwrap().0
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

/// Which value each entity tag is of.
fn tags(seen: &[Seen]) -> HashMap<String, u32> {
    let of = |did| match did {
        Did::Put(value) | Did::PutIfAbsent(value, true) => Some(value),
        Did::PutIfMatch { put, answer: Matched::Taken, .. } => Some(put),
        _ => None,
    };
    seen.iter().filter_map(|one| Some((one.etag.clone()?, of(one.op.did)?))).collect()
}

/// The histories of each key, with every read's value.
fn histories(seen: Vec<Seen>) -> HashMap<Key, Vec<Op>> {
    let tags = tags(&seen);
    let mut histories: HashMap<Key, Vec<Op>> = HashMap::new();
    for Seen { key, mut op, etag } in seen {
        if let Did::Read(value) = op.did {
            let told: Value =
                etag.map(|etag| *tags.get(&etag).unwrap_or_else(|| panic!("nobody put {etag}")));
            assert!(value.is_none() || value == told, "{value:?} with the entity tag of {told:?}");
            op.did = Did::Read(told);
        }
        histories.entry(key).or_default().push(op);
    }
    histories.values_mut().for_each(|history| history.sort_by_key(|op| op.called_ns));
    histories
}

fn assert_linearizable(key: Key, history: &[Op], seed: u64) {
    let Err(violation) = check(history) else { return };
    let from = violation.op.saturating_sub(TOLD_BEFORE);
    let told: Vec<String> = history[from..=violation.op].iter().map(|op| format!("{op:?}")).collect();
    panic!("{key:?} is not linearizable, KARRI_LINEAR_SEED={seed}; the last cannot be:\n{}", told.join("\n"));
}

type Is = fn(&Did) -> bool;

/// What proves nothing must not pass: every kind of answer was given, and operations did overlap.
fn assert_contended(histories: &HashMap<Key, Vec<Op>>) {
    let all = || histories.values().flatten();
    let kinds: [(&str, Is); 9] = [
        ("read of nothing", |did| matches!(did, Did::Read(None))),
        ("read of a value", |did| matches!(did, Did::Read(Some(_)))),
        ("put", |did| matches!(did, Did::Put(_))),
        ("delete", |did| matches!(did, Did::Delete)),
        ("put because absent", |did| matches!(did, Did::PutIfAbsent(_, true))),
        ("refused since present", |did| matches!(did, Did::PutIfAbsent(_, false))),
        ("put because it matched", |did| matches!(did, Did::PutIfMatch { answer: Matched::Taken, .. })),
        ("refused as another", |did| matches!(did, Did::PutIfMatch { answer: Matched::Another, .. })),
        ("refused as absent", |did| matches!(did, Did::PutIfMatch { answer: Matched::Absent, .. })),
    ];
    for (name, is) in kinds {
        assert!(all().any(|op| is(&op.did)), "no {name} among {} operations", all().count());
    }
    let overlap = |two: &[Op]| two[0].client != two[1].client && two[0].returned_ns > Some(two[1].called_ns);
    let overlapping =
        histories.values().flat_map(|history| history.windows(2)).filter(|two| overlap(two)).count();
    println!("{} operations, {overlapping} of them in each other's time", all().count());
    assert!(overlapping * 10 > all().count(), "{overlapping} of {} overlap", all().count());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_is_a_register() {
    let seed = number("KARRI_LINEAR_SEED", u64::from(std::process::id()));
    let until = Duration::from_secs(number("KARRI_LINEAR_SECONDS", SECONDS));
    let server = server().await;
    for bucket in BUCKETS {
        server.bucket(bucket).await;
    }
    server.keep_versions("versioned").await;
    let _house = server.s3.objects.keep_house(HousekeepingConfig::default());
    let world = Arc::new(World { server, began: Instant::now(), values: AtomicU32::new(1) });
    let clients = (0..CLIENTS).map(|number| {
        let mut bytes = [number as u8; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let (world, known, seen) = (world.clone(), HashMap::new(), Vec::new());
        tokio::spawn(Client { number, world, rng, known, seen }.run(until))
    });
    let mut seen = Vec::new();
    for client in clients.collect::<Vec<_>>() {
        seen.extend(client.await.unwrap());
    }
    let histories = histories(seen);
    assert_eq!(histories.len(), BUCKETS.len() * KEYS.len());
    assert_contended(&histories);
    for (key, history) in histories {
        assert_linearizable(key, &history, seed);
    }
}
