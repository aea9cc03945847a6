//! The host's part of user networking: the socket for metadata, and the script by which libvirt starts QEMU.

use crate::app::user_network::{UserNetwork, emulator_script};
use anyhow::Context;
use karri_proto::runtime::endpoint::write_durably;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tokio::net::UnixListener;

const QEMU: &str = "qemu-system-x86_64";

/// The controller's alone: who can connect there can ask for any guest.
const SOCKET_MODE: u32 = 0o600;
const SCRIPT_MODE: u32 = 0o700;

/// Only one controller has the state directory, so a socket that is there is of one that is no more.
pub fn establish(state_dir: &Path) -> anyhow::Result<(UserNetwork, UnixListener)> {
    let state_dir = std::path::absolute(state_dir)?;
    let named = |path: &Path| path.display().to_string();
    let network = UserNetwork {
        emulator: state_dir.join("qemu"),
        program: std::env::current_exe().context("the name of this program")?,
        socket: state_dir.join("metadata.sock"),
    };
    let qemu = on_path(QEMU).with_context(|| format!("{QEMU} is not on PATH"))?;
    let script = emulator_script(&qemu);
    // libvirt examines what is newer anew.
    if std::fs::read_to_string(&network.emulator).ok().as_ref() != Some(&script) {
        write_durably(&network.emulator, script.as_bytes()).with_context(|| named(&network.emulator))?;
    }
    let mode = std::fs::Permissions::from_mode(SCRIPT_MODE);
    std::fs::set_permissions(&network.emulator, mode).with_context(|| named(&network.emulator))?;
    match std::fs::remove_file(&network.socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| named(&network.socket));
        }
        _ => {}
    }
    let listener = UnixListener::bind(&network.socket).with_context(|| named(&network.socket))?;
    std::fs::set_permissions(&network.socket, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    Ok((network, listener))
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file())
}
