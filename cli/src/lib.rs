//! `karri`: brings a cloud up on one machine, takes it down, and holds the operator's verbs.
//!
//! One file per verb in `verbs/`; `up/` is the supervisor. A verb gathers values and prints them through
//! [`output`], as a table for people or as JSON with stable names for programs. Nothing here knows a
//! controller's database: everything goes through the internal APIs (with the operator's certificate) or
//! through EC2 (with the operator's keys). A store that nobody serves is looked at by Walrus' own code.

pub mod args;
pub mod cloud;
pub mod credentials;
pub mod ec2;
pub mod facts;
pub mod home;
mod http;
mod meter;
pub mod output;
pub mod up;
pub mod verbs;

use clap::Parser;
use std::process::ExitCode;

/// How long a command waits for its helper threads at its end.
const HELPERS_END_WITHIN: std::time::Duration = std::time::Duration::from_secs(2);

/// Parses the arguments and runs the verb. Exit codes: 0 done, 1 failed, 2 wrong usage (clap's own).
pub fn main() -> ExitCode {
    karri_proto::runtime::files::private_umask();
    let arguments = args::Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("karri: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(verbs::run(arguments));
    // Helper threads end before the process does: what C libraries clean up at a thread's end must not meet
    // what they clean up at the process's. One that is stuck in a system call does not hold the command back.
    runtime.shutdown_timeout(HELPERS_END_WITHIN);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("karri: {error:#}");
            if error.is::<args::Usage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}
