//! `karri walrus`: what an operator does with the store of objects.

mod backup;
mod check;

use crate::args::Walrus as Verb;
use crate::cloud::Cloud;
use crate::output::Format;

pub async fn run(cloud: &Cloud, verb: Verb, output: Format) -> anyhow::Result<()> {
    match verb {
        Verb::Check(wanted) => check::run(cloud.home(), wanted, output).await,
        Verb::Backup(wanted) => backup::run(cloud, &wanted.directory, output).await,
    }
}
