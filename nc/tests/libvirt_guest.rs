//! A real guest through a real libvirtd: launched, seen, adopted, terminated; nothing is left.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod support;

use karri_nc::Config;
use karri_proto::instance::{BlobFormat, Desired, InstanceIntent, Phase};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use support::{Client, Cloud, eventually, intent, wish};

const BOOT_LIMIT: Duration = Duration::from_secs(90);
const BRIDGE: &str = "karri-test0";

fn images() -> PathBuf {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/images");
    std::env::var_os("KARRI_TEST_IMAGES").map_or(default, PathBuf::from)
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn virsh(arguments: &[&str]) -> String {
    run("virsh", &[&["-q", "-c", "qemu:///system"], arguments].concat())
}

fn domain(intent: &InstanceIntent) -> String {
    format!("karri-{}", intent.id)
}

fn tiny_intent(cloud: &Cloud) -> InstanceIntent {
    let images = images();
    let root = images.join("tiny.root.img");
    let size = std::fs::metadata(&root).unwrap().len();
    let mut intent = intent(cloud.blob(&root, BlobFormat::Raw, size));
    let raw = |name: &str| {
        let path = images.join(name);
        let size = std::fs::metadata(&path).unwrap().len();
        cloud.blob(&path, BlobFormat::Raw, size)
    };
    intent.spec.boot.kernel = Some(raw("tiny.vmlinuz"));
    intent.spec.boot.ramdisk = Some(raw("tiny.initrd"));
    intent
}

fn config(cloud: &Cloud) -> Config {
    let extra = format!("[hypervisor]\naccel = \"tcg\"\n[network]\nbridge = \"{BRIDGE}\"\n");
    cloud.config("node-1", &extra)
}

async fn console_shows(client: &Client, intent: &InstanceIntent, text: &str) {
    let what = format!("the console shows {text:?}");
    eventually(&what, BOOT_LIMIT, || async { client.console(&intent.id).await.contains(text).then_some(()) })
        .await;
}

/// Nothing of the instance may be on the host: no domain, tap, rule or file.
fn assert_nothing_left(cloud: &Cloud, intent: &InstanceIntent) {
    let tap_digits = &intent.spec.ports[0].id.as_str()["eni-".len() + 7..];
    assert!(!virsh(&["list", "--all"]).contains(intent.id.as_str()));
    assert!(!run("ip", &["-o", "link"]).contains(tap_digits));
    assert!(!run("ebtables-save", &[]).contains(tap_digits));
    let directory = cloud.state_dir().join("instances").join(intent.id.as_str());
    assert!(!directory.exists(), "{}", directory.display());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_lives_is_watched_and_leaves_nothing() {
    let cloud = Cloud::start().await;
    let config = config(&cloud);
    let node = cloud.node(&config).await;
    let client = cloud.cc_client(&node.endpoint.url);
    assert_eq!(cloud.hello_of("node-1").await.facts.accelerator, "tcg");

    let first = tiny_intent(&cloud);
    let asked = Instant::now();
    client.put(&first).await;
    client.wait_for(&first.id, Phase::Running, BOOT_LIMIT).await;
    println!("running after {:?}", asked.elapsed());
    console_shows(&client, &first, "karri-tiny: ready").await;
    println!("on the console after {:?}", asked.elapsed());

    // A restart of the controller leaves the guest alone and knows it again.
    let pid_before = run("pgrep", &["-f", &domain(&first)]);
    node.stopper.stop().await;
    let node = cloud.node(&config).await;
    let client = cloud.cc_client(&node.endpoint.url);
    assert_eq!(client.reports().await[&first.id].phase, Phase::Running);
    assert_eq!(run("pgrep", &["-f", &domain(&first)]), pid_before);

    // Somebody pulls the plug behind our back.
    let pulled = Instant::now();
    virsh(&["destroy", &domain(&first)]);
    let report = client.wait_for(&first.id, Phase::Stopped, Duration::from_secs(2)).await;
    println!("seen to be off after {:?}", pulled.elapsed());
    assert_eq!(report.reason.unwrap().code, "Server.InternalError");

    let gone = wish(&first, Desired::Terminated);
    client.put(&gone).await;
    client.wait_for(&first.id, Phase::Gone, Duration::from_secs(30)).await;
    client.forget(&first.id).await.unwrap();
    assert_nothing_left(&cloud, &first);
    node.stopper.stop().await;
    run("ip", &["link", "del", BRIDGE]);
}
