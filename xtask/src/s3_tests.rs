//! `cargo xtask s3-tests DIR`: ceph's s3-tests, from a checkout, against a cloud of their own.
//!
//! The suite is never part of this tree; `tests/s3/suite.py` runs it and writes `docs/s3-tests.md`.

use crate::bench::succeed;
use anyhow::{Result, bail};
use std::path::Path;
use std::process::Command;

const SCRIPT: &str = "tests/s3/suite.py";
const PYTHON: &str = "target/test-venv/bin/python";
const PROGRAMS: [&str; 5] = ["karri", "karri-clc", "karri-cc", "karri-nc", "karri-walrus"];

pub fn run(root: &Path, checkout: &Path, arguments: &[String]) -> Result<()> {
    if !checkout.join("s3tests").is_dir() {
        bail!("{} is no checkout of s3-tests: it has no folder s3tests", checkout.display());
    }
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut build = Command::new(cargo);
    build.args(["build", "--release", "--locked"]).args(PROGRAMS.iter().flat_map(|name| ["--bin", name]));
    succeed(root, &mut build)?;
    succeed(root, Command::new(PYTHON).arg("-u").arg(SCRIPT).arg(checkout).args(arguments))
}
