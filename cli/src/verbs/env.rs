//! `karri env`: shell commands that point AWS clients at the cloud.

use crate::cloud::Cloud;
use crate::output::Format;
use std::collections::BTreeMap;

pub fn run(cloud: &Cloud, output: Format) -> anyhow::Result<()> {
    let credentials = cloud.credentials()?;
    let variables: BTreeMap<_, _> = credentials.variables().into_iter().collect();
    output.print(&variables, |_| credentials.as_shell())
}
