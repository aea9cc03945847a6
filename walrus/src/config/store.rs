//! The `[store]` section: where the bytes of larger objects lie.

use super::is_region;
use crate::drive::http;
use crate::store::keeper::s3::{EngineKeys, EngineOptions};
use serde::Deserialize;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

const TIMEOUT_SECS_MAX: u64 = 600;
const PREFIX_BYTES_MAX: usize = 200;
/// More is no file of two keys.
const CREDENTIALS_BYTES_MAX: usize = 64 << 10;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    #[default]
    Local,
    S3,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    pub backend: Backend,
    pub endpoint: Option<String>,
    pub region: String,
    pub bucket: Option<String>,
    pub prefix: String,
    pub path_style: bool,
    pub credentials_file: Option<PathBuf>,
    pub ca: Option<PathBuf>,
    pub timeout_secs: u64,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            backend: Backend::Local,
            endpoint: None,
            region: "us-east-1".to_owned(),
            bucket: None,
            prefix: "walrus/".to_owned(),
            path_style: true,
            credentials_file: None,
            ca: None,
            timeout_secs: 30,
        }
    }
}

/// What is in `credentials_file`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Credentials {
    access_key_id: String,
    secret_access_key: String,
}

impl StoreConfig {
    pub(super) fn check(&self) -> Result<(), String> {
        match self.backend {
            Backend::Local => Ok(()),
            Backend::S3 => self.engine().map(drop),
        }
    }

    /// For `backend = "s3"`.
    ///
    /// # Errors
    /// What cannot be used, by its key.
    pub fn engine(&self) -> Result<EngineOptions, String> {
        let endpoint = needed("endpoint", self.endpoint.as_deref())?;
        let is_https = checked_endpoint(endpoint)?;
        if !is_region(&self.region) {
            return Err(format!("store.region = \"{}\": letters, digits and dashes only", self.region));
        }
        let bucket = needed("bucket", self.bucket.as_deref())?;
        if !is_bucket(bucket) {
            return Err(format!("store.bucket = \"{bucket}\": not the name of a bucket"));
        }
        if !is_prefix(&self.prefix) {
            let words =
                "expecting letters, digits, dashes, dots and slashes, of which the last one is a slash";
            return Err(format!("store.prefix = \"{}\": {words}", self.prefix));
        }
        if !(1..=TIMEOUT_SECS_MAX).contains(&self.timeout_secs) {
            let range = format!("expecting a number from 1 to {TIMEOUT_SECS_MAX}");
            return Err(format!("store.timeout_secs = {}: {range}", self.timeout_secs));
        }
        let keys = needed("credentials_file", self.credentials_file.as_deref())?;
        let keys =
            keys_of(keys).map_err(|why| format!("store.credentials_file = \"{}\": {why}", keys.display()))?;
        let ca = match &self.ca {
            Some(path) => {
                let why = |why: String| format!("store.ca = \"{}\": {why}", path.display());
                Some(certificates_of(path).map_err(why)?)
            }
            None if is_https => {
                return Err("store.ca: an https:// endpoint needs the CA's certificate".to_owned());
            }
            None => None,
        };
        Ok(EngineOptions {
            endpoint: endpoint.to_owned(),
            region: self.region.clone(),
            bucket: bucket.to_owned(),
            prefix: self.prefix.clone(),
            path_style: self.path_style,
            keys,
            ca,
            timeout: Duration::from_secs(self.timeout_secs),
        })
    }
}

fn needed<'a, T: ?Sized>(key: &str, value: Option<&'a T>) -> Result<&'a T, String> {
    value.ok_or_else(|| format!("store.{key}: is missing, and backend = \"s3\" needs it"))
}

/// Whether it is one of TLS.
fn checked_endpoint(endpoint: &str) -> Result<bool, String> {
    let wrong = |why: &str| format!("store.endpoint = \"{endpoint}\": {why}");
    let url = reqwest::Url::parse(endpoint).map_err(|error| wrong(&error.to_string()))?;
    let bare =
        url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    match url.scheme() {
        "http" | "https" if bare && url.password().is_none() => Ok(url.scheme() == "https"),
        _ => Err(wrong("expecting http://host:port or https://host:port")),
    }
}

fn is_bucket(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'_');
    (3..=63).contains(&name.len()) && name.bytes().all(plain) && !name.contains("..")
}

fn is_prefix(prefix: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    // A segment of dots would be a way up to some engine, or to some client of it.
    let segment = |segment: &str| {
        !segment.is_empty() && segment.bytes().all(plain) && !segment.bytes().all(|b| b == b'.')
    };
    let Some(path) = prefix.strip_suffix('/') else { return prefix.is_empty() };
    prefix.len() <= PREFIX_BYTES_MAX && path.split('/').all(segment)
}

fn keys_of(path: &Path) -> Result<EngineKeys, String> {
    let found = std::fs::metadata(path).map_err(|error| error.to_string())?;
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(format!("others than its owner may read or write it (mode {mode:03o}); chmod 600"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    if text.len() > CREDENTIALS_BYTES_MAX {
        return Err(format!("more than {CREDENTIALS_BYTES_MAX} bytes"));
    }
    // What is wrong is told without the lines that hold a secret.
    let keys: Credentials = toml::from_str(&text).map_err(|error| error.message().to_owned())?;
    let Credentials { access_key_id, secret_access_key } = keys;
    if access_key_id.is_empty() || secret_access_key.is_empty() {
        return Err("a key is empty".to_owned());
    }
    Ok(EngineKeys { access_key_id, secret_access_key })
}

fn certificates_of(path: &Path) -> Result<Vec<u8>, String> {
    let pem = std::fs::read(path).map_err(|error| error.to_string())?;
    http::trusting(Some(&pem), Duration::from_secs(1)).map(|_| pem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;

    const EXAMPLE: &str = include_str!("../../../deploy/config/walrus.toml");
    const KEYS: &str = "access_key_id = \"AKIA\"\nsecret_access_key = \"hush-hush\"\n";

    struct Case {
        directory: tempfile::TempDir,
        config: StoreConfig,
    }

    fn case() -> Case {
        let directory = tempfile::tempdir().unwrap();
        let keys = directory.path().join("engine.toml");
        std::fs::write(&keys, KEYS).unwrap();
        std::fs::set_permissions(&keys, Permissions::from_mode(0o600)).unwrap();
        let config = StoreConfig {
            backend: Backend::S3,
            endpoint: Some("http://rgw.example.net:7480".into()),
            bucket: Some("karri".into()),
            credentials_file: Some(keys),
            ..StoreConfig::default()
        };
        Case { directory, config }
    }

    #[track_caller]
    fn wrong(change: impl FnOnce(&mut StoreConfig), start: &str) {
        let mut case = case();
        change(&mut case.config);
        let message = case.config.check().unwrap_err();
        assert!(message.starts_with(start), "{message}");
        assert!(!message.contains("hush-hush"), "{message}");
    }

    #[test]
    fn what_nothing_could_work_with_is_refused_by_its_key() {
        case().config.check().unwrap();
        wrong(|c| c.endpoint = None, "store.endpoint: is missing");
        for url in ["rgw:7480", "ftp://rgw", "http://rgw/path", "http://a:b@rgw", "http://rgw?x", "http://"] {
            wrong(|c| c.endpoint = Some(url.into()), "store.endpoint = ");
        }
        wrong(|c| c.endpoint = Some("https://rgw".into()), "store.ca: an https://");
        wrong(|c| c.region = "a b".into(), "store.region");
        wrong(|c| c.bucket = None, "store.bucket: is missing");
        wrong(|c| c.bucket = Some("A/b".into()), "store.bucket = ");
        for prefix in ["walrus", "/walrus/", "a//b/", "a/../b/", "/", "a b/", "\u{e4}/"] {
            wrong(|c| c.prefix = prefix.into(), "store.prefix");
        }
        for secs in [0, TIMEOUT_SECS_MAX + 1] {
            wrong(|c| c.timeout_secs = secs, "store.timeout_secs");
        }
        wrong(|c| c.credentials_file = None, "store.credentials_file: is missing");
        wrong(|c| c.credentials_file = Some("/nowhere/engine.toml".into()), "store.credentials_file = ");
        wrong(|c| c.ca = Some("/nowhere/ca.pem".into()), "store.ca = ");
        wrong(|c| c.ca = c.credentials_file.clone(), "store.ca = ");
    }

    #[test]
    fn keys_that_others_can_read_or_that_are_none_are_refused() {
        let with = |text: &str, mode: u32| {
            let case = case();
            let path = case.directory.path().join("engine.toml");
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            case.config.engine().map(|options| options.keys.secret_access_key)
        };
        assert_eq!(with(KEYS, 0o400).unwrap(), "hush-hush");
        for mode in [0o640, 0o604, 0o620, 0o644] {
            let message = with(KEYS, mode).unwrap_err();
            assert!(
                message.starts_with("store.credentials_file") && message.contains("chmod 600"),
                "{message}"
            );
        }
        for text in
            ["", "hush-hush", "access_key_id = \"a\"\nsecret_access_key = \"\"", &format!("{KEYS}more = 1")]
        {
            let message = with(text, 0o600).unwrap_err();
            assert!(message.starts_with("store.credentials_file") && !message.contains("hush"), "{message}");
        }
    }

    #[test]
    fn an_empty_prefix_and_one_of_several_segments_will_do() {
        for prefix in ["", "a/", "a/b-1/c.d/"] {
            let mut case = case();
            case.config.prefix = prefix.into();
            case.config.check().unwrap();
        }
    }

    #[test]
    fn the_example_shows_the_defaults() {
        let shown = toml::from_str::<super::super::Config>(EXAMPLE).unwrap().store;
        assert_eq!(format!("{shown:?}"), format!("{:?}", StoreConfig::default()));
        let (before, section) = EXAMPLE.split_once("\n[store]\n").unwrap();
        let (section, after) = section.split_once("\n\n").unwrap();
        let used = section.lines().map(|line| match line.strip_prefix('#') {
            Some(assignment) if !assignment.starts_with(' ') => assignment,
            _ => line,
        });
        let used = used.collect::<Vec<_>>().join("\n").replace("backend = \"local\"", "backend = \"s3\"");
        let text = format!("{before}\n[store]\n{used}\n\n{after}");
        let shown = toml::from_str::<super::super::Config>(&text).unwrap().store;
        assert!(shown.backend == Backend::S3 && shown.ca.is_some() && shown.bucket.is_some());
        let message = shown.check().unwrap_err();
        assert!(message.starts_with("store.credentials_file"), "the rest is right: {message}");
    }
}
