//! The programs that a user runs, built as a user would have them.

use crate::bench::succeed;
use crate::cargo::cargo;
use anyhow::Result;
use std::path::Path;

const PROGRAMS: [&str; 5] = ["karri", "karri-clc", "karri-cc", "karri-nc", "karri-walrus"];

pub fn build(root: &Path) -> Result<()> {
    let mut build = cargo();
    build.args(["build", "--release", "--locked"]).args(PROGRAMS.iter().flat_map(|name| ["--bin", name]));
    succeed(root, &mut build)
}
