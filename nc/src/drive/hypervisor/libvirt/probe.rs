//! Which accelerator works here: not whether `/dev/kvm` opens, but whether a guest runs.
//!
//! On nested machines KVM often opens, and guests die at once or hang as soon as they leave the mode
//! that a BIOS runs in. So a boot sector that goes all the way to 64-bit mode is run under KVM with a
//! time limit, on the CPU that instances get and as the user that libvirt runs guests as, who may not open what this process
//! may; it tells that it ran by QEMU's exit code. The answer is
//! kept per boot of the host and version of QEMU; that it does not run, for some minutes only, as it may have
//! been the machine's load, or be mended.

use crate::app::domain_xml::Platform;
use karri_proto::runtime::endpoint::write_durably;
use serde::{Deserialize, Serialize};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

const QEMU: &str = "qemu-system-x86_64";
const GUEST_TIME_MAX: Duration = Duration::from_secs(6);
/// Starts in quick succession, of a controller that ends again and again, do not pay for the probe each.
const FAILURE_KEPT_SECS: i64 = 300;
const VERSION_TIME_MAX: Duration = Duration::from_secs(10);
/// `probe.s`, assembled.
#[rustfmt::skip]
const BOOT_CODE: [u8; 150] = [
    0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0xbc, 0x00, 0x7c, 0xbf, 0x00, 0x10, 0xb9,
    0x00, 0x18, 0xfc, 0xf3, 0xab, 0x66, 0xc7, 0x06, 0x00, 0x10, 0x03, 0x20, 0x00, 0x00, 0x66, 0xc7,
    0x06, 0x00, 0x20, 0x03, 0x30, 0x00, 0x00, 0x66, 0xc7, 0x06, 0x00, 0x30, 0x83, 0x00, 0x00, 0x00,
    0x0f, 0x20, 0xe0, 0x66, 0x83, 0xc8, 0x20, 0x0f, 0x22, 0xe0, 0x66, 0xb8, 0x00, 0x10, 0x00, 0x00,
    0x0f, 0x22, 0xd8, 0x66, 0xb9, 0x80, 0x00, 0x00, 0xc0, 0x0f, 0x32, 0x66, 0x0d, 0x00, 0x01, 0x00,
    0x00, 0x0f, 0x30, 0x66, 0x0f, 0x01, 0x16, 0x90, 0x7c, 0x0f, 0x20, 0xc0, 0x66, 0x0d, 0x01, 0x00,
    0x00, 0x80, 0x0f, 0x22, 0xc0, 0x66, 0xea, 0x6d, 0x7c, 0x00, 0x00, 0x08, 0x00, 0xb9, 0x00, 0x2d,
    0x31, 0x01, 0xff, 0xc9, 0x75, 0xfc, 0xb0, 0x10, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd, 0x0f, 0x1f, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x9a, 0x20, 0x00,
    0x0f, 0x00, 0x80, 0x7c, 0x00, 0x00,
];
const SECTOR_BYTES: usize = 512;
const RAN_EXIT_CODE: i32 = 33;

/// Whom libvirt runs guests as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunsAs {
    pub uid: u32,
    pub gid: u32,
}

impl RunsAs {
    /// As libvirt's capabilities tell it; none: it does not change users.
    pub fn of(capabilities: &str) -> Option<Self> {
        let (_, dac) = capabilities.split_once("<model>dac</model>")?;
        let (dac, _) = dac.split_once("</secmodel>")?;
        let (_, label) = dac.split_once("<baselabel type='kvm'>")?;
        let (uid, gid) = label.split_once('<')?.0.split_once(':')?;
        let number = |text: &str| text.trim_start_matches('+').parse().ok();
        Some(Self { uid: number(uid)?, gid: number(gid)? })
    }

    fn is_ourselves(self) -> bool {
        self.uid == rustix::process::geteuid().as_raw()
    }
}

/// What a verdict is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Scene {
    boot_id: String,
    qemu: String,
    #[serde(default)]
    runs_as: Option<RunsAs>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Verdict {
    #[serde(flatten)]
    scene: Scene,
    /// Why KVM cannot be used; none: it can.
    kvm_fails: Option<String>,
    at_unix_secs: i64,
}

impl Verdict {
    fn stands(&self, scene: &Scene, now_unix_secs: i64) -> bool {
        let recent = (0..FAILURE_KEPT_SECS).contains(&(now_unix_secs - self.at_unix_secs));
        self.scene == *scene && (self.kvm_fails.is_none() || recent)
    }
}

fn now_unix_secs() -> i64 {
    time::OffsetDateTime::now_utc().unix_timestamp()
}

/// KVM if a guest really runs under it, else TCG.
pub async fn accelerator(directory: &Path, boot_id: &str, runs_as: Option<RunsAs>) -> Platform {
    match kvm_works(directory, boot_id, runs_as).await {
        Ok(()) => {
            tracing::info!("a guest runs under KVM: using it");
            Platform::Kvm
        }
        Err(why) => {
            tracing::warn!(why, "KVM does not run guests here: falling back to TCG emulation (slower)");
            Platform::Tcg
        }
    }
}

/// Whether a guest runs under KVM; the error says why not. `directory` keeps the verdict.
pub async fn kvm_works(directory: &Path, boot_id: &str, runs_as: Option<RunsAs>) -> Result<(), String> {
    if !Path::new("/dev/kvm").exists() {
        return Err("there is no /dev/kvm".to_owned());
    }
    let scene = Scene { boot_id: boot_id.to_owned(), qemu: qemu_version().await, runs_as };
    let file = directory.join("accelerator.json");
    let kept = std::fs::read(&file).ok().and_then(|json| serde_json::from_slice::<Verdict>(&json).ok());
    if let Some(kept) = kept.filter(|kept| kept.stands(&scene, now_unix_secs())) {
        return kept.kvm_fails.map_or(Ok(()), Err);
    }
    let result = guest_runs_under_kvm(directory, runs_as).await;
    let kvm_fails = result.clone().err();
    let verdict = Verdict { scene, kvm_fails, at_unix_secs: now_unix_secs() };
    if let Ok(json) = serde_json::to_vec(&verdict) {
        let _ = write_durably(&file, &json); // only costs the next start another probe
    }
    result
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

async fn guest_runs_under_kvm(directory: &Path, runs_as: Option<RunsAs>) -> Result<(), String> {
    let image = directory.join("probe.img");
    boot_sector_write(&image).map_err(|e| format!("{}: {e}", image.display()))?;
    let result = run(&image, "kvm", "host", runs_as).await;
    let _ = std::fs::remove_file(&image);
    result
}

fn boot_sector() -> Vec<u8> {
    let mut sector = vec![0; SECTOR_BYTES];
    sector[..BOOT_CODE.len()].copy_from_slice(&BOOT_CODE);
    sector[SECTOR_BYTES - 2..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

/// For whoever guests run as to read.
fn boot_sector_write(image: &Path) -> std::io::Result<()> {
    std::fs::write(image, boot_sector())?;
    std::fs::set_permissions(image, std::fs::Permissions::from_mode(0o644))
}

/// With that user's groups too: it may be one of them that opens `/dev/kvm`. `setpriv` is of util-linux.
fn command_as(program: &str, runs_as: Option<RunsAs>) -> Command {
    let Some(RunsAs { uid, gid }) = runs_as.filter(|user| !user.is_ourselves()) else {
        return Command::new(program);
    };
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}")).args([
        "--init-groups",
        "--",
        program,
    ]);
    command
}

async fn run(image: &Path, accelerator: &str, cpu: &str, runs_as: Option<RunsAs>) -> Result<(), String> {
    let mut command = command_as(QEMU, runs_as);
    command
        .args(["-accel", accelerator, "-cpu", cpu, "-machine", "pc", "-m", "64", "-nodefaults"])
        .args(["-display", "none"])
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
            Err(format!("a test guest ended with {}: {}", output.status, stderr.lines().last().unwrap_or("")))
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
        boot_sector_write(&image).unwrap();
        assert_eq!(run(&image, "tcg", "max", None).await, Ok(()));
    }

    /// `nobody` may read what everybody may, and nothing of this process' own.
    #[tokio::test]
    async fn the_test_guest_runs_as_who_guests_run_as() {
        let nobody = Some(RunsAs { uid: 65_534, gid: 65_534 });
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        let image = directory.path().join("probe.img");
        boot_sector_write(&image).unwrap();
        assert_eq!(run(&image, "tcg", "max", nobody).await, Ok(()));
        std::fs::set_permissions(&image, std::fs::Permissions::from_mode(0o600)).unwrap();
        let refused = run(&image, "tcg", "max", nobody).await.unwrap_err();
        assert!(refused.contains("Permission denied"), "{refused}");
        assert_eq!(run(&image, "tcg", "max", None).await, Ok(()));
    }

    #[test]
    fn libvirt_tells_whom_it_runs_guests_as() {
        let capabilities = |label: &str| {
            format!(
                "<secmodel><model>apparmor</model><doi>0</doi></secmodel>\n<secmodel><model>dac</model><doi>0</doi>\n\
                 <baselabel type='kvm'>{label}</baselabel><baselabel type='qemu'>+1:+1</baselabel></secmodel>"
            )
        };
        let runs_as = RunsAs { uid: 64_055, gid: 107 };
        assert_eq!(RunsAs::of(&capabilities("+64055:+107")), Some(runs_as));
        for none in [String::new(), capabilities(""), capabilities("libvirt-qemu:kvm")] {
            assert_eq!(RunsAs::of(&none), None);
        }
    }

    #[test]
    fn a_verdict_is_kept_for_this_boot_and_this_qemu_and_a_bad_one_for_minutes() {
        let scene = |boot: &str, qemu: &str, uid: u32| Scene {
            boot_id: boot.into(),
            qemu: qemu.into(),
            runs_as: Some(RunsAs { uid, gid: 0 }),
        };
        let this = scene("this", "7.2", 7);
        let good = Verdict { scene: this.clone(), kvm_fails: None, at_unix_secs: 1_000 };
        assert!(good.stands(&this, 90_000));
        for other in [scene("next", "7.2", 7), scene("this", "8.0", 7), scene("this", "7.2", 8)] {
            assert!(!good.stands(&other, 1_000), "{other:?}");
        }
        let bad = Verdict { kvm_fails: Some("too slow".into()), ..good };
        assert!(bad.stands(&this, 1_299));
        assert!(!bad.stands(&this, 1_300) && !bad.stands(&this, 900), "a clock set back");
    }
}
