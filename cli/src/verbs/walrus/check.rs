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
