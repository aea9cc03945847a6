//! The project's own tooling: `cargo xtask VERB`. One file per verb; this one only dispatches.

mod bench;
mod cargo;
mod codegen;
mod euca2ools;
mod facts;
mod model;
mod programs;
mod s3_tests;
mod test;
mod tidy;

use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Karri's own tooling")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Write proto/model/*.txt from botocore's service models
    Model {
        /// The botocore package folder (default: the one in target/test-venv)
        #[arg(long)]
        botocore: Option<PathBuf>,
    },
    /// Write the AWS wire types in proto/src/aws from proto/model
    Codegen {
        /// Change nothing; fail when a generated file is stale
        #[arg(long)]
        check: bool,
    },
    /// Check the house rules (docs/adr/0004)
    Tidy {
        /// Instead: record new migrations as published
        #[arg(long)]
        seal: bool,
    },
    /// Run every check and test; the last line is `N passed, N failed`
    Test {
        /// Only these parts, in the usual order
        #[arg(long, value_name = "PART", value_delimiter = ',')]
        only: Vec<test::Part>,
    },
    /// Measure the figures of docs/benchmarks.md and write them there
    Bench {
        /// Only these, in the usual order
        names: Vec<bench::Name>,
    },
    /// Feed generated inputs to what reads strangers' bytes
    Fuzz {
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Only this target
        #[arg(long)]
        target: Option<String>,
    },
    /// Run euca2ools from a checkout against a cloud of their own
    Euca2ools {
        checkout: PathBuf,
        /// A Python 2.7 with pip
        #[arg(long, default_value = "/usr/bin/python2")]
        python: PathBuf,
    },
    /// Run s3cmd's own tests from a checkout, and write docs/s3-tests.md
    #[command(name = "s3cmd-tests")]
    S3cmdTests { checkout: PathBuf },
    /// Run ceph's s3-tests from a checkout, and write docs/s3-tests.md
    S3Tests {
        checkout: PathBuf,
        /// Passed on to pytest, such as `-k multipart`; the document then stays as it is
        #[arg(last = true)]
        pytest: Vec<String>,
    },
}

fn main() -> anyhow::Result<()> {
    let root = workspace_root();
    match Cli::parse().verb {
        Verb::Model { botocore } => model::run(root, botocore),
        Verb::Codegen { check } => codegen::run(root, check),
        Verb::Tidy { seal } => tidy::run(root, seal),
        Verb::Test { only } => test::run(root, &only),
        Verb::Bench { names } => bench::run(root, &names),
        Verb::Fuzz { seconds, target } => test::fuzz::run(root, seconds, target.as_deref()),
        Verb::Euca2ools { checkout, python } => euca2ools::run(root, &checkout.canonicalize()?, &python),
        Verb::S3cmdTests { checkout } => s3_tests::run_s3cmd(root, &checkout.canonicalize()?),
        Verb::S3Tests { checkout, pytest } => s3_tests::run(root, &checkout.canonicalize()?, &pytest),
    }
}

fn workspace_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies inside the workspace")
}
