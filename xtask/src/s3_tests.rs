//! `cargo xtask s3-tests DIR`: ceph's s3-tests, from a checkout, against a cloud of their own.
//!
//! The suite is never part of this tree; `tests/s3/suite.py` runs it and writes `docs/s3-tests.md`.

use crate::bench::succeed;
use crate::programs;
use anyhow::{Result, bail};
use std::path::Path;
use std::process::Command;

const SCRIPT: &str = "tests/s3/suite.py";
const PYTHON: &str = "target/test-venv/bin/python";

pub fn run(root: &Path, checkout: &Path, arguments: &[String]) -> Result<()> {
    if !checkout.join("s3tests").is_dir() {
        bail!("{} is no checkout of s3-tests: it has no folder s3tests", checkout.display());
    }
    programs::build(root)?;
    succeed(root, Command::new(PYTHON).arg("-u").arg(SCRIPT).arg(checkout).args(arguments))
}
