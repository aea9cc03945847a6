//! Our own iptables chains on the host, named after the bridge: they masquerade what instances send out, let the
//! bridge's and the routers' traffic be forwarded, bring public addresses to instances on the flat network, and keep
//! instances from this host's own services.
//!
//! Contents are put in one transaction per table by iptables-restore; the built-in chains get one jump each.
//! Nothing else is touched. Blocking: call it off the async threads.

use super::DriveError;
use crate::app::router::{NEXT_HOP, Outside, names};
use crate::config::NetworkConfig;
use iptables::IPTables;
use karri_net::Names;
use std::fmt::Write as _;
use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::Duration;

const METADATA: &str = "169.254.169.254";
/// Where routers have their own ends: nobody is forwarded there.
const LINKS: &str = "169.254.0.0/16";

const SAVE_TIMEOUT: Duration = Duration::from_secs(10);

/// table, built-in chain, our chain, the rule that jumps there
type Jump = (&'static str, &'static str, String, String);

#[derive(Debug)]
pub struct Firewall {
    network: NetworkConfig,
    chains: Chains,
    jumps: Vec<Jump>,
    outside: Outside,
    rules: String,
    /// How the kernel printed our chains after we put them: the same later means that nobody changed them.
    printed: Option<Vec<String>>,
}

impl Firewall {
    pub fn new(network: &NetworkConfig) -> Self {
        let (bridge, uplinks) = (&network.bridge, names::uplinks(&network.bridge));
        let chains = Chains::new(bridge);
        let jump = |table, builtin, chain: &String, on: &str| {
            let rule = format!("{on} -j {chain}").trim_start().to_owned();
            (table, builtin, chain.clone(), rule)
        };
        let jumps = vec![
            jump("filter", "INPUT", &chains.input, &format!("-i {bridge}")),
            jump("filter", "INPUT", &chains.from_routers, &format!("-i {uplinks}")),
            jump("filter", "INPUT", &chains.segments, &format!("-i {}", Names::new(bridge).bridges())),
            jump("filter", "FORWARD", &chains.forward, ""),
            jump("nat", "POSTROUTING", &chains.leaving, ""),
            jump("nat", "PREROUTING", &chains.arriving, ""),
            jump("nat", "OUTPUT", &chains.own, ""),
        ];
        let outside = Outside::default();
        let rules = rules(network, &chains, &outside);
        Self { network: network.clone(), chains, jumps, outside, rules, printed: None }
    }

    /// Public addresses that the rules in the kernel bring to the flat network.
    pub fn public(&self) -> Result<Vec<Ipv4Addr>, DriveError> {
        let iptables = open()?;
        if !iptables.chain_exists("nat", &self.chains.own).map_err(failed)? {
            return Ok(Vec::new());
        }
        let lines = iptables.list("nat", &self.chains.own).map_err(failed)?;
        let address = |line: &String| line.split(" -d ").nth(1)?.split('/').next()?.parse().ok();
        Ok(lines.iter().filter_map(address).collect())
    }

    /// `true`: other rules than before.
    pub fn want(&mut self, outside: &Outside) -> bool {
        if self.outside == *outside {
            return false;
        }
        self.outside.clone_from(outside);
        self.rules = rules(&self.network, &self.chains, outside);
        self.printed = None;
        true
    }

    /// As it is wanted, for iptables-restore.
    pub fn rules(&self) -> &str {
        &self.rules
    }

    /// The names of our chains of the table `nat`.
    pub fn chains(&self) -> [&str; 4] {
        let Chains { leaving, back, arriving, own, .. } = &self.chains;
        [leaving, back, arriving, own]
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
        if iptables.chain_exists("nat", &self.chains.back).map_err(failed)? {
            iptables.flush_chain("nat", &self.chains.back).map_err(failed)?;
            iptables.delete_chain("nat", &self.chains.back).map_err(failed)?;
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
        let back = ("nat", &self.chains.back);
        let all = self.jumps.iter().map(|(table, _, chain, _)| (*table, chain)).chain([back]);
        let chains: Result<Vec<Vec<String>>, _> =
            all.map(|(table, chain)| iptables.list(table, chain)).collect();
        chains.ok().map(|chains| chains.concat())
    }
}

#[derive(Debug)]
struct Chains {
    input: String,
    from_routers: String,
    segments: String,
    forward: String,
    leaving: String,
    /// Back to the flat network, by a public address.
    back: String,
    arriving: String,
    own: String,
}

impl Chains {
    fn new(bridge: &str) -> Self {
        let name = |what: &str| format!("KARRI-{what}-{bridge}");
        Self {
            input: name("IN"),
            from_routers: name("UP"),
            segments: name("SEG"),
            forward: name("FWD"),
            leaving: name("NAT"),
            back: name("BACK"),
            arriving: name("PRE"),
            own: name("OUT"),
        }
    }
}

/// Wanted state, from configuration and public addresses.
fn rules(network: &NetworkConfig, chains: &Chains, outside: &Outside) -> String {
    filter(network, chains) + &nat(network, chains, outside)
}

fn filter(network: &NetworkConfig, chains: &Chains) -> String {
    let NetworkConfig { bridge, gateway, .. } = network;
    let Chains { input, from_routers, segments, forward, .. } = chains;
    let uplinks = names::uplinks(bridge);
    let bridges = Names::new(bridge).bridges();
    let asked =
        format!("-A {from_routers} -d {gateway} -m conntrack --ctorigdst {NEXT_HOP} --ctorigdstport 53");
    format!(
        "*filter\n\
         :{input} - [0:0]\n\
         :{from_routers} - [0:0]\n\
         :{segments} - [0:0]\n\
         :{forward} - [0:0]\n\
         -A {segments} -j DROP\n\
         -A {input} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
         -A {input} -p udp --dport 67 -j ACCEPT\n\
         -A {input} -d {gateway} -p udp --dport 53 -j ACCEPT\n\
         -A {input} -d {gateway} -p tcp --dport 53 -j ACCEPT\n\
         -A {input} -d {gateway} -p icmp --icmp-type echo-request -j ACCEPT\n\
         -A {input} -p tcp -m conntrack --ctorigdst {METADATA} --ctorigdstport 80 -j ACCEPT\n\
         -A {input} -j DROP\n\
         -A {from_routers} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
         {asked} -p udp -j ACCEPT\n\
         {asked} -p tcp -j ACCEPT\n\
         -A {from_routers} -j DROP\n\
         -A {forward} -i {bridges} ! -o {bridges} -j DROP\n\
         -A {forward} -o {uplinks} -d {LINKS} -j DROP\n\
         -A {forward} -i {uplinks} -o {bridge} -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP\n\
         -A {forward} -i {uplinks} -j ACCEPT\n\
         -A {forward} -o {uplinks} -j ACCEPT\n\
         -A {forward} -i {bridge} -j ACCEPT\n\
         -A {forward} -o {bridge} -j ACCEPT\n\
         COMMIT\n"
    )
}

fn nat(network: &NetworkConfig, chains: &Chains, outside: &Outside) -> String {
    let NetworkConfig { bridge, subnet, gateway, .. } = network;
    let masquerade_public = network.masquerades_public();
    let Chains { leaving, back, arriving, own, .. } = chains;
    let uplinks = names::uplinks(bridge);
    // What is bridged in a segment meets these rules too, and is none of the flat network's.
    let segments = Names::new(bridge).bridges();
    let mut text = format!(
        "*nat\n:{leaving} - [0:0]\n:{back} - [0:0]\n:{arriving} - [0:0]\n:{own} - [0:0]\n\
         -A {arriving} -i {segments} -j RETURN\n"
    );
    for protocol in ["udp", "tcp"] {
        let _ = writeln!(
            text,
            "-A {arriving} -i {uplinks} -d {NEXT_HOP} -p {protocol} --dport 53 -j DNAT --to-destination {gateway}"
        );
    }
    // By the time of this rule the metadata service's own translation has been made as well.
    let _ = writeln!(text, "-A {leaving} -o {segments} -j RETURN");
    let from_us = format!("-A {leaving} -s {subnet} -d {subnet} -o {bridge} -m conntrack --ctstate DNAT");
    if !outside.flat.is_empty() {
        let _ = writeln!(text, "{from_us} ! --ctorigdst {METADATA} -j {back}");
    }
    for (public, private) in &outside.flat {
        let _ = write!(
            text,
            "-A {arriving} -d {public} -j DNAT --to-destination {private}\n\
             -A {own} -d {public} -j DNAT --to-destination {private}\n\
             -A {back} -s {private} -j SNAT --to-source {public}\n\
             -A {leaving} -s {private} -o {uplinks} -j SNAT --to-source {public}\n"
        );
        if !masquerade_public {
            let _ = writeln!(
                text,
                "-A {leaving} -s {private} ! -d {subnet} ! -o {bridge} -j SNAT --to-source {public}"
            );
        }
    }
    let _ = writeln!(text, "-A {back} -j MASQUERADE");
    if masquerade_public && !outside.routed.is_empty() {
        let _ = writeln!(text, "-A {leaving} -o {uplinks} -j RETURN");
        let _ = writeln!(text, "-A {leaving} -o {bridge} -j RETURN");
        for public in &outside.routed {
            let _ = writeln!(text, "-A {leaving} -s {public} -j MASQUERADE");
        }
    }
    let _ = writeln!(text, "-A {leaving} -s {subnet} ! -d {subnet} ! -o {bridge} -j MASQUERADE");
    text + "COMMIT\n"
}

/// All rules of the host, with what they have counted.
pub async fn saved() -> Result<String, DriveError> {
    let failed = |cause: &dyn std::fmt::Display| DriveError::new("iptables-save", cause);
    let output = tokio::process::Command::new("iptables-save").arg("-c").kill_on_drop(true).output();
    let output =
        tokio::time::timeout(SAVE_TIMEOUT, output).await.map_err(|_| failed(&"no answer in time"))?;
    let output = output.map_err(|cause| failed(&cause))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(failed(&String::from_utf8_lossy(&output.stderr).trim())),
    }
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
