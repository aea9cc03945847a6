//! `karri cluster`: what a cluster controller on another machine needs to be one of this cloud.

use crate::args::{Cluster as Verb, Usage};
use crate::cloud::Cloud;
use crate::output::Format;
use karri_proto::internal::{Identity, Role};
use karri_proto::runtime::pki::Authority;
use karri_proto::runtime::tls::TlsFiles;
use serde::Serialize;
use std::path::{Path, PathBuf};

const NAME_CHARS_MAX: usize = 64;

pub fn run(cloud: &Cloud, verb: Verb, output: Format) -> anyhow::Result<()> {
    let Verb::Certificate { name, directory } = verb;
    output.print(&certificate(cloud, &name, &directory)?, Written::text)
}

#[derive(Debug, Serialize)]
struct Written {
    cluster: String,
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

impl Written {
    fn text(&self) -> String {
        let Self { cluster, ca, certificate, key } = self;
        let paths = [("ca", ca), ("certificate", certificate), ("key", key)];
        let lines = paths.map(|(name, path)| format!("{name} = \"{}\"\n", path.display()));
        format!("# For the cluster controller of {cluster}:\n[controller.tls]\n{}", lines.concat())
    }
}

/// Those that are there and good for long enough stay.
fn certificate(cloud: &Cloud, name: &str, directory: &Path) -> anyhow::Result<Written> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.bytes().all(plain) {
        return Err(Usage(format!("{name:?}: letters, digits and dashes, {NAME_CHARS_MAX} at most")).into());
    }
    if cloud.home().facts()?.zones.iter().any(|zone| zone.name == name) {
        return Err(Usage(format!("{name} is a cluster of this machine, which karri up runs")).into());
    }
    let authority = Authority::load_or_create(&cloud.home().ca())?;
    let directory = std::path::absolute(directory)?;
    let identity = Identity::new(Role::Cc, name, name);
    let TlsFiles { ca, certificate, key } = authority.issue_files(&directory, &identity)?;
    Ok(Written { cluster: name.to_owned(), ca, certificate, key })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Up;
    use crate::facts::Facts;
    use crate::home::Home;

    #[test]
    fn a_cluster_elsewhere_gets_a_certificate_of_its_name_and_none_of_one_that_is_here() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::at(directory.path().join("cloud"));
        std::fs::create_dir_all(home.root()).unwrap();
        let up =
            Up { sim: Some(1), port_base: None, address: None, region: None, zones: vec![], images: None };
        Facts::new(&up).unwrap().write(&home.facts_file()).unwrap();
        let cloud = Cloud::new(home);
        let to = directory.path().join("there");
        let written = certificate(&cloud, "east", &to).unwrap();
        assert!(written.text().contains(&format!("key = \"{}\"", to.join("key.pem").display())));
        let before = std::fs::read(&written.certificate).unwrap();
        certificate(&cloud, "east", &to).unwrap();
        assert_eq!(std::fs::read(&written.certificate).unwrap(), before, "it is good still");
        for name in ["karri-1a", "", "a:b", "a/b", &"x".repeat(65)] {
            assert!(certificate(&cloud, name, &to).is_err(), "{name}");
        }
    }
}
