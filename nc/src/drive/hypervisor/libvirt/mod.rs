//! libvirt: QEMU, KVM and Xen through connections that are opened again whenever they break.
//!
//! The only place that knows libvirt. Its calls block, so each runs off the async threads with a time
//! limit. Domains are defined (not transient), so that libvirt remembers why one is off.

mod console;
mod events;
mod pool;
pub mod probe;
mod starved;
mod xen;

use super::{Found, FoundGuest, GuestChange, Hypervisor, HypervisorError, HypervisorFacts};
use crate::app::domain_xml::{GuestPort, GuestSpec, Platform, domain_xml};
use crate::app::interface_xml;
use crate::app::owner_tag::{NAMESPACE, Owner, OwnerTag, domain_name, named_instance};
use crate::app::plan::{Guest, OffReason};
use async_trait::async_trait;
use console::Consoles;
use karri_proto::ids::InstanceId;
use pool::{Connection, Pool};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, broadcast};
use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::{Error, ErrorDomain, ErrorNumber};
use virt::sys;

const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Calls at once, and so connections. More than there are steps at once: a look must not wait for starts.
const CALLS_MAX: usize = 16;
const CHANGES_KEPT: usize = 1024;

/// Whom libvirt runs guests as; none: as this process is, or libvirt does not say.
pub async fn runs_as(uri: &str) -> Option<probe::RunsAs> {
    let uri = uri.to_owned();
    let capabilities = tokio::task::spawn_blocking(move || Connection::open(&uri)?.get_capabilities());
    match tokio::time::timeout(CALL_TIMEOUT, capabilities).await {
        Ok(Ok(Ok(capabilities))) => probe::RunsAs::of(&capabilities),
        Ok(Ok(Err(error))) => {
            tracing::info!(%error, "libvirt does not say whom it runs guests as");
            None
        }
        Ok(Err(_)) | Err(_) => None,
    }
}

pub struct Libvirt {
    shared: Arc<Shared>,
    /// A call that hangs keeps its place, so that a daemon that hangs costs a bounded number of threads.
    calls: Arc<Semaphore>,
}

struct Shared {
    pool: Pool,
    owner: Owner,
    platform: PlatformChoice,
    /// Only where libvirt's driver writes no console log.
    consoles: Option<Consoles>,
    /// Tags of running domains by name and id of their run, so that a poll needs one call.
    tags: Mutex<HashMap<(String, u32), Option<OwnerTag>>>,
    changes: broadcast::Sender<GuestChange>,
}

/// Under Xen the kind of guest may depend on the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlatformChoice {
    Qemu(Platform),
    /// PVH for kernels that are given, HVM for whole disks.
    XenAny,
    XenOnly(Platform),
}

impl PlatformChoice {
    fn of(self, guest: &GuestSpec) -> Platform {
        match self {
            PlatformChoice::Qemu(platform) | PlatformChoice::XenOnly(platform) => platform,
            PlatformChoice::XenAny if guest.kernel.is_some() => Platform::XenPvh,
            PlatformChoice::XenAny => Platform::XenHvm,
        }
    }

    fn is_xen(self) -> bool {
        match self {
            PlatformChoice::Qemu(_) => false,
            PlatformChoice::XenAny | PlatformChoice::XenOnly(_) => true,
        }
    }

    fn accelerator(self) -> &'static str {
        match self {
            PlatformChoice::Qemu(platform) | PlatformChoice::XenOnly(platform) => platform.accelerator(),
            PlatformChoice::XenAny => "xen",
        }
    }
}

impl Libvirt {
    /// `instances` is where the instances' directories are.
    pub fn new(uri: &str, owner: Owner, platform: PlatformChoice, instances: &Path) -> Self {
        Self::made(uri, owner, platform, instances, true)
    }

    /// For a short visit: nothing is heard of changes, and no thread of libvirt's runs when the process ends.
    pub fn visiting(uri: &str, owner: Owner, platform: PlatformChoice, instances: &Path) -> Self {
        Self::made(uri, owner, platform, instances, false)
    }

    fn made(uri: &str, owner: Owner, platform: PlatformChoice, instances: &Path, listens: bool) -> Self {
        virt::error::clear_error_callback(); // errors come back as values; stderr is for our log
        let changes = broadcast::channel(CHANGES_KEPT).0;
        let shared = Shared {
            pool: Pool::new(uri, listens.then(|| changes.clone())),
            owner,
            platform,
            consoles: (listens && platform.is_xen()).then(|| Consoles::new(instances)),
            tags: Mutex::default(),
            changes,
        };
        Self { shared: Arc::new(shared), calls: Arc::new(Semaphore::new(CALLS_MAX)) }
    }

    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared, &Connect) -> Result<T, CallError> + Send + 'static,
    ) -> Result<T, HypervisorError> {
        let (shared, calls) = (self.shared.clone(), self.calls.clone());
        let call = async {
            let place = calls.acquire_owned().await; // never closed
            tokio::task::spawn_blocking(move || {
                let _place = place;
                shared.with_connection(work)
            })
            .await
        };
        match tokio::time::timeout(CALL_TIMEOUT, call).await {
            Ok(Ok(result)) => result,
            Ok(Err(join)) => Err(HypervisorError::Unreachable(join.to_string())),
            Err(_) => Err(HypervisorError::Unreachable(format!("no answer in {CALL_TIMEOUT:?}"))),
        }
    }

    /// Runs `work` on the domain of `id`; nothing if there is none.
    async fn on_domain(
        &self,
        id: &InstanceId,
        work: impl FnOnce(&Domain) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), HypervisorError> {
        let id = id.clone();
        self.call(move |shared, connect| match shared.own_domain(connect, &id)? {
            Some((domain, _)) => match work(&domain) {
                // It went off meanwhile: what was wanted of a running guest is moot.
                Err(error)
                    if matches!(error.code(), ErrorNumber::OperationInvalid | ErrorNumber::NoDomain) =>
                {
                    Ok(())
                }
                other => Ok(other?),
            },
            None => Ok(()),
        })
        .await
    }
}

enum CallError {
    Libvirt(Error),
    Foreign(String),
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        CallError::Libvirt(error)
    }
}

/// What libvirt says of a call that it understood.
fn judged(code: ErrorNumber, message: &str) -> HypervisorError {
    match code {
        // A lock that another call holds; a job that goes on; no memory just now.
        ErrorNumber::OperationTimeout | ErrorNumber::ResourceBusy | ErrorNumber::NoMemory => {
            HypervisorError::Busy(message.to_owned())
        }
        _ => HypervisorError::Refused(message.to_owned()),
    }
}

impl Shared {
    fn with_connection<T>(
        &self,
        work: impl FnOnce(&Shared, &Connect) -> Result<T, CallError>,
    ) -> Result<T, HypervisorError> {
        let unreachable = |error: Error| HypervisorError::Unreachable(error.message().to_owned());
        let connection = self.pool.take().map_err(unreachable)?;
        let refused = match work(self, &connection) {
            Ok(value) => {
                self.pool.give_back(connection);
                return Ok(value);
            }
            Err(CallError::Libvirt(error))
                if error.domain() == ErrorDomain::Rpc || !connection.is_alive() =>
            {
                return Err(unreachable(error));
            }
            Err(CallError::Libvirt(error)) => judged(error.code(), error.message()),
            Err(CallError::Foreign(name)) => HypervisorError::Foreign(name),
        };
        self.pool.give_back(connection);
        Err(refused)
    }

    fn own_domain(
        &self,
        connect: &Connect,
        id: &InstanceId,
    ) -> Result<Option<(Domain, OwnerTag)>, CallError> {
        let name = domain_name(id);
        match Domain::lookup_by_name(connect, &name) {
            Err(error) if error.code() == ErrorNumber::NoDomain => Ok(None),
            Err(error) => Err(error.into()),
            Ok(domain) => match self.tag(&domain)? {
                Some(tag) if tag.owner == self.owner && tag.id == *id => Ok(Some((domain, tag))),
                _ => Err(CallError::Foreign(name)),
            },
        }
    }

    fn tag(&self, domain: &Domain) -> Result<Option<OwnerTag>, CallError> {
        let kind = i32::try_from(sys::VIR_DOMAIN_METADATA_ELEMENT).unwrap_or(2);
        match domain.get_metadata(kind, Some(NAMESPACE), 0) {
            Ok(xml) => Ok(OwnerTag::parse(&xml)),
            Err(error) if matches!(error.code(), ErrorNumber::NoDomainMetadata | ErrorNumber::NoDomain) => {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn tag_cached(&self, domain: &Domain, name: &str) -> Result<Option<OwnerTag>, CallError> {
        let Some(run) = domain.get_id() else { return self.tag(domain) };
        let key = (name.to_owned(), run);
        if let Some(tag) = self.tags.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(tag.clone());
        }
        let tag = self.tag(domain)?;
        self.tags.lock().unwrap_or_else(PoisonError::into_inner).insert(key, tag.clone());
        Ok(tag)
    }

    fn guest(&self, connect: &Connect, id: &InstanceId) -> Result<(Guest, Option<Domain>), CallError> {
        let Some((domain, tag)) = self.own_domain(connect, id)? else { return Ok((Guest::Absent, None)) };
        match seen(&domain, tag.generation) {
            Err(error) if error.code() == ErrorNumber::NoDomain => Ok((Guest::Absent, None)),
            other => Ok((other?, Some(domain))),
        }
    }

    fn found(&self, connect: &Connect) -> Result<Found, CallError> {
        let mut found = Found::default();
        let mut runs = Vec::new();
        for domain in connect.list_all_domains(0)? {
            let name = domain.get_name()?;
            runs.extend(domain.get_id().map(|run| (name.clone(), run)));
            if self.platform.is_xen() && name == xen::DOM0 {
                continue;
            }
            let tag = match named_instance(&name) {
                Some(_) => self.tag_cached(&domain, &name)?.filter(|tag| tag.owner == self.owner),
                None => None,
            };
            let Some(tag) = tag else {
                found.foreign.push(name);
                continue;
            };
            if let Some(consoles) = &self.consoles {
                consoles.follow(self.pool.uri(), &domain);
            }
            match seen(&domain, tag.generation) {
                Ok(guest) => found.own.push(FoundGuest { tag, guest }),
                Err(error) if error.code() == ErrorNumber::NoDomain => {} // gone since the list was made
                Err(error) => return Err(error.into()),
            }
        }
        let mut tags = self.tags.lock().unwrap_or_else(PoisonError::into_inner);
        tags.retain(|key, _| runs.contains(key));
        found.foreign.sort();
        Ok(found)
    }
}

/// An active domain counts as running, paused or not; a domain that is off tells why.
fn seen(domain: &Domain, generation: u64) -> Result<Guest, Error> {
    if domain.get_id().is_some() {
        return Ok(Guest::Running);
    }
    let (_, reason) = domain.get_state()?;
    let why = match u32::try_from(reason).unwrap_or(sys::VIR_DOMAIN_SHUTOFF_UNKNOWN) {
        sys::VIR_DOMAIN_SHUTOFF_SHUTDOWN => OffReason::GuestShutDown,
        sys::VIR_DOMAIN_SHUTOFF_DESTROYED => OffReason::Destroyed,
        sys::VIR_DOMAIN_SHUTOFF_CRASHED => OffReason::Crashed,
        _ => OffReason::Unknown,
    };
    Ok(Guest::Off { why, generation })
}

fn undefine(domain: &Domain) -> Result<(), Error> {
    let all = sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        | sys::VIR_DOMAIN_UNDEFINE_NVRAM;
    match domain.undefine_flags(all) {
        // Not every driver knows all of these.
        Err(error) if matches!(error.code(), ErrorNumber::InvalidArg | ErrorNumber::NoSupport) => {
            domain.undefine()
        }
        other => other,
    }
}

fn version(packed: u32) -> String {
    format!("{}.{}.{}", packed / 1_000_000, packed / 1_000 % 1_000, packed % 1_000)
}

#[async_trait]
impl Hypervisor for Libvirt {
    async fn facts(&self) -> Result<HypervisorFacts, HypervisorError> {
        self.call(|shared, connect| {
            let driver = connect.get_type()?;
            let hypervisor = version(connect.get_hyp_version().unwrap_or_default());
            let libvirt = version(connect.get_lib_version()?);
            Ok(HypervisorFacts {
                accelerator: shared.platform.accelerator().to_owned(),
                hypervisor: format!("{driver} {hypervisor} (libvirt {libvirt})"),
            })
        })
        .await
    }

    async fn found(&self) -> Result<Found, HypervisorError> {
        self.call(|shared, connect| shared.found(connect)).await
    }

    async fn guest(&self, id: &InstanceId) -> Result<Guest, HypervisorError> {
        let id = id.clone();
        self.call(move |shared, connect| {
            let (guest, domain) = shared.guest(connect, &id)?;
            let off = matches!(guest, Guest::Off { why: OffReason::GuestShutDown, .. });
            let Some(domain) = domain.filter(|_| off && shared.platform.is_xen()) else { return Ok(guest) };
            // It may be about to start again.
            if xen::settled(&domain) { Ok(shared.guest(connect, &id)?.0) } else { Ok(Guest::Running) }
        })
        .await
    }

    async fn start(&self, spec: &GuestSpec) -> Result<(), HypervisorError> {
        let xml = domain_xml(spec, self.shared.platform.of(spec));
        let id = spec.id().clone();
        self.call(move |shared, connect| {
            if shared.own_domain(connect, &id)?.is_some_and(|(domain, _)| domain.get_id().is_some()) {
                return Ok(());
            }
            let domain = Domain::define_xml(connect, &xml)?;
            if let Err(error) = domain.create() {
                // What libvirt says of the failure is worth more than a failing clean-up.
                let _ = undefine(&domain);
                return Err(error.into());
            }
            Ok(())
        })
        .await
    }

    async fn ask_shutdown(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        self.on_domain(id, |domain| domain.shutdown().map(drop)).await
    }

    async fn force_off(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        self.on_domain(id, Domain::destroy).await
    }

    async fn ask_reboot(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        self.on_domain(id, |domain| domain.reboot(0)).await
    }

    async fn reset(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        let is_xen = self.shared.platform.is_xen();
        let work = move |domain: &Domain| if is_xen { xen::reset(domain) } else { domain.reset().map(drop) };
        self.on_domain(id, work).await
    }

    async fn interfaces(&self, id: &InstanceId) -> Result<Vec<String>, HypervisorError> {
        let id = id.clone();
        self.call(move |shared, connect| {
            let Some((domain, _)) = shared.own_domain(connect, &id)? else { return Ok(Vec::new()) };
            Ok(interface_xml::interfaces(&domain.get_xml_desc(0)?).into_iter().map(|one| one.tap).collect())
        })
        .await
    }

    async fn plug(&self, id: &InstanceId, port: &GuestPort) -> Result<(), HypervisorError> {
        let xml = interface_xml::interface(port, self.shared.platform.is_xen());
        self.on_domain(id, move |domain| {
            domain.attach_device_flags(&xml, sys::VIR_DOMAIN_AFFECT_LIVE).map(drop)
        })
        .await
    }

    async fn unplug(&self, id: &InstanceId, tap: &str) -> Result<(), HypervisorError> {
        let (tap, is_xen) = (tap.to_owned(), self.shared.platform.is_xen());
        let work = move |domain: &Domain| {
            let all = interface_xml::interfaces(&domain.get_xml_desc(0)?);
            match all.iter().find(|one| one.tap == tap) {
                Some(one) => {
                    let xml = interface_xml::interface(one, is_xen);
                    domain.detach_device_flags(&xml, sys::VIR_DOMAIN_AFFECT_LIVE).map(drop)
                }
                None => Ok(()),
            }
        };
        self.on_domain(id, work).await
    }

    async fn undefine(&self, id: &InstanceId) -> Result<(), HypervisorError> {
        self.on_domain(id, |domain| if domain.get_id().is_some() { Ok(()) } else { undefine(domain) }).await
    }

    async fn console(&self, id: &InstanceId) -> Option<Vec<u8>> {
        if self.shared.platform.is_xen() { xen::console(&domain_name(id)).await } else { None }
    }

    async fn console_remove(&self, id: &InstanceId) -> std::io::Result<()> {
        if self.shared.platform.is_xen() { xen::console_remove(&domain_name(id)).await } else { Ok(()) }
    }

    async fn resume_starved(&self) -> Result<Vec<InstanceId>, HypervisorError> {
        self.call(starved::resume).await
    }

    fn changes(&self) -> broadcast::Receiver<GuestChange> {
        self.shared.changes.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_another_call_holds_is_waited_for() {
        let held = "Timed out during operation: cannot acquire state change lock (held by monitor=…)";
        assert_eq!(judged(ErrorNumber::OperationTimeout, held), HypervisorError::Busy(held.to_owned()));
        let wrong = "unsupported configuration: no such machine";
        let refused = HypervisorError::Refused(wrong.to_owned());
        assert_eq!(judged(ErrorNumber::ConfigUnsupported, wrong), refused);
    }
}
