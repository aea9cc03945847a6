//! The repository's text files: what git tracks or would track.

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

#[derive(Debug, Default)]
pub struct Tree {
    files: BTreeMap<String, String>,
    /// Everything that exists, binary files too.
    paths: Vec<String>,
}

impl Tree {
    pub fn read(root: &Path) -> Result<Self> {
        let output = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root)
            .output()
            .context("git is needed to know which files are the project's")?;
        if !output.status.success() {
            bail!("git ls-files: {}", String::from_utf8_lossy(&output.stderr));
        }
        let mut tree = Self::default();
        for path in String::from_utf8(output.stdout)?.split_terminator('\0') {
            let Ok(bytes) = std::fs::read(root.join(path)) else { continue }; // deleted, not yet committed
            tree.paths.push(path.to_owned());
            if let Ok(text) = String::from_utf8(bytes) {
                tree.files.insert(path.to_owned(), text);
            }
        }
        Ok(tree)
    }

    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let files: BTreeMap<_, _> = files.iter().map(|(p, t)| ((*p).to_owned(), (*t).to_owned())).collect();
        Self { paths: files.keys().cloned().collect(), files }
    }

    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// Rust that people write.
    pub fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files().filter(|(path, _)| path.ends_with(".rs") && !is_generated(path))
    }

    pub fn get(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Whether a file or a folder of this name is there.
    pub fn has(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        path.is_empty() || self.paths.iter().any(|present| present == path || present.starts_with(&folder))
    }
}

pub fn is_generated(path: &str) -> bool {
    path.contains("/generated/")
}

/// A program text for an interpreter: by its name or by its first line.
pub fn is_script(path: &str, text: &str) -> bool {
    path.ends_with(".sh") || path.ends_with(".py") || text.starts_with("#!")
}
