//! Scripts are at least free of syntax errors: each is read by its own interpreter, none is run.

use super::Problem;
use super::tree::Tree;
use anyhow::{Context, Result};
use std::path::Path;
use std::process::Command;

/// The shell that a script is for.
fn shell(path: &str, text: &str) -> Option<&'static str> {
    let first = text.lines().next().unwrap_or_default();
    let named =
        first.strip_prefix("#!").map(|line| line.trim_end().rsplit(['/', ' ']).next().unwrap_or_default());
    match named {
        Some("bash") => Some("bash"),
        Some("sh" | "dash" | "ash") => Some("sh"),
        Some(word) if word.starts_with('-') => {
            if first.contains("bash") {
                Some("bash")
            } else {
                Some("sh")
            }
        }
        Some(_) => None,
        None => path.ends_with(".sh").then_some("bash"),
    }
}

pub fn syntax(root: &Path, tree: &Tree) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    for (path, text) in tree.files() {
        let Some(shell) = shell(path, text).filter(|_| path != "Makefile") else { continue };
        let output = Command::new(shell).arg("-n").arg(root.join(path)).output();
        let output = output.with_context(|| format!("{shell} is needed to check {path}"))?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
            problems.push(Problem::new(path, 0, format!("{shell} cannot read it: {message}")));
        }
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_that_its_shell_cannot_read_is_told() {
        let root = tempfile::tempdir().unwrap();
        let files = [
            ("good.sh", "[[ -f x ]] || exit 1\n"),
            ("bad", "#!/bin/sh\nif true; then\n"),
            ("other", "#!/usr/bin/python3\nif\n"),
        ];
        for (path, text) in files {
            std::fs::write(root.path().join(path), text).unwrap();
        }
        let told = syntax(root.path(), &Tree::of(&files)).unwrap();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].to_string().starts_with("bad: sh cannot read it"), "{told:?}");
    }

    #[test]
    fn the_first_line_names_the_shell() {
        for (first, expected) in [
            ("#!/bin/bash", Some("bash")),
            ("#!/bin/sh -e", Some("sh")),
            ("#!/usr/bin/env bash", Some("bash")),
            ("#!/usr/bin/env python3", None),
            ("set -e", Some("bash")),
        ] {
            assert_eq!(shell("x.sh", first), expected, "{first}");
        }
        assert_eq!(shell("x", "set -e"), None);
    }
}
