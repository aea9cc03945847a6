//! Guests that exist only as entries of a map: no libvirt, no root, no files.
//!
//! Like real ones they outlive the controller in the eyes of its records: [`SimHypervisor::remember`]
//! puts back those that a restarted node believes to be running.

use super::{Found, FoundGuest, GuestChange, Hypervisor, HypervisorError, HypervisorFacts};
use crate::app::domain_xml::{GuestPort, GuestSpec};
use crate::app::owner_tag::OwnerTag;
use crate::app::plan::{Guest, OffReason};
use async_trait::async_trait;
use karri_proto::ids::InstanceId;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast;

const CHANGES_KEPT: usize = 1024;

#[derive(Debug)]
struct SimGuest {
    tag: OwnerTag,
    guest: Guest,
    /// None after a restart of the controller: then the guest is given them anew.
    taps: Vec<String>,
}

#[derive(Debug)]
pub struct SimHypervisor {
    guests: Mutex<HashMap<InstanceId, SimGuest>>,
    /// How often each has booted: what its console tells, also when it is off.
    boots: Mutex<HashMap<InstanceId, u64>>,
    start_time: Duration,
    changes: broadcast::Sender<GuestChange>,
}

impl SimHypervisor {
    pub fn new(start_time: Duration) -> Self {
        Self {
            guests: Mutex::default(),
            boots: Mutex::default(),
            start_time,
            changes: broadcast::channel(CHANGES_KEPT).0,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<InstanceId, SimGuest>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn boots(&self) -> MutexGuard<'_, HashMap<InstanceId, u64>> {
        self.boots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn remember(&self, tag: OwnerTag) {
        self.boots().insert(tag.id.clone(), 1);
        self.runs(tag, Vec::new());
    }

    fn runs(&self, tag: OwnerTag, taps: Vec<String>) {
        self.lock().insert(tag.id.clone(), SimGuest { tag, guest: Guest::Running, taps });
    }

    /// The guest's own doing, or somebody's behind our back.
    pub fn goes_off(&self, id: &InstanceId, why: OffReason) {
        if let Some(guest) = self.lock().get_mut(id) {
            guest.guest = Guest::Off { why, generation: guest.tag.generation };
        }
        self.tell(id, false);
    }

    fn tell(&self, id: &InstanceId, rebooted: bool) {
        // Nobody listening is no error: the poll sees it.
        let _ = self.changes.send(GuestChange { id: id.clone(), rebooted });
    }

    fn switch_off(&self, id: &InstanceId, why: OffReason) {
        let running = self.lock().get(id).is_some_and(|guest| guest.guest == Guest::Running);
        if running {
            self.goes_off(id, why);
        }
    }

    fn boots_again(&self, id: &InstanceId) {
        if let Some(boots) = self.boots().get_mut(id) {
            *boots += 1;
        }
        self.tell(id, true);
    }
}

#[async_trait]
impl Hypervisor for SimHypervisor {
    async fn facts(&self) -> Result<HypervisorFacts, HypervisorError> {
        Ok(HypervisorFacts { accelerator: "sim".to_owned(), hypervisor: "simulated".to_owned() })
    }

    async fn found(&self) -> Result<Found, HypervisorError> {
        let guests = self.lock();
        let own =
            guests.values().map(|g| FoundGuest { tag: g.tag.clone(), guest: g.guest.clone() }).collect();
        Ok(Found { own, foreign: Vec::new() })
    }

    async fn guest(&self, id: &InstanceId) -> Result<Guest, HypervisorError> {
        Ok(self.lock().get(id).map_or(Guest::Absent, |guest| guest.guest.clone()))
    }

    async fn start(&self, spec: &GuestSpec) -> Result<(), HypervisorError> {
        tokio::time::sleep(self.start_time).await; // the simulated work itself
        self.boots().insert(spec.id().clone(), 1);
        self.runs(spec.tag.clone(), spec.ports.iter().map(|port| port.tap.clone()).collect());
        self.tell(spec.id(), false);
        Ok(())
    }

    async fn ask_shutdown(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        self.switch_off(id, OffReason::GuestShutDown);
        Ok(())
    }

    async fn force_off(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        self.switch_off(id, OffReason::Destroyed);
        Ok(())
    }

    async fn ask_reboot(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        self.boots_again(id);
        Ok(())
    }

    async fn reset(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        self.boots_again(id);
        Ok(())
    }

    async fn interfaces(&self, id: &InstanceId) -> Result<Vec<String>, HypervisorError> {
        Ok(self.lock().get(id).map_or_else(Vec::new, |guest| guest.taps.clone()))
    }

    async fn plug(&self, id: &InstanceId, port: &GuestPort) -> Result<(), HypervisorError> {
        if let Some(guest) = self.lock().get_mut(id) {
            guest.taps.push(port.tap.clone());
        }
        Ok(())
    }

    async fn unplug(&self, id: &InstanceId, tap: &str) -> Result<(), HypervisorError> {
        if let Some(guest) = self.lock().get_mut(id) {
            guest.taps.retain(|own| own != tap);
        }
        Ok(())
    }

    async fn undefine(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        let mut guests = self.lock();
        if guests.get(id).is_some_and(|guest| guest.guest != Guest::Running) {
            guests.remove(id);
        }
        Ok(())
    }

    async fn console(&self, id: &InstanceId) -> Option<Vec<u8>> {
        let boots = *self.boots().get(id)?;
        Some(format!("Simulated guest {id}, boot {boots}\n{id} login: \n").into_bytes())
    }

    async fn console_remove(&self, id: &InstanceId) -> std::io::Result<()> {
        self.boots().remove(id);
        Ok(())
    }

    fn polled(&self) -> bool {
        false
    }

    fn changes(&self) -> broadcast::Receiver<GuestChange> {
        self.changes.subscribe()
    }
}
