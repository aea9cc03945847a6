//! Attributes of an instance that its owner may change, and in which state. `change` is pure; the
//! functions of `App` find out what names stand for and commit.

use super::control::{Caller, StateChange};
use super::lifecycle::Order;
use super::model::{Instance, ShutdownBehavior};
use super::state::State;
use crate::app::App;
use crate::app::image::{ImageKind, not_found};
use crate::app::network_interface::{several_interfaces, source_dest_check_set};
use crate::app::tag::check_metadata_keys;
use karri_proto::fault::{Fault, FaultCode, shown};
use karri_proto::ids::{InstanceId, SecurityGroupId};
use karri_proto::instance::{BlobRef, InstanceSpec, MetadataOptions, PortSpec};
use std::sync::Arc;

/// What is wanted, with names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    InstanceType(String),
    UserData(Option<String>),
    Kernel(String),
    Ramdisk(String),
    Groups(Vec<String>),
    SourceDestCheck(bool),
    DisableApiTermination(bool),
    DisableApiStop(bool),
    ShutdownBehavior(ShutdownBehavior),
    Metadata(MetadataWish),
    /// What the instance has already, and cannot have otherwise.
    AsItIs,
}

/// Those of the metadata options that are to change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetadataWish {
    pub enabled: Option<bool>,
    pub tokens_required: Option<bool>,
    pub hop_limit: Option<u8>,
    pub tags_shown: Option<bool>,
}

/// The same, with what the names stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    InstanceType {
        name: String,
        vcpus: u32,
        memory_mib: u64,
        threads_per_core: u32,
    },
    /// The text itself is kept beside the instance.
    UserData {
        present: bool,
    },
    Kernel {
        id: String,
        blob: BlobRef,
    },
    Ramdisk {
        id: String,
        blob: BlobRef,
    },
    Groups(Vec<(SecurityGroupId, String)>),
    SourceDestCheck(bool),
    DisableApiTermination(bool),
    DisableApiStop(bool),
    ShutdownBehavior(ShutdownBehavior),
    Metadata(MetadataWish),
    AsItIs,
}

impl Change {
    /// What the guest is started with can be changed only while it is not.
    fn needs_stopped(&self) -> bool {
        match self {
            Change::InstanceType { .. }
            | Change::UserData { .. }
            | Change::Kernel { .. }
            | Change::Ramdisk { .. } => true,
            Change::Groups(_)
            | Change::SourceDestCheck(_)
            | Change::DisableApiTermination(_)
            | Change::DisableApiStop(_)
            | Change::ShutdownBehavior(_)
            | Change::Metadata(_)
            | Change::AsItIs => false,
        }
    }
}

/// True: changed. What a running guest's node must hear of makes a new generation; what holds for the
/// next start goes along with it.
pub fn change(instance: &mut Instance, change: &Change, order: Order<'_>) -> Result<bool, Fault> {
    check_state(instance, change)?;
    let before = instance.clone();
    match change {
        Change::InstanceType { name, vcpus, memory_mib, threads_per_core } => {
            instance.said.threads_per_core = Some(*threads_per_core);
            let spec = Arc::make_mut(&mut instance.spec);
            name.clone_into(&mut spec.instance_type);
            (spec.need.vcpus, spec.need.memory_mib) = (*vcpus, *memory_mib);
        }
        Change::UserData { present } => {
            instance.has_user_data = *present;
            return Ok(true);
        }
        Change::Kernel { id, blob } => {
            let spec = Arc::make_mut(&mut instance.spec);
            (spec.kernel_id, spec.boot.kernel) = (Some(id.clone()), Some(blob.clone()));
        }
        Change::Ramdisk { id, blob } => {
            let spec = Arc::make_mut(&mut instance.spec);
            (spec.ramdisk_id, spec.boot.ramdisk) = (Some(id.clone()), Some(blob.clone()));
        }
        Change::Groups(groups) => sole_port(instance)?.groups.clone_from(groups),
        Change::SourceDestCheck(value) => source_dest_check_set(sole_port(instance)?, *value)?,
        Change::DisableApiTermination(value) => instance.disable_api_termination = *value,
        Change::DisableApiStop(value) => instance.disable_api_stop = *value,
        Change::ShutdownBehavior(value) => instance.shutdown_behavior = *value,
        Change::Metadata(wish) => {
            if wish.tags_shown == Some(true) {
                check_metadata_keys(instance.tags.iter().map(|(key, _)| key))?;
            }
            apply_metadata(&mut Arc::make_mut(&mut instance.spec).metadata, wish);
        }
        Change::AsItIs => {}
    }
    if *instance == before {
        return Ok(false);
    }
    if node_must_know(&before.spec, &instance.spec) {
        instance.advance(order.request_id);
    }
    Ok(true)
}

/// What an instance has attributes of: its one interface.
fn sole_port(instance: &mut Instance) -> Result<&mut PortSpec, Fault> {
    match Arc::make_mut(&mut instance.spec).ports.as_mut_slice() {
        [port] => Ok(port),
        _ => Err(several_interfaces(&instance.id)),
    }
}

fn node_must_know(before: &InstanceSpec, now: &InstanceSpec) -> bool {
    before.metadata != now.metadata || before.ports != now.ports
}

fn apply_metadata(options: &mut MetadataOptions, wish: &MetadataWish) {
    options.enabled = wish.enabled.unwrap_or(options.enabled);
    options.tokens_required = wish.tokens_required.unwrap_or(options.tokens_required);
    options.hop_limit = wish.hop_limit.unwrap_or(options.hop_limit);
    options.tags_shown = wish.tags_shown.unwrap_or(options.tags_shown);
}

fn check_state(instance: &Instance, change: &Change) -> Result<(), Fault> {
    let id = &instance.id;
    let wrong = |sentence: String| Err(Fault::new(FaultCode::IncorrectInstanceState, sentence));
    match instance.state {
        State::Terminated | State::ShuttingDown => {
            let state = instance.state.as_str();
            wrong(format!("The instance '{id}' is not in a state from which it can be modified. ({state})"))
        }
        State::Stopped => Ok(()),
        State::Pending | State::Running | State::Stopping if change.needs_stopped() => {
            wrong(format!("The instance '{id}' is not in the 'stopped' state."))
        }
        State::Pending | State::Running | State::Stopping => Ok(()),
    }
}

impl App {
    pub async fn instance_modify(
        &self,
        caller: Caller<'_>,
        id: &InstanceId,
        wish: Wish,
    ) -> Result<Arc<Instance>, Fault> {
        let ids = std::slice::from_ref(id);
        let found = self.instances_named(caller, ids)?;
        let instance = found.first().ok_or_else(|| id.not_found())?;
        let wanted = self.understood(caller, instance, &wish).await?;
        match wish {
            Wish::UserData(text) => self.user_data_put(caller, id, &wanted, text.as_deref()).await?,
            Wish::Groups(groups) => self.groups_put(caller, id, instance, &groups).await?,
            _ => {
                let verb = |instance: &mut Instance, order: Order<'_>| change(instance, &wanted, order);
                let _: Vec<StateChange> = self.instances_order(caller, ids, verb).await?;
            }
        }
        self.instances.get(id).ok_or_else(|| id.not_found())
    }

    /// Looks up what the names of a wish stand for.
    async fn understood(
        &self,
        caller: Caller<'_>,
        instance: &Instance,
        wish: &Wish,
    ) -> Result<Change, Fault> {
        let architecture = instance.spec.architecture.as_str();
        Ok(match wish {
            Wish::InstanceType(name) => {
                let unknown =
                    || Fault::invalid_parameter(format!("Invalid value '{}' for InstanceType.", shown(name)));
                let kind = self.catalogue.get(name).ok_or_else(unknown)?;
                kind.check_architecture(architecture)?;
                Change::InstanceType {
                    name: name.clone(),
                    vcpus: kind.vcpus,
                    memory_mib: kind.memory_mib,
                    threads_per_core: kind.threads(),
                }
            }
            Wish::UserData(text) => Change::UserData { present: text.is_some() },
            Wish::Kernel(id) => {
                Change::Kernel { id: id.clone(), blob: self.part_blob(caller, id, ImageKind::Kernel).await? }
            }
            Wish::Ramdisk(id) => Change::Ramdisk {
                id: id.clone(),
                blob: self.part_blob(caller, id, ImageKind::Ramdisk).await?,
            },
            Wish::Groups(_) => Change::AsItIs, // looked up when it is written
            Wish::SourceDestCheck(value) => Change::SourceDestCheck(*value),
            Wish::DisableApiTermination(value) => Change::DisableApiTermination(*value),
            Wish::DisableApiStop(value) => Change::DisableApiStop(*value),
            Wish::ShutdownBehavior(value) => Change::ShutdownBehavior(*value),
            Wish::Metadata(wish) => Change::Metadata(wish.clone()),
            Wish::AsItIs => Change::AsItIs,
        })
    }

    async fn part_blob(&self, caller: Caller<'_>, id: &str, kind: ImageKind) -> Result<BlobRef, Fault> {
        let image = self.store.image_fetch(id).await?;
        let image = image
            .filter(|image| image.kind == kind && image.is_visible_to(caller.account, caller.administrator));
        image.and_then(|image| image.bootable().cloned()).ok_or_else(|| not_found(&[id]))
    }

    /// In the turn of whoever removes groups: those that are looked up are there when the instance is written.
    async fn groups_put(
        &self,
        caller: Caller<'_>,
        id: &InstanceId,
        instance: &Instance,
        groups: &[String],
    ) -> Result<(), Fault> {
        let _groups = self.networks_held.read().await;
        let (mut tx, number) = self.store.begin_numbered().await?;
        let groups = self.groups_of_instance_in_txn(&mut tx, instance, groups).await?;
        self.check_groups_of_mode(&instance.zone, groups.iter().map(|(_, name)| name.as_str()))?;
        let wanted = Change::Groups(groups);
        let verb = |instance: &mut Instance, order: Order<'_>| change(instance, &wanted, order);
        self.order_in_txn(tx, number, caller, std::slice::from_ref(id), |_| Ok(()), verb).await.map(drop)
    }

    async fn user_data_put(
        &self,
        caller: Caller<'_>,
        id: &InstanceId,
        wanted: &Change,
        text: Option<&str>,
    ) -> Result<(), Fault> {
        let order = self.order(caller.request_id);
        let decide = |instance: &mut Instance| {
            if caller.administrator || instance.account == caller.account {
                change(instance, wanted, order)
            } else {
                Err(id.not_found())
            }
        };
        let written = self.store.instance_user_data_put(id, text, decide).await?;
        self.adopt(vec![written.ok_or_else(|| id.not_found())?]);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
