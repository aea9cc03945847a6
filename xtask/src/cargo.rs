//! Cargo, called from a program that cargo runs.

use std::process::Command;

/// Without what the cargo that runs us says of this package: build scripts that look at it would run again, and with
/// them much of what is compiled, each time that somebody builds with and without xtask in turn.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let of_ours = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        if name.to_str().is_some_and(of_ours) {
            command.env_remove(name);
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_that_is_run_is_not_told_to_cargo() {
        let removed: Vec<_> =
            cargo().get_envs().map(|(name, value)| (name.to_owned(), value.is_none())).collect();
        assert!(removed.contains(&("CARGO_MANIFEST_DIR".into(), true)), "{removed:?}");
        assert!(!removed.iter().any(|(name, _)| name == "CARGO_HOME"), "{removed:?}");
    }
}
