//! What is otherwise under Xen than under QEMU, as libvirt's libxl driver shows it.
//!
//! - Consoles are written to files by xenconsoled (`--log=guest`), not by libvirt.
//! - A reboot is a new domain: for a while libvirt shows the guest as shut off, exactly as after a
//!   shutdown, and tells no reboot event.
//! - There is no reset.
//! - dom0 is listed among the domains.

use crate::drive::storage::files::tail;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use virt::domain::Domain;
use virt::error::{Error, ErrorNumber};

pub const DOM0: &str = "Domain-0";
const CONSOLE_DIRECTORY: &str = "/var/log/xen";

fn console_log(domain: &str) -> PathBuf {
    Path::new(CONSOLE_DIRECTORY).join(format!("guest-{domain}.log"))
}

/// None: nobody wrote one, as with HVM guests or when xenconsoled does not log.
pub async fn console(domain: &str) -> Option<Vec<u8>> {
    tail(&console_log(domain)).await.ok()
}

pub async fn console_remove(domain: &str) -> std::io::Result<()> {
    match tokio::fs::remove_file(console_log(domain)).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Waits while libvirt is at work on the domain, in particular while it starts it anew; false if it
/// still was when libvirt's patience (30 s) ended. Setting what is already set is a job like any
/// other, so it stands in line behind the one that matters, and changes nothing.
pub fn settled(domain: &Domain) -> bool {
    !matches!(domain.set_autostart(false), Err(error) if error.code() == ErrorNumber::OperationTimeout)
}

/// As hard as a reset. Its end and its start are two steps here: a crash between them leaves the
/// guest off, as if somebody had pulled the plug.
pub fn reset(domain: &Domain) -> Result<(), Error> {
    domain.destroy()?;
    domain.create().map(drop)
}
