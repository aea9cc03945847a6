//! Service units are what systemd takes them for: it reads each, and has nothing to say.
//!
//! It misses the programs, which need not be installed here; another one stands for them meanwhile.

use super::Problem;
use super::tree::Tree;
use anyhow::{Context, Result};
use std::path::Path;
use std::process::Command;

const STAND_IN: &str = "/bin/true";

pub fn accepted(root: &Path, tree: &Tree) -> Result<Vec<Problem>> {
    let units = tree.files().filter(|(path, _)| path.ends_with(".service"));
    let scratch = root.join("target/tidy-units");
    let mut problems = Vec::new();
    for (path, text) in units {
        let name = path.rsplit('/').next().unwrap_or(path);
        std::fs::create_dir_all(&scratch)?;
        let copy = scratch.join(name);
        std::fs::write(&copy, with_stand_in(text))?;
        let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&copy).output();
        let output = output.with_context(|| format!("systemd-analyze is needed to check {path}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        // Of units of this machine that come along it may speak too.
        let ours = said.lines().filter(|line| line.contains(name));
        problems.extend(ours.map(|line| Problem::new(path, 0, format!("systemd says: {line}"))));
    }
    Ok(problems)
}

fn with_stand_in(unit: &str) -> String {
    unit.lines().map(|line| format!("{}\n", line_with_stand_in(line))).collect()
}

fn line_with_stand_in(line: &str) -> String {
    let Some((key, command)) = line.split_once('=').filter(|(key, _)| key.starts_with("Exec")) else {
        return line.to_owned();
    };
    let arguments = command.split_once(' ').map(|(_, arguments)| arguments).unwrap_or_default();
    format!("{key}={STAND_IN} {arguments}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_systemd_does_not_know_is_told_and_a_program_that_is_not_installed_is_not() {
        let root = tempfile::tempdir().unwrap();
        let check = |text: &str| accepted(root.path(), &Tree::of(&[("deploy/x.service", text)])).unwrap();
        let unit = "[Unit]\nDescription=x\n[Service]\nExecStart=/usr/bin/absent up $MORE\n";
        assert_eq!(check(unit), []);
        let told = check(&format!("{unit}RestartSeconds=5\n"));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].to_string().contains("RestartSeconds"), "{told:?}");
    }
}
