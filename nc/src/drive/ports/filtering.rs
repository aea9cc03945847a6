//! Whether what the bridge carries is shown to iptables at all: the kernel's `br_netfilter`.
//!
//! It can be asked for by every bridge of its own, and is: with it on for all, the packets of everybody's bridges
//! would pass rules that were not written for them.

use super::PortError;
use super::program::run;
use std::io::ErrorKind;
use std::path::Path;

const SETTINGS: &str = "/proc/sys/net/bridge";
const FOR_ALL: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";
/// What the module sets when it is loaded.
const ON_WHEN_LOADED: [&str; 3] =
    ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables", "bridge-nf-call-arptables"];

/// Loads the module if it is missing, and leaves it off for all bridges but ours, as it was for them before.
pub async fn ensure() -> Result<(), PortError> {
    if Path::new(SETTINGS).exists() {
        return Ok(());
    }
    let why = run("modprobe", &["br_netfilter"], String::new()).await.err();
    if !Path::new(SETTINGS).exists() {
        let why = why.map(|error| format!(" ({error})")).unwrap_or_default();
        return Err(PortError::Broken(format!(
            "this kernel has no br_netfilter, without which security groups are not enforced: no guest is started{why}"
        )));
    }
    for setting in ON_WHEN_LOADED {
        let path = Path::new(SETTINGS).join(setting);
        std::fs::write(&path, "0").map_err(|e| PortError::Broken(format!("{}: {e}", path.display())))?;
    }
    tracing::info!("loaded br_netfilter, for Karri's bridges alone");
    Ok(())
}

/// Whether somebody has turned it on for every bridge.
pub fn is_on_for_all() -> Result<bool, PortError> {
    match std::fs::read_to_string(FOR_ALL) {
        Ok(value) => Ok(value.trim() != "0"),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(PortError::Broken(format!("{FOR_ALL}: {error}"))),
    }
}
