//! `karri node`: tokens on the cloud's machine, joining on the new one, forgetting one that is gone.

use super::when;
use crate::args::{Node as Verb, NodeJoin, Usage};
use crate::cloud::Cloud;
use crate::home::{Home, is_root};
use crate::output::{Format, Table};
use crate::up::{join, trust::node_name};
use anyhow::Context;
use karri_proto::internal::admin::{AdminService, CloudStatus, NewToken, Token, ZoneStatus};
use serde::Serialize;
use std::path::PathBuf;

pub async fn run(state_dir: Option<PathBuf>, verb: Verb, output: Format) -> anyhow::Result<()> {
    match verb {
        Verb::Token { zone, valid, replace } => {
            token(&Cloud::new(Home::for_verb(state_dir)?), zone, valid, replace, output).await
        }
        Verb::Join(wanted) => join_cloud(state_dir, &wanted, output).await,
        Verb::List => list(&Cloud::new(Home::for_verb(state_dir)?), output).await,
        Verb::Forget { name, zone, force } => {
            forget(&Cloud::new(Home::for_verb(state_dir)?), &name, zone, force).await
        }
    }
}

async fn token(
    cloud: &Cloud,
    zone: Option<String>,
    valid: u32,
    replace: bool,
    output: Format,
) -> anyhow::Result<()> {
    let facts = cloud.home().facts()?;
    let cluster = match (zone, facts.zones.as_slice()) {
        (Some(zone), _) => zone,
        (None, [only]) => only.name.clone(),
        (None, _) => return Err(Usage("which zone? (--zone)".to_owned()).into()),
    };
    let new = NewToken { cluster, valid_secs: valid, replace };
    let token = cloud.clc()?.token_create(cloud.caller(), new).await?;
    if facts.address.is_loopback() {
        eprintln!(
            "note: this cloud listens on {} only; karri up --address IP lets other machines in",
            facts.address
        );
    }
    output.print(&token, |Token { token, expires_at_unix_ms }| {
        eprintln!("valid until {}, for one node", when(*expires_at_unix_ms));
        token.clone()
    })
}

async fn forget(cloud: &Cloud, name: &str, zone: Option<String>, force: bool) -> anyhow::Result<()> {
    let clc = cloud.clc()?;
    let zone = match zone {
        Some(zone) => zone,
        None => cluster_of(&clc.cloud_status(cloud.caller()).await?, name)?,
    };
    Ok(clc.node_forget(cloud.caller(), &zone, name, force).await?)
}

fn cluster_of(status: &CloudStatus, node: &str) -> anyhow::Result<String> {
    let has = |zone: &&ZoneStatus| zone.resources.nodes.iter().any(|one| one.facts.name == node);
    let clusters: Vec<&str> = status.zones.iter().filter(has).map(|zone| zone.cluster.as_str()).collect();
    match clusters.as_slice() {
        [] => anyhow::bail!("no zone has a node \"{node}\" (karri node list)"),
        [only] => Ok((*only).to_owned()),
        several => Err(Usage(format!("{node} is in {}: which zone? (--zone)", several.join(" and "))).into()),
    }
}

/// What joining has left on this machine.
#[derive(Debug, Serialize)]
struct Joined {
    name: String,
    zone: String,
    config: PathBuf,
    start: String,
}

async fn join_cloud(state_dir: Option<PathBuf>, wanted: &NodeJoin, output: Format) -> anyhow::Result<()> {
    if !wanted.sim && !is_root() {
        return Err(Usage("a node needs root (libvirt, bridges, iptables): try sudo, or --sim".into()).into());
    }
    let home = Home::for_up(state_dir, wanted.sim)?;
    let name = wanted.name.clone().unwrap_or_else(node_name);
    let node = join::join(&home, wanted, &name).await?;
    let program = join::program()?;
    let start = format!("{} --config {}", program.display(), node.config.display());
    let joined =
        Joined { name: node.identity.name, zone: node.identity.cluster, config: node.config.clone(), start };
    output.print(&joined, |j| {
        let ending = if wanted.start { "" } else { "\nStart it with:\n\n  " };
        let start = if wanted.start { "" } else { &j.start };
        format!(
            "{} is a node of {}; its configuration is {}{ending}{start}\n",
            j.name,
            j.zone,
            j.config.display()
        )
    })?;
    if wanted.start {
        // Becomes the node controller: signals and exit code are its own.
        let error = std::os::unix::process::CommandExt::exec(
            std::process::Command::new(&program).arg("--config").arg(&node.config),
        );
        return Err(error).with_context(|| program.display().to_string());
    }
    Ok(())
}

#[derive(Debug, Serialize)]
struct ListedNode {
    zone: String,
    cluster: String,
    name: String,
    alive: bool,
    accelerator: String,
    free_vcpus: u32,
    free_memory_mib: u64,
    free_disk_gib: u64,
}

async fn list(cloud: &Cloud, output: Format) -> anyhow::Result<()> {
    let status = cloud.clc()?.cloud_status(cloud.caller()).await?;
    output.print(&listed(&status), |nodes| table(nodes))
}

fn listed(status: &CloudStatus) -> Vec<ListedNode> {
    let zones = status.zones.iter();
    let nodes = zones.flat_map(|zone| zone.resources.nodes.iter().map(move |node| (zone, node)));
    nodes
        .map(|(zone, node)| {
            let free = node.free();
            ListedNode {
                zone: zone.zone.clone(),
                cluster: zone.cluster.clone(),
                name: node.facts.name.clone(),
                alive: node.alive,
                accelerator: node.facts.accelerator.clone(),
                free_vcpus: free.vcpus,
                free_memory_mib: free.memory_mib,
                free_disk_gib: free.disk_gib,
            }
        })
        .collect()
}

fn table(nodes: &[ListedNode]) -> String {
    let mut table = Table::new([
        "ZONE",
        "CLUSTER",
        "NODE",
        "ALIVE",
        "ACCELERATOR",
        "FREE VCPUS",
        "FREE MIB",
        "FREE DISK GIB",
    ]);
    for node in nodes {
        table.row([
            node.zone.clone(),
            node.cluster.clone(),
            node.name.clone(),
            if node.alive { "yes" } else { "no" }.to_owned(),
            node.accelerator.clone(),
            node.free_vcpus.to_string(),
            node.free_memory_mib.to_string(),
            node.free_disk_gib.to_string(),
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::status::tests::sample;

    #[test]
    fn nodes_are_listed_with_what_they_have_left() {
        assert_eq!(
            table(&listed(&sample())),
            "ZONE      CLUSTER   NODE    ALIVE  ACCELERATOR  FREE VCPUS  FREE MIB  FREE DISK GIB\n\
             karri-1a  karri-1a  node-1  yes    kvm          3           7168      92\n"
        );
    }
}
