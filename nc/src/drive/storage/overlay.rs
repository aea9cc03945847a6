//! qemu-img: copy-on-write overlays, and what an image file really is.

use super::StorageError;
use crate::app::qcow2;
use crate::drive::is_passing;
use karri_proto::instance::BlobFormat;
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

const QEMU_IMG: &str = "qemu-img";
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// The deadline of what it is made for comes sooner.
const FLATTEN_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// For a look at a file from outside: its tables may claim to be of any size.
const LOOK_MEMORY_BYTES_MAX: u64 = 1 << 30;
const LOOK_CPU_SECS_MAX: u64 = 30;

pub fn format_name(format: BlobFormat) -> &'static str {
    match format {
        BlobFormat::Raw => "raw",
        BlobFormat::Qcow2 => "qcow2",
    }
}

async fn qemu_img(arguments: &[&std::ffi::OsStr]) -> Result<Vec<u8>, StorageError> {
    let mut command = Command::new(QEMU_IMG);
    command.args(arguments);
    within(command, CALL_TIMEOUT).await
}

/// For a look at a file that nothing is known of yet. `prlimit` is of util-linux, which every Debian has.
fn limited(program: &str) -> Command {
    let mut command = Command::new("prlimit");
    command.arg(format!("--as={LOOK_MEMORY_BYTES_MAX}")).arg(format!("--cpu={LOOK_CPU_SECS_MAX}"));
    command.arg("--").arg(program);
    command
}

async fn within(mut command: Command, patience: Duration) -> Result<Vec<u8>, StorageError> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(patience, command.output()).await {
        // The disk is busy, not broken.
        Err(_) => return Err(StorageError::Later(format!("{QEMU_IMG} took longer than {patience:?}"))),
        Ok(Err(error)) if is_passing(&error) => {
            return Err(StorageError::Later(format!("{QEMU_IMG}: {error}")));
        }
        Ok(Err(error)) => return Err(StorageError::Broken(format!("{QEMU_IMG}: {error}"))),
        Ok(Ok(output)) => output,
    };
    if output.status.success() {
        return Ok(output.stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(if stderr.contains("No space left") {
        StorageError::Full(stderr)
    } else {
        StorageError::Broken(stderr)
    })
}

/// Makes `disk` a qcow2 over `base`, whose format is given and never guessed.
pub async fn make(disk: &Path, base: &Path, format: BlobFormat, bytes: u64) -> Result<(), StorageError> {
    let temporary = disk.with_extension("new");
    let size = bytes.to_string();
    let result = qemu_img(&[
        "create".as_ref(),
        "-q".as_ref(),
        "-f".as_ref(),
        "qcow2".as_ref(),
        "-F".as_ref(),
        format_name(format).as_ref(),
        "-b".as_ref(),
        base.as_os_str(),
        temporary.as_os_str(),
        size.as_ref(),
    ])
    .await;
    if let Err(error) = result {
        let _ = tokio::fs::remove_file(&temporary).await;
        return Err(error);
    }
    tokio::fs::rename(&temporary, disk).await?;
    Ok(())
}

/// A copy of an overlay with all that is below it, which leans on nothing. Takes as long as it takes: who waits may give up.
pub async fn flatten(disk: &Path, copy: &Path) -> Result<(), StorageError> {
    let temporary = copy.with_extension("new");
    // Without its node controller it would go on, and hold the disk that the guest needs. `setpriv` is of util-linux too.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", QEMU_IMG]);
    command.args(["convert", "-q", "-f", "qcow2", "-O", "qcow2"]).arg(disk).arg(&temporary);
    let made = within(command, FLATTEN_TIMEOUT).await;
    if let Err(error) = made {
        let _ = tokio::fs::remove_file(&temporary).await;
        return Err(error);
    }
    tokio::fs::rename(&temporary, copy).await?;
    Ok(())
}

/// Checks that a file is what its reference says and leans on nothing outside; returns its virtual size. The header
/// is judged before any tool opens the file.
pub async fn inspect(file: &Path, format: BlobFormat) -> Result<u64, StorageError> {
    if format == BlobFormat::Qcow2 {
        let mut head = Vec::new();
        tokio::fs::File::open(file).await?.take(qcow2::HEAD_BYTES as u64).read_to_end(&mut head).await?;
        qcow2::check(&head).map_err(|what| StorageError::BadImage(format!("the image {what}")))?;
    }
    let name = format_name(format);
    let arguments: [&std::ffi::OsStr; 5] =
        ["info".as_ref(), "--output=json".as_ref(), "-f".as_ref(), name.as_ref(), file.as_os_str()];
    let mut look = limited(QEMU_IMG);
    look.args(arguments);
    let json = within(look, CALL_TIMEOUT).await.map_err(|error| match error {
        StorageError::Broken(message) => {
            StorageError::BadImage(format!("the image is not {name}: {message}"))
        }
        other => other,
    })?;
    let facts: Value =
        serde_json::from_slice(&json).map_err(|e| StorageError::Broken(format!("{QEMU_IMG} info: {e}")))?;
    judge(&facts)
}

fn judge(facts: &Value) -> Result<u64, StorageError> {
    let bad = |what: &str| Err(StorageError::BadImage(format!("the image {what}")));
    let specific = &facts["format-specific"]["data"];
    if facts.get("backing-filename").is_some() || facts.get("full-backing-filename").is_some() {
        return bad("has a backing file");
    }
    if specific.get("data-file").is_some() || specific["data-file-raw"] == Value::Bool(true) {
        return bad("has an external data file");
    }
    if facts["encrypted"] == Value::Bool(true) || specific.get("encrypt").is_some() {
        return bad("is encrypted");
    }
    match facts["virtual-size"].as_u64() {
        Some(bytes) => Ok(bytes),
        None => bad("has no size"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn image(directory: &Path, name: &str, arguments: &[&str]) -> std::path::PathBuf {
        let file = directory.join(name);
        let mut all: Vec<&std::ffi::OsStr> = vec!["create".as_ref(), "-q".as_ref()];
        all.extend(arguments.iter().map(std::ffi::OsStr::new));
        all.extend([file.as_os_str(), "1M".as_ref()]);
        qemu_img(&all).await.unwrap();
        file
    }

    #[tokio::test]
    async fn a_backing_file_is_refused_and_nothing_of_it_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let options = ["-f", "qcow2", "-u", "-b", "/etc/hostname", "-F", "raw"];
        let file = image(directory.path(), "hostile.qcow2", &options).await;
        refused(&file, "has a backing file").await;
    }

    async fn refused(file: &Path, what: &str) {
        let bad = StorageError::BadImage(format!("the image {what}"));
        assert_eq!(inspect(file, BlobFormat::Qcow2).await, Err(bad));
    }

    /// What the tool itself says of the file, past the look at the header.
    async fn told(file: &Path) -> Result<u64, StorageError> {
        let info = ["info".as_ref(), "--output=json".as_ref(), file.as_os_str()];
        judge(&serde_json::from_slice(&qemu_img(&info).await.unwrap()).unwrap())
    }

    #[tokio::test]
    async fn an_external_data_file_is_refused_by_the_header_and_by_what_the_tool_says() {
        let directory = tempfile::tempdir().unwrap();
        for (name, raw) in [("one", "off"), ("two", "on")] {
            let data = directory.path().join(format!("{name}.data"));
            let options = format!("data_file={},data_file_raw={raw}", data.display());
            let file = image(directory.path(), name, &["-f", "qcow2", "-o", &options]).await;
            refused(&file, "has an external data file").await;
            let bad = StorageError::BadImage("the image has an external data file".to_owned());
            assert_eq!(told(&file).await, Err(bad));
        }
    }

    #[tokio::test]
    async fn an_encrypted_image_is_refused_by_the_header_and_by_what_the_tool_says() {
        let directory = tempfile::tempdir().unwrap();
        let options = ["-f", "qcow2", "--object", "secret,id=one,data=abc", "-o"];
        let options = [&options[..], &["encrypt.format=aes,encrypt.key-secret=one"]];
        let file = image(directory.path(), "locked.qcow2", &options.concat()).await;
        refused(&file, "is encrypted").await;
        let bad = StorageError::BadImage("the image is encrypted".to_owned());
        assert_eq!(told(&file).await, Err(bad));
    }

    #[tokio::test]
    async fn a_look_has_its_limits() {
        let mut command = limited("cat");
        command.arg("/proc/self/limits");
        let limits = String::from_utf8(within(command, CALL_TIMEOUT).await.unwrap()).unwrap();
        let limits: Vec<Vec<&str>> = limits.lines().map(|line| line.split_whitespace().collect()).collect();
        for limit in [["Max", "address", "space", "1073741824"], ["Max", "cpu", "time", "30"]] {
            assert!(limits.iter().any(|line| line.starts_with(&limit)), "{limit:?} is not in {limits:?}");
        }
    }

    #[tokio::test]
    async fn a_slow_disk_is_waited_for_and_a_missing_program_is_not() {
        let mut slow = Command::new("tail");
        slow.args(["-f", "/dev/null"]);
        let late = within(slow, Duration::from_millis(5)).await;
        assert!(matches!(late, Err(StorageError::Later(_))), "{late:?}");
        let missing = within(Command::new("/nowhere/qemu-img"), CALL_TIMEOUT).await;
        assert!(matches!(missing, Err(StorageError::Broken(_))), "{missing:?}");
    }

    #[tokio::test]
    async fn a_plain_image_tells_its_virtual_size() {
        let directory = tempfile::tempdir().unwrap();
        let file = image(directory.path(), "plain.qcow2", &["-f", "qcow2"]).await;
        assert_eq!(inspect(&file, BlobFormat::Qcow2).await, Ok(1 << 20));
    }

    #[tokio::test]
    async fn text_that_claims_to_be_qcow2_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("text");
        std::fs::write(&file, "not an image").unwrap();
        assert!(matches!(inspect(&file, BlobFormat::Qcow2).await, Err(StorageError::BadImage(_))));
    }

    #[tokio::test]
    async fn an_overlay_is_grown_and_names_its_base_format() {
        let directory = tempfile::tempdir().unwrap();
        let base = image(directory.path(), "base.raw", &["-f", "raw"]).await;
        let disk = directory.path().join("disk.qcow2");
        make(&disk, &base, BlobFormat::Raw, 8 << 20).await.unwrap();
        let json = qemu_img(&["info".as_ref(), "--output=json".as_ref(), disk.as_os_str()]).await.unwrap();
        let facts: Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(facts["virtual-size"], 8 << 20);
        assert_eq!(facts["backing-filename-format"], "raw");
    }
}
