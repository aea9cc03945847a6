//! `karri up`: one supervisor for the whole cloud on one machine.
//!
//! Every step looks first and does only what is missing, so that a later `up` is the same walk with
//! nothing to do. The controllers are the binaries that a server would run, with the same
//! configuration; only their parent differs.
//!
//! ```text
//!   lock → leftovers → CA and certificates → configuration → libvirt → controllers → account → nodes
//!        → demo image → (supervise until a signal) → stop in order
//! ```

pub mod account;
mod bundling;
pub mod child;
mod configs;
mod demo;
#[cfg(test)]
mod examples;
pub mod join;
pub mod leftovers;
pub mod libvirt;
pub mod lock;
mod nodes;
mod notify;
pub mod overrides;
mod progress;
mod supervisor;
mod template;
pub mod trust;

use crate::args::{Up, Usage};
use crate::cloud::Cloud;
use crate::credentials::{Bundling, Credentials, shell_quote};
use crate::facts::Facts;
use crate::home::{Home, is_root};
use crate::output::Format;
use anyhow::Context;
use child::ChildSpec;
use demo::Demo;
use karri_proto::network::forwarded_port;
use karri_proto::runtime::files::create_passable;
use lock::Lock;
use progress::Progress;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use supervisor::{Stage, Supervisor};
use tokio::signal::unix::{SignalKind, signal};

/// What `--output json` prints once the cloud is ready.
#[derive(Debug, Serialize)]
struct Ready {
    endpoint: String,
    s3_endpoint: Option<String>,
    region: String,
    zones: Vec<String>,
    state_dir: PathBuf,
    credentials_file: PathBuf,
    access_key_id: String,
    image_id: Option<String>,
    ready_after_secs: f64,
    pid: u32,
}

const SSH: u16 = 22;

pub async fn run(state_dir: Option<PathBuf>, wanted: Up, output: Format) -> anyhow::Result<()> {
    let home = Home::for_up(state_dir, wanted.sim.is_some())?;
    // Before anything is made: a mistake leaves nothing behind.
    let decided = decide(&home, &wanted)?;
    let simulated = decided.simulated_nodes.is_some();
    if !simulated && !decided.user_network && !is_root() {
        let message = "this cloud has networks of its own and needs root (libvirt, bridges, packet filters): try sudo, or \
                       another --state-dir for a cloud without";
        return Err(Usage(message.to_owned()).into());
    }
    // The user of QEMU passes through it to its disks.
    create_passable(home.root()).with_context(|| home.root().display().to_string())?;
    let _lock = Lock::take(&home.lock_file())?;
    let facts = decide(&home, &wanted)?;
    facts.write(&home.facts_file())?;

    let mut signals = Signals::listen()?;
    let mut supervisor = Supervisor::new(home.children_file());
    eprintln!("Karri {} in {}", env!("CARGO_PKG_VERSION"), home.root().display());
    let started = tokio::select! {
        started = start(&home, &facts, &wanted, &mut supervisor) => started.map(Some),
        () = signals.next() => Ok(None),
    };
    if let Ok(Some(ready)) = &started {
        output.print(ready, |ready| farewell(ready, &facts))?;
        notify::tell(notify::READY);
        signals.next().await;
    }
    notify::tell(notify::STOPPING);
    stop(supervisor, &mut signals, !simulated).await;
    started.map(drop)
}

fn decide(home: &Home, wanted: &Up) -> anyhow::Result<Facts> {
    match Facts::read(&home.facts_file())? {
        Some(facts) => facts.again(wanted),
        // Who may not make networks does without.
        None if wanted.sim.is_none() && !is_root() => Ok(Facts::new(wanted)?.behind_user_network()),
        None => Facts::new(wanted),
    }
}

async fn start(
    home: &Home,
    facts: &Facts,
    wanted: &Up,
    supervisor: &mut Supervisor,
) -> anyhow::Result<Ready> {
    let progress = Progress::begin();
    let simulated = facts.simulated_nodes.is_some();
    let stopped = leftovers::stop(&home.children_file()).await?;
    if !stopped.is_empty() {
        eprintln!("  stopped what an earlier karri left running: {}", stopped.join(", "));
    }
    let changed = overrides::keep(home)?;
    if !changed.is_empty() {
        eprintln!("  note: set differently when this cloud last ran: {}", changed.join(", "));
    }
    let trust = async { trust::establish(home, facts) };
    progress.step("certificates", trust, |n| format!("{n} of this cloud's own CA")).await?;
    let configs = async { configs::write(home, facts) };
    progress.step("configuration", configs, |edited| describe_configs(home, edited)).await?;
    if !simulated {
        progress
            .step("libvirt", libvirt::establish(facts.user_network), |said| describe_libvirt(said))
            .await?;
    }
    let mut endpoints = BTreeMap::new();
    for wave in children(home, facts)? {
        endpoints.extend(supervisor.start(wave, &progress).await?);
    }
    let endpoint = endpoints.get("clc").and_then(|clc| clc.public_url.clone()).unwrap_or(facts.endpoint());

    let cloud = Cloud::new(home.clone());
    let s3 = endpoints.get("walrus").and_then(|walrus| walrus.public_url.clone());
    let keys = account::keys(&cloud, &facts.region, &endpoint, s3)?;
    let described = |new: &bool| if *new { "made admin" } else { "admin" };
    progress.step("account", account::establish(&cloud, &keys), described).await?;
    let bundling = progress.step("image bundling", bundling::establish(&cloud), describe_bundling).await?;
    let keys = Credentials { bundling, ..keys };
    keys.write(&home.credentials())?;
    progress.step("nodes", nodes::arrive(&cloud, facts), nodes::Arrived::describe).await?;
    let demo = demo::establish(&cloud, wanted.images.clone(), simulated);
    let demo = progress.step("demo image", demo, Demo::describe).await?;
    Ok(ready(home, facts, &keys, &demo, &progress))
}

fn ready(home: &Home, facts: &Facts, keys: &Credentials, demo: &Demo, progress: &Progress) -> Ready {
    Ready {
        endpoint: keys.endpoint.clone(),
        s3_endpoint: keys.s3.as_ref().map(|s3| s3.endpoint.clone()),
        region: facts.region.clone(),
        zones: facts.zones.iter().map(|zone| zone.name.clone()).collect(),
        state_dir: home.root().to_owned(),
        credentials_file: home.credentials(),
        access_key_id: keys.access_key_id.clone(),
        image_id: demo.image_id().map(str::to_owned),
        ready_after_secs: progress.elapsed().as_secs_f64(),
        pid: std::process::id(),
    }
}

fn describe_configs(home: &Home, edited: &[String]) -> String {
    let place = home.root().join("config").display().to_string();
    match edited {
        [] => place,
        edited => format!("{place} (your edits kept: {})", edited.join(", ")),
    }
}

fn describe_bundling(bundling: &Option<Bundling>) -> String {
    let account = bundling.as_ref().map(|bundling| format!("by account {}", bundling.account));
    account.unwrap_or_else(|| "not set up".to_owned())
}

fn describe_libvirt(said: &str) -> String {
    let lines = said.lines().map(|line| line.strip_prefix("libvirt: ").unwrap_or(line));
    if said.is_empty() { "answers".to_owned() } else { lines.collect::<Vec<_>>().join("; ") }
}

/// The controllers, from the programs beside this one, in waves: each wave calls only earlier ones.
fn children(home: &Home, facts: &Facts) -> anyhow::Result<[Vec<(Stage, ChildSpec)>; 3]> {
    let program = std::env::current_exe()?;
    let directory = program.parent().context("the program is in no directory")?;
    let spec = |stage, name: String, kind: &str| {
        let spec = ChildSpec {
            program: directory.join(format!("karri-{kind}")),
            config: home.config(&name),
            state_dir: home.controller(&name),
            log: home.log(&name),
            name,
        };
        (stage, spec)
    };
    Ok([
        vec![spec(Stage::Walrus, "walrus".into(), "walrus"), spec(Stage::Clc, "clc".into(), "clc")],
        facts.zones.iter().map(|zone| spec(Stage::Cc, trust::cc_name(zone), "cc")).collect(),
        facts.zones.iter().map(|zone| spec(Stage::Nc, trust::nc_name(zone), "nc")).collect(),
    ])
}

async fn stop(supervisor: Supervisor, signals: &mut Signals, guests_stay: bool) {
    eprintln!(
        "karri: stopping{}",
        if guests_stay { "; guests keep running, the next up adopts them" } else { "" }
    );
    let kill = supervisor.killer();
    let stopping = supervisor.stop();
    tokio::pin!(stopping);
    let killed = tokio::select! {
        killed = &mut stopping => killed,
        () = signals.next() => {
            kill();
            stopping.await
        }
    };
    match killed.as_slice() {
        [] => eprintln!("karri: stopped"),
        killed => eprintln!("karri: stopped; did not stop in time and were killed: {}", killed.join(", ")),
    }
}

/// Ctrl-C, `karri down`, a closed terminal.
struct Signals([tokio::signal::unix::Signal; 3]);

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// The last words of a successful start: how to use it.
fn farewell(ready: &Ready, facts: &Facts) -> String {
    let simulated = facts.simulated_nodes.is_some();
    let karri = command_name();
    // The other terminal is the user's own, who may not read the keys as they lie there.
    let as_root = if std::env::var_os("SUDO_UID").is_some() { "sudo " } else { "" };
    let image = ready.image_id.as_deref().unwrap_or("ami-…");
    let filter = "--filters Name=key-name,Values=demo Name=instance-state-name,Values=pending,running";
    let query = |what: &str| format!("$(aws ec2 describe-instances {filter} --query '{what}' --output text)");
    // The newest: who pastes all of it twice has two.
    let newest =
        |field: &str| query(&format!("sort_by(Reservations[].Instances[], &LaunchTime)[-1].{field}"));
    let (port, address) = match facts.user_network {
        true => (format!("-p {} ", forwarded_port(SSH)), "PublicIpAddress"),
        false => (String::new(), "PrivateIpAddress"),
    };
    let second = if simulated {
        format!("aws ec2 describe-instances {filter}")
    } else {
        format!(
            "ssh {port}-i demo.pem -o ConnectionAttempts=60 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null root@{}",
            newest(address)
        )
    };
    let s3 = ready.s3_endpoint.as_ref().map(|url| format!("\n  S3           {url}")).unwrap_or_default();
    format!(
        "
Karri is ready after {:.1} s. Ctrl-C stops it{}.

  endpoint     {}   (region {}){s3}
  credentials  {}

In another terminal:

  eval \"$({as_root}{karri} --state-dir {} env)\"
  aws ec2 create-key-pair --key-name demo --key-type ed25519 --query KeyMaterial --output text >demo.new && chmod 600 demo.new && mv demo.new demo.pem; aws ec2 authorize-security-group-ingress --group-name default --protocol tcp --port 22 --cidr 0.0.0.0/0 || true; aws ec2 run-instances --image-id {image} --instance-type t3.micro --key-name demo
  {second}
  aws ec2 get-console-output --latest --output text --instance-id {}
  aws ec2 terminate-instances --instance-ids {}
",
        ready.ready_after_secs,
        if simulated { "" } else { "; guests keep running" },
        ready.endpoint,
        ready.region,
        ready.credentials_file.display(),
        shell_quote(&ready.state_dir.display().to_string()),
        newest("InstanceId"),
        query("Reservations[].Instances[].InstanceId"),
    )
}

/// How this program is called from another terminal, which is in another directory.
fn command_name() -> String {
    let called = std::env::args().next().filter(|name| name.contains('/'));
    let path = called.and_then(|name| std::path::absolute(name).ok());
    path.map_or_else(|| "karri".to_owned(), |path| shell_word(&path.display().to_string()))
}

/// As it is, where no shell would take it for anything else.
fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { shell_quote(text) }
}
