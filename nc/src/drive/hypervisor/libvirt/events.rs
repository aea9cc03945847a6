//! A connection that tells of its guests' life: libvirt's event loop in a thread of its own.
//!
//! The virt crate has no call to subscribe to domain events, so this file calls libvirt's C functions
//! for that one purpose. It is the only file with unsafe code.
#![allow(unsafe_code)]

use super::pool::Connection;
use crate::app::owner_tag::named_instance;
use crate::drive::hypervisor::GuestChange;
use std::ffi::{CStr, c_int, c_void};
use std::sync::Once;
use std::time::Duration;
use tokio::sync::broadcast::Sender;
use virt::error::Error;
use virt::sys;

/// libvirt finds a dead daemon by these probes: seconds between them, and how many may be lost.
const KEEP_ALIVE_SECS: i32 = 5;
const KEEP_ALIVE_LOST_MAX: u32 = 3;
const LOOP_PAUSE: Duration = Duration::from_millis(100);

/// An open connection and its subscriptions.
pub struct Link {
    connect: Connection,
    callbacks: Vec<c_int>,
}

impl Link {
    pub fn open(uri: &str, changes: &Sender<GuestChange>) -> Result<Self, Error> {
        start_event_loop();
        let connect = Connection::open(uri)?;
        let mut link = Self { connect, callbacks: Vec::new() };
        // SAFETY: libvirt calls a lifecycle callback with exactly this signature; it is stored under
        // the generic type because one C function registers all kinds.
        let lifecycle: unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, *mut c_void) =
            unsafe { std::mem::transmute(on_lifecycle as LifecycleCallback) };
        link.subscribe(sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE, lifecycle, changes)?;
        link.subscribe(sys::VIR_DOMAIN_EVENT_ID_REBOOT, on_reboot, changes)?;
        // Last: from now on libvirt's own thread uses the connection. A driver inside this process needs no
        // probes and refuses them.
        let _ = link.connect.set_keep_alive(KEEP_ALIVE_SECS, KEEP_ALIVE_LOST_MAX);
        Ok(link)
    }

    pub fn is_alive(&self) -> bool {
        self.connect.is_alive()
    }

    fn subscribe(
        &mut self,
        event: sys::virDomainEventID,
        callback: unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, *mut c_void),
        changes: &Sender<GuestChange>,
    ) -> Result<(), Error> {
        let opaque = Box::into_raw(Box::new(changes.clone()));
        // SAFETY: the connection is open; `opaque` lives until libvirt hands it to `free_sender`.
        let id = unsafe {
            sys::virConnectDomainEventRegisterAny(
                self.connect.as_ptr(),
                std::ptr::null_mut(),
                event as c_int,
                Some(callback),
                opaque.cast(),
                Some(free_sender),
            )
        };
        if id < 0 {
            // SAFETY: libvirt did not take `opaque`.
            drop(unsafe { Box::from_raw(opaque) });
            return Err(Error::last_error());
        }
        self.callbacks.push(id);
        Ok(())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        for id in &self.callbacks {
            // SAFETY: the connection is still open and the id is its own. A failure (a dead daemon)
            // leaves nothing to undo.
            unsafe { sys::virConnectDomainEventDeregisterAny(self.connect.as_ptr(), *id) };
        }
    }
}

type LifecycleCallback =
    unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, c_int, c_int, *mut c_void) -> c_int;

unsafe extern "C" fn on_lifecycle(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    event: c_int,
    _detail: c_int,
    opaque: *mut c_void,
) -> c_int {
    // Xen tells no reboots: its guests end and are started again.
    let started = u32::try_from(event) == Ok(sys::VIR_DOMAIN_EVENT_STARTED);
    // SAFETY: libvirt passes what was registered.
    unsafe { tell(domain, opaque, started) };
    0
}

unsafe extern "C" fn on_reboot(_: sys::virConnectPtr, domain: sys::virDomainPtr, opaque: *mut c_void) {
    // SAFETY: libvirt passes what was registered.
    unsafe { tell(domain, opaque, true) };
}

/// # Safety
/// `domain` is valid for the call and `opaque` is the sender that [`Link::subscribe`] boxed.
unsafe fn tell(domain: sys::virDomainPtr, opaque: *mut c_void, rebooted: bool) {
    // SAFETY: by this function's own contract; the name belongs to the domain and is copied here.
    let (name, changes) = unsafe {
        let name = sys::virDomainGetName(domain);
        if name.is_null() {
            return;
        }
        (CStr::from_ptr(name), &*opaque.cast::<Sender<GuestChange>>())
    };
    if let Some(id) = name.to_str().ok().and_then(named_instance) {
        let _ = changes.send(GuestChange { id, rebooted }); // nobody listening: the poll sees it
    }
}

unsafe extern "C" fn free_sender(opaque: *mut c_void) {
    // SAFETY: `opaque` is what `subscribe` boxed, and libvirt frees it once.
    drop(unsafe { Box::from_raw(opaque.cast::<Sender<GuestChange>>()) });
}

/// Once per process, before the first connection.
fn start_event_loop() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        if let Err(error) = virt::event::event_register_default_impl() {
            tracing::warn!(%error, "no libvirt events; guests are seen by polling");
            return;
        }
        let spawned = std::thread::Builder::new().name("libvirt-events".to_owned()).spawn(|| {
            loop {
                if virt::event::event_run_default_impl().is_err() {
                    std::thread::sleep(LOOP_PAUSE); // do not spin on a lasting error
                }
            }
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "no libvirt events; guests are seen by polling");
        }
    });
}
