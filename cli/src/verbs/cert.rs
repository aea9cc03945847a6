//! `karri cert`: what a user bundles images with. The private key is made here and goes nowhere else.

use super::when;
use crate::args::Cert as Verb;
use crate::cloud::Cloud;
use crate::output::{Format, Table};
use anyhow::Context;
use karri_proto::internal::admin::{AdminService, Certificate, NewCertificate};
use karri_proto::runtime::endpoint::write_durably;
use karri_proto::runtime::pki::write_secret;
use karri_proto::runtime::rsa_pair::RsaPair;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// As euca2ools' environment names them.
const CERTIFICATE: &str = "euca-user-cert.pem";
const KEY: &str = "euca-user-pk.pem";
const CLOUD: &str = "cloud-cert.pem";

pub async fn run(cloud: &Cloud, verb: Verb, output: Format) -> anyhow::Result<()> {
    let (clc, caller) = (cloud.clc()?, cloud.caller());
    match verb {
        Verb::Create { account, user, directory } => {
            let files = Files::make(cloud, &directory, &format!("{user} of {account}")).await?;
            let new = NewCertificate { account, user, pem: files.pem.clone() };
            match clc.certificate_create(caller, new).await {
                Ok(certificate) => output.print(&Created::new(&certificate, &files), Created::text),
                Err(error) => {
                    files.remove();
                    Err(error.into())
                }
            }
        }
        Verb::List { account } => {
            output.print(&clc.certificate_list(caller, &account).await?, |all| table(all))
        }
        Verb::Delete { id } => Ok(clc.certificate_delete(caller, &id).await?),
    }
}

/// What was written for the user, who gets all three.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    cloud: Option<PathBuf>,
    pem: String,
}

impl Files {
    async fn make(cloud: &Cloud, directory: &Path, name: &str) -> anyhow::Result<Self> {
        let path = |name: &str| directory.join(name);
        for file in [CERTIFICATE, KEY] {
            anyhow::ensure!(!path(file).exists(), "{} is there already", path(file).display());
        }
        let name = name.to_owned();
        let made = tokio::task::spawn_blocking(move || RsaPair::generate(&name)).await?;
        let made = made.map_err(anyhow::Error::msg)?;
        std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        write_secret(&path(KEY), made.key_pem.as_bytes()).with_context(|| path(KEY).display().to_string())?;
        write_durably(&path(CERTIFICATE), made.certificate_pem.as_bytes())?;
        let theirs = std::fs::read(cloud.home().cloud_certificate_made()).ok();
        if let Some(theirs) = &theirs {
            write_durably(&path(CLOUD), theirs)?;
        }
        Ok(Self {
            certificate: path(CERTIFICATE),
            key: path(KEY),
            cloud: theirs.map(|_| path(CLOUD)),
            pem: made.certificate_pem,
        })
    }

    /// The cloud does not know them: they would be of no use.
    fn remove(&self) {
        for path in [&self.certificate, &self.key] {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[derive(Debug, Serialize)]
struct Created {
    id: String,
    account: String,
    user: String,
    certificate_file: PathBuf,
    key_file: PathBuf,
    cloud_certificate_file: Option<PathBuf>,
}

impl Created {
    fn new(certificate: &Certificate, files: &Files) -> Self {
        Self {
            id: certificate.id.clone(),
            account: certificate.account.clone(),
            user: certificate.user.clone(),
            certificate_file: files.certificate.clone(),
            key_file: files.key.clone(),
            cloud_certificate_file: files.cloud.clone(),
        }
    }

    /// As the user's environment wants it.
    fn text(&self) -> String {
        let mut text = format!(
            "EC2_USER_ID={}\nEC2_CERT={}\nEC2_PRIVATE_KEY={}\n",
            self.account,
            self.certificate_file.display(),
            self.key_file.display()
        );
        if let Some(cloud) = &self.cloud_certificate_file {
            text.push_str(&format!("EUCALYPTUS_CERT={}\n", cloud.display()));
        }
        text
    }
}

fn table(all: &[Certificate]) -> String {
    let mut table = Table::new(["CERTIFICATE", "USER", "FINGERPRINT", "CREATED"]);
    for one in all {
        table.row([one.id.clone(), one.user.clone(), one.fingerprint.clone(), when(one.created_at_unix_ms)]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_certificate_is_told_as_variables_and_the_list_shows_no_pem() {
        let one = Certificate {
            id: "CERT1".into(),
            account: "111122223333".into(),
            user: "ada".into(),
            fingerprint: "ab".into(),
            pem: "PEM".into(),
            created_at_unix_ms: 0,
        };
        let files = Files {
            certificate: "a/euca-user-cert.pem".into(),
            key: "a/euca-user-pk.pem".into(),
            cloud: None,
            pem: "PEM".into(),
        };
        assert_eq!(
            Created::new(&one, &files).text(),
            "EC2_USER_ID=111122223333\nEC2_CERT=a/euca-user-cert.pem\nEC2_PRIVATE_KEY=a/euca-user-pk.pem\n"
        );
        assert_eq!(
            table(&[one]),
            "CERTIFICATE  USER  FINGERPRINT  CREATED\nCERT1        ada   ab           1970-01-01 00:00:00Z\n"
        );
    }
}
