//! `karri env`: shell commands that point AWS clients at the cloud.

use crate::cloud::Cloud;
use crate::output::Format;
use std::collections::BTreeMap;

/// Debian 12's aws-cli, like all before 2.13 and 1.29, does not read AWS_ENDPOINT_URL.
const AWS_FUNCTION: &str = "aws() { command aws --endpoint-url \"$AWS_ENDPOINT_URL\" \"$@\"; }\n";

pub fn run(cloud: &Cloud, output: Format) -> anyhow::Result<()> {
    let credentials = cloud.credentials()?;
    let variables: BTreeMap<_, _> = credentials.variables().into_iter().collect();
    output.print(&variables, |_| credentials.as_shell() + AWS_FUNCTION)
}
