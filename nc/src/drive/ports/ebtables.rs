//! The rules at a port: one chain per tap, changed in one transaction.
//!
//! They stand in the bridge's `nat` table because only there a frame can be turned to this host
//! (`redirect`), and because it comes before everything else that could look at the frame.

use super::program::run;
use super::{METADATA_ADDRESS, Port, PortError, door};
use std::collections::HashMap;
use std::fmt::Write;

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

/// What there is most of comes first: each rule before costs every packet.
fn rules(port: &Port) -> Vec<String> {
    let mac = &port.mac;
    let arp = format!("-p ARP -s {mac} --arp-mac-src {mac}");
    let mut rules = Vec::new();
    for address in port.addresses() {
        let asks = format!(
            "-p IPv4 -s {mac} --ip-src {address} --ip-dst {METADATA_ADDRESS} --ip-proto tcp --ip-dport 80"
        );
        rules.extend(to_metadata(port).map(|rule| format!("{asks} {rule}")));
    }
    // Until it has an address it can ask for one, and nothing else.
    let only_own = port.source_dest_check || port.addresses().next().is_none();
    let froms: Vec<String> = match only_own {
        true => port.addresses().map(|address| format!("-p IPv4 -s {mac} --ip-src {address}")).collect(),
        false => {
            rules.extend(nobody_elses(port));
            vec![format!("-p IPv4 -s {mac}")]
        }
    };
    for from in froms {
        rules.push(format!("{from} --ip-proto udp --ip-sport 67 -j DROP")); // no guest answers DHCP
        rules.push(format!("{from} -j ACCEPT"));
    }
    rules.extend(port.addresses().map(|address| format!("{arp} --arp-ip-src {address} -j ACCEPT")));
    rules.extend([
        format!("{arp} --arp-ip-src 0.0.0.0 -j ACCEPT"), // the probe before an address is used
        format!("-p IPv4 -s {mac} --ip-src 0.0.0.0 --ip-proto udp --ip-sport 68 --ip-dport 67 -j ACCEPT"),
        "-j DROP".to_owned(),
    ]);
    rules
}

/// Metadata is told by the address that asks: under another's nobody asks, whatever else goes out. What has been turned
/// to this host's own door (`redirect`) goes on along the chain.
fn nobody_elses(port: &Port) -> Vec<String> {
    let mac = &port.mac;
    let own = port.addresses().filter(|_| port.segment == 0);
    let mut rules: Vec<String> = own
        .map(|address| format!("-p IPv4 -s {mac} --ip-src {address} --ip-dst {METADATA_ADDRESS} -j ACCEPT"))
        .collect();
    rules.push(format!("-p IPv4 -s {mac} --ip-dst {METADATA_ADDRESS} -j DROP"));
    rules
}

/// Wherever the gateway is, and whatever MAC the guest takes it to have.
fn to_metadata(port: &Port) -> impl Iterator<Item = String> {
    let rules = match port.segment {
        0 => vec![
            format!("-j mark --mark-set {METADATA_MARK:#x} --mark-target CONTINUE"),
            "-j redirect".to_owned(),
        ],
        _ => {
            let door = door::printed(door::mac_of(&port.tap));
            vec![format!("-j dnat --to-destination {door} --dnat-target ACCEPT")]
        }
    };
    rules.into_iter()
}

/// What goes to a guest is IPv4 or ARP: iptables sees nothing else, tagged frames for one.
const TO_GUESTS: [&str; 3] = ["-p IPv4 -j RETURN", "-p ARP -j RETURN", "-j DROP"];

fn wire_chain(prefix: &str) -> String {
    format!("karri-{prefix}")
}

fn wire_jump(prefix: &str) -> String {
    format!("-o {prefix}+ -j {}", wire_chain(prefix))
}

/// The transaction that keeps from all taps whose names begin so what nobody looks at. `None`: it is there.
pub fn wire_script(prefix: &str, saved: &Saved) -> Option<String> {
    let (chain, jump) = (wire_chain(prefix), wire_jump(prefix));
    let jumps = saved.lines_of("POSTROUTING").iter().filter(|line| **line == jump).count();
    if saved.lines_of(&chain) == TO_GUESTS && jumps == 1 {
        return None;
    }
    let mut script = format!("*nat\n:{chain} RETURN\n");
    for rule in TO_GUESTS {
        let _ = writeln!(script, "-A {chain} {rule}");
    }
    for _ in 1..jumps {
        let _ = writeln!(script, "-D POSTROUTING {jump}");
    }
    if jumps == 0 {
        let _ = writeln!(script, "-A POSTROUTING {jump}");
    }
    Some(script + "COMMIT\n")
}

/// `None`: there is nothing of it.
pub fn wire_removal(prefix: &str, saved: &Saved) -> Option<String> {
    let (chain, jump) = (wire_chain(prefix), wire_jump(prefix));
    let mut script = String::new();
    for _ in saved.lines_of("POSTROUTING").iter().filter(|line| **line == jump) {
        let _ = writeln!(script, "-D POSTROUTING {jump}");
    }
    if saved.has(&chain) {
        let _ = write!(script, "-F {chain}\n-X {chain}\n");
    }
    (!script.is_empty()).then(|| format!("*nat\n{script}COMMIT\n"))
}

/// `there` tells how many jumps to a tap's chain there are, and whether there is the chain.
pub fn unplug_script(taps: &[String], there: impl Fn(&str) -> (usize, bool)) -> String {
    let mut script = String::from("*nat\n");
    for tap in taps {
        let (jumps, chain) = there(tap);
        for _ in 0..jumps {
            let _ = writeln!(script, "-D PREROUTING -i {tap} -j {tap}");
        }
        if chain {
            let _ = writeln!(script, "-F {tap}");
            let _ = writeln!(script, "-X {tap}");
        }
    }
    script + "COMMIT\n"
}

/// A saved table, by chain.
#[derive(Debug, Default)]
pub struct Saved {
    chains: HashMap<String, Vec<String>>,
}

impl Saved {
    pub fn parse(text: &str) -> Self {
        let mut chains: HashMap<String, Vec<String>> = HashMap::new();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix(':').and_then(|line| line.split(' ').next()) {
                chains.entry(name.to_owned()).or_default();
            } else if let Some((chain, rule)) = line.strip_prefix("-A ").and_then(|line| line.split_once(' '))
            {
                chains.entry(chain.to_owned()).or_default().push(rule.trim().to_owned());
            }
        }
        Self { chains }
    }

    pub fn has(&self, tap: &str) -> bool {
        self.chains.contains_key(tap)
    }

    fn lines_of(&self, chain: &str) -> &[String] {
        self.chains.get(chain).map_or(&[], Vec::as_slice)
    }

    pub fn jumps(&self, tap: &str) -> usize {
        let jump = format!("-i {tap} -j {tap}");
        self.chains.get("PREROUTING").map_or(0, |rules| rules.iter().filter(|rule| **rule == jump).count())
    }

    pub fn jumps_to(&self, tap: &str) -> bool {
        self.jumps(tap) > 0
    }

    /// All that there is of a tap: its rules, and a line per jump to them.
    pub fn of(&self, tap: &str) -> Vec<String> {
        let mut all = self.chains.get(tap).cloned().unwrap_or_default();
        all.extend((0..self.jumps(tap)).map(|_| "jump".to_owned()));
        all
    }
}

/// Whether what there is of a port looks as it was put.
pub fn is_whole(port: &Port, of_tap: &[String]) -> bool {
    of_tap.len() == rules(port).len() + 1 && of_tap.last().is_some_and(|last| last == "jump")
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

#[cfg(test)]
mod tests {
    use super::*;

    fn port() -> Port {
        Port {
            id: "eni-01230123456789abc".parse().unwrap(),
            gateway: "172.31.0.1".parse().unwrap(),
            tap: "kabcd0123456789".into(),
            mac: "02:00:00:00:00:05".into(),
            address: "172.31.0.5".parse().unwrap(),
            secondary: Vec::new(),
            source_dest_check: true,
            of_site: false,
            segment: 0,
            subnet_cidr: "172.31.0.0/20".into(),
        }
    }

    #[test]
    fn whose_address_is_not_known_yet_may_ask_for_one_and_nothing_else() {
        let text = plug_script(&[Port { address: [0, 0, 0, 0].into(), of_site: true, ..port() }], |_| true);
        let rules: Vec<&str> = text.lines().filter(|line| line.starts_with("-A ")).collect();
        let [arp, dhcp, last] = rules[..] else { panic!("{rules:?}") };
        assert!(arp.contains("-p ARP") && arp.ends_with("--arp-ip-src 0.0.0.0 -j ACCEPT"), "{arp}");
        assert!(dhcp.contains("--ip-sport 68 --ip-dport 67"), "{dhcp}");
        assert!(last.ends_with("-j DROP") && !last.contains("-p"), "{last}");
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
    fn a_port_of_a_segment_asks_for_metadata_at_the_nodes_own_door() {
        let flat = plug_script(&[port()], |_| false);
        assert!(flat.contains("-j redirect\n") && !flat.contains("dnat"));
        let of_segment = plug_script(&[Port { segment: 0x1001, ..port() }], |_| false);
        let rule = "--ip-dst 169.254.169.254 --ip-proto tcp --ip-dport 80 \
                    -j dnat --to-destination 0e:4b:41:00:ab:cd --dnat-target ACCEPT\n";
        assert!(of_segment.contains(rule), "{of_segment}");
        assert!(!of_segment.contains("redirect") && !of_segment.contains("mark"));
    }

    #[test]
    fn each_address_of_a_port_may_send_and_where_nobody_checks_any_but_to_metadata() {
        let more = Port { secondary: vec!["172.31.0.6".parse().unwrap()], segment: 0x1001, ..port() };
        let checked = plug_script(std::slice::from_ref(&more), |_| false);
        for address in ["172.31.0.5", "172.31.0.6"] {
            assert!(checked.contains(&format!("--arp-ip-src {address} -j ACCEPT\n")), "{checked}");
            assert!(checked.contains(&format!("--ip-src {address} -j ACCEPT\n")), "{checked}");
            assert!(checked.contains(&format!("--ip-src {address} --ip-dst 169.254.169.254")), "{checked}");
        }
        assert!(!checked.contains("-s 02:00:00:00:00:05 -j ACCEPT"));
        let unchecked = plug_script(&[Port { source_dest_check: false, ..more }], |_| false);
        let open = unchecked.find("-p IPv4 -s 02:00:00:00:00:05 -j ACCEPT\n").unwrap();
        let closed = unchecked.find("-s 02:00:00:00:00:05 --ip-dst 169.254.169.254 -j DROP\n").unwrap();
        assert!(closed < open && unchecked.find("--ip-sport 67 -j DROP").unwrap() < open, "{unchecked}");
        assert!(!unchecked.contains("-p ARP -s 02:00:00:00:00:05 -j ACCEPT"), "none answers for others");
    }

    #[test]
    fn what_keeps_the_wire_clean_is_put_once_and_taken_away_whole() {
        let put = wire_script("kabcd", &Saved::default()).unwrap();
        let saved = Saved::parse(&put.replace("*nat", ":POSTROUTING ACCEPT"));
        assert_eq!(wire_script("kabcd", &saved), None);
        let removed =
            "*nat\n-D POSTROUTING -o kabcd+ -j karri-kabcd\n-F karri-kabcd\n-X karri-kabcd\nCOMMIT\n";
        assert_eq!(wire_removal("kabcd", &saved).as_deref(), Some(removed));
        assert_eq!(wire_removal("kffff", &saved), None);
        let twice = Saved::parse(&put.replace("COMMIT", "-A POSTROUTING -o kabcd+ -j karri-kabcd"));
        assert!(wire_script("kabcd", &twice).unwrap().contains("-D POSTROUTING"));
    }

    #[test]
    fn only_what_is_there_is_taken_away() {
        let tap = port().tap;
        let saved = Saved::parse(&format!("*nat\n:PREROUTING ACCEPT\n:{tap} RETURN\n-A {tap} -j DROP\n"));
        let script = unplug_script(&[tap.clone(), "kx".into()], |tap| (saved.jumps(tap), saved.has(tap)));
        assert_eq!(script, format!("*nat\n-F {tap}\n-X {tap}\nCOMMIT\n"));
        assert!(!is_whole(&port(), &saved.of(&tap)));
    }

    #[test]
    fn only_chains_of_this_node_are_found() {
        let saved = "*nat\n:PREROUTING ACCEPT\n:kabcd0123456789 RETURN\n:kffff0123456789 RETURN\n";
        assert_eq!(chains(saved, |name| name.starts_with("kabcd")), ["kabcd0123456789"]);
    }
}
