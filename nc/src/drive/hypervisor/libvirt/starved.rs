//! Guests that QEMU stopped for want of room on the disk.

use super::{CallError, Shared};
use crate::app::owner_tag::named_instance;
use karri_proto::ids::InstanceId;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::{Error, ErrorNumber};
use virt::sys;

/// Lets those of ours go on; returns them.
pub fn resume(shared: &Shared, connect: &Connect) -> Result<Vec<InstanceId>, CallError> {
    let mut starved = Vec::new();
    for domain in connect.list_all_domains(sys::VIR_CONNECT_LIST_DOMAINS_PAUSED)? {
        let name = domain.get_name()?;
        let Some(id) = named_instance(&name) else { continue };
        let own = shared.tag_cached(&domain, &name)?.is_some_and(|tag| tag.owner == shared.owner);
        if own && resume_one(&domain)? {
            starved.push(id);
        }
    }
    Ok(starved)
}

/// True: it stood still for that reason.
fn resume_one(domain: &Domain) -> Result<bool, Error> {
    let outcome = domain.get_state().and_then(|(state, reason)| {
        let reason = u32::try_from(reason).unwrap_or(sys::VIR_DOMAIN_PAUSED_UNKNOWN);
        let starved = state == sys::VIR_DOMAIN_PAUSED && reason == sys::VIR_DOMAIN_PAUSED_IOERROR;
        if starved { domain.resume().map(|_| true) } else { Ok(false) }
    });
    match outcome {
        // It went on or off meanwhile.
        Err(error) if matches!(error.code(), ErrorNumber::OperationInvalid | ErrorNumber::NoDomain) => {
            Ok(false)
        }
        other => other,
    }
}
