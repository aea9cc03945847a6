//! The project's own tooling: `cargo xtask VERB`. One file per verb; this one only dispatches.

mod codegen;
mod facts;
mod model;

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
}

fn main() -> anyhow::Result<()> {
    let root = workspace_root();
    match Cli::parse().verb {
        Verb::Model { botocore } => model::run(root, botocore),
        Verb::Codegen { check } => codegen::run(root, check),
    }
}

fn workspace_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies inside the workspace")
}
