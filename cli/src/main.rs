//! The `karri` command: see [`karri_cli`].

fn main() -> std::process::ExitCode {
    karri_cli::main()
}
