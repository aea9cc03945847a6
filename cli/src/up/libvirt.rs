//! libvirt, started if it is not running.

use anyhow::{Context, bail};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// What a package or a checkout runs by hand is what `up` runs.
const SCRIPT: &str = include_str!("../../../deploy/start-libvirt.sh");
const START_WITHIN: Duration = Duration::from_secs(90);

/// An ordinary user's own libvirt, which whoever asks for it starts.
pub const SESSION: &str = "qemu:///session";

/// What had to be changed, in the script's words; nothing most of the time.
pub async fn establish(session: bool) -> anyhow::Result<String> {
    if session { establish_session().await.map(|()| String::new()) } else { establish_system().await }
}

/// Its first answer waits until it has looked at the QEMU that is installed.
async fn establish_session() -> anyhow::Result<()> {
    let run = Command::new("virsh")
        .args(["-q", "-c", SESSION, "version"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .process_group(0)
        .output();
    let output = tokio::time::timeout(START_WITHIN, run).await.context("libvirt did not start in time")?;
    let output = output.context("virsh, of libvirt-clients")?;
    if !output.status.success() {
        bail!("{SESSION} does not answer: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

async fn establish_system() -> anyhow::Result<String> {
    let run = Command::new("bash")
        .args(["-c", SCRIPT, "start-libvirt.sh"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .process_group(0) // the daemons that it starts outlive us and our Ctrl-C
        .output();
    let output = tokio::time::timeout(START_WITHIN, run).await.context("libvirt did not start in time")??;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned();
    if !output.status.success() {
        bail!("{said}");
    }
    Ok(said)
}
