//! What the machine itself is about.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

const SYSTEMD: &str = "/run/systemd/system";
const ASK_TIMEOUT: Duration = Duration::from_secs(3);

/// The machine is going down, and with it every guest: none of them has asked for that.
pub async fn is_stopping() -> bool {
    if !Path::new(SYSTEMD).exists() {
        return false;
    }
    let mut command = Command::new("systemctl");
    command.arg("is-system-running").stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(ASK_TIMEOUT, command.output()).await {
        Ok(Ok(output)) => says_stopping(&output.stdout),
        _ => false,
    }
}

fn says_stopping(answer: &[u8]) -> bool {
    answer.trim_ascii() == b"stopping"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_machine_that_goes_down_is_stopping() {
        assert!(says_stopping(b"stopping\n"));
        for other in [&b"running\n"[..], b"degraded\n", b"starting\n", b"offline\n", b""] {
            assert!(!says_stopping(other));
        }
    }
}
