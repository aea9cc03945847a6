//! `karri-fuzz`: generated inputs for what reads strangers' bytes, on the stable toolchain.
//!
//!     karri-fuzz --seconds N [--seed N] [--target NAME]      what `cargo xtask test` and `fuzz` run
//!     karri-fuzz --target NAME --input FILE                  one input again
//!
//! Each target runs in a child process, so that an abort, a stack overflow or an endless loop is seen
//! as well as a panic. The input under way is always in `target/fuzz/NAME.current`; one that breaks
//! something is kept beside it. Beginnings of inputs are in `tests/fuzz/NAME/`. There is no coverage to
//! steer by: what a long run finds elsewhere belongs into that folder. Output is that of a Rust test.

mod mutate;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;

/// A function that must neither panic nor take long, whatever the bytes.
struct Target {
    name: &'static str,
    entry: fn(&[u8]),
}

const TARGETS: &[Target] = &[
    Target { name: "query", entry: karri_proto::aws::fuzz_query },
    Target { name: "rest", entry: karri_proto::aws::s3::fuzz_rest },
    Target { name: "sign", entry: karri_proto::sign::fuzz_sign },
    Target { name: "chunks", entry: karri_proto::sign::fuzz_chunks },
    Target { name: "form", entry: karri_proto::sign::fuzz_form },
    Target { name: "policy_form", entry: karri_proto::sign::fuzz_policy_form },
    Target { name: "metadata", entry: karri_nc::fuzz_metadata },
    Target { name: "image", entry: karri_walrus::fuzz_image },
    Target { name: "manifest", entry: karri_walrus::fuzz_manifest },
    Target { name: "tar", entry: karri_walrus::fuzz_tar },
    Target { name: "bundle", entry: karri_walrus::fuzz_bundle },
];

#[derive(Debug, Default)]
struct Arguments {
    seconds: u64,
    seed: u64,
    target: Option<String>,
    input: Option<PathBuf>,
    child: bool,
}

impl Arguments {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self { seconds: 5, seed: 1, ..Self::default() };
        while let Some(word) = words.next() {
            if word == "--child" {
                arguments.child = true;
                continue;
            }
            let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
            let number = || value.parse().map_err(|_| format!("{word} {value}: a number is expected"));
            match word.as_str() {
                "--seconds" => arguments.seconds = number()?,
                "--seed" => arguments.seed = number()?,
                "--target" => arguments.target = Some(value),
                "--input" => arguments.input = Some(value.into()),
                _ => return Err(format!("unknown argument {word}")),
            }
        }
        Ok(arguments)
    }

    fn targets(&self) -> Result<Vec<&'static Target>, String> {
        let wanted = |target: &&Target| self.target.as_deref().is_none_or(|name| name == target.name);
        let found: Vec<_> = TARGETS.iter().filter(wanted).collect();
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        if found.is_empty() { Err(format!("targets are {}", names.join(", "))) } else { Ok(found) }
    }
}

fn main() -> ExitCode {
    let outcome = Arguments::read(std::env::args().skip(1)).and_then(|arguments| {
        let targets = arguments.targets()?;
        match (&arguments.input, arguments.child) {
            (Some(file), _) => run::again(targets[0], file),
            (None, true) => run::child(targets[0], &arguments),
            (None, false) => run::all(&targets, &arguments),
        }
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("karri-fuzz: {message}");
            ExitCode::FAILURE
        }
    }
}
