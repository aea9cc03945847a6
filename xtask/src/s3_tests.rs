//! `cargo xtask s3-tests DIR` and `cargo xtask s3cmd-tests DIR`: ceph's s3-tests and s3cmd's own, from a checkout,
//! against clouds of their own.
//!
//! The suites are never part of this tree; the scripts of `tests/s3` run them and write `docs/s3-tests.md`.

use crate::bench::succeed;
use crate::programs;
use anyhow::{Result, bail};
use std::path::Path;
use std::process::Command;

const PYTHON: &str = "target/test-venv/bin/python";

pub fn run(root: &Path, checkout: &Path, arguments: &[String]) -> Result<()> {
    if !checkout.join("s3tests").is_dir() {
        bail!("{} is no checkout of s3-tests: it has no folder s3tests", checkout.display());
    }
    run_script(root, "tests/s3/suite.py", checkout, arguments)
}

pub fn run_s3cmd(root: &Path, checkout: &Path) -> Result<()> {
    if !checkout.join("run-tests.py").is_file() {
        bail!("{} is no checkout of s3cmd: it has no run-tests.py", checkout.display());
    }
    run_script(root, "tests/s3/s3cmd.py", checkout, &[])
}

fn run_script(root: &Path, script: &str, checkout: &Path, arguments: &[String]) -> Result<()> {
    programs::build(root)?;
    succeed(root, Command::new(PYTHON).args(["-u", script]).arg(checkout).args(arguments))
}
