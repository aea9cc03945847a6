//! `cargo xtask bench`: runs the scripts of `tests/bench` on release binaries, and writes what they measured
//! into `docs/benchmarks.md`, each between its own two markers.
//!
//! Nothing here judges by itself: a script tells its figures, its targets and whether they are met. A missed
//! target is written down like any other figure, and is the exit status.

use crate::cargo::cargo;
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::Deserialize;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

const DOCUMENT: &str = "docs/benchmarks.md";
const PYTHON: &str = "target/test-venv/bin/python";
const IMAGES: &str = "target/images";
/// Written last by deploy/images/tiny.sh.
const TINY: &str = "target/images/tiny.manifest";
const PROGRAMS: [&str; 13] = [
    "karri",
    "karri-clc",
    "karri-cc",
    "karri-nc",
    "karri-walrus",
    "bare_axum",
    "commit_loop",
    "crc_loop",
    "fsync_loop",
    "groups_loop",
    "routers_loop",
    "s3_put",
    "segment_loop",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// RunInstances until libvirt runs the guest, against virsh create
    Launch,
    /// RunInstances until its answer, against one durable commit
    Answer,
    /// DescribeInstances over 1,000 instances, against a bare handler and moto
    Describe,
    /// 20,000 simulated instances on 500 simulated nodes
    Scale,
    /// The four controllers at rest, and `karri up` to ready
    Idle,
    /// One rule of a security group more among many, and packets among many members
    Groups,
    /// One change of a VPC among 1,000 subnets, and all of them brought to the kernel
    Routers,
    /// Streams and small packets within a managed subnet, against a bare bridge and a hand-made VXLAN
    Throughput,
    /// Signed GETs of 4 KiB, 1 MiB and 256 MiB, against nginx with sendfile
    #[value(name = "s3_get")]
    S3Get,
    /// A PUT of 256 MiB, against its digests and its synced write
    #[value(name = "s3_put")]
    S3Put,
    /// Durable PUTs of 4 KiB over 16 connections, against creating and syncing files
    #[value(name = "s3_small")]
    S3Small,
    /// Pages of a list of 10,000 keys, and of 1,000,000
    #[value(name = "s3_list")]
    S3List,
    /// Memory while 64 clients upload 256 MiB each
    #[value(name = "s3_memory")]
    S3Memory,
}

/// What a script prints as its last line.
#[derive(Debug, Deserialize)]
struct Measured {
    name: String,
    machine: String,
    figures: Vec<Figure>,
    tables: Vec<Table>,
    notes: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Figure {
    what: String,
    measured: String,
    /// Empty: told for its own sake.
    target: String,
    met: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

pub fn run(root: &Path, names: &[Name]) -> Result<()> {
    prepare(root)?;
    let mut missed = Vec::new();
    for name in Name::value_variants().iter().filter(|name| names.is_empty() || names.contains(name)) {
        let measured = measure(root, *name)?;
        write(root, &measured)?;
        let of = |figure: &Figure| format!("{}: {}", measured.name, figure.what);
        missed.extend(measured.figures.iter().filter(|figure| figure.met == Some(false)).map(of));
    }
    println!("{DOCUMENT} is written");
    if !missed.is_empty() {
        bail!("missed targets:\n  {}", missed.join("\n  "));
    }
    Ok(())
}

/// Release binaries and the guest image. Packages are `deploy/install.sh bench`'s, before.
fn prepare(root: &Path) -> Result<()> {
    let mut build = cargo();
    build.args(["build", "--release", "--locked"]).args(PROGRAMS.iter().flat_map(|name| ["--bin", name]));
    succeed(root, &mut build)?;
    if !root.join(TINY).exists() {
        succeed(root, Command::new("deploy/images/tiny.sh").arg(IMAGES))?;
    }
    Ok(())
}

pub fn succeed(root: &Path, command: &mut Command) -> Result<()> {
    let status = command.current_dir(root).status().with_context(|| format!("cannot run {command:?}"))?;
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    Ok(())
}

fn measure(root: &Path, name: Name) -> Result<Measured> {
    let name = name.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    println!("== {name}");
    let mut script = Command::new(PYTHON);
    script.current_dir(root).arg(format!("tests/bench/{name}.py"));
    // What it says while it works goes to standard error, to be seen at once.
    let output = script.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output =
        output.with_context(|| format!("cannot run {script:?}; deploy/install.sh bench makes it"))?;
    if !output.status.success() {
        bail!("{script:?}: {}", output.status);
    }
    let told = String::from_utf8_lossy(&output.stdout);
    let last = told.lines().last().unwrap_or_default();
    serde_json::from_str(last).with_context(|| format!("{name} tells no result: {last}"))
}

fn write(root: &Path, measured: &Measured) -> Result<()> {
    let path = root.join(DOCUMENT);
    let document = std::fs::read_to_string(&path).with_context(|| DOCUMENT.to_owned())?;
    std::fs::write(&path, replaced(&document, &measured.name, &rendered(measured))?)?;
    Ok(())
}

fn rendered(measured: &Measured) -> String {
    let mut text = String::from("| figure | measured | target | |\n|---|---|---|---|\n");
    for figure in &measured.figures {
        let verdict = match figure.met {
            Some(true) => "met",
            Some(false) => "**not met**",
            None => "",
        };
        let _ = writeln!(text, "| {} | {} | {} | {verdict} |", figure.what, figure.measured, figure.target);
    }
    for table in &measured.tables {
        let _ =
            writeln!(text, "\n| {} |\n|{}", table.columns.join(" | "), "---|".repeat(table.columns.len()));
        for row in &table.rows {
            let _ = writeln!(text, "| {} |", row.join(" | "));
        }
    }
    let notes = measured.notes.iter().fold(String::new(), |all, note| all + " " + note);
    let _ = writeln!(text, "\nOn {}, by `cargo xtask bench {}`.{notes}", measured.machine, measured.name);
    text
}

/// The document with what lies between the markers of `name` replaced.
fn replaced(document: &str, name: &str, text: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
    let parts = document.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?)));
    let (before, (_, after)) =
        parts.with_context(|| format!("{DOCUMENT} lacks the markers {} {end}", begin.trim()))?;
    Ok(format!("{before}{begin}{text}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_of_a_name_is_replaced() {
        let document = "a\n<!-- x -->\nold\n<!-- end of x -->\nb\n<!-- y -->\ny\n<!-- end of y -->\n";
        let new = replaced(document, "x", "new\n").unwrap();
        assert_eq!(new, document.replace("old", "new"));
        assert!(replaced(document, "z", "").is_err());
    }

    #[test]
    fn a_figure_is_a_row_with_its_target_and_whether_it_is_met() {
        let figure = |target: &str, met| Figure {
            what: "ratio".to_owned(),
            measured: "1.3".to_owned(),
            target: target.to_owned(),
            met,
        };
        let measured = Measured {
            name: "launch".to_owned(),
            machine: "2 cores".to_owned(),
            figures: vec![figure("≤ 1.25", Some(false)), figure("≤ 2", Some(true)), figure("", None)],
            tables: vec![Table {
                columns: vec!["n".into(), "s".into()],
                rows: vec![vec!["1".into(), "2".into()]],
            }],
            notes: vec!["So.".to_owned()],
        };
        let text = rendered(&measured);
        for line in [
            "| ratio | 1.3 | ≤ 1.25 | **not met** |",
            "| ratio | 1.3 | ≤ 2 | met |",
            "| ratio | 1.3 |  |  |",
            "| n | s |\n|---|---|\n| 1 | 2 |",
            "On 2 cores, by `cargo xtask bench launch`. So.",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }

    #[test]
    fn every_benchmark_has_its_script_and_its_place_in_the_document() {
        let root = crate::workspace_root();
        let document = std::fs::read_to_string(root.join(DOCUMENT)).unwrap();
        for name in Name::value_variants() {
            let name = name.to_possible_value().unwrap();
            let name = name.get_name();
            assert!(root.join(format!("tests/bench/{name}.py")).exists(), "{name}");
            replaced(&document, name, "").unwrap();
        }
    }
}
