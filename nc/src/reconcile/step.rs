//! Carries out one step of a plan, and judges how it went.

use super::ports_change::{change_ports, unplug_others};
use crate::app::domain_xml::{GuestPort, GuestSpec};
use crate::app::owner_tag::OwnerTag;
use crate::app::plan::{Step, server_reason};
use crate::app::record::{Change, Record};
use crate::app::user_network::UserPort;
use crate::drive::hypervisor::HypervisorError;
use crate::drive::ports::{Bridge, Port, PortError};
use crate::drive::storage::StorageError;
use crate::node::Node;
use karri_proto::ids::BundleTaskId;
use karri_proto::instance::{CaptureState, Desired, PortSpec, StateReason};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Look again at once.
    Done,
    /// Look again in a moment.
    Later,
}

#[derive(Debug)]
pub(super) enum Failure {
    Later(String),
    Final(StateReason),
}

impl From<HypervisorError> for Failure {
    fn from(error: HypervisorError) -> Self {
        match error {
            HypervisorError::Unreachable(_) | HypervisorError::Busy(_) => Failure::Later(error.to_string()),
            HypervisorError::Refused(_) | HypervisorError::Foreign(_) => {
                Failure::Final(server_reason(&error.to_string()))
            }
        }
    }
}

impl From<PortError> for Failure {
    fn from(error: PortError) -> Self {
        match error {
            PortError::Later(_) => Failure::Later(error.to_string()),
            PortError::Broken(_) => Failure::Final(server_reason(&error.to_string())),
        }
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        match &error {
            StorageError::Later(message) => Failure::Later(message.clone()),
            StorageError::Broken(message) => Failure::Final(server_reason(message)),
            StorageError::BadImage(message) => Failure::Final(StateReason::new(
                "Client.InternalError",
                format!("Client.InternalError: {message}"),
            )),
            StorageError::Full(_) => Failure::Final(StateReason::new(
                "Server.InsufficientInstanceCapacity",
                format!("Server.InsufficientInstanceCapacity: {error}"),
            )),
        }
    }
}

pub async fn carry_out(node: &Arc<Node>, record: &Record, step: Step) -> Outcome {
    // Only what makes a guest run may fail for good; taking away is tried until it succeeds.
    let builds =
        matches!(step, Step::FetchImages { .. } | Step::MakeDisk | Step::PlugPorts | Step::StartGuest);
    let intent = &record.intent;
    match attempt(node, record, step).await {
        Ok(()) => {
            if let Some(entry) = node.live().get_mut(&intent.id) {
                entry.complaint = None;
            }
            Outcome::Done
        }
        Err(Failure::Final(reason)) if builds => {
            let (instance_id, request_id) = (&intent.id, &intent.request_id);
            tracing::warn!(%instance_id, request_id, reason = reason.message, "the instance cannot be started");
            node.metrics.count("karri_nc_start_failures_total", &[("code", &reason.code)]);
            match save(node, record, record.failed_start(reason)).await {
                Ok(()) => Outcome::Done,
                Err(failure) => complain(node, record, failure),
            }
        }
        Err(failure) => complain(node, record, failure),
    }
}

fn complain(node: &Arc<Node>, record: &Record, failure: Failure) -> Outcome {
    let message = match failure {
        Failure::Later(message) => message,
        Failure::Final(reason) => reason.message,
    };
    say_waiting(node, record, message);
    Outcome::Later
}

/// Says what is in the way, once.
pub fn say_waiting(node: &Arc<Node>, record: &Record, message: String) {
    let intent = &record.intent;
    if let Some(entry) = node.live().get_mut(&intent.id) {
        if entry.complaint.as_ref() == Some(&message) {
            return;
        }
        entry.complaint = Some(message.clone());
    }
    let (instance_id, request_id) = (&intent.id, &intent.request_id);
    tracing::warn!(%instance_id, request_id, error = message, "a step must wait");
}

async fn attempt(node: &Arc<Node>, record: &Record, step: Step) -> Result<(), Failure> {
    match step {
        Step::Rest | Step::Wait { .. } => Ok(()),
        Step::Record(change) => {
            told(record, &change);
            save(node, record, change).await
        }
        Step::FetchImages { ms_max } => fetch(node, record, Duration::from_millis(ms_max)).await,
        Step::Capture { ms_max } => capture(node, record, Duration::from_millis(ms_max)).await,
        Step::MakeDisk
        | Step::PlugPorts
        | Step::ChangePorts
        | Step::StartGuest
        | Step::AskShutdown
        | Step::ForceOff
        | Step::AskReboot
        | Step::Reset
        | Step::Undefine
        | Step::UnplugPorts
        | Step::DropCopy
        | Step::RemoveFiles => {
            let _slot = node.steps.acquire().await; // never closed
            let started = Instant::now();
            let result = outside(node, record, &step).await;
            let name = step_name(&step);
            node.metrics.observe("karri_nc_step_seconds", &[("step", name)], started.elapsed());
            if result.is_ok() {
                say_done(record, name, started);
            }
            result
        }
    }
}

fn say_done(record: &Record, name: &str, started: Instant) {
    let (instance_id, request_id) = (&record.intent.id, &record.intent.request_id);
    let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(%instance_id, request_id, took_ms, "{name}");
}

fn step_name(step: &Step) -> &'static str {
    match step {
        Step::Rest => "rest",
        Step::Wait { .. } => "wait",
        Step::FetchImages { .. } => "images fetched",
        Step::MakeDisk => "disk made",
        Step::PlugPorts => "ports plugged",
        Step::ChangePorts => "ports changed",
        Step::StartGuest => "guest started",
        Step::AskShutdown => "guest asked to shut down",
        Step::ForceOff => "guest switched off",
        Step::AskReboot => "guest asked to reboot",
        Step::Reset => "guest reset",
        Step::Undefine => "domain undefined",
        Step::UnplugPorts => "ports unplugged",
        Step::Capture { .. } => "disk copied",
        Step::DropCopy => "copy removed",
        Step::RemoveFiles => "files removed",
        Step::Record(_) => "recorded",
    }
}

pub(super) fn told(record: &Record, change: &Change) {
    let (instance_id, request_id) = (&record.intent.id, &record.intent.request_id);
    match change {
        Change::Up { stopping: false, .. } => tracing::info!(%instance_id, request_id, "running"),
        Change::Up { stopping: true, .. } => tracing::info!(%instance_id, request_id, "going off"),
        Change::Ended(Some(reason)) => {
            tracing::info!(%instance_id, request_id, reason = reason.message, "stopped");
        }
        Change::Ended(None) => tracing::info!(%instance_id, request_id, "stopped"),
        Change::Failing(reason) => {
            tracing::warn!(%instance_id, request_id, reason = reason.message, "failing");
        }
        Change::Failed => tracing::info!(%instance_id, request_id, "failed; everything it took is freed"),
        Change::Gone => tracing::info!(%instance_id, request_id, "terminated; nothing is left"),
        Change::Rebooted => tracing::info!(%instance_id, request_id, "rebooted"),
        Change::Address(learnt) => {
            tracing::info!(%instance_id, request_id, port = %learnt.port, address = %learnt.address, "address learnt");
        }
        Change::Capture(CaptureState::Reading) => {
            tracing::info!(%instance_id, request_id, "the disk is to be copied");
        }
        Change::Capture(CaptureState::Taken(digest)) => {
            tracing::info!(%instance_id, request_id, %digest, "the disk is copied");
        }
        Change::Capture(CaptureState::Failed(reason)) => {
            tracing::warn!(%instance_id, request_id, reason = reason.message, "the disk cannot be copied");
        }
    }
}

async fn save(node: &Arc<Node>, record: &Record, change: Change) -> Result<(), Failure> {
    let (owner, planned) = (node.clone(), record.clone());
    let saved = tokio::task::spawn_blocking(move || owner.record(&planned, change)).await;
    match saved {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(Failure::Later(format!("the record cannot be written: {error}"))),
        Err(error) => Err(Failure::Later(error.to_string())),
    }
}

/// Given up as soon as the instance is wanted otherwise, and at the deadline of a start; what came is kept for the next.
async fn fetch(node: &Arc<Node>, record: &Record, left: Duration) -> Result<(), Failure> {
    let id = &record.intent.id;
    let changed = node.live().entry(id.clone()).or_default().changed.clone();
    let changed = changed.notified();
    // What was wanted between the look at the record and this moment rang for nobody.
    if node.store.record(id).is_none_or(|newest| newest.intent != record.intent) {
        return Ok(());
    }
    // What is tried again and again is told once, and so is why.
    if node.live().get(id).is_none_or(|entry| entry.complaint.is_none()) {
        let (instance_id, request_id) = (id, &record.intent.request_id);
        tracing::info!(%instance_id, request_id, "images are to be fetched");
    }
    let started = Instant::now();
    let fetched = async {
        let _slot = node.fetches.acquire().await; // never closed
        node.drives.storage.fetch_images(&record.intent, &|| node.pinned()).await
    };
    tokio::select! {
        fetched = fetched => {
            fetched?;
            say_done(record, "images fetched", started);
            Ok(())
        }
        () = changed => Ok(()),
        () = tokio::time::sleep(left) => Ok(()), // the next look finds it late
    }
}

/// Given up as soon as nobody wants the copy any more, and at its deadline. Whatever else is wanted meanwhile, what was
/// copied stays good: the guest is off until this is over.
async fn capture(node: &Arc<Node>, record: &Record, left: Duration) -> Result<(), Failure> {
    let Some(task) = record.capturing() else { return Ok(()) };
    let started = Instant::now();
    let sent = async {
        let _slot = node.fetches.acquire().await; // never closed
        node.drives.storage.capture(&record.intent, task).await
    };
    let state = tokio::select! {
        sent = sent => match sent {
            Ok(digest) => CaptureState::Taken(digest),
            Err(error) => match Failure::from(error) {
                Failure::Final(reason) => CaptureState::Failed(reason),
                later => return Err(later),
            },
        },
        () = withdrawn(node, record, task) => return Ok(()),
        () = tokio::time::sleep(left) => return Ok(()), // the next look finds it late
    };
    say_done(record, "disk copied", started);
    // By what is wanted now: it may be told by another intent than began it.
    let newest = node.store.record(&record.intent.id).filter(|newest| newest.capturing() == Some(task));
    let Some(newest) = newest else { return Ok(()) };
    let change = Change::Capture(state);
    told(&newest, &change);
    save(node, &newest, change).await
}

/// Ends when the copy is not wanted any more.
async fn withdrawn(node: &Arc<Node>, record: &Record, task: &BundleTaskId) {
    let id = &record.intent.id;
    let changed = node.live().entry(id.clone()).or_default().changed.clone();
    loop {
        let next = changed.notified(); // before the look: what changes from here on rings
        let wanted = |newest: &Record| {
            newest.capturing() == Some(task) && newest.intent.desired != Desired::Terminated
        };
        if !node.store.record(id).is_some_and(|newest| wanted(&newest)) {
            return;
        }
        next.await;
    }
}

async fn outside(node: &Arc<Node>, record: &Record, step: &Step) -> Result<(), Failure> {
    let id = &record.intent.id;
    let (hypervisor, storage) = (&node.drives.hypervisor, &node.drives.storage);
    match step {
        Step::MakeDisk => Ok(storage.make_disk(&record.intent, &|| node.pinned()).await?),
        Step::PlugPorts => {
            let ports = wanted_ports(node, record);
            node.note_plugging(id, &ports);
            unplug_others(node, record, &ports, &HashSet::new()).await?;
            node.drives.ports.plug(&ports).await?;
            node.note_plugged(id, ports);
            Ok(())
        }
        Step::ChangePorts => change_ports(node, record).await,
        Step::StartGuest => {
            hypervisor.start(&guest_spec(node, record)).await?;
            if let Err(error) = node.drives.ports.started(&wanted_ports(node, record)).await {
                tracing::info!(instance_id = %id, %error, "its ports are looked at again in a moment");
            }
            with_live(node, record, |live| {
                if let Some((_, done)) = &mut live.reboot {
                    *done = true; // it has just booted
                }
            });
            Ok(())
        }
        Step::AskShutdown => {
            hypervisor.ask_shutdown(id).await?;
            with_live(node, record, |live| live.asked_off = Some(Instant::now()));
            Ok(())
        }
        Step::ForceOff => Ok(hypervisor.force_off(id).await?),
        Step::AskReboot => {
            with_live(node, record, |live| live.reboot = Some((Instant::now(), false)));
            Ok(hypervisor.ask_reboot(id).await?)
        }
        Step::Reset => {
            hypervisor.reset(id).await?;
            with_live(node, record, |live| live.reboot = Some((Instant::now(), true)));
            Ok(())
        }
        Step::Undefine => Ok(hypervisor.undefine(id).await?),
        Step::UnplugPorts => {
            unplug_others(node, record, &[], &HashSet::new()).await?;
            node.note_unplugged(id);
            Ok(())
        }
        Step::DropCopy => Ok(storage.drop_copy(id).await?),
        Step::RemoveFiles => {
            hypervisor.console_remove(id).await.map_err(StorageError::from)?;
            Ok(storage.remove_files(id).await?)
        }
        Step::Rest
        | Step::Wait { .. }
        | Step::FetchImages { .. }
        | Step::Capture { .. }
        | Step::Record(_) => Ok(()),
    }
}

fn with_live(node: &Arc<Node>, record: &Record, change: impl FnOnce(&mut crate::node::Live)) {
    change(node.live().entry(record.intent.id.clone()).or_default());
}

fn guest_spec(node: &Node, record: &Record) -> GuestSpec {
    let intent = &record.intent;
    let spec = &intent.spec;
    let paths = node.drives.storage.paths(&intent.id, spec);
    GuestSpec {
        tag: OwnerTag {
            owner: node.owner.clone(),
            id: intent.id.clone(),
            account: intent.account.clone(),
            generation: intent.generation,
            attempt: intent.attempt,
            reboots: intent.reboots,
        },
        vcpus: spec.need.vcpus,
        memory_mib: spec.need.memory_mib,
        disk: paths.disk,
        base: paths.base,
        base_format: spec.boot.root.format,
        kernel: paths.kernel,
        ramdisk: paths.ramdisk,
        firmware: spec.boot.firmware,
        console_log: paths.console_log,
        ports: spec.ports.iter().map(|port| guest_port(node, port)).collect(),
        emulator: node.user_network.as_ref().map(|network| network.emulator.clone()),
    }
}

pub fn wanted_ports(node: &Node, record: &Record) -> Vec<Port> {
    record.intent.spec.ports.iter().map(|port| node.names.port(port)).collect()
}

pub(super) fn guest_port(node: &Node, port: &PortSpec) -> GuestPort {
    let Bridge { name, mtu } = node.bridges.of(port.segment);
    let user = node.user_network.as_ref().map(|network| UserPort {
        address: port.private_ip,
        gateway: port.gateway,
        forwarded: port.forwarded.clone(),
        metadata: network.metadata_command(&port.id),
    });
    GuestPort { tap: node.names.tap(port), mac: port.mac.clone(), bridge: name, mtu, user }
}
