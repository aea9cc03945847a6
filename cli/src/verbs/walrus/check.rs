//! `karri walrus check`: walrus' own check, on a store that nobody serves.

use crate::args::WalrusCheck;
use crate::home::Home;
use crate::meter::Meter;
use crate::output::{Format, printable};
use crate::up::overrides::{current, kept};
use anyhow::{anyhow, bail};
use karri_proto::runtime::config::load_with;
use karri_proto::runtime::process::Controller as _;
use karri_walrus::config::Backend;
use karri_walrus::offline;
use karri_walrus::store::keeper::s3::EngineOptions;
use karri_walrus::store::objects::{CheckProgress, CheckReport};
use karri_walrus::{Config, Walrus};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

#[derive(Debug, Serialize)]
struct Checked {
    store: PathBuf,
    consistent: bool,
    #[serde(flatten)]
    report: CheckReport,
}

pub async fn run(home: &Home, wanted: WalrusCheck, output: Format) -> anyhow::Result<()> {
    let engine = engine(home, &wanted)?;
    let directory = wanted.directory.unwrap_or_else(|| home.controller("walrus"));
    let shown = Mutex::new(Shown::default());
    let tell = |progress| shown.lock().unwrap_or_else(PoisonError::into_inner).show(progress);
    let checked = offline::check(&directory, engine, &tell).await;
    drop(shown);
    let (store, report) = checked?;
    let checked = Checked { store, consistent: report.is_clean(), report };
    output.print(&checked, |checked| text(&checked.report))?;
    if !checked.consistent {
        bail!("{} is not consistent", checked.store.display());
    }
    Ok(())
}

/// Where larger objects lie, if that is not in the directory.
fn engine(home: &Home, wanted: &WalrusCheck) -> anyhow::Result<Option<EngineOptions>> {
    let own = home.config("walrus");
    let (path, environment) = match (&wanted.config, &wanted.directory) {
        (Some(path), _) => (path, current()),
        (None, None) if own.exists() => (&own, kept(home)?),
        (None, _) => return Ok(None),
    };
    let config: Config = load_with(path, Walrus::ENVIRONMENT, environment.into_iter())?;
    match config.store.backend {
        Backend::Local => Ok(None),
        Backend::S3 => config.store.engine().map(Some).map_err(|why| anyhow!("{}: {why}", path.display())),
    }
}

/// Keys are users' words: only the lines are ours.
fn text(report: &CheckReport) -> String {
    report.to_string().lines().map(|line| printable(line) + "\n").collect()
}

/// The stage that is shown, and its meter if it has amounts.
#[derive(Default)]
struct Shown {
    stage: &'static str,
    meter: Option<Meter>,
}

impl Shown {
    fn show(&mut self, progress: CheckProgress) {
        if self.stage != progress.stage {
            self.stage = progress.stage;
            self.meter = None;
            match progress.bytes_total {
                0 => eprintln!("{}", progress.stage),
                total => self.meter = Some(Meter::new(progress.stage, "verified", Some(total))),
            }
        }
        if let Some(meter) = &mut self.meter {
            meter.reach(progress.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    const EXAMPLE: &str = include_str!("../../../../deploy/config/walrus.toml");

    fn with_engine(directory: &Path) -> String {
        let keys = directory.join("engine.toml");
        std::fs::write(&keys, "access_key_id = \"a\"\nsecret_access_key = \"b\"\n").unwrap();
        std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o600)).unwrap();
        let store = format!(
            "backend = \"s3\"\nendpoint = \"http://rgw:7480\"\nbucket = \"karri\"\ncredentials_file = \"{}\"",
            keys.display()
        );
        EXAMPLE.replace("backend = \"local\"", &store)
    }

    #[test]
    fn larger_objects_are_looked_for_where_the_configuration_says() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::at(directory.path().join("home"));
        let wanted = |directory: Option<&str>, config: Option<&Path>| WalrusCheck {
            directory: directory.map(PathBuf::from),
            config: config.map(Path::to_owned),
        };
        let bucket =
            |wanted: &WalrusCheck| engine(&home, wanted).map(|found| found.map(|found| found.bucket));
        assert_eq!(bucket(&wanted(None, None)).unwrap(), None, "there is no cloud here");
        let own = home.config("walrus");
        std::fs::create_dir_all(own.parent().unwrap()).unwrap();
        std::fs::write(&own, EXAMPLE).unwrap();
        assert_eq!(bucket(&wanted(None, None)).unwrap(), None);
        std::fs::write(&own, with_engine(directory.path())).unwrap();
        assert_eq!(bucket(&wanted(None, None)).unwrap().as_deref(), Some("karri"));
        assert_eq!(bucket(&wanted(Some("/backup"), None)).unwrap(), None, "a backup has all in it");
        assert_eq!(bucket(&wanted(Some("/backup"), Some(&own))).unwrap().as_deref(), Some("karri"));
        let other = directory.path().join("other.toml");
        std::fs::write(&other, with_engine(directory.path()).replace("bucket = \"karri\"", "bucket = \"A\""))
            .unwrap();
        let wrong = bucket(&wanted(None, Some(&other))).unwrap_err().to_string();
        assert!(wrong.contains("other.toml: store.bucket"), "{wrong}");
    }
}
