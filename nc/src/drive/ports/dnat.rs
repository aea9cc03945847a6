//! The two rules that bring marked packets to the metadata listener and keep all others from it.

use super::ebtables::METADATA_MARK;
use super::{METADATA_ADDRESS, PortError};
use iptables::IPTables;
use std::net::SocketAddrV4;

const CHAINS: [(&str, &str); 2] = [("nat", "PREROUTING"), ("filter", "INPUT")];

type Any = Box<dyn std::error::Error>;

/// Replaces what an earlier life of this node has left, unless it is the very same; returns how it is printed. Blocking:
/// iptables is a program.
pub fn install(bridge: &str, tag: &str, listener: SocketAddrV4) -> Result<Vec<String>, PortError> {
    let failed = |e: Any| PortError::Broken(format!("iptables: {e}"));
    install_rules(bridge, tag, listener).map_err(failed)?;
    printed(tag)
}

/// The rules as iptables prints them now. Blocking.
pub fn printed(tag: &str) -> Result<Vec<String>, PortError> {
    let failed = |e: Any| PortError::Broken(format!("iptables: {e}"));
    let tables = iptables::new(false).map_err(failed)?;
    let mut rules = Vec::new();
    for (table, chain) in CHAINS {
        let all = tables.list(table, chain).map_err(failed)?;
        rules.extend(all.into_iter().filter(|rule| rule.contains(tag)));
    }
    Ok(rules)
}

/// Takes away what [`install`] has put. Blocking.
pub fn remove(tag: &str) -> Result<(), PortError> {
    let failed = |e: Any| PortError::Broken(format!("iptables: {e}"));
    remove_rules(&iptables::new(false).map_err(failed)?, tag).map_err(failed)
}

fn install_rules(bridge: &str, tag: &str, listener: SocketAddrV4) -> Result<(), Any> {
    let tables = iptables::new(false)?;
    let comment = format!("-m comment --comment {tag}");
    let (address, port) = (listener.ip(), listener.port());
    let dnat = format!(
        "-i {bridge} -d {METADATA_ADDRESS}/32 -p tcp --dport 80 -m mark --mark {METADATA_MARK:#x} {comment} \
         -j DNAT --to-destination {listener}"
    );
    // First in the chain, for the host may have a firewall of its own.
    let accept = format!(
        "-i {bridge} -d {address}/32 -p tcp --dport {port} -m conntrack --ctstate DNAT {comment} -j ACCEPT"
    );
    let refuse = format!("-d {address}/32 -p tcp --dport {port} {comment} -j DROP");
    if are_there(&tables, tag, [&dnat, &accept, &refuse])? {
        return Ok(());
    }
    remove_rules(&tables, tag)?;
    tables.insert("nat", "PREROUTING", &dnat, 1)?;
    tables.insert("filter", "INPUT", &refuse, 1)?;
    tables.insert("filter", "INPUT", &accept, 1)
}

/// These and no others, in this order.
fn are_there(tables: &IPTables, tag: &str, [dnat, accept, refuse]: [&str; 3]) -> Result<bool, Any> {
    let own = |rule: &String| rule.contains(tag);
    let translating = tables.list("nat", "PREROUTING")?.iter().filter(|rule| own(rule)).count();
    let guarding: Vec<String> = tables.list("filter", "INPUT")?.into_iter().filter(own).collect();
    let is_in_order =
        guarding.len() == 2 && guarding[0].ends_with("-j ACCEPT") && guarding[1].ends_with("-j DROP");
    Ok(translating == 1
        && is_in_order
        && tables.exists("nat", "PREROUTING", dnat)?
        && tables.exists("filter", "INPUT", accept)?
        && tables.exists("filter", "INPUT", refuse)?)
}

fn remove_rules(tables: &IPTables, tag: &str) -> Result<(), Any> {
    for (table, chain) in CHAINS {
        for rule in tables.list(table, chain)? {
            if let Some(rule) = rule.strip_prefix(&format!("-A {chain} ")).filter(|r| r.contains(tag)) {
                tables.delete(table, chain, rule)?;
            }
        }
    }
    Ok(())
}
