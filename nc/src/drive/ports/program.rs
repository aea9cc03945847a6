//! Programs that change or print the kernel's rules.

use super::PortError;
use crate::drive::is_passing;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// What it prints, given `input`.
pub async fn run(program: &str, arguments: &[&str], input: String) -> Result<String, PortError> {
    let broken = |what: String| PortError::Broken(format!("{program}: {what}"));
    let later = |what: String| PortError::Later(format!("{program}: {what}"));
    let talk = async {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).await?;
        }
        child.wait_with_output().await
    };
    let output = tokio::time::timeout(CALL_TIMEOUT, talk)
        .await
        .map_err(|_| later(format!("no end after {CALL_TIMEOUT:?}")))?
        .map_err(|e| if is_passing(&e) { later(e.to_string()) } else { broken(e.to_string()) })?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(if is_contended(&words) { later(words) } else { broken(words) });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Somebody else changes rules at this moment. There is no exit code of its own for it.
fn is_contended(words: &str) -> bool {
    let words = words.to_lowercase();
    ["lock", "resource busy", "temporarily unavailable"].iter().any(|sign| words.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_somebody_else_is_changing_are_put_later() {
        for words in [
            "Another app is currently holding the xtables lock; still 1s 0us time ahead to have a chance to grab it",
            "Trying to obtain lock /var/lib/ebtables/lock",
            "line 9: RULE_APPEND failed (Device or resource busy): rule in chain PREROUTING",
            "Could not fetch rule set generation id: Resource temporarily unavailable",
        ] {
            assert!(is_contended(words), "{words}");
        }
        for words in ["line 3: RULE_APPEND failed (No such file or directory)", "Permission denied", ""] {
            assert!(!is_contended(words), "{words}");
        }
    }
}
