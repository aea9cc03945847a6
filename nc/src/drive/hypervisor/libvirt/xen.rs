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

/// The console's log, and that of the QEMU which served the disks, with what was rotated.
pub async fn console_remove(domain: &str) -> std::io::Result<()> {
    let mut entries = match tokio::fs::read_dir(CONSOLE_DIRECTORY).await {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let of_domain = [format!("guest-{domain}.log"), format!("qemu-dm-{domain}.log")];
    while let Some(entry) = entries.next_entry().await? {
        let name = entry.file_name().to_string_lossy().into_owned();
        if of_domain.iter().any(|log| name.starts_with(log)) {
            match tokio::fs::remove_file(entry.path()).await {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                other => other?,
            }
        }
    }
    Ok(())
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
