//! `qemu-img check` and `convert` under limits of time, memory and file size.
//!
//! The formats are always given, never probed. The tool runs in the import's own directory and is given
//! bare file names, so no path can be taken for a protocol (`nbd:…`) or an option. Callers have read
//! the header with `app::qcow2`, `app::vmdk` or `app::vhd` before.

use karri_proto::instance::BlobFormat;
use karri_proto::internal::exports::ExportFormat;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

const VERSION_TIMEOUT: Duration = Duration::from_secs(10);
const MESSAGE_CHARS_MAX: usize = 300;
/// `qemu-img check`: clusters that nobody uses; the data is whole.
const CHECK_LEAKS: i32 = 3;
const CHECK_CORRUPT: i32 = 2;
const SIGXFSZ: i32 = 25;

#[derive(Debug, Clone, Copy)]
pub struct ToolLimits {
    pub timeout: Duration,
    pub memory_bytes: u64,
}

/// What is converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Vmdk,
    Vhd,
    Vhdx,
}

#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The tool could read the image and found it wrong.
    #[error("qemu-img finds the image damaged: {0}")]
    Damaged(String),
    #[error("qemu-img found no end within {0:?}")]
    Slow(Duration),
    #[error("no space left for the converted image")]
    NoSpace,
    #[error("the converted image would be larger than {0} bytes")]
    TooLarge(u64),
    #[error("cannot run qemu-img (packages qemu-utils and util-linux): {0}")]
    Missing(std::io::Error),
}

#[derive(Debug, Clone)]
pub struct QemuImg {
    limits: ToolLimits,
    program: &'static str,
}

impl QemuImg {
    pub fn new(limits: ToolLimits) -> Self {
        Self { limits, program: "qemu-img" }
    }

    pub async fn version(&self) -> Result<String, ToolError> {
        let mut command = Command::new(self.program);
        command.arg("--version").stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(VERSION_TIMEOUT, command.output())
            .await
            .map_err(|_| ToolError::Slow(VERSION_TIMEOUT))?
            .map_err(ToolError::Missing)?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
    }

    /// Walks every table of a `qcow2`, `vmdk` or `vhdx` file: what they point at is inside it.
    pub async fn check(&self, directory: &Path, format: &str, name: &str) -> Result<(), ToolError> {
        let outcome = self.run(directory, 0, &["check", "-q", "-f", format, name]).await?;
        match outcome.status.code() {
            Some(0 | CHECK_LEAKS) => Ok(()),
            Some(CHECK_CORRUPT) => Err(ToolError::Damaged(outcome.first_line())),
            _ => Err(outcome.into_error(0)),
        }
    }

    /// Makes `to`, a qcow2 of at most `bytes_max`, from `from`.
    pub async fn convert(
        &self,
        directory: &Path,
        format: Format,
        from: &str,
        to: &str,
        bytes_max: u64,
    ) -> Result<(), ToolError> {
        let source = match format {
            Format::Vmdk => format!("driver=vmdk,file.driver=file,file.filename={from}"),
            Format::Vhdx => format!("driver=vhdx,file.driver=file,file.filename={from}"),
            // Left to itself, it believes the cylinders and heads of some programs' files and cuts the
            // disk to them; the size is what the guest's data fits in.
            Format::Vhd => {
                format!("driver=vpc,force_size_calc=current_size,file.driver=file,file.filename={from}")
            }
        };
        let arguments = ["convert", "-q", "--image-opts", "-O", "qcow2", "-o", "compat=1.1", &source, to];
        let outcome = self.run(directory, bytes_max, &arguments).await?;
        if outcome.status.success() { Ok(()) } else { Err(outcome.into_error(bytes_max)) }
    }

    /// Makes `to`, of at most `bytes_max`, from a raw or qcow2 file that this store has judged before.
    pub async fn export(
        &self,
        directory: &Path,
        from: (BlobFormat, &str),
        to: (ExportFormat, &str),
        bytes_max: u64,
    ) -> Result<(), ToolError> {
        let driver = match from.0 {
            BlobFormat::Raw => "raw",
            BlobFormat::Qcow2 => "qcow2",
        };
        let source = format!("driver={driver},file.driver=file,file.filename={}", from.1);
        let mut arguments = vec!["convert", "-q", "--image-opts", "-O"];
        arguments.extend(match to.0 {
            ExportFormat::Raw => &["raw"][..],
            ExportFormat::Vmdk => &["vmdk", "-o", "subformat=streamOptimized"],
            // Without it the disk is rounded to what cylinders and heads can name.
            ExportFormat::Vhd => &["vpc", "-o", "subformat=dynamic,force_size=on"],
        });
        arguments.extend([source.as_str(), to.1]);
        let outcome = self.run(directory, bytes_max, &arguments).await?;
        if outcome.status.success() { Ok(()) } else { Err(outcome.into_error(bytes_max)) }
    }

    async fn run(
        &self,
        directory: &Path,
        file_bytes_max: u64,
        arguments: &[&str],
    ) -> Result<Outcome, ToolError> {
        let mut command = Command::new("prlimit");
        command
            .arg(format!("--as={}", self.limits.memory_bytes))
            .arg(format!("--fsize={file_bytes_max}"))
            .arg(format!("--cpu={}", self.limits.timeout.as_secs()))
            .args(["--core=0", "--nofile=64", "--", self.program])
            .args(arguments)
            .current_dir(directory)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(self.limits.timeout, command.output())
            .await
            .map_err(|_| ToolError::Slow(self.limits.timeout))?
            .map_err(ToolError::Missing)?;
        let mut text = String::from_utf8_lossy(&output.stderr).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stdout));
        Ok(Outcome { status: output.status, text })
    }
}

struct Outcome {
    status: std::process::ExitStatus,
    text: String,
}

impl Outcome {
    fn first_line(&self) -> String {
        let line = self.text.lines().map(str::trim).find(|line| !line.is_empty());
        let line = line.unwrap_or("it gives no reason");
        line.trim_start_matches("qemu-img: ").chars().take(MESSAGE_CHARS_MAX).collect()
    }

    fn into_error(self, file_bytes_max: u64) -> ToolError {
        use std::os::unix::process::ExitStatusExt;
        if self.status.signal() == Some(SIGXFSZ) || self.text.contains("File too large") {
            ToolError::TooLarge(file_bytes_max)
        } else if self.text.contains("No space left on device") {
            ToolError::NoSpace
        } else if self.status.code() == Some(127) {
            ToolError::Missing(std::io::Error::other(self.first_line()))
        } else {
            ToolError::Damaged(self.first_line())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[tokio::test]
    async fn a_run_without_an_end_is_stopped() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("image"), "x").unwrap();
        let limits = ToolLimits { timeout: Duration::from_secs(1), memory_bytes: 1 << 30 };
        let endless = QemuImg { limits, program: "tail" }; // takes the same arguments, follows the file
        let began = Instant::now();
        let result = endless.check(directory.path(), "qcow2", "image").await;
        assert!(matches!(result, Err(ToolError::Slow(_))), "{result:?}");
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}
