//! The `[s3]` section.

use super::is_region;
use crate::drive::webhooks::WebhookConfig;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

const SILENCE_SECS_MAX: u64 = 7 * 24 * 3600;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Config {
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    pub region: String,
    #[serde(default = "default_regions")]
    pub also_accept_regions: Vec<String>,
    /// Domains whose subdomains are buckets.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// The domain whose subdomains are the websites of buckets.
    #[serde(default)]
    pub website_domain: Option<String>,
    /// Where events may be sent to, by the name that ends a notification's ARN.
    #[serde(default)]
    pub webhooks: BTreeMap<String, WebhookConfig>,
    /// How long lines of access logs wait to be delivered together.
    #[serde(default = "default_log_delivery")]
    pub log_delivery_secs: u64,
    #[serde(default = "default_true")]
    pub block_public_access_default: bool,
    /// `BucketOwnerEnforced`, `BucketOwnerPreferred` or `ObjectWriter`.
    #[serde(default = "default_ownership")]
    pub object_ownership_default: Option<String>,
    #[serde(default = "default_idle")]
    pub idle_secs: u64,
    #[serde(default)]
    pub clc_url: Option<String>,
    #[serde(default)]
    pub credentials_file: Option<PathBuf>,
    #[serde(default = "default_silence")]
    pub signers_silence_secs: u64,
    /// How long a day of lifecycle rules is.
    #[serde(default = "default_lifecycle_day")]
    pub lifecycle_day_secs: u32,
    /// Master keys of SSE-S3 and SSE-KMS.
    pub key_file: PathBuf,
    pub cloud_key_file: PathBuf,
    pub cloud_certificate_file: PathBuf,
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8774))
}

/// What clients sign for that were never told of a region: SDKs, s3cmd.
fn default_regions() -> Vec<String> {
    ["us-east-1", "US"].map(str::to_owned).into()
}

fn default_true() -> bool {
    true
}

fn default_ownership() -> Option<String> {
    Some("BucketOwnerEnforced".to_owned())
}

fn default_idle() -> u64 {
    20
}

fn default_silence() -> u64 {
    3600
}

fn default_log_delivery() -> u64 {
    300
}

fn default_lifecycle_day() -> u32 {
    24 * 3600
}

impl S3Config {
    /// Ours first.
    pub fn regions(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.region).chain(&self.also_accept_regions).map(String::as_str)
    }

    pub(super) fn check(&self, state_dir: &Path) -> Result<(), String> {
        if let Some(wrong) = self.regions().find(|name| !is_region(name)) {
            return Err(format!("s3.region = \"{wrong}\": letters, digits and dashes only"));
        }
        if let Some(wrong) = self.hosts.iter().find(|name| !is_domain(name)) {
            return Err(format!("s3.hosts = \"{wrong}\": expecting lower-case domain names without a port"));
        }
        if let Some(wrong) = self.website_domain.as_ref().filter(|name| !is_domain(name)) {
            return Err(format!(
                "s3.website_domain = \"{wrong}\": expecting a lower-case domain name without a port"
            ));
        }
        if let Some(both) = self.website_domain.as_ref().filter(|name| self.hosts.contains(name)) {
            return Err(format!("s3.website_domain = \"{both}\": it is one of s3.hosts"));
        }
        for (name, webhook) in &self.webhooks {
            if !is_region(name) {
                return Err(format!("s3.webhooks.{name}: letters, digits and dashes only"));
            }
            webhook.check().map_err(|why| format!("s3.webhooks.{name}.{why}"))?;
        }
        match (&self.clc_url, &self.credentials_file) {
            (Some(url), None) if url.starts_with("https://") => {}
            (Some(url), None) => return Err(format!("s3.clc_url = \"{url}\": must start with https://")),
            (None, Some(_)) => {}
            _ => return Err("s3: expecting either clc_url or credentials_file".to_owned()),
        }
        if self.key_file.starts_with(state_dir) {
            let sentence = "must not lie with the data that it encrypts";
            return Err(format!("s3.key_file = \"{}\": {sentence}", self.key_file.display()));
        }
        let ranges = [
            ("idle_secs", self.idle_secs, 1, 3600),
            ("log_delivery_secs", self.log_delivery_secs, 1, 24 * 3600),
            ("signers_silence_secs", self.signers_silence_secs, 1, SILENCE_SECS_MAX),
            ("lifecycle_day_secs", self.lifecycle_day_secs.into(), 1, default_lifecycle_day().into()),
        ];
        let wrong = ranges.into_iter().find(|(_, value, least, most)| !(least..=most).contains(&value));
        wrong.map_or(Ok(()), |(key, value, least, most)| {
            Err(format!("s3.{key} = {value}: expecting a number from {least} to {most}"))
        })
    }
}

fn is_domain(name: &str) -> bool {
    let label = |label: &str| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_with(change: impl FnOnce(&mut S3Config)) -> Result<(), String> {
        let example = include_str!("../../../deploy/config/walrus.toml");
        let mut config = toml::from_str::<super::super::Config>(example).unwrap().s3.unwrap();
        change(&mut config);
        config.check(Path::new("/var/lib/karri/walrus"))
    }

    fn wrong(change: fn(&mut S3Config), key: &str) {
        let message = check_with(change).unwrap_err();
        assert!(message.starts_with(key), "{message}");
    }

    #[test]
    fn what_nothing_could_work_with_is_refused_by_its_key() {
        wrong(|c| c.region = "a/b".into(), "s3.region");
        wrong(|c| c.also_accept_regions.push(String::new()), "s3.region");
        wrong(|c| c.hosts.push("S3.example.org".into()), "s3.hosts");
        wrong(|c| c.hosts.push("s3.example.org:80".into()), "s3.hosts");
        wrong(|c| c.clc_url = Some("http://x".into()), "s3.clc_url");
        wrong(|c| c.clc_url = None, "s3: expecting either");
        wrong(|c| c.credentials_file = Some("x".into()), "s3: expecting either");
        wrong(|c| c.key_file = "/var/lib/karri/walrus/s3.key".into(), "s3.key_file");
        wrong(|c| c.signers_silence_secs = 0, "s3.signers_silence_secs");
        wrong(|c| c.lifecycle_day_secs = 0, "s3.lifecycle_day_secs");
        wrong(|c| c.log_delivery_secs = 0, "s3.log_delivery_secs");
        wrong(|c| c.website_domain = Some("Web.example.org".into()), "s3.website_domain");
        let hook = |url: &str| WebhookConfig { url: url.into(), ca: None, authorization: None };
        for (name, url, key) in [
            ("a:b", "http://h/", "s3.webhooks.a:b: "),
            ("a", "ftp://h/", "s3.webhooks.a.url"),
            ("a", "nonsense", "s3.webhooks.a.url"),
            ("a", "https://h/", "s3.webhooks.a.ca"),
        ] {
            let message = check_with(|c| drop(c.webhooks.insert(name.into(), hook(url)))).unwrap_err();
            assert!(message.starts_with(key), "{message}");
        }
    }

    #[test]
    fn the_example_shows_the_defaults() {
        let example = include_str!("../../../deploy/config/walrus.toml");
        let shown = toml::from_str::<super::super::Config>(example).unwrap().s3.unwrap();
        assert_eq!(shown.also_accept_regions, default_regions());
        assert_eq!(shown.signers_silence_secs, default_silence());
        assert_eq!(shown.idle_secs, default_idle());
        assert_eq!(shown.log_delivery_secs, default_log_delivery());
        assert_eq!(shown.lifecycle_day_secs, default_lifecycle_day());
        assert_eq!(shown.block_public_access_default, default_true());
        assert_eq!(shown.object_ownership_default, default_ownership());
    }
}
