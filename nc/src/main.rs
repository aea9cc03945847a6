//! `karri-nc`: arguments and logs; everything else is the library's.

use std::process::ExitCode;

fn main() -> ExitCode {
    karri_proto::runtime::process::main::<karri_nc::Nc>()
}
