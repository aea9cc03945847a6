//! The operator's keys, the endpoints and what images are bundled with, in one file of shell variables that only the
//! owner may read.
//!
//! `karri up` makes the keys once and hands the same ones to every later cloud controller database;
//! `karri env` prints the file's variables; the EC2 client signs with them.

pub mod s3cfg;

use karri_proto::runtime::pki::write_secret;
use rand::Rng;
use rand::distributions::{Alphanumeric, Distribution, Uniform};
use std::path::Path;

const KEY_ID_CHARACTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub access_key_id: String,
    pub secret_access_key: String,
    pub region: String,
    pub endpoint: String,
    pub s3: Option<S3Access>,
    pub bundling: Option<Bundling>,
}

/// Nothing, if the cloud serves no S3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Access {
    pub endpoint: String,
    /// A file.
    pub s3cmd_config: String,
}

/// What image bundles are made with: files, and whose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundling {
    /// Twelve digits.
    pub account: String,
    pub user_certificate: String,
    pub user_key: String,
    pub cloud_certificate: String,
}

/// The secret stays out of logs and panics.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

impl Credentials {
    pub fn random(rng: &mut impl Rng, region: &str, endpoint: &str) -> Self {
        let pick = Uniform::from(0..KEY_ID_CHARACTERS.len());
        let id: String = (0..16).map(|_| char::from(KEY_ID_CHARACTERS[pick.sample(rng)])).collect();
        Self {
            access_key_id: format!("AKIA{id}"),
            secret_access_key: Alphanumeric.sample_iter(rng).take(40).map(char::from).collect(),
            region: region.to_owned(),
            endpoint: endpoint.to_owned(),
            s3: None,
            bundling: None,
        }
    }

    /// What AWS's own tools read, then what euca2ools reads.
    pub fn variables(&self) -> Vec<(&'static str, &str)> {
        let mut all: Vec<(&'static str, &str)> = vec![
            ("AWS_ACCESS_KEY_ID", &self.access_key_id),
            ("AWS_SECRET_ACCESS_KEY", &self.secret_access_key),
            ("AWS_DEFAULT_REGION", &self.region),
            ("AWS_REGION", &self.region),
            ("AWS_ENDPOINT_URL", &self.endpoint),
            ("EC2_URL", &self.endpoint),
            ("EC2_ACCESS_KEY", &self.access_key_id),
            ("EC2_SECRET_KEY", &self.secret_access_key),
        ];
        if let Some(s3) = &self.s3 {
            all.extend([
                ("AWS_ENDPOINT_URL_S3", s3.endpoint.as_str()),
                ("S3_URL", &s3.endpoint),
                ("S3CMD_CONFIG", &s3.s3cmd_config),
            ]);
        }
        if let Some(bundling) = &self.bundling {
            all.extend([
                ("EC2_USER_ID", bundling.account.as_str()),
                ("EC2_CERT", &bundling.user_certificate),
                ("EC2_PRIVATE_KEY", &bundling.user_key),
                ("EUCALYPTUS_CERT", &bundling.cloud_certificate),
            ]);
        }
        all
    }

    pub fn as_shell(&self) -> String {
        self.variables()
            .iter()
            .map(|(name, value)| format!("export {name}={}\n", shell_quote(value)))
            .collect()
    }

    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let head = "# Endpoints and keys of the account admin. Written by `karri up`.\n";
        write_secret(path, format!("{head}{}", self.as_shell()).as_bytes())
    }

    /// None: no such file. An unreadable or spoilt one is an error that says so.
    pub fn read(path: &Path) -> anyhow::Result<Option<Self>> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => anyhow::bail!("{}: {error}", path.display()),
        };
        let found = |name: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("export ")?.strip_prefix(name)?.strip_prefix('='));
            line.and_then(shell_unquote)
        };
        let value = |name: &str| {
            found(name).ok_or_else(|| {
                anyhow::anyhow!("{}: {name} is missing; move the file away for new keys", path.display())
            })
        };
        let s3 = || {
            Some(S3Access { endpoint: found("AWS_ENDPOINT_URL_S3")?, s3cmd_config: found("S3CMD_CONFIG")? })
        };
        let bundling = || {
            Some(Bundling {
                account: found("EC2_USER_ID")?,
                user_certificate: found("EC2_CERT")?,
                user_key: found("EC2_PRIVATE_KEY")?,
                cloud_certificate: found("EUCALYPTUS_CERT")?,
            })
        };
        Ok(Some(Self {
            access_key_id: value("AWS_ACCESS_KEY_ID")?,
            secret_access_key: value("AWS_SECRET_ACCESS_KEY")?,
            region: value("AWS_DEFAULT_REGION")?,
            endpoint: value("AWS_ENDPOINT_URL")?,
            s3: s3(),
            bundling: bundling(),
        }))
    }
}

/// One word for any POSIX shell.
pub fn shell_quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn shell_unquote(word: &str) -> Option<String> {
    Some(word.trim().strip_prefix('\'')?.strip_suffix('\'')?.replace(r"'\''", "'"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    pub fn sample() -> Credentials {
        Credentials {
            access_key_id: "AKIAEXAMPLE".into(),
            secret_access_key: "it's $HOME `x`".into(),
            region: "karri-1".into(),
            endpoint: "http://127.0.0.1:8773".into(),
            s3: Some(S3Access {
                endpoint: "http://127.0.0.1:8774".into(),
                s3cmd_config: "/var/lib/karri/s3cfg".into(),
            }),
            bundling: Some(Bundling {
                account: "111122223333".into(),
                user_certificate: "/var/lib/karri/euca-user-cert.pem".into(),
                user_key: "/var/lib/karri/euca-user-pk.pem".into(),
                cloud_certificate: "/var/lib/karri/cloud-cert.pem".into(),
            }),
        }
    }

    #[test]
    fn any_secret_survives_the_file_which_only_its_owner_reads() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("credentials");
        assert_eq!(Credentials::read(&path).unwrap(), None);
        sample().write(&path).unwrap();
        assert_eq!(Credentials::read(&path).unwrap(), Some(sample()));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_from_before_there_was_s3_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("credentials");
        let old = Credentials { s3: None, bundling: None, ..sample() };
        old.write(&path).unwrap();
        assert!(!std::fs::read_to_string(&path).unwrap().contains("S3"));
        assert_eq!(Credentials::read(&path).unwrap(), Some(old));
    }

    #[test]
    fn a_shell_reads_exactly_the_secret() {
        let script = format!("{}printf %s \"$AWS_SECRET_ACCESS_KEY\"", sample().as_shell());
        let output = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), sample().secret_access_key);
    }

    #[test]
    fn a_spoilt_file_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("credentials");
        std::fs::write(&path, "export AWS_ACCESS_KEY_ID=AKIA\n").unwrap();
        let error = Credentials::read(&path).unwrap_err().to_string();
        assert!(error.contains("credentials") && error.contains("AWS_ACCESS_KEY_ID"), "{error}");
    }

    #[test]
    fn keys_look_like_aws_keys_and_the_secret_is_not_debugged() {
        let made = Credentials::random(&mut rand::thread_rng(), "r", "e");
        assert_eq!((made.access_key_id.len(), made.secret_access_key.len()), (20, 40));
        assert!(!format!("{made:?}").contains(&made.secret_access_key));
    }
}
