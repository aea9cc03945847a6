//! Root disks that become bundles: what is written is what bundlers write, by who may write there, whole or not at all.

use crate::bundles::{Walrus, caller};
use crate::harness::User;
use crate::pen::{encoded, version_2};
use futures_util::stream;
use karri_proto::ids::BundleTaskId;
use karri_proto::instance::Digest;
use karri_proto::internal::bundles::{BundleService as _, Inspected, SourceKind};
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::exports::ExportTarget;
use karri_proto::internal::instance_bundles::{
    BundleTarget, BundledMachine, CaptureExpected, InstanceBundle, InstanceBundleProgress,
    InstanceBundleService as _, SignedPolicy,
};
use karri_proto::internal::signers::SecretText;
use karri_proto::internal::{ApiError, Caller, Identity, Role};
use karri_proto::runtime::client::InternalClient;
use karri_proto::runtime::server::{serve, shutdown_pair};
use karri_proto::runtime::tls::server_config;
use karri_walrus::api::captures::{self, Expected};
use karri_walrus::api::instance_bundles::InstanceBundleDesk;
use karri_walrus::app::import::For;
use karri_walrus::app::sniff::Purpose;
use karri_walrus::store::holds::Hold;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
/// A part and a bit.
const DISK_BYTES: usize = (10 << 20) + 512;

/// Bytes that gzip can do nothing about.
fn disk() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut disk: Vec<u8> =
        std::iter::repeat_with(|| next().to_le_bytes()).take(DISK_BYTES / 8).flatten().collect();
    disk[0..4].fill(0);
    disk[510..512].copy_from_slice(b"\x55\xaa");
    disk
}

fn task(number: u8) -> BundleTaskId {
    format!("bun-0123456789abcde{number:02x}").parse().unwrap()
}

fn target(user: User, prefix: &str) -> BundleTarget {
    let [bucket, key, access_key_id] =
        ["images", &format!("{prefix}.manifest.xml"), user.key()].map(str::to_owned);
    let manifest = ExportTarget { bucket, key, access_key_id, session_token: None, address: None };
    BundleTarget { manifest, prefix: prefix.to_owned(), policy: None }
}

fn bundle(digest: &Digest, number: u8, target: BundleTarget) -> InstanceBundle {
    let machine = BundledMachine {
        architecture: "x86_64".into(),
        kernel_id: Some("aki-12345678".into()),
        ramdisk_id: Some("ari-12345678".into()),
        root_device: "/dev/sda1".into(),
    };
    let account = "111111111111".into();
    InstanceBundle { task: task(number), account, digest: digest.clone(), machine, target }
}

async fn written(desk: &InstanceBundleDesk, bundle: &InstanceBundle) -> Result<u64, ApiError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match desk.instance_bundle_make(&caller(), bundle).await? {
            InstanceBundleProgress::Written { parts } => return Ok(parts),
            InstanceBundleProgress::Making { .. } => assert!(Instant::now() < deadline, "it is not written"),
        }
    }
}

/// A form's policy that lets everything below a prefix be written, and its signature by a user's secret.
fn policy(prefix: &str, until: &str, secret: &str) -> SignedPolicy {
    let text = format!(
        r#"{{"expiration": "{until}", "conditions": [{{"bucket": "images"}}, {{"acl": "ec2-bundle-read"}},
            ["starts-with", "$key", "{prefix}"]]}}"#
    );
    let text = encoded(text);
    let signature = version_2(secret, &text);
    SignedPolicy { text: SecretText(text), signature: SecretText(signature) }
}

impl Walrus {
    async fn captured(&self, disk: &[u8]) -> Digest {
        self.server.bucket("images").await;
        self.blob_of("disk", disk).await
    }

    async fn keys(&self, prefix: &str) -> Vec<String> {
        let listed = self.server.get(&format!("/images?list-type=2&prefix={prefix}")).await.text();
        let keys = listed.split("<Key>").skip(1).filter_map(|rest| rest.split('<').next());
        keys.map(str::to_owned).collect()
    }

    async fn download(&self, keys: &[String], directory: &Path) {
        for key in keys {
            let object = self.server.call("GET", &format!("/images/{key}")).expect(200).await;
            std::fs::write(directory.join(key.rsplit('/').next().unwrap()), object.body).unwrap();
        }
    }
}

fn vector(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/bundle").join(name)
}

/// What another reader than ours makes of the bundle in a directory.
fn read_by_python(directory: &Path, name: &str, arguments: &[&str]) -> Vec<u8> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients/unbundle.py");
    let (manifest, image) = (directory.join(format!("{name}.manifest.xml")), directory.join("image"));
    let mut command = Command::new("python3");
    command
        .arg(program)
        .arg(manifest)
        .arg(&image)
        .args(arguments)
        .arg("--signer")
        .arg(vector("cloud-cert.pem"));
    let ran = command.output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    std::fs::read(image).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_becomes_a_bundle_that_every_reader_takes() {
    let walrus = Walrus::start().await;
    let disk = disk();
    let digest = walrus.captured(&disk).await;
    let desk = walrus.instance_bundles(Expected::default());
    let wanted = bundle(&digest, 1, target(User::Ann, "out/my disk"));
    desk.instance_bundle_inspect(&caller(), &wanted.target).await.unwrap();
    assert_eq!(written(&desk, &wanted).await.unwrap(), 2);
    let keys = walrus.keys("out/").await;
    let names = ["my disk.manifest.xml", "my disk.part.00", "my disk.part.01"];
    assert_eq!(keys, names.map(|name| format!("out/{name}")));

    let directory = tempfile::tempdir().unwrap();
    let encoded: Vec<String> = keys.iter().map(|key| key.replace(' ', "%20")).collect();
    walrus.download(&encoded, directory.path()).await;
    for name in &names {
        let there = directory.path().join(name.replace(' ', "%20"));
        std::fs::rename(there, directory.path().join(name)).unwrap();
    }
    let full = std::fs::metadata(directory.path().join(names[1])).unwrap().len();
    assert_eq!(full, 10 << 20);
    for (key, whose) in [("cloud-pk.pem", None), ("user-pk.pem", Some("--user"))] {
        let key = vector(key).display().to_string();
        let mut arguments = vec!["--key", key.as_str()];
        arguments.extend(whose);
        let image = read_by_python(directory.path(), "my disk", &arguments);
        assert!(image == disk, "{key}: {} bytes", image.len());
    }

    let manifest = &keys[0];
    let Inspected::Bundle(facts) = walrus.look(User::Ann.key(), manifest).await.unwrap() else {
        panic!("no bundle");
    };
    assert_eq!((facts.bytes, facts.architecture.as_str()), (DISK_BYTES as u64, "x86_64"));
    assert_eq!(facts.root_device.as_deref(), Some("/dev/sda1"));
    let ids = (facts.kernel_id.as_deref(), facts.ramdisk_id.as_deref());
    assert_eq!(ids, (Some("aki-12345678"), Some("ari-12345678")));
    let again = walrus.make_of(SourceKind::Bundle, manifest, &facts.etag).await.unwrap();
    assert_eq!(again.blob.digest, digest, "bit for bit");
    // Who may read it all is not the one whom it was made for.
    walrus.permit_bob("*").await;
    let refused = walrus.look(User::Bob.key(), manifest).await.unwrap_err();
    assert!(refused.message.contains("none of the 0 certificates"), "{refused:?}");
    assert_eq!(walrus.scratches(), 0, "what was converted has gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holes_of_a_disk_take_no_room_in_its_bundle_and_come_back() {
    let walrus = Walrus::start().await;
    let mut disk = vec![0; 32 << 20];
    for at in (0..6).map(|number| number * (5 << 20)) {
        disk[at + 510..at + 512].copy_from_slice(b"\x55\xaa");
    }
    let digest = walrus.captured(&disk).await;
    let desk = walrus.instance_bundles(Expected::default());
    assert_eq!(written(&desk, &bundle(&digest, 1, target(User::Ann, "out/disk"))).await.unwrap(), 1);
    let directory = tempfile::tempdir().unwrap();
    walrus.download(&walrus.keys("out/").await, directory.path()).await;
    assert!(std::fs::metadata(directory.path().join("disk.part.00")).unwrap().len() < 16 << 10);
    let key = vector("cloud-pk.pem").display().to_string();
    assert!(read_by_python(directory.path(), "disk", &["--key", &key]) == disk);
    let Inspected::Bundle(facts) = walrus.look(User::Ann.key(), "out/disk.manifest.xml").await.unwrap()
    else {
        panic!("no bundle");
    };
    let again = walrus.make_of(SourceKind::Bundle, "out/disk.manifest.xml", &facts.etag).await.unwrap();
    assert_eq!(again.blob.digest, digest, "bit for bit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_that_is_given_up_leaves_nothing_and_one_that_is_written_stays() {
    let walrus = Walrus::start().await;
    let digest = walrus.captured(&crate::disks::disk()).await;
    let desk = walrus.instance_bundles(Expected::default());
    let wanted = bundle(&digest, 1, target(User::Ann, "out/disk"));
    let asker = caller();
    let begun = tokio::time::timeout(Duration::from_millis(1), desk.instance_bundle_make(&asker, &wanted));
    assert!(begun.await.is_err(), "it goes on by itself");
    assert!(!desk.instance_bundle_abandon(&caller(), &wanted).await.unwrap());
    assert_eq!(walrus.keys("out/").await, [""; 0]);
    let deadline = Instant::now() + PATIENCE;
    while walrus.scratches() > 0 {
        assert!(Instant::now() < deadline, "the disk is still there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(written(&desk, &wanted).await.unwrap(), 1);
    assert_eq!(walrus.keys("out/").await.len(), 2);
    let etag = walrus
        .server
        .call("GET", "/images/out/disk.manifest.xml")
        .expect(200)
        .await
        .header("etag")
        .to_owned();
    assert_eq!(written(&desk, &wanted).await.unwrap(), 1, "who did not hear asks again");
    let same = walrus.server.call("GET", "/images/out/disk.manifest.xml").expect(200).await;
    assert_eq!(same.header("etag"), etag, "it was not made anew");
    assert!(desk.instance_bundle_abandon(&caller(), &wanted).await.unwrap(), "too late");
    assert_eq!(walrus.keys("out/").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_whose_bundle_was_asked_for_makes_room_for_nothing_until_it_is_let_go() {
    let walrus = Walrus::start().await;
    walrus.server.bucket("images").await;
    let mut sent = stream::iter([Ok(crate::disks::disk().into())]);
    let whom = For::operator("req-9");
    let copy = walrus.importer().import(&mut sent, Purpose::Any, Hold::Cached, whom).await.unwrap();
    let digest = copy.blob.digest;
    let desk = walrus.instance_bundles(Expected::default());
    let refused = bundle(&digest, 1, target(User::Bob, "out/disk"));
    assert!(written(&desk, &refused).await.is_err());
    walrus.blobs.cache_trim(0); // as an import does that needs all the room there is
    let wanted = bundle(&digest, 2, target(User::Ann, "out/disk"));
    assert_eq!(written(&desk, &wanted).await.unwrap(), 1);
    walrus.desk.bundle_release(&caller(), &digest).await.unwrap();
    assert_eq!(walrus.hold(&digest), None, "nobody needs it any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_must_be_permitted_to_write_there_or_have_a_policy_of_one_who_is() {
    let walrus = Walrus::start().await;
    let digest = walrus.captured(&crate::disks::disk()).await;
    let desk = walrus.instance_bundles(Expected::default());
    let inspect = async |target: &BundleTarget| desk.instance_bundle_inspect(&caller(), target).await;
    let refused = async |target: BundleTarget, kind: ApiErrorKind, words: &str| {
        let error = inspect(&target).await.unwrap_err();
        assert!(error.kind == kind && error.message.contains(words), "{error:?} should say: {words}");
        let error = written(&desk, &bundle(&digest, 9, target)).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error:?}");
    };
    refused(target(User::Bob, "out/disk"), ApiErrorKind::Forbidden, "").await;
    let mut nowhere = target(User::Ann, "out/disk");
    nowhere.manifest.bucket = "no-such-bucket".into();
    refused(nowhere, ApiErrorKind::NotFound, "").await;
    let by =
        |user: User, policy: SignedPolicy| BundleTarget { policy: Some(policy), ..target(user, "out/disk") };
    const LATER: &str = "2099-01-01T00:00:00Z";
    let forged = policy("out/", LATER, "guessed");
    refused(by(User::Ann, forged), ApiErrorKind::Forbidden, "signature").await;
    let elsewhere = policy("in/", LATER, "secret");
    refused(by(User::Ann, elsewhere), ApiErrorKind::Forbidden, "Policy Condition failed").await;
    let expired = policy("out/", "2020-01-01T00:00:00Z", "secret");
    refused(by(User::Ann, expired), ApiErrorKind::Forbidden, "Policy expired").await;
    // A policy gives no more than its signer may.
    refused(by(User::Bob, policy("out/", LATER, "secret")), ApiErrorKind::Forbidden, "").await;
    assert_eq!(walrus.keys("out/").await, [""; 0]);
    let right = by(User::Ann, policy("out/", LATER, "secret"));
    inspect(&right).await.unwrap();
    assert_eq!(written(&desk, &bundle(&digest, 1, right)).await.unwrap(), 1);
    let gone = bundle(&Digest::from_sha256([7; 32]), 2, target(User::Ann, "out/other"));
    let error = written(&desk, &gone).await.unwrap_err();
    assert!(error.kind == ApiErrorKind::Invalid && error.message.contains("there is no blob"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_sends_the_disk_that_is_expected_of_it_and_nothing_else() {
    let walrus = Walrus::start().await;
    let expected = Expected::default();
    let router = captures::router(walrus.importer(), expected.clone());
    let authority = walrus.authority();
    let directory = tempfile::tempdir().unwrap();
    let files = |identity: &Identity| {
        authority.issue_files(
            &directory.path().join(format!("{}-{}", identity.role.as_str(), identity.name)),
            identity,
        )
    };
    let tls = server_config(&files(&Identity::new(Role::Walrus, "", "walrus")).unwrap()).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let (_trigger, shutdown) = shutdown_pair();
    tokio::spawn(serve(listener, Some(tls), router, shutdown));
    let send = async |identity: &Identity, task: &BundleTaskId, body: Vec<u8>| {
        let client = InternalClient::new(&url, Role::Walrus, &files(identity).unwrap()).unwrap();
        let caller = Caller { identity: identity.clone(), request_id: "req-8".into() };
        client.capture_send(&caller, task, stream::iter([Ok(body.into())])).await
    };
    let [here, there] = ["a", "b"].map(|name| Identity::new(Role::Nc, "zone-a", name));
    let copy = crate::disks::converted(&crate::disks::disk(), "qcow2");
    let kind = |result: Result<_, ApiError>| result.map(drop).unwrap_err().kind;
    assert_eq!(kind(send(&here, &task(1), copy.clone()).await), ApiErrorKind::Forbidden, "not yet");
    let (one, account) = (task(1), "111111111111".to_owned());
    expected.expect(&CaptureExpected { task: one.clone(), node: here.clone(), account }).unwrap();
    assert_eq!(kind(send(&there, &one, copy.clone()).await), ApiErrorKind::Forbidden, "of another node");
    assert_eq!(kind(send(&here, &task(2), copy.clone()).await), ApiErrorKind::Forbidden, "for another task");
    let clc = Identity::new(Role::Clc, "", "clc");
    assert_eq!(kind(send(&clc, &one, copy.clone()).await), ApiErrorKind::Forbidden, "nodes alone send disks");
    let kept = send(&here, &one, copy.clone()).await.unwrap();
    assert_eq!(walrus.hold(&kept.blob.digest), Some(Hold::Cached), "it may go when nobody uses it");
    assert_eq!(send(&here, &one, copy.clone()).await.unwrap().blob, kept.blob, "the same again");
    expected.refuse(&one);
    assert_eq!(kind(send(&here, &one, copy).await), ApiErrorKind::Forbidden, "no more");
    assert_eq!(walrus.scratches(), 0);
}
