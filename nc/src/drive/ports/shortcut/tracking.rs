//! What the kernel's connection tracking is told, for it sees of a flow that takes the shortcut only a packet now and then.
//! It would take the others for nobody's, and a connection at rest for one whose last words were never heard.

use crate::drive::ports::PortError;
use crate::drive::ports::made::Notes;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const SETTINGS: &str = "/proc/sys/net/netfilter";
/// How long an open connection is remembered that says nothing.
const AT_REST: &str = "nf_conntrack_tcp_timeout_established";

enum Wanted {
    On,
    /// As long as a connection at rest.
    AsLong,
}

const WANTED: [(&str, Wanted); 4] = [
    // A packet that is further on than the last one seen belongs to its connection,
    ("nf_conntrack_tcp_be_liberal", Wanted::On),
    // and may end it.
    ("nf_conntrack_tcp_ignore_invalid_rst", Wanted::On),
    // What answered the last word may have taken the shortcut,
    ("nf_conntrack_tcp_timeout_unacknowledged", Wanted::AsLong),
    // and what reopened a window that was shut.
    ("nf_conntrack_tcp_timeout_max_retrans", Wanted::AsLong),
];

fn file(setting: &str) -> PathBuf {
    Path::new(SETTINGS).join(setting)
}

fn failed(setting: &str, error: &std::io::Error) -> PortError {
    let message = format!("{}: {error}", file(setting).display());
    // Connection tracking may not be loaded yet: that comes with the rules.
    if error.kind() == ErrorKind::NotFound { PortError::Later(message) } else { PortError::Broken(message) }
}

fn read(setting: &str) -> Result<String, PortError> {
    let value = std::fs::read_to_string(file(setting)).map_err(|error| failed(setting, &error))?;
    Ok(value.trim().to_owned())
}

fn write(setting: &str, value: &str) -> Result<(), PortError> {
    std::fs::write(file(setting), value).map_err(|error| failed(setting, &error))
}

/// `None`: it is as it should be.
fn missing(wanted: &Wanted, now: &str, at_rest: &str) -> Option<String> {
    let number = |text: &str| text.parse::<u64>().unwrap_or(0);
    match wanted {
        Wanted::On => (now == "0").then(|| "1".to_owned()),
        Wanted::AsLong => (number(now) < number(at_rest)).then(|| at_rest.to_owned()),
    }
}

/// True: some of it was not so. What it was is written down before.
pub fn loosen(notes: &Notes) -> Result<bool, PortError> {
    let at_rest = read(AT_REST)?;
    let mut changed = false;
    for (setting, wanted) in &WANTED {
        let now = read(setting)?;
        if let Some(value) = missing(wanted, &now, &at_rest) {
            notes.note(|made| _ = made.tracking.entry((*setting).to_owned()).or_insert(now))?;
            write(setting, &value)?;
            changed = true;
        }
    }
    Ok(changed)
}

/// As it was before, where nobody has changed it since.
pub fn restore(notes: &Notes) -> Result<(), PortError> {
    let before = notes.made().tracking;
    if before.is_empty() {
        return Ok(());
    }
    let at_rest = read(AT_REST)?;
    for (setting, wanted) in &WANTED {
        if let Some(was) = before.get(*setting)
            && let Some(ours) = missing(wanted, was, &at_rest)
            && read(setting)? == ours
        {
            write(setting, was)?;
        }
    }
    notes.note(|made| made.tracking.clear())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_too_strict_is_loosened() {
        let at_rest = "432000";
        let check = |wanted: &Wanted, now: &str| missing(wanted, now, at_rest);
        assert_eq!(check(&Wanted::On, "0").as_deref(), Some("1"));
        assert_eq!(check(&Wanted::On, "1"), None);
        assert_eq!(check(&Wanted::AsLong, "300").as_deref(), Some(at_rest));
        assert_eq!(check(&Wanted::AsLong, "432000"), None);
        assert_eq!(check(&Wanted::AsLong, "500000"), None);
    }
}
