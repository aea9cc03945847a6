//! What the first `up` decided about a cloud and later ones keep: its name, zones and ports.

use crate::args::{Up, Usage};
use anyhow::bail;
use karri_proto::runtime::endpoint::write_durably;
use rand::Rng;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

pub const REGION: &str = "karri-1";
pub const PORT_BASE: u16 = 8773;
/// The default VPC 172.31.0.0/16 holds sixteen default subnets of /20.
pub const ZONES_MAX: usize = 16;
/// Of the only network in which QEMU's user networking answers for 169.254.169.254.
const USER_SUBNET: &str = "169.254.64.0/22";
const USER_GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 64, 1);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub region: String,
    pub address: IpAddr,
    /// Nodes per zone; absent: the machine itself is the node.
    pub simulated_nodes: Option<u32>,
    /// Made by an ordinary user: its guests are behind QEMU's user networking.
    #[serde(default)]
    pub user_network: bool,
    /// The EC2 endpoint.
    pub public_port: u16,
    /// The S3 endpoint. 0: made when there was none, until the next `up`.
    #[serde(default)]
    pub s3_port: u16,
    pub clc: Ports,
    pub walrus: Ports,
    pub zones: Vec<Zone>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    pub internal: u16,
    pub observe: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    pub name: String,
    pub subnet_cidr: String,
    pub gateway: Ipv4Addr,
    pub cc: Ports,
    pub nc: Ports,
}

impl Facts {
    pub fn read(path: &Path) -> anyhow::Result<Option<Self>> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(Some(
                serde_json::from_slice(&bytes).map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))?,
            )),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(anyhow::anyhow!("{}: {error}", path.display())),
        }
    }

    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        Ok(write_durably(path, &serde_json::to_vec_pretty(self)?)?)
    }

    /// A new cloud as the arguments want it.
    pub fn new(wanted: &Up) -> anyhow::Result<Self> {
        let region = wanted.region.clone().unwrap_or_else(|| REGION.to_owned());
        let names = match wanted.zones.as_slice() {
            [] => vec![format!("{region}a")],
            names => names.to_vec(),
        };
        check_names(&region, &names, wanted.sim.is_some())?;
        let mut ports = PortPicker::new(wanted.port_base.unwrap_or(PORT_BASE))?;
        let (public_port, s3_port) = (ports.next()?, ports.next()?);
        let (clc, walrus) = (ports.pair()?, ports.pair()?);
        let zone = |(index, name): (usize, String)| {
            let third = u8::try_from(index * 16).expect("there are at most sixteen zones");
            Ok(Zone {
                name,
                subnet_cidr: format!("172.31.{third}.0/20"),
                gateway: Ipv4Addr::new(172, 31, third, 1),
                cc: ports.pair()?,
                nc: ports.pair()?,
            })
        };
        Ok(Self {
            region,
            address: wanted.address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            simulated_nodes: wanted.sim,
            user_network: false,
            public_port,
            s3_port,
            clc,
            walrus,
            zones: names.into_iter().enumerate().map(zone).collect::<anyhow::Result<_>>()?,
        })
    }

    /// As somebody who may not make networks has it.
    pub fn behind_user_network(mut self) -> Self {
        self.user_network = true;
        for zone in &mut self.zones {
            USER_SUBNET.clone_into(&mut zone.subnet_cidr);
            zone.gateway = USER_GATEWAY;
        }
        self
    }

    /// A cloud that exists, asked for again. What its data depends on cannot change; the rest may.
    pub fn again(mut self, wanted: &Up) -> anyhow::Result<Self> {
        let refuse = |what: &str, is: &str| {
            anyhow::anyhow!(Usage(format!(
                "this cloud's {what} is {is}; another one needs another --state-dir"
            )))
        };
        if wanted.region.as_ref().is_some_and(|region| *region != self.region) {
            return Err(refuse("region", &self.region));
        }
        let names: Vec<&str> = self.zones.iter().map(|zone| zone.name.as_str()).collect();
        if !wanted.zones.is_empty() && wanted.zones != names {
            return Err(refuse("list of zones", &names.join(",")));
        }
        match (self.simulated_nodes, wanted.sim) {
            (None, Some(_)) => return Err(refuse("kind", "real, not simulated")),
            (Some(_), Some(nodes)) => self.simulated_nodes = Some(nodes),
            // `karri up --state-dir X` of a simulated cloud: as it was.
            (_, None) => {}
        }
        if let Some(base) = wanted.port_base.filter(|base| *base != 0 && *base != self.public_port) {
            let moved = Self::new(&Up { port_base: Some(base), ..self.as_wanted() })?;
            self = if self.user_network { moved.behind_user_network() } else { moved };
        }
        if let Some(address) = wanted.address {
            self.address = address;
        }
        if self.s3_port == 0 {
            self.s3_port = self.another_port()?;
        }
        Ok(self)
    }

    /// The one after all others, or a free one where that is taken.
    fn another_port(&self) -> anyhow::Result<u16> {
        let zones = self.zones.iter().flat_map(|zone| [zone.cc, zone.nc]);
        let pairs = [self.clc, self.walrus].into_iter().chain(zones);
        let last = pairs.flat_map(|ports| [ports.internal, ports.observe]).max().unwrap_or(self.public_port);
        match last.checked_add(1) {
            Some(next) if TcpListener::bind((self.address, next)).is_ok() => Ok(next),
            _ => PortPicker::new(0)?.next(),
        }
    }

    fn as_wanted(&self) -> Up {
        Up {
            sim: self.simulated_nodes,
            port_base: None,
            address: Some(self.address),
            region: Some(self.region.clone()),
            zones: self.zones.iter().map(|zone| zone.name.clone()).collect(),
            images: None,
        }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", SocketAddr::new(self.address, self.public_port))
    }

    pub fn internal_url(&self, ports: Ports) -> String {
        format!("https://{}", SocketAddr::new(self.address, ports.internal))
    }
}

fn check_names(region: &str, zones: &[String], simulated: bool) -> anyhow::Result<()> {
    let usage = |message: String| Err(anyhow::anyhow!(Usage(message)));
    for name in std::iter::once(region).chain(zones.iter().map(String::as_str)) {
        if !is_host_label(name) {
            return usage(format!(
                "\"{name}\" is no name: lower-case letters, digits and dashes, at most 40"
            ));
        }
    }
    if zones.len() > ZONES_MAX {
        return usage(format!("at most {ZONES_MAX} zones"));
    }
    if zones.len() > 1 && !simulated {
        return usage("one machine is one zone; more of them only with --sim".to_owned());
    }
    let mut sorted = zones.to_vec();
    sorted.sort();
    sorted.dedup();
    if sorted.len() < zones.len() {
        return usage("two zones have one name".to_owned());
    }
    Ok(())
}

/// What AWS clients accept as a region, and what is a safe file name too.
pub fn is_host_label(name: &str) -> bool {
    let valid = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=40).contains(&name.len())
        && name.bytes().all(valid)
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
}

/// Below what Linux gives to outgoing connections: a port from there could be busy when a later `up`
/// wants it back.
const FREE_PORTS: std::ops::Range<u16> = 10_000..32_000;
const PICKS_MAX: usize = 1_000;

impl Ports {
    /// Two that follow `first`, or free ones for 0.
    pub fn from(first: u16) -> anyhow::Result<Self> {
        PortPicker::new(first)?.pair()
    }
}

/// Ports one after the other, or free ones that stay reserved until all are picked.
struct PortPicker {
    next: Option<u16>,
    held: Vec<TcpListener>,
}

impl PortPicker {
    fn new(base: u16) -> anyhow::Result<Self> {
        Ok(Self { next: (base != 0).then_some(base), held: Vec::new() })
    }

    fn next(&mut self) -> anyhow::Result<u16> {
        if let Some(port) = self.next {
            self.next = port.checked_add(1);
            return Ok(port);
        }
        let mut rng = rand::thread_rng();
        for _ in 0..PICKS_MAX {
            let port = rng.gen_range(FREE_PORTS);
            if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                self.held.push(listener);
                return Ok(port);
            }
        }
        bail!("no free port between {} and {}", FREE_PORTS.start, FREE_PORTS.end)
    }

    fn pair(&mut self) -> anyhow::Result<Ports> {
        Ok(Ports { internal: self.next()?, observe: self.next()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Up {
        Up { sim: Some(3), port_base: None, address: None, region: None, zones: vec![], images: None }
    }

    fn facts(wanted: &Up) -> anyhow::Result<Facts> {
        Facts::new(wanted)
    }

    #[test]
    fn ports_follow_the_base_and_zones_share_the_default_vpc() {
        let zones = vec!["a".to_owned(), "b".to_owned()];
        let facts = facts(&Up { zones, port_base: Some(9000), ..wanted() }).unwrap();
        assert_eq!((facts.public_port, facts.s3_port), (9000, 9001));
        assert_eq!((facts.clc.internal, facts.walrus.observe), (9002, 9005));
        assert_eq!(facts.zones[1].subnet_cidr, "172.31.16.0/20");
        assert_eq!(facts.zones[1].gateway.to_string(), "172.31.16.1");
        assert_eq!(facts.zones[1].cc.internal, 9010);
        assert_eq!(facts.endpoint(), "http://127.0.0.1:9000");
    }

    #[test]
    fn free_ports_are_all_different() {
        let facts = facts(&Up { port_base: Some(0), ..wanted() }).unwrap();
        let zone = &facts.zones[0];
        let mut all = vec![facts.public_port, facts.s3_port];
        for ports in [facts.clc, facts.walrus, zone.cc, zone.nc] {
            all.extend([ports.internal, ports.observe]);
        }
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 10);
    }

    #[test]
    fn a_second_up_keeps_what_data_depends_on_and_changes_the_rest() {
        let first = facts(&wanted()).unwrap();
        let same = first.clone().again(&Up { sim: None, ..wanted() }).unwrap();
        assert_eq!(same, first);
        let more = first.clone().again(&Up { sim: Some(9), ..wanted() }).unwrap();
        assert_eq!(more.simulated_nodes, Some(9));
        let moved = first.clone().again(&Up { port_base: Some(9500), ..wanted() }).unwrap();
        assert_eq!((moved.public_port, moved.s3_port, moved.clc.internal), (9500, 9501, 9502));
        for other in
            [Up { region: Some("elsewhere".into()), ..wanted() }, Up { zones: vec!["x".into()], ..wanted() }]
        {
            assert!(first.clone().again(&other).unwrap_err().is::<Usage>());
        }
        let real = Facts { simulated_nodes: None, ..first };
        assert!(real.again(&wanted()).unwrap_err().is::<Usage>());
    }

    #[test]
    fn an_ordinary_users_cloud_stays_behind_user_networking_when_its_ports_move() {
        let first = facts(&Up { sim: None, ..wanted() }).unwrap().behind_user_network();
        let moved = first.again(&Up { sim: None, port_base: Some(9500), ..wanted() }).unwrap();
        assert!(moved.user_network && moved.public_port == 9500);
        assert_eq!(moved.zones[0].subnet_cidr, "169.254.64.0/22");
    }

    #[test]
    fn bad_names_and_two_real_zones_are_usage_errors() {
        let two = || vec!["a".to_owned(), "b".to_owned()];
        for bad in [
            Up { region: Some("Karri_1".into()), ..wanted() },
            Up { region: Some("../x".into()), ..wanted() },
            Up { zones: vec!["a".into(), "a".into()], ..wanted() },
            Up { zones: two(), sim: None, ..wanted() },
            Up { zones: (0..17).map(|n| format!("z{n}")).collect(), ..wanted() },
        ] {
            assert!(facts(&bad).unwrap_err().is::<Usage>(), "{bad:?}");
        }
    }

    #[test]
    fn a_cloud_from_before_there_was_s3_gets_a_port_and_keeps_the_others() {
        let first = facts(&Up { port_base: Some(0), ..wanted() }).unwrap();
        let mut text = serde_json::to_value(&first).unwrap();
        text.as_object_mut().unwrap().remove("s3_port");
        let old: Facts = serde_json::from_value(text).unwrap();
        assert_eq!(old.s3_port, 0);
        let new = old.again(&wanted()).unwrap();
        let zone = &new.zones[0];
        let taken = [new.clc, new.walrus, zone.cc, zone.nc];
        assert!(new.s3_port > 0 && new.s3_port != new.public_port);
        assert!(taken.iter().all(|ports| ![ports.internal, ports.observe].contains(&new.s3_port)));
        assert_eq!(Facts { s3_port: first.s3_port, ..new }, first);
    }

    #[test]
    fn facts_survive_their_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cloud.json");
        assert_eq!(Facts::read(&path).unwrap(), None);
        let facts = facts(&wanted()).unwrap();
        facts.write(&path).unwrap();
        assert_eq!(Facts::read(&path).unwrap(), Some(facts));
    }
}
