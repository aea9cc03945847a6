//! The programs that a user runs, built as a user would have them.

use crate::bench::succeed;
use anyhow::Result;
use std::path::Path;
use std::process::Command;

const PROGRAMS: [&str; 5] = ["karri", "karri-clc", "karri-cc", "karri-nc", "karri-walrus"];

pub fn build(root: &Path) -> Result<()> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut build = Command::new(cargo);
    build.args(["build", "--release", "--locked"]).args(PROGRAMS.iter().flat_map(|name| ["--bin", name]));
    succeed(root, &mut build)
}
