//! Walrus is killed under 32 clients that use S3 in every way that changes something, at random moments, round
//! after round on one store. Whatever was answered is there afterwards, bit for bit, what was not answered is
//! there whole or not at all, lists agree, and a check finds nothing. `KARRI_CRASH_ROUNDS` makes it longer.

use crate::faults::Process;
use crate::harness::{DEADLINE, files};
use futures_util::future::join_all;
use karri_proto::internal::Role;
use karri_walrus::offline;
use karri_walrus::store::keeper::local::LocalKeeper;
use karri_walrus::store::objects::{NewBucket, Objects, ObjectsConfig, Versioning};
use rand::Rng as _;
use reqwest::{Client, Method};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const CLIENTS: usize = 32;
const KEYS_PER_CLIENT: usize = 3;
const ROUNDS: usize = 20;
const BUCKETS: [&str; 2] = ["plain", "kept"];

/// What a key holds: the number that its content is made from, or nothing.
type State = Option<usize>;

/// A key of a client's own, so that what it does there has an order.
#[derive(Debug, Default, Clone)]
struct Known {
    acknowledged: State,
    /// Asked for and not answered.
    pending: Option<State>,
    /// What versions were answered, and in which round.
    versions: BTreeMap<String, (usize, usize)>,
}

fn content(number: usize) -> Vec<u8> {
    let size = match number % 8 {
        0 => 40_000 + number % 200_000,
        1 => 0,
        _ => number % 20_000,
    };
    (0..size).map(|n| ((n + number) * 31 + n / 251) as u8).collect()
}

/// One client in one round: what it does, one thing after the other, until nobody answers.
struct Worker {
    http: Client,
    url: String,
    id: usize,
    round: usize,
    known: BTreeMap<String, Known>,
}

impl Worker {
    async fn work(mut self) -> Self {
        let from = rand::thread_rng().gen_range(0..100_000);
        for n in from.. {
            let number = (self.round * 1_000_000 + n) * CLIENTS + self.id;
            let bucket = BUCKETS[n % BUCKETS.len()];
            let path = format!("{bucket}/client{}/{}", self.id, n / BUCKETS.len() % KEYS_PER_CLIENT);
            if self.one(&path, n, number).await.is_none() {
                return self;
            }
        }
        self
    }

    /// Nothing when there was no answer.
    async fn one(&mut self, path: &str, n: usize, number: usize) -> Option<()> {
        let known = self.known.entry(path.to_owned()).or_default();
        match n / 7 % 5 {
            0 | 1 => {
                known.pending = Some(Some(number));
                let sse: &[(&str, &str)] = if n.is_multiple_of(3) { &[SSE] } else { &[] };
                let version = self.send(Method::PUT, path, sse, content(number)).await?.0;
                self.written(path, number, version);
            }
            2 => {
                known.pending = Some(None);
                self.send(Method::DELETE, path, &[], Vec::new()).await?;
                let known = self.known.entry(path.to_owned()).or_default();
                (known.acknowledged, known.pending) = (None, None);
            }
            3 => {
                known.pending = Some(Some(number));
                self.in_parts(path, number).await?;
            }
            _ => self.copy(path).await?,
        }
        Some(())
    }

    fn written(&mut self, path: &str, number: usize, version: String) {
        let known = self.known.entry(path.to_owned()).or_default();
        (known.acknowledged, known.pending) = (Some(number), None);
        if !version.is_empty() {
            known.versions.insert(version, (number, self.round));
        }
    }

    async fn in_parts(&mut self, path: &str, number: usize) -> Option<()> {
        let id = element(
            &self.send(Method::POST, &format!("{path}?uploads"), &[], Vec::new()).await?.1,
            "UploadId",
        );
        let part = format!("{path}?partNumber=1&uploadId={id}");
        let etag = self.send(Method::PUT, &part, &[], content(number)).await?.2;
        let list = format!(
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>\
             </CompleteMultipartUpload>"
        );
        let whole = format!("{path}?uploadId={id}");
        let version = self.send(Method::POST, &whole, &[], list.into_bytes()).await?.0;
        self.written(path, number, version);
        Some(())
    }

    /// Another of the client's objects, over this one.
    async fn copy(&mut self, path: &str) -> Option<()> {
        let source = self.known.iter().find(|(other, known)| *other != path && known.acknowledged.is_some());
        let Some((source, number)) = source.map(|(source, known)| (source.clone(), known.acknowledged))
        else {
            return Some(());
        };
        self.known.entry(path.to_owned()).or_default().pending = Some(number);
        let header = [("x-amz-copy-source", &*format!("/{source}"))];
        let version = self.send(Method::PUT, path, &header, Vec::new()).await?.0;
        self.written(path, number?, version);
        Some(())
    }

    /// The version, the document and the entity tag of a good answer; nothing when none came.
    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Option<(String, String, String)> {
        let request = self.http.request(method.clone(), format!("{}/{path}", self.url));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let answer = request.header("content-length", body.len()).body(body).send().await.ok()?;
        let header = |name: &str| {
            answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
        };
        let (status, version, etag) = (answer.status(), header("x-amz-version-id"), header("etag"));
        let text = answer.text().await.ok()?;
        assert!(status.is_success(), "{method} {path}: {status} {text}");
        Some((version, text, etag))
    }
}

const SSE: (&str, &str) = ("x-amz-server-side-encryption", "AES256");

/// The text of the first element of that name.
fn element(text: &str, name: &str) -> String {
    let rest = text.split_once(&format!("<{name}>")).map(|(_, rest)| rest).unwrap_or_default();
    rest.split("</").next().unwrap_or_default().to_owned()
}

fn elements(text: &str, name: &str) -> Vec<String> {
    let open = format!("<{name}>");
    let rest = text.split(&open).skip(1);
    rest.map(|rest| rest.split("</").next().unwrap_or_default().to_owned()).collect()
}

/// Two buckets that everybody may do everything with, so that nothing need be signed.
async fn make_buckets(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    let keeper = Arc::new(LocalKeeper::open(dir).unwrap());
    let objects = Objects::open(ObjectsConfig::new(dir), keeper, Arc::default()).await.unwrap();
    for name in BUCKETS {
        let policy = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":"*","Action":"s3:*",
            "Resource":["arn:aws:s3:::{name}","arn:aws:s3:::{name}/*"]}}]}}"#
        );
        let new = NewBucket {
            name: name.into(),
            owner: "111122223333".into(),
            region: "karri-1".into(),
            object_lock: false,
            settings: vec![("policy".to_owned(), policy)],
        };
        let bucket = objects.bucket_create(new).await.unwrap();
        if name == "kept" {
            objects.bucket_versioning_put(bucket.id, Versioning::Enabled).await.unwrap();
        }
    }
    objects.close().await;
}

const SECTION: &str = r#"
[s3]
listen = "127.0.0.1:0"
region = "karri-1"
credentials_file = "CLOUD/credentials.toml"
key_file = "CLOUD/keys/s3.keys"
cloud_key_file = "CLOUD/keys/cloud-pk.pem"
cloud_certificate_file = "CLOUD/keys/cloud-cert.pem"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_survives_a_kill_under_32_clients() {
    // Another test may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let rounds = std::env::var("KARRI_CRASH_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let cloud = tempfile::tempdir().unwrap();
    let state = cloud.path().join("state");
    std::fs::write(cloud.path().join("credentials.toml"), crate::s3_start::USERS).unwrap();
    files(cloud.path(), Role::Admin);
    make_buckets(&state.join("s3")).await;
    let section = SECTION.replace("CLOUD", cloud.path().to_str().unwrap());
    let mut known: Vec<BTreeMap<String, Known>> = vec![BTreeMap::new(); CLIENTS];
    for round in 0..rounds {
        let (walrus, endpoint) = Process::start_with(cloud.path(), &state, &section).await;
        let (http, url) = (Client::builder().no_proxy().build().unwrap(), endpoint.public_url.unwrap());
        verify(&http, &url, &mut known, round.saturating_sub(1)).await;
        let workers: Vec<_> = known
            .drain(..)
            .enumerate()
            .map(|(id, known)| {
                let worker = Worker { http: http.clone(), url: url.clone(), id, round, known };
                tokio::spawn(worker.work())
            })
            .collect();
        // The moment is part of the test: no condition says when a power supply fails.
        let moment = rand::thread_rng().gen_range(50..600);
        tokio::time::sleep(Duration::from_millis(moment)).await;
        walrus.kill();
        for worker in workers {
            known.push(worker.await.unwrap().known);
        }
        let (_, report) = offline::check(&state, None, &|_| {}).await.unwrap();
        assert!(report.is_clean(), "round {round}: {report}");
    }
    let (_walrus, endpoint) = Process::start_with(cloud.path(), &state, &section).await;
    let http = Client::builder().no_proxy().build().unwrap();
    verify(&http, &endpoint.public_url.unwrap(), &mut known, 0).await;
    assert!(known.iter().all(|known| !known.is_empty()), "each client has written");
    assert!(known.iter().flat_map(BTreeMap::values).any(|known| known.versions.len() > 1));
}

/// Every key is what was answered last, or what was asked for after that; versions that were answered are there. Of
/// those, older ones than of round `since` have been looked at before.
async fn verify(http: &Client, url: &str, known: &mut [BTreeMap<String, Known>], since: usize) {
    let clients = known.iter_mut().map(|known| verify_client(http, url, known, since));
    let there: BTreeSet<String> = join_all(clients).await.into_iter().flatten().collect();
    for bucket in BUCKETS {
        let listed = http.get(format!("{url}/{bucket}")).send().await.unwrap().text().await.unwrap();
        let listed: Vec<String> =
            elements(&listed, "Key").into_iter().map(|key| format!("{bucket}/{key}")).collect();
        let prefix = format!("{bucket}/");
        assert_eq!(
            listed,
            there.iter().filter(|path| path.starts_with(&prefix)).cloned().collect::<Vec<_>>()
        );
    }
}

/// The client's keys that are there.
async fn verify_client(
    http: &Client,
    url: &str,
    known: &mut BTreeMap<String, Known>,
    since: usize,
) -> Vec<String> {
    let mut there = Vec::new();
    for (path, known) in known {
        let found = get(http, &format!("{url}/{path}")).await;
        let possible: Vec<State> = [Some(known.acknowledged), known.pending].into_iter().flatten().collect();
        let state = possible.iter().find(|state| found == state.map(content));
        let state = state.unwrap_or_else(|| {
            panic!("{path} has {:?} bytes, and may hold {possible:?}", found.as_ref().map(Vec::len))
        });
        (known.acknowledged, known.pending) = (*state, None);
        there.extend(found.map(|_| path.clone()));
        for (version, (number, _)) in known.versions.iter().filter(|(_, (_, round))| *round >= since) {
            let old = get(http, &format!("{url}/{path}?versionId={version}")).await;
            assert!(old == Some(content(*number)), "{path}, version {version}");
        }
    }
    there
}

async fn get(http: &Client, url: &str) -> Option<Vec<u8>> {
    let began = Instant::now();
    let answer = http.get(url).send().await.unwrap();
    assert!(began.elapsed() < DEADLINE);
    match answer.status().as_u16() {
        200 => Some(answer.bytes().await.unwrap().to_vec()),
        404 => None,
        status => panic!("{url}: {status} {}", answer.text().await.unwrap()),
    }
}
