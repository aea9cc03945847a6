//! `cargo xtask euca2ools DIR`: euca2ools, from a checkout, as a user runs them.
//!
//! They are for Python 2 and in no package index, so neither they nor this are part of the test run, which
//! plays the forms that they send.

use crate::bench::succeed;
use crate::programs;
use anyhow::{Result, bail};
use std::path::Path;
use std::process::Command;

const SCRIPT: &str = "tests/euca2ools/suite.py";
const PYTHON: &str = "target/test-venv/bin/python";

pub fn run(root: &Path, checkout: &Path, python: &Path) -> Result<()> {
    if !checkout.join("bin/euca-run-instances").is_file() {
        bail!("{} is no checkout of euca2ools: it has no bin/euca-run-instances", checkout.display());
    }
    programs::build(root)?;
    succeed(root, Command::new(PYTHON).arg("-u").arg(SCRIPT).arg(checkout).arg(python))
}
