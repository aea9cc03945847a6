//! `cargo xtask test`: every check and test of the project, one line per stage, everything counted.
//!
//! The last line of the output is `N passed, N failed`, and the exit status says the same. What a part
//! needs and does not find is a failure: nothing is skipped. Everything is built once, by one cargo
//! command, and the test executables are then run from here: a second cargo command would choose other
//! features and compile a good part of the world again. Logs are kept in `target/test-logs`.

pub mod fuzz;
mod lanes;
mod parse;
mod parts;
mod process;
mod times;

use anyhow::{Result, bail};
use clap::ValueEnum;
use parts::Context;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// cargo fmt --check
    Fmt,
    /// cargo clippy -D warnings
    Clippy,
    /// cargo xtask tidy
    Tidy,
    /// Everything, tests included
    Build,
    /// The guest images, unless they are there and unchanged
    Images,
    /// Unit, property and component tests
    Unit,
    /// Five seconds of generated inputs per target
    Fuzz,
    /// tests/clients: real clients on simulated nodes
    Clients,
    /// The tests crate and tests/system: real guests; needs root
    System,
}

impl Part {
    fn name(&self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// It makes bridges, network namespaces or guests.
    fn needs_root(self) -> bool {
        matches!(self, Self::Unit | Self::System)
    }

    /// One stage of the run: suites of all these wait much of their time.
    fn is_run_beside(self, next: Self) -> bool {
        let is_of_suites = |part| matches!(part, Self::Unit | Self::Fuzz | Self::Clients | Self::System);
        is_of_suites(self) && is_of_suites(next)
    }
}

const NEEDS_ROOT: &str =
    "tests make bridges and start guests: run them as root (for `make check` nobody need be)";

/// What a stage has to say.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    passed: usize,
    failed: usize,
    failures: Vec<Failure>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    name: String,
    output: String,
}

impl Report {
    fn passed(passed: usize) -> Self {
        Self { passed, ..Self::default() }
    }

    fn failed(name: impl Into<String>, output: impl Into<String>) -> Self {
        let failures = vec![Failure { name: name.into(), output: output.into() }];
        Self { passed: 0, failed: 1, failures }
    }

    fn sum(reports: impl IntoIterator<Item = Report>) -> Self {
        let mut all = Self::default();
        reports.into_iter().for_each(|report| all.add(report));
        all
    }

    fn add(&mut self, other: Report) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.failures.extend(other.failures);
    }
}

pub fn run(root: &Path, only: &[Part]) -> Result<()> {
    let began = Instant::now();
    let mut context = Context::new(root)?;
    let mut all = Report::default();
    let wanted = |part: &&Part| only.is_empty() || only.contains(part);
    let parts: Vec<Part> = Part::value_variants().iter().filter(wanted).copied().collect();
    if parts.iter().any(|part| part.needs_root()) && !rustix::process::geteuid().is_root() {
        bail!("{NEEDS_ROOT}"); // told now, not after the build
    }
    for stage in parts.chunk_by(|one, next| one.is_run_beside(*next)) {
        all.add(timed(&mut context, stage));
    }
    for failure in &all.failures {
        println!("\n==== {} ====\n{}", failure.name, failure.output.trim_end());
    }
    context.write_times()?;
    println!(
        "\n{} s; logs are in target/test-logs, and what took how long in its times",
        began.elapsed().as_secs()
    );
    println!("{} passed, {} failed", all.passed, all.failed);
    if all.failed > 0 {
        std::io::stdout().flush()?;
        std::process::exit(1); // an error would print more after the last line
    }
    if all.passed == 0 {
        bail!("nothing was run");
    }
    Ok(())
}

fn timed(context: &mut Context, stage: &[Part]) -> Report {
    let names: Vec<String> = stage.iter().map(Part::name).collect();
    let names = names.join(", ");
    print!("{names:15} … ");
    let _ = std::io::stdout().flush();
    let began = Instant::now();
    let report =
        parts::run(context, stage).unwrap_or_else(|error| Report::failed(&names, format!("{error:#}")));
    let secs = began.elapsed().as_secs_f64();
    println!("{:5} passed, {} failed  {secs:7.1} s", report.passed, report.failed);
    report
}
