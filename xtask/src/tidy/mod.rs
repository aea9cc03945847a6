//! `cargo xtask tidy`: the house rules as checks. Each prints where, what, and what to do about it.
//!
//! A rule is a function from a [`Tree`] (the repository's text files) or from cargo's metadata to
//! problems, so its test is a tree of one or two files that break it. Rules must not run anything slow:
//! all of them together take less than five seconds. The decisions are in docs/adr/0004.

mod crates;
mod lexer;
mod links;
mod manifests;
mod migrations;
mod rooms;
mod rust;
mod scripts;
mod tree;
mod units;
mod words;

use anyhow::Result;
use std::fmt;
use std::path::Path;
use tree::Tree;

/// One broken rule at one place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    path: String,
    line: usize,
    message: String,
}

impl Problem {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            write!(f, "{}: {}", self.path, self.message)
        } else {
            write!(f, "{}:{}: {}", self.path, self.line, self.message)
        }
    }
}

const RULES: &[fn(&Tree) -> Vec<Problem>] = &[
    rust::module_docs,
    rust::file_sizes,
    rust::function_sizes,
    rust::exceptions_have_reasons,
    rooms::outside_worlds,
    words::left_behind,
    words::machine_paths,
    words::hosts,
    links::markdown,
    manifests::members,
    manifests::examples,
    migrations::unchanged,
];

pub fn run(root: &Path, seal: bool) -> Result<()> {
    if seal {
        return migrations::seal(root);
    }
    let problems = problems(root)?;
    for problem in &problems {
        println!("{problem}");
    }
    if !problems.is_empty() {
        eprintln!("{} house rule(s) broken", problems.len());
        std::process::exit(1);
    }
    Ok(())
}

/// Everything that is wrong, in the order of files.
pub fn problems(root: &Path) -> Result<Vec<Problem>> {
    let tree = Tree::read(root)?;
    let mut problems: Vec<Problem> = RULES.iter().flat_map(|rule| rule(&tree)).collect();
    problems.extend(scripts::syntax(root, &tree)?);
    problems.extend(units::accepted(root, &tree)?);
    problems.extend(crates::check(root, &tree)?);
    if let Err(stale) = crate::codegen::run(root, true) {
        problems.push(Problem::new("proto/src/aws", 0, format!("{stale:#}")));
    }
    problems.sort();
    problems.dedup();
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The problems of one rule in a tree of the given files, as lines.
    pub(super) fn problems(rule: fn(&Tree) -> Vec<Problem>, files: &[(&str, &str)]) -> Vec<String> {
        rule(&Tree::of(files)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_problem_says_where() {
        assert_eq!(Problem::new("a.rs", 3, "is wrong").to_string(), "a.rs:3: is wrong");
        assert_eq!(Problem::new("a.rs", 0, "is wrong").to_string(), "a.rs: is wrong");
    }
}
