//! `karri-nc`: the controller, or the program that passes a guest's metadata requests on to it.

use std::process::ExitCode;

fn main() -> ExitCode {
    match karri_nc::pipe::asked() {
        Some(code) => code,
        None => karri_proto::runtime::process::main::<karri_nc::Nc>(),
    }
}
