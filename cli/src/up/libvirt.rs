//! libvirt, started if it is not running.

use anyhow::{Context, bail};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// What a package or a checkout runs by hand is what `up` runs.
const SCRIPT: &str = include_str!("../../../deploy/start-libvirt.sh");
const START_WITHIN: Duration = Duration::from_secs(90);

/// What had to be changed, in the script's words; nothing most of the time.
pub async fn establish() -> anyhow::Result<String> {
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
