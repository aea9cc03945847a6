//! `cargo xtask fuzz`: builds and runs `karri-fuzz` of the tests crate, in the long form.
//!
//! The loop itself cannot live here: it needs the crates whose code this tool writes.

use crate::cargo::cargo;
use anyhow::{Result, bail};
use std::path::Path;
use std::process::Command;

pub const BUILD: [&str; 5] = ["build", "--workspace", "--bin", "karri-fuzz", "--locked"];
pub const EXECUTABLE: &str = "target/debug/karri-fuzz";

pub fn run(root: &Path, seconds: u64, target: Option<&str>) -> Result<()> {
    let build = cargo().args(BUILD).current_dir(root).status()?;
    if !build.success() {
        bail!("karri-fuzz does not build");
    }
    let mut fuzz = Command::new(root.join(EXECUTABLE));
    fuzz.args(["--seconds", &seconds.to_string()])
        .args(target.map(|target| ["--target", target]).iter().flatten());
    if !fuzz.current_dir(root).status()?.success() {
        bail!("an input was found that breaks something; it is kept in target/fuzz");
    }
    Ok(())
}
