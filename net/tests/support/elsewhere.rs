//! Tests that make links, rules and routes do so in network and mount namespaces of their own: nothing reaches the host.

use std::io::{Read, Seek};
use std::process::Command;

const INSIDE: &str = "KARRI_TEST_INSIDE_NAMESPACE";

/// Runs the named test of this binary in fresh network and mount namespaces. `false`: this is that run.
#[track_caller]
pub fn runs_elsewhere(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return false;
    }
    // No pipe: a daemon that a failed test leaves would hold it open.
    let mut said = tempfile::tempfile().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount"]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(INSIDE, "1").stdout(said.try_clone().unwrap());
    let status = command.status().unwrap();
    let mut text = Vec::new();
    said.rewind().unwrap();
    said.read_to_end(&mut text).unwrap();
    let text = String::from_utf8_lossy(&text);
    print!("{text}");
    // Where no test has that name any more none is run, and none fails.
    let ran = text.contains("test result: ok. 1 passed;");
    assert!(status.success() && ran, "{test:?} has not passed inside its namespaces: {status}");
    true
}
