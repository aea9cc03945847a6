//! A real guest through a real libvirtd: launched, seen, adopted, terminated; nothing is left.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod support;

use base64::Engine;
use karri_nc::Config;
use karri_proto::instance::{BlobFormat, Desired, InstanceIntent, Phase};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use support::{Client, Cloud, RunningNode, eventually, intent, wish};

/// Emulated, on a machine that may have much else to do.
const BOOT_LIMIT: Duration = Duration::from_secs(240);
/// One of them may fall into a moment when the machine is elsewhere: the one in the middle counts.
const PULLED_TIMES: usize = 3;
const SEEN_LIMIT: Duration = Duration::from_secs(20);
const BRIDGE: &str = "karri-test0";
const NETNS: &str = "karri-test-gw";
const ADDRESS: &str = "172.29.77.5";
const GATEWAY: &str = "172.29.77.1";
const USER_DATA: &str = r#"#!/bin/sh
echo "imds says $(imds meta-data/instance-id) $(imds meta-data/local-ipv4)"
uuid=$(cat /sys/class/dmi/id/product_uuid)
[ "$uuid" = "$(cat /sys/class/dmi/id/product_serial)" ] && echo "dmi agrees: $uuid"
ip addr add 172.29.77.9/24 dev eth0
ping -c 1 -W 2 172.29.77.1 >/dev/null && echo "own address passes"
ping -c 1 -W 2 -I 172.29.77.9 172.29.77.1 >/dev/null || echo "forged address is dropped"
"#;

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
    let port = &mut intent.spec.ports[0];
    port.gateway = GATEWAY.parse().unwrap();
    port.private_ip = ADDRESS.parse().unwrap();
    port.subnet_cidr = "172.29.77.0/24".into();
    intent.spec.user_data_base64 = Some(base64::engine::general_purpose::STANDARD.encode(USER_DATA));
    intent
}

/// The same system as one bootable disk.
fn disk_intent(cloud: &Cloud) -> InstanceIntent {
    let path = images().join("tiny.disk.qcow2");
    let size = run("qemu-img", &["info", "--output=json", &path.display().to_string()]);
    let size: serde_json::Value = serde_json::from_str(&size).unwrap();
    let mut intent = intent(cloud.blob(&path, BlobFormat::Qcow2, size["virtual-size"].as_u64().unwrap()));
    let port = &mut intent.spec.ports[0];
    port.gateway = GATEWAY.parse().unwrap();
    (port.private_ip, port.mac) = ("172.29.77.6".parse().unwrap(), "02:00:00:00:00:06".into());
    port.subnet_cidr = "172.29.77.0/24".into();
    intent
}

/// An image that nobody has: told as a failure, with nothing left.
async fn missing_image_fails(cloud: &Cloud, client: &Client) {
    let wanted = intent(support::blob_of_nothing());
    client.put(&wanted).await;
    let report = client.wait_for(&wanted.id, Phase::Failed, Duration::from_secs(10)).await;
    assert_eq!(report.reason.unwrap().code, "Client.InternalError");
    client.forget(&wanted.id).await.unwrap();
    assert_nothing_left(cloud, &wanted);
}

fn config(cloud: &Cloud) -> Config {
    let extra = format!("[network]\nbridge = \"{BRIDGE}\"\n");
    cloud.config("node-1", &extra)
}

/// A gateway with DHCP on another machine, as far as the node can see: its own network namespace.
struct Gateway(Child);

impl Gateway {
    fn start(cloud: &Cloud, mac: &str) -> Self {
        for command in [
            format!("netns add {NETNS}"),
            format!("link add karri-test-v0 type veth peer name eth0 netns {NETNS}"),
            format!("link set karri-test-v0 master {BRIDGE} up"),
            format!("-n {NETNS} addr add 172.29.77.1/24 dev eth0"),
            format!("-n {NETNS} link set eth0 up"),
        ] {
            let said = run("ip", &command.split(' ').collect::<Vec<_>>());
            assert_eq!(said, "", "ip {command}");
        }
        let leases = format!("--dhcp-leasefile={}", cloud.directory.path().join("leases").display());
        let mut command = Command::new("ip");
        command.args(["netns", "exec", NETNS, "dnsmasq", "--conf-file=/dev/null", "--keep-in-foreground"]);
        command.args(["--port=0", "--user=root", "--interface=eth0", "--bind-interfaces", "--pid-file="]);
        command.args(["--dhcp-range=172.29.77.0,static,255.255.255.0", "--dhcp-option=3,172.29.77.1"]);
        command.args([format!("--dhcp-host={mac},{ADDRESS}"), leases]);
        Self(command.spawn().unwrap())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        run("ip", &["netns", "del", NETNS]);
        run("ip", &["link", "del", "karri-test-v0"]);
        run("ip", &["link", "del", BRIDGE]);
    }
}

async fn console_shows(client: &Client, intent: &InstanceIntent, text: &str) {
    let what = format!("the console shows {text:?}");
    eventually(&what, BOOT_LIMIT, || async { client.console(&intent.id).await.contains(text).then_some(()) })
        .await;
}

/// Takes off the host what a failed test leaves there.
struct CleanUp(Config);

impl Drop for CleanUp {
    fn drop(&mut self) {
        let config = self.0.clone();
        let cleaner = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { karri_nc::host::survey(&config).await?.remove().await })
        });
        if let Ok(Err(error)) = cleaner.join() {
            println!("the host could not be cleaned: {error:#}");
        }
    }
}

/// By which this node's own rules are known: the beginning of its taps' names.
fn rules_tag(intent: &InstanceIntent) -> String {
    let digits = &intent.spec.ports[0].id.as_str()["eni-".len() + 7..];
    let saved = run("ebtables-save", &["-t", "nat"]);
    let tap = saved.split_whitespace().find(|word| word.ends_with(digits)).unwrap();
    format!("karri-{}", tap.trim_start_matches(':').strip_suffix(digits).unwrap())
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

/// A guest runs on files that nobody but its own QEMU can read.
fn assert_private(cloud: &Cloud, intent: &InstanceIntent) {
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let directory = cloud.state_dir().join("instances").join(intent.id.as_str());
    for name in ["intent.json", "disk.qcow2", "console.log"] {
        assert_eq!(mode(&directory.join(name)) & 0o077, 0, "{name}");
    }
    for image in std::fs::read_dir(cloud.state_dir().join("images")).unwrap() {
        assert_eq!(mode(&image.unwrap().path()) & 0o077, 0);
    }
    assert_eq!(mode(&directory), 0o711);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_lives_is_watched_and_leaves_nothing() {
    karri_proto::runtime::files::private_umask(); // as in its own process
    let cloud = Cloud::start().await;
    let config = config(&cloud);
    let _clean_up = CleanUp(config.clone());
    let node = cloud.node(&config).await;
    let client = cloud.cc_client(&node.endpoint.url);
    let facts = cloud.hello_of("node-1").await.facts;
    assert!(["kvm", "tcg"].contains(&facts.accelerator.as_str()), "{facts:?}");
    let first = tiny_intent(&cloud);
    let _gateway = Gateway::start(&cloud, &first.spec.ports[0].mac);

    client.may_send(&first).await;
    missing_image_fails(&cloud, &client).await;
    let asked = Instant::now();
    client.put(&first).await;
    client.wait_for(&first.id, Phase::Running, BOOT_LIMIT).await;
    println!("running after {:?}", asked.elapsed());
    console_shows(&client, &first, &format!("imds says {} {ADDRESS}", first.id)).await;
    println!("metadata reached after {:?}", asked.elapsed());
    console_shows(&client, &first, "dmi agrees: ec2").await;
    console_shows(&client, &first, "own address passes").await;
    console_shows(&client, &first, "forged address is dropped").await;

    assert_private(&cloud, &first);
    let tag = rules_tag(&first);
    let disk = disk_intent(&cloud);
    client.put(&disk).await;
    console_shows(&client, &disk, "karri-tiny: ready").await;

    let node = restart(&cloud, &config, node, &first).await;
    let client = cloud.cc_client(&node.endpoint.url);

    let second = InstanceIntent { reboots: 1, ..wish(&first, Desired::Running) };
    client.put(&second).await;
    eventually("the reboot is reported", BOOT_LIMIT, || async {
        (client.reports().await[&first.id].reboots == 1).then_some(())
    })
    .await;
    eventually("the guest boots again", BOOT_LIMIT, || async {
        (client.console(&first.id).await.matches("karri-tiny: ready").count() == 2).then_some(())
    })
    .await;

    let third = plug_is_pulled(&client, second).await;
    for last in [&third, &disk] {
        client.put(&wish(last, Desired::Terminated)).await;
        client.wait_for(&last.id, Phase::Gone, Duration::from_secs(30)).await;
        client.forget(&last.id).await.unwrap();
        assert_nothing_left(&cloud, last);
    }
    node.stopper.stop().await; // else it puts back what is taken away
    assert!(run("iptables-save", &[]).contains(&tag));
    let removed = karri_nc::host::survey(&config).await.unwrap().remove().await.unwrap();
    println!("removed: {removed:?}");
    assert!(!run("iptables-save", &[]).contains(&tag));
}

/// Somebody pulls the plug behind our back, and each time it is started again.
async fn plug_is_pulled(client: &Client, running: InstanceIntent) -> InstanceIntent {
    let (mut intent, mut delays) = (running, Vec::new());
    for _ in 0..PULLED_TIMES {
        virsh(&["destroy", &domain(&intent)]);
        let pulled = Instant::now();
        let report = client.wait_for(&intent.id, Phase::Stopped, SEEN_LIMIT).await;
        delays.push(pulled.elapsed());
        assert_eq!(report.reason.unwrap().code, "Server.InternalError");
        intent = wish(&intent, Desired::Running);
        client.put(&intent).await;
        client.wait_for(&intent.id, Phase::Running, BOOT_LIMIT).await;
    }
    println!("seen to be off so long after virsh destroy: {delays:?}");
    delays.sort();
    assert!(delays[PULLED_TIMES / 2] < Duration::from_secs(2), "{delays:?}");
    intent
}

/// A restart of the controller leaves the guest alone and knows it again.
async fn restart(cloud: &Cloud, config: &Config, node: RunningNode, intent: &InstanceIntent) -> RunningNode {
    let process_before = run("pgrep", &["-f", &domain(intent)]);
    node.stopper.stop().await;
    let node = cloud.node(config).await;
    let client = cloud.cc_client(&node.endpoint.url);
    assert_eq!(client.reports().await[&intent.id].phase, Phase::Running);
    assert_eq!(run("pgrep", &["-f", &domain(intent)]), process_before);
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_libvirt_does_not_answer_is_ill() {
    let cloud = Cloud::start().await;
    let socket = cloud.directory.path().join("nobody-listens");
    let network = "[network]\nbridge = \"karri-test-h\"\nmetadata = \"169.254.87.9:0\"\n";
    let _clean_up = CleanUp(cloud.config("node-9", network)); // by a libvirt that answers
    let extra = format!(
        "{network}[hypervisor]\naccel = \"tcg\"\nuri = \"qemu+unix:///system?socket={}\"\n",
        socket.display()
    );
    let node = cloud.node(&cloud.config("node-9", &extra)).await;
    let client = cloud.cc_client(&node.endpoint.url).client;
    let wrong = eventually("it notices", Duration::from_secs(30), || async {
        client.get_stream("/healthz", "r", 0).await.err()
    })
    .await;
    assert!(wrong.message.contains("503") && wrong.message.contains("hypervisor: "), "{wrong}");
    node.stopper.stop().await;
}
