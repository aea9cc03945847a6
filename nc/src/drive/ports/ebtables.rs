//! The rules at a port: one chain per tap, changed in one transaction.
//!
//! They stand in the bridge's `nat` table because only there a frame can be turned to this host
//! (`redirect`), and because it comes before everything else that could look at the frame.

use super::{METADATA_ADDRESS, Port, PortError};
use std::fmt::Write;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// Frames that came from a port of ours to the metadata address.
pub const METADATA_MARK: u32 = 0x4b41;

/// The transaction that gives every port its chain; `known` says which are jumped to already.
pub fn plug_script(ports: &[Port], known: impl Fn(&str) -> bool) -> String {
    let mut script = String::from("*nat\n");
    for port in ports {
        let _ = writeln!(script, ":{} RETURN", port.tap); // makes it, or empties it
    }
    for port in ports {
        for rule in rules(port) {
            let _ = writeln!(script, "-A {} {rule}", port.tap);
        }
        if !known(&port.tap) {
            let _ = writeln!(script, "-A PREROUTING -i {0} -j {0}", port.tap);
        }
    }
    script + "COMMIT\n"
}

fn rules(port: &Port) -> Vec<String> {
    let Port { mac, address, .. } = port;
    let arp = format!("-p ARP -s {mac} --arp-mac-src {mac}");
    let ip = format!("-p IPv4 -s {mac} --ip-src {address}");
    let metadata = format!("{ip} --ip-dst {METADATA_ADDRESS} --ip-proto tcp --ip-dport 80");
    vec![
        format!("{arp} --arp-ip-src {address} -j ACCEPT"),
        format!("{arp} --arp-ip-src 0.0.0.0 -j ACCEPT"), // the probe before an address is used
        format!("-p IPv4 -s {mac} --ip-src 0.0.0.0 --ip-proto udp --ip-sport 68 --ip-dport 67 -j ACCEPT"),
        format!("{metadata} -j mark --mark-set {METADATA_MARK:#x} --mark-target CONTINUE"),
        format!("{metadata} -j redirect"),
        format!("{ip} --ip-proto udp --ip-sport 67 -j DROP"), // no guest answers DHCP
        format!("{ip} -j ACCEPT"),
        "-j DROP".to_owned(),
    ]
}

pub fn unplug_script(taps: &[String]) -> String {
    let mut script = String::from("*nat\n");
    for tap in taps {
        let _ = writeln!(script, "-D PREROUTING -i {tap} -j {tap}");
        let _ = writeln!(script, "-F {tap}");
        let _ = writeln!(script, "-X {tap}");
    }
    script + "COMMIT\n"
}

/// The chains of a saved table whose names `owns` accepts.
pub fn chains(saved: &str, owns: impl Fn(&str) -> bool) -> Vec<String> {
    let names = saved.lines().filter_map(|line| line.strip_prefix(':')?.split(' ').next());
    names.filter(|name| owns(name)).map(str::to_owned).collect()
}

pub async fn restore(script: String) -> Result<(), PortError> {
    run("ebtables-restore", &["--noflush"], script).await.map(drop)
}

pub async fn save() -> Result<String, PortError> {
    run("ebtables-save", &["-t", "nat"], String::new()).await
}

async fn run(program: &str, arguments: &[&str], input: String) -> Result<String, PortError> {
    let failed = |what: String| PortError(format!("{program}: {what}"));
    let talk = async {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).await?;
        }
        child.wait_with_output().await
    };
    let output = tokio::time::timeout(CALL_TIMEOUT, talk)
        .await
        .map_err(|_| failed(format!("no end after {CALL_TIMEOUT:?}")))?
        .map_err(|e| failed(e.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port() -> Port {
        Port {
            tap: "kabcd0123456789".into(),
            mac: "02:00:00:00:00:05".into(),
            address: "172.31.0.5".parse().unwrap(),
            subnet_cidr: "172.31.0.0/20".into(),
        }
    }

    #[test]
    fn a_port_ends_in_a_drop_and_is_jumped_to_once() {
        let first = plug_script(&[port()], |_| false);
        assert!(
            first.contains(
                "-A kabcd0123456789 -j DROP\n-A PREROUTING -i kabcd0123456789 -j kabcd0123456789\n"
            )
        );
        assert!(!plug_script(&[port()], |_| true).contains("PREROUTING"));
    }

    #[test]
    fn only_chains_of_this_node_are_found() {
        let saved = "*nat\n:PREROUTING ACCEPT\n:kabcd0123456789 RETURN\n:kffff0123456789 RETURN\n";
        assert_eq!(chains(saved, |name| name.starts_with("kabcd")), ["kabcd0123456789"]);
    }
}
