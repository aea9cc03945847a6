//! Which accelerator works here: not whether `/dev/kvm` opens, but whether a guest runs.
//!
//! On nested machines KVM often opens and its guests hang. So a boot sector of seven bytes is run
//! under KVM with a time limit; it tells that it ran by QEMU's exit code. The answer is kept per boot
//! of the host and version of QEMU.

use crate::app::domain_xml::Platform;
use karri_proto::runtime::endpoint::write_durably;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

const QEMU: &str = "qemu-system-x86_64";
const GUEST_TIME_MAX: Duration = Duration::from_secs(6);
const VERSION_TIME_MAX: Duration = Duration::from_secs(10);
/// `mov al, 0x10; out 0xf4, al; hlt; jmp $-1`: leaves QEMU with code (0x10 << 1) | 1.
const BOOT_CODE: [u8; 7] = [0xb0, 0x10, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd];
const SECTOR_BYTES: usize = 512;
const RAN_EXIT_CODE: i32 = 33;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Verdict {
    boot_id: String,
    qemu: String,
    platform: Platform,
}

/// KVM if a guest really runs under it, else TCG. `directory` keeps the verdict.
pub async fn accelerator(directory: &Path, boot_id: &str) -> Platform {
    let qemu = qemu_version().await;
    let file = directory.join("accelerator.json");
    let kept = std::fs::read(&file).ok().and_then(|json| serde_json::from_slice::<Verdict>(&json).ok());
    if let Some(kept) = kept.filter(|kept| kept.boot_id == boot_id && kept.qemu == qemu) {
        tracing::info!(
            accelerator = kept.platform.accelerator(),
            "accelerator as found earlier in this boot"
        );
        return kept.platform;
    }
    let platform = match guest_runs_under_kvm(directory).await {
        Ok(()) => {
            tracing::info!("a guest runs under KVM: using it");
            Platform::Kvm
        }
        Err(why) => {
            tracing::warn!(why, "KVM does not run guests here: falling back to TCG emulation (slower)");
            Platform::Tcg
        }
    };
    let verdict = Verdict { boot_id: boot_id.to_owned(), qemu, platform };
    if let Ok(json) = serde_json::to_vec(&verdict) {
        let _ = write_durably(&file, &json); // only costs the next start another probe
    }
    platform
}

async fn qemu_version() -> String {
    let output = Command::new(QEMU).arg("--version").stdin(Stdio::null()).kill_on_drop(true).output();
    match tokio::time::timeout(VERSION_TIME_MAX, output).await {
        Ok(Ok(output)) => {
            String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned()
        }
        _ => "unknown".to_owned(),
    }
}

async fn guest_runs_under_kvm(directory: &Path) -> Result<(), String> {
    if !Path::new("/dev/kvm").exists() {
        return Err("there is no /dev/kvm".to_owned());
    }
    let image = directory.join("probe.img");
    std::fs::write(&image, boot_sector()).map_err(|e| format!("{}: {e}", image.display()))?;
    let result = run(&image, "kvm").await;
    let _ = std::fs::remove_file(&image);
    result
}

fn boot_sector() -> Vec<u8> {
    let mut sector = vec![0; SECTOR_BYTES];
    sector[..BOOT_CODE.len()].copy_from_slice(&BOOT_CODE);
    sector[SECTOR_BYTES - 2..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

async fn run(image: &Path, accelerator: &str) -> Result<(), String> {
    let mut command = Command::new(QEMU);
    command
        .args(["-accel", accelerator, "-machine", "pc", "-m", "16", "-nodefaults", "-display", "none"])
        .args(["-no-reboot", "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04", "-drive"])
        .arg(format!("file={},format=raw,if=ide,snapshot=on", image.display().to_string().replace(',', ",,")))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    match tokio::time::timeout(GUEST_TIME_MAX, command.output()).await {
        Err(_) => Err(format!("a test guest did not run within {GUEST_TIME_MAX:?}")),
        Ok(Err(error)) => Err(format!("{QEMU}: {error}")),
        Ok(Ok(output)) if output.status.code() == Some(RAN_EXIT_CODE) => Ok(()),
        Ok(Ok(output)) => {
            let stderr = String::from_utf8_lossy(&output.stderr);
            Err(format!("a test guest ended with {}: {}", output.status, stderr.lines().next().unwrap_or("")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_test_guest_runs_under_emulation() {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("probe.img");
        std::fs::write(&image, boot_sector()).unwrap();
        assert_eq!(run(&image, "tcg").await, Ok(()));
    }

    #[tokio::test]
    async fn the_verdict_is_kept_for_this_boot_and_this_qemu() {
        let directory = tempfile::tempdir().unwrap();
        let kept = Verdict { boot_id: "this".into(), qemu: qemu_version().await, platform: Platform::Kvm };
        std::fs::write(directory.path().join("accelerator.json"), serde_json::to_vec(&kept).unwrap())
            .unwrap();
        assert_eq!(accelerator(directory.path(), "this").await, Platform::Kvm);
    }
}
