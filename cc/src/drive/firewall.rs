//! Our own iptables chains, named after the bridge: they masquerade what instances send out, let the bridge's
//! traffic be forwarded, and keep instances from this host's own services.
//!
//! Contents are put in one transaction per table by iptables-restore; the built-in chains get one jump each.
//! Nothing else is touched. Blocking: call it off the async threads.

use super::DriveError;
use crate::config::NetworkConfig;
use iptables::IPTables;
use std::io::Write;
use std::process::{Command, Stdio};

const METADATA: &str = "169.254.169.254";

/// table, built-in chain, our chain, the rule that jumps there
type Jump = (&'static str, &'static str, String, String);

#[derive(Debug)]
pub struct Firewall {
    jumps: [Jump; 3],
    rules: String,
    /// How the kernel printed our chains after we put them: the same later means that nobody changed them.
    printed: Option<Vec<String>>,
}

impl Firewall {
    pub fn new(network: &NetworkConfig) -> Self {
        let bridge = &network.bridge;
        let (input, forward, nat) =
            (format!("KARRI-IN-{bridge}"), format!("KARRI-FWD-{bridge}"), format!("KARRI-NAT-{bridge}"));
        Self {
            rules: rules(network, &input, &forward, &nat),
            jumps: [
                ("filter", "INPUT", input.clone(), format!("-i {bridge} -j {input}")),
                ("filter", "FORWARD", forward.clone(), format!("-j {forward}")),
                ("nat", "POSTROUTING", nat.clone(), format!("-j {nat}")),
            ],
            printed: None,
        }
    }

    /// `true`: something had to be put right.
    pub fn apply(&mut self) -> Result<bool, DriveError> {
        let iptables = open()?;
        let mut changed = false;
        if self.printed.is_none() || self.printed != self.print(&iptables) {
            restore(&self.rules)?;
            self.printed = self.print(&iptables);
            changed = true;
        }
        for (table, chain, _, rule) in &self.jumps {
            if !iptables.exists(table, chain, rule).map_err(failed)? {
                iptables.insert(table, chain, rule, 1).map_err(failed)?;
                changed = true;
            }
        }
        Ok(changed)
    }

    /// Removes the jumps and our chains.
    pub fn remove(&mut self) -> Result<(), DriveError> {
        let iptables = open()?;
        for (table, builtin, chain, rule) in &self.jumps {
            if !iptables.chain_exists(table, chain).map_err(failed)? {
                continue;
            }
            iptables.delete_all(table, builtin, rule).map_err(failed)?;
            iptables.flush_chain(table, chain).map_err(failed)?;
            iptables.delete_chain(table, chain).map_err(failed)?;
        }
        self.printed = None;
        Ok(())
    }

    /// Whether somebody else has rules for what this host forwards. Asked when ours are removed.
    pub fn others_forward(&mut self) -> Result<bool, DriveError> {
        let iptables = open()?;
        for (table, chain) in [("filter", "FORWARD"), ("nat", "POSTROUTING")] {
            let lines = iptables.list(table, chain).map_err(failed)?;
            if lines.iter().any(|line| line.starts_with("-A ")) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn print(&self, iptables: &IPTables) -> Option<Vec<String>> {
        let chains: Result<Vec<Vec<String>>, _> =
            self.jumps.iter().map(|(table, _, chain, _)| iptables.list(table, chain)).collect();
        chains.ok().map(|chains| chains.concat())
    }
}

/// Wanted state, from nothing but configuration.
fn rules(network: &NetworkConfig, input: &str, forward: &str, nat: &str) -> String {
    let NetworkConfig { bridge, subnet, gateway, .. } = network;
    format!(
        "*filter\n\
         :{input} - [0:0]\n\
         :{forward} - [0:0]\n\
         -A {input} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
         -A {input} -p udp --dport 67 -j ACCEPT\n\
         -A {input} -d {gateway} -p udp --dport 53 -j ACCEPT\n\
         -A {input} -d {gateway} -p tcp --dport 53 -j ACCEPT\n\
         -A {input} -d {gateway} -p icmp --icmp-type echo-request -j ACCEPT\n\
         -A {input} -p tcp -m conntrack --ctorigdst {METADATA} --ctorigdstport 80 -j ACCEPT\n\
         -A {input} -j DROP\n\
         -A {forward} -i {bridge} -j ACCEPT\n\
         -A {forward} -o {bridge} -j ACCEPT\n\
         COMMIT\n\
         *nat\n\
         :{nat} - [0:0]\n\
         -A {nat} -s {subnet} ! -d {subnet} ! -o {bridge} -j MASQUERADE\n\
         COMMIT\n"
    )
}

fn open() -> Result<IPTables, DriveError> {
    iptables::new(false).map_err(failed)
}

fn failed(cause: Box<dyn std::error::Error>) -> DriveError {
    DriveError::new("iptables", cause)
}

fn restore(rules: &str) -> Result<(), DriveError> {
    let failed = |cause: &dyn std::fmt::Display| DriveError::new("iptables-restore", cause);
    let mut child = Command::new("iptables-restore")
        .args(["--noflush", "--wait", "10"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| failed(&e))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(rules.as_bytes()).map_err(|e| failed(&e))?;
    }
    let output = child.wait_with_output().map_err(|e| failed(&e))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(&String::from_utf8_lossy(&output.stderr).trim()))
}
