//! `cargo xtask codegen`: `proto/model/*.txt` in, plain checked-in Rust out.
//!
//! One file per resource under `proto/src/aws/<service>/generated/`. What is written is plain
//! `impl`s: no derive beyond Debug, Clone, Default and PartialEq, no macros. `--check` writes nothing
//! and fails when a file is stale. Must not read botocore: what is not in the model text does not exist.

mod emit;
mod judge;
mod names;
mod place;
mod plan;
mod rest;
mod route;

use crate::facts::Model;
use crate::model::SERVICES;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// File name to content.
type Files = BTreeMap<String, String>;

pub fn run(root: &Path, check: bool) -> Result<()> {
    for (service, _) in SERVICES {
        let text = std::fs::read_to_string(root.join(format!("proto/model/{service}.txt")))?;
        let model = Model::parse(&text).with_context(|| format!("proto/model/{service}.txt"))?;
        let files = generate(&model, root)?;
        let folder = root.join(format!("proto/src/aws/{service}/generated"));
        match check {
            true => compare(&folder, &files)?,
            false => write(&folder, &files)?,
        }
    }
    Ok(())
}

fn generate(model: &Model, root: &Path) -> Result<Files> {
    let plan = plan::Plan::new(model)?;
    let mut files = emit::files(&plan)?;
    files.insert("judge.rs".into(), judge::file(&plan)?);
    for content in files.values_mut() {
        *content = rustfmt(content, root)?;
    }
    Ok(files)
}

fn compare(folder: &Path, files: &Files) -> Result<()> {
    for (name, content) in files {
        let path = folder.join(name);
        if std::fs::read_to_string(&path).ok().as_ref() != Some(content) {
            bail!("{} is stale: run `cargo xtask codegen`", path.display());
        }
    }
    for name in present(folder)? {
        if !files.contains_key(&name) {
            bail!("{}/{name} is no longer generated: run `cargo xtask codegen`", folder.display());
        }
    }
    Ok(())
}

fn write(folder: &Path, files: &Files) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    for name in present(folder)?.iter().filter(|name| !files.contains_key(*name)) {
        std::fs::remove_file(folder.join(name))?;
    }
    for (name, content) in files {
        let path = folder.join(name);
        // An unchanged file keeps its time stamp, so that cargo does not rebuild for nothing.
        if std::fs::read_to_string(&path).ok().as_ref() != Some(content) {
            std::fs::write(path, content)?;
        }
    }
    Ok(())
}

fn present(folder: &Path) -> Result<Vec<String>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

fn rustfmt(source: &str, root: &Path) -> Result<String> {
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024", "--config-path"])
        .arg(root.join("rustfmt.toml"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("rustfmt is needed to generate code")?;
    let mut stdin = child.stdin.take().context("rustfmt took no input")?;
    let text = source.to_string();
    // From another thread: rustfmt may fill its output pipe before it has read all of its input.
    let feeder = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output()?;
    feeder.join().ok().context("the thread that feeds rustfmt died")??;
    if !output.status.success() {
        bail!("rustfmt refused generated code:\n{source}");
    }
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    #[test]
    fn generated_code_is_fresh() {
        super::run(crate::workspace_root(), true).unwrap();
    }
}
