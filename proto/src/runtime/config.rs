//! Configuration: one TOML file per controller, every key overridable by the environment.
//!
//! `[section] key` becomes `PREFIX_SECTION__KEY`. An unknown key, in the file or in the environment,
//! is an error that names it: config structs are `deny_unknown_fields`.

use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{path}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{path}: {message}")]
    Invalid { path: PathBuf, message: String },
    #[error("{variable}: {message}")]
    Environment { variable: String, message: String },
}

/// Reads `path` and lays the environment over it.
pub fn load<T: DeserializeOwned>(path: &Path, prefix: &str) -> Result<T, ConfigError> {
    // A variable that is no text cannot be a key's value.
    let text = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    load_with(path, prefix, text)
}

/// The same with an environment that is given: what a process was started with, read by another one.
pub fn load_with<T: DeserializeOwned>(
    path: &Path,
    prefix: &str,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    let invalid = |message: String| ConfigError::Invalid { path: path.to_owned(), message };
    let mut table: Table = text.parse().map_err(|e: toml::de::Error| invalid(e.to_string()))?;
    // The file alone first, so that its own mistakes are told with their line.
    let mut overridden = Vec::new();
    for (variable, value) in environment {
        if let Some(rest) = variable.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')) {
            let keys: Vec<String> = rest.split("__").map(str::to_ascii_lowercase).collect();
            set(&mut table, &keys, &value)
                .map_err(|message| ConfigError::Environment { variable: variable.clone(), message })?;
            overridden.push(variable);
        }
    }
    if overridden.is_empty() {
        return toml::from_str(&text).map_err(|e| invalid(e.to_string()));
    }
    table.try_into().map_err(|e| ConfigError::Environment {
        variable: format!("{} with {}", path.display(), overridden.join(", ")),
        message: e.to_string(),
    })
}

fn set(table: &mut Table, keys: &[String], text: &str) -> Result<(), String> {
    let [first, rest @ ..] = keys else { return Err("names no key".to_owned()) };
    if rest.is_empty() {
        let value = parse_like(table.get(first), text);
        table.insert(first.clone(), value);
        return Ok(());
    }
    let inner = table.entry(first.clone()).or_insert_with(|| Value::Table(Table::new()));
    match inner {
        Value::Table(inner) => set(inner, rest, text),
        _ => Err(format!("{first} is not a section")),
    }
}

/// `5` is a number unless the file says that the key is text.
fn parse_like(present: Option<&Value>, text: &str) -> Value {
    let plain = Value::String(text.to_owned());
    if matches!(present, Some(Value::String(_))) {
        return plain;
    }
    let parsed = format!("x = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("x"));
    parsed.unwrap_or(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        name: String,
        inner: Inner,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        port: u16,
    }

    fn load(text: &str, environment: &[(&str, &str)]) -> Result<Sample, ConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sample.toml");
        std::fs::write(&path, text).unwrap();
        let environment = environment.iter().map(|(k, v)| (k.to_string(), v.to_string()));
        load_with(&path, "KARRI_SAMPLE", environment)
    }

    const GOOD: &str = "name = \"x\"\n[inner]\nport = 1\n";

    #[test]
    fn environment_overrides_a_nested_key_and_keeps_text_as_text() {
        let sample = load(GOOD, &[("KARRI_SAMPLE_INNER__PORT", "7"), ("KARRI_SAMPLE_NAME", "12")]).unwrap();
        assert_eq!(sample, Sample { name: "12".into(), inner: Inner { port: 7 } });
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = load("name = \"x\"\ncolour = 1\n[inner]\nport = 1\n", &[]).unwrap_err().to_string();
        assert!(error.contains("colour") && error.contains("sample.toml"), "{error}");
        let error = load(GOOD, &[("KARRI_SAMPLE_INNER__COLOUR", "7")]).unwrap_err().to_string();
        assert!(error.contains("colour") && error.contains("KARRI_SAMPLE_INNER__COLOUR"), "{error}");
    }

    #[test]
    fn a_wrong_type_and_a_missing_file_are_errors() {
        assert!(load(GOOD, &[("KARRI_SAMPLE_INNER__PORT", "seventy")]).is_err());
        assert!(load(GOOD, &[("KARRI_SAMPLE_NAME__X", "1")]).is_err());
        assert!(super::load::<Sample>(Path::new("/nonexistent.toml"), "X").is_err());
    }
}
