//! `karri status`: the controllers, the zones with their nodes and free slots, the instances.

mod local;

use crate::cloud::Cloud;
use crate::output::{Format, Table};
use anyhow::bail;
use karri_proto::internal::admin::{AdminService, CloudStatus, ControllerStatus, ZoneStatus};
use serde::Serialize;
use std::collections::BTreeMap;

/// What the cloud controller says, and what is seen from here.
#[derive(Debug, Serialize)]
struct Status {
    #[serde(flatten)]
    cloud: CloudStatus,
    /// By service.
    endpoints: BTreeMap<&'static str, String>,
}

pub async fn run(cloud: &Cloud, output: Format) -> anyhow::Result<()> {
    let here = local::controllers(cloud).await?;
    let endpoints = local::endpoints(cloud);
    let clc = cloud.clc()?;
    let mut all = match clc.cloud_status(cloud.caller()).await {
        Ok(status) => Status { cloud: status, endpoints },
        Err(error) => {
            let unknown = CloudStatus { controllers: here, zones: Vec::new(), instances: BTreeMap::new() };
            output.print(&Status { cloud: unknown, endpoints }, |all| controllers(&all.cloud.controllers))?;
            bail!("the cloud controller does not answer: {error}");
        }
    };
    here.into_iter().for_each(|one| merge(&mut all.cloud.controllers, one));
    output.print(&all, text)?;
    for ending in local::ending_certificates(cloud.home(), time::OffsetDateTime::now_utc())? {
        eprintln!("karri: {ending}; the next karri up makes a new one");
    }
    let ill = all.cloud.controllers.iter().filter(|one| !one.healthy);
    let ill: Vec<String> = ill.map(|one| format!("{} {}", one.role, one.name)).collect();
    if !ill.is_empty() {
        bail!("not healthy: {}", ill.join(", "));
    }
    Ok(())
}

/// The cloud controller names a node without saying where it answers, and the numbered nodes that one process
/// simulates without that process; who runs here knows both.
fn merge(all: &mut Vec<ControllerStatus>, here: ControllerStatus) {
    let same = |one: &ControllerStatus| one.role == here.role && one.name == here.name;
    if let Some(one) = all.iter_mut().find(|one| same(one)) {
        if one.url.is_empty() {
            one.url = here.url;
        }
        if one.healthy && !here.healthy {
            (one.healthy, one.detail) = (false, here.detail);
        }
    } else {
        all.push(here);
    }
}

fn text(all: &Status) -> String {
    let status = &all.cloud;
    let mut text = controllers(&status.controllers);
    let endpoints = all.endpoints.iter().map(|(service, url)| format!("{} {url}", service.to_uppercase()));
    let endpoints: Vec<String> = endpoints.collect();
    if !endpoints.is_empty() {
        text.push_str(&format!("\nEndpoints: {}\n", endpoints.join(", ")));
    }
    for zone in &status.zones {
        text.push_str(&format!(
            "\nZone {} (cluster {}, network mode {})\n",
            zone.zone, zone.cluster, zone.mode
        ));
        text.push_str(&nodes(zone));
        text.push('\n');
        text.push_str(&slots(zone));
    }
    text.push_str(&instances(&status.instances));
    text
}

fn controllers(all: &[ControllerStatus]) -> String {
    let mut table = Table::new(["CONTROLLER", "NAME", "HEALTH", "VERSION", "URL", ""]);
    let mut nodes_unseen = 0;
    let mut nodes_shown = 0;
    for one in all.iter().filter(|one| !is_simulated(one, all)) {
        if one.role == "nc" && one.healthy {
            nodes_shown += 1;
            if nodes_shown > NODES_SHOWN_MAX {
                nodes_unseen += 1;
                continue;
            }
        }
        let health = if one.healthy { "ok" } else { "ill" };
        table.row([
            one.role.clone(),
            one.name.clone(),
            health.to_owned(),
            one.version.clone(),
            one.url.clone(),
            one.detail.clone(),
        ]);
    }
    let more = if nodes_unseen > 0 { format!("… and {nodes_unseen} more nc\n") } else { String::new() };
    format!("{table}{more}")
}

/// A healthy node that a process shown beside it simulates stands in the table of nodes alone.
fn is_simulated(one: &ControllerStatus, all: &[ControllerStatus]) -> bool {
    let Some((process, number)) = one.name.rsplit_once('-') else { return false };
    let numbered = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    numbered
        && one.role == "nc"
        && one.healthy
        && all.iter().any(|other| other.role == "nc" && other.name == process)
}

/// More nodes than these are only summed up: a table of hundreds helps nobody (`karri node list` has it).
const NODES_SHOWN_MAX: usize = 20;

fn nodes(zone: &ZoneStatus) -> String {
    let nodes = &zone.resources.nodes;
    let mut table = Table::new([
        "NODE",
        "ALIVE",
        "VERSION",
        "ACCELERATOR",
        "VCPUS",
        "MEMORY MIB",
        "DISK GIB",
        "FOREIGN GUESTS",
    ]);
    for node in nodes.iter().take(NODES_SHOWN_MAX) {
        let (used, total) = (node.used, node.facts.total);
        table.row([
            node.facts.name.clone(),
            if node.alive { "yes" } else { "no" }.to_owned(),
            node.facts.version.clone(),
            node.facts.accelerator.clone(),
            format!("{}/{}", used.vcpus, total.vcpus),
            format!("{}/{}", used.memory_mib, total.memory_mib),
            format!("{}/{}", used.disk_gib, total.disk_gib),
            node.facts.foreign_guests.len().to_string(),
        ]);
    }
    let mut text = table.to_string();
    if nodes.len() > NODES_SHOWN_MAX {
        let alive = nodes.iter().filter(|node| node.alive).count();
        let more = nodes.len() - NODES_SHOWN_MAX;
        text.push_str(&format!("… and {more} more; {} nodes, {alive} alive\n", nodes.len()));
    }
    text
}

fn slots(zone: &ZoneStatus) -> String {
    let mut table = Table::new(["INSTANCE TYPE", "FREE", "TOTAL", "VCPUS", "MEMORY MIB", "DISK GIB"]);
    // A type that no node is large enough for is left to `--output json`.
    for slot in zone.slots.iter().filter(|slot| slot.total > 0) {
        table.row([
            slot.instance_type.clone(),
            slot.free.to_string(),
            slot.total.to_string(),
            slot.vcpus.to_string(),
            slot.memory_mib.to_string(),
            slot.disk_gib.to_string(),
        ]);
    }
    table.to_string()
}

fn instances(counts: &BTreeMap<String, u64>) -> String {
    if counts.is_empty() {
        return "\nInstances: none\n".to_owned();
    }
    let parts: Vec<String> = counts.iter().map(|(state, count)| format!("{count} {state}")).collect();
    format!("\nInstances: {}\n", parts.join(", "))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use karri_proto::internal::admin::TypeSlots;
    use karri_proto::resources::{ClusterResources, Need, NodeFacts, NodeResources};

    pub fn sample() -> CloudStatus {
        let total = Need { vcpus: 4, memory_mib: 8192, disk_gib: 100 };
        let facts = NodeFacts {
            name: "node-1".into(),
            total,
            accelerator: "kvm".into(),
            hypervisor: "QEMU".into(),
            version: "7.2".into(),
            foreign_guests: vec!["mine".into()],
        };
        let used = Need { vcpus: 1, memory_mib: 1024, disk_gib: 8 };
        let node = NodeResources { facts, used, alive: true, tunnel: None };
        CloudStatus {
            controllers: vec![ControllerStatus {
                role: "clc".into(),
                name: "clc".into(),
                url: "https://127.0.0.1:8774".into(),
                healthy: true,
                version: "0.1.0".into(),
                detail: String::new(),
            }],
            zones: vec![ZoneStatus {
                zone: "karri-1a".into(),
                cluster: "karri-1a".into(),
                mode: karri_proto::network::NetworkMode::Managed,
                resources: ClusterResources { nodes: vec![node] },
                slots: vec![TypeSlots {
                    instance_type: "t3.micro".into(),
                    vcpus: 2,
                    memory_mib: 1024,
                    disk_gib: 8,
                    free: 1,
                    total: 2,
                }],
            }],
            instances: [("running".to_owned(), 1), ("pending".to_owned(), 2)].into(),
        }
    }

    fn seen(cloud: CloudStatus) -> Status {
        let endpoints =
            [("ec2", "http://127.0.0.1:8773".to_owned()), ("s3", "http://127.0.0.1:8774".to_owned())];
        Status { cloud, endpoints: endpoints.into() }
    }

    #[test]
    fn a_status_reads_from_controllers_down_to_instances() {
        let expected = "\
CONTROLLER  NAME  HEALTH  VERSION  URL
clc         clc   ok      0.1.0    https://127.0.0.1:8774

Endpoints: EC2 http://127.0.0.1:8773, S3 http://127.0.0.1:8774

Zone karri-1a (cluster karri-1a, network mode managed)
NODE    ALIVE  VERSION  ACCELERATOR  VCPUS  MEMORY MIB  DISK GIB  FOREIGN GUESTS
node-1  yes    7.2      kvm          1/4    1024/8192   8/100     1

INSTANCE TYPE  FREE  TOTAL  VCPUS  MEMORY MIB  DISK GIB
t3.micro       1     2      2      1024        8

Instances: 2 pending, 1 running
";
        assert_eq!(text(&seen(sample())), expected);
    }

    #[test]
    fn what_runs_here_completes_what_the_cloud_controller_knows() {
        let one = |role: &str, name: &str, url: &str, healthy| ControllerStatus {
            role: role.into(),
            name: name.into(),
            url: url.into(),
            healthy,
            version: String::new(),
            detail: if healthy { String::new() } else { "ill".into() },
        };
        let mut all = vec![one("nc", "node-1", "", true), one("nc", "sim-0", "", true)];
        for here in [
            one("nc", "node-1", "https://a", false),
            one("nc", "sim", "https://b", true),
            one("walrus", "walrus", "https://c", true),
        ] {
            merge(&mut all, here);
        }
        let expected = [
            one("nc", "node-1", "https://a", false),
            one("nc", "sim-0", "", true),
            one("nc", "sim", "https://b", true),
            one("walrus", "walrus", "https://c", true),
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn every_node_controller_is_in_the_table_and_not_what_it_simulates() {
        let one = |name: &str, url: &str, healthy| ControllerStatus {
            role: "nc".into(),
            name: name.into(),
            url: url.into(),
            healthy,
            version: "0.1.0".into(),
            detail: String::new(),
        };
        let all = [
            one("sim", "https://b", true),
            one("sim-0", "", true),
            one("sim-1", "", false),
            one("host-7", "", true),
        ];
        let expected = "\
CONTROLLER  NAME    HEALTH  VERSION  URL
nc          sim     ok      0.1.0    https://b
nc          sim-1   ill     0.1.0
nc          host-7  ok      0.1.0
";
        assert_eq!(controllers(&all), expected);
        let many: Vec<ControllerStatus> = (0..25).map(|n| one(&format!("host{n}"), "", true)).collect();
        assert!(controllers(&many).ends_with("… and 5 more nc\n"));
    }

    #[test]
    fn hundreds_of_nodes_are_summed_up() {
        let mut status = sample();
        let nodes = &mut status.zones[0].resources.nodes;
        *nodes = vec![nodes[0].clone(); 25];
        nodes[24].alive = false;
        assert!(text(&seen(status)).contains("… and 5 more; 25 nodes, 24 alive\n"));
    }

    #[test]
    fn json_keeps_its_field_names() {
        let json = serde_json::to_value(seen(sample())).unwrap();
        assert_eq!(json["endpoints"]["s3"], "http://127.0.0.1:8774");
        assert_eq!(json["controllers"][0]["role"], "clc");
        assert_eq!(json["zones"][0]["slots"][0]["free"], 1);
        assert_eq!(json["zones"][0]["resources"]["nodes"][0]["facts"]["total"]["memory_mib"], 8192);
        assert_eq!(json["instances"]["running"], 1);
    }
}
