//! The cloud's CA and a certificate for each controller and for the operator.

use crate::facts::{Facts, Zone};
use crate::home::Home;
use karri_proto::internal::{Identity, Role};
use karri_proto::runtime::pki::Authority;
use std::os::unix::fs::PermissionsExt;

/// One process plays all simulated nodes of a zone, which are called `sim-0`, `sim-1` …
const SIMULATED_NODE: &str = "sim";

/// The names of the four kinds of children, as files and log lines spell them.
pub fn cc_name(zone: &Zone) -> String {
    format!("cc-{}", zone.name)
}

pub fn nc_name(zone: &Zone) -> String {
    format!("nc-{}", zone.name)
}

/// Makes what is missing; returns how many certificates there are.
pub fn establish(home: &Home, facts: &Facts) -> anyhow::Result<usize> {
    let authority = Authority::load_or_create(&home.ca())?;
    std::fs::set_permissions(home.ca(), std::fs::Permissions::from_mode(0o700))?;
    let node = if facts.simulated_nodes.is_some() { SIMULATED_NODE.to_owned() } else { node_name() };
    let identities = identities(facts, &node);
    for (name, identity) in &identities {
        authority.issue_files(&home.tls_directory(name), identity)?;
    }
    Ok(identities.len())
}

fn identities(facts: &Facts, node: &str) -> Vec<(String, Identity)> {
    let mut all: Vec<(String, Identity)> = [Role::Clc, Role::Walrus, Role::Admin]
        .into_iter()
        .map(|role| (role.as_str().to_owned(), Identity::new(role, "", role.as_str())))
        .collect();
    for zone in &facts.zones {
        all.push((cc_name(zone), Identity::new(Role::Cc, &zone.name, &zone.name)));
        all.push((nc_name(zone), Identity::new(Role::Nc, &zone.name, node)));
    }
    all
}

/// This machine's name as a node: its host name, made into a plain label.
pub fn node_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
    let label: String = name
        .split('.')
        .next()
        .unwrap_or_default()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .collect();
    let label = label.trim_matches('-');
    if label.is_empty() { "node-1".to_owned() } else { label.to_owned() }
}
