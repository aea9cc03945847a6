//! The controllers' configuration files: the commented examples of `deploy/config`, filled in. What an
//! operator has edited since is kept as it is.

use super::join::NAME;
use super::libvirt::SESSION;
use super::template::fill;
use super::trust::{cc_name, nc_name};
use crate::facts::{Facts, Ports, Zone};
use crate::home::Home;
use karri_proto::internal::join::JoinAnswer;
use karri_proto::runtime::endpoint::write_durably;
use karri_proto::runtime::pki::write_secret;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use toml::Value;

pub(super) const CLC: &str = include_str!("../../../deploy/config/clc.toml");
pub(super) const CC: &str = include_str!("../../../deploy/config/cc.toml");
pub(super) const NC: &str = include_str!("../../../deploy/config/nc.toml");
pub(super) const WALRUS: &str = include_str!("../../../deploy/config/walrus.toml");
const INSTANCE_TYPES: &str = include_str!("../../../deploy/config/instance-types.toml");

/// Writes the files that are absent or were not touched since `up` wrote them. Returns the names of the
/// edited ones, which stay.
pub fn write(home: &Home, facts: &Facts) -> anyhow::Result<Vec<String>> {
    let mut ledger = Ledger::open(home)?;
    let mut edited = Vec::new();
    for (name, text) in texts(home, facts)? {
        if !ledger.put(&name, &home.config(&name), &text)? {
            edited.push(name);
        }
    }
    ledger.save()?;
    Ok(edited)
}

fn texts(home: &Home, facts: &Facts) -> anyhow::Result<Vec<(String, String)>> {
    let mut all = vec![
        ("instance-types".to_owned(), INSTANCE_TYPES.to_owned()),
        ("walrus".to_owned(), fill(WALRUS, &walrus(home, facts))?),
        ("clc".to_owned(), fill(CLC, &clc(home, facts))?),
    ];
    for zone in &facts.zones {
        all.push((cc_name(zone), fill(CC, &cc(home, facts, zone))?));
        all.push((nc_name(zone), fill(NC, &nc(home, facts, zone))?));
    }
    Ok(all)
}

/// Nobody's on the internet (RFC 2544): on one host, which leads them to its guests itself, they are as good as any.
const PUBLIC_ADDRESSES: &str = "198.18.0.0/24";

type Values = Vec<(&'static str, Value)>;

/// The `[controller]` section.
fn common(home: &Home, facts: &Facts, name: &str, ports: Ports) -> Values {
    let tls = home.tls(name);
    vec![
        ("controller.state_dir", path(&home.controller(name))),
        ("controller.listen", address(SocketAddr::new(facts.address, ports.internal))),
        ("controller.advertise", text(&facts.internal_url(ports))),
        ("controller.observe", address(SocketAddr::from((Ipv4Addr::LOCALHOST, ports.observe)))),
        ("controller.tls.ca", path(&tls.ca)),
        ("controller.tls.certificate", path(&tls.certificate)),
        ("controller.tls.key", path(&tls.key)),
    ]
}

fn clc(home: &Home, facts: &Facts) -> Values {
    let state = home.controller("clc");
    let database = format!("sqlite://{}", state.join("clc.sqlite").display());
    let mut values = common(home, facts, "clc", facts.clc);
    values.extend([
        ("api.listen", address(SocketAddr::new(facts.address, facts.public_port))),
        ("api.region", text(&facts.region)),
        ("database.url", text(&database)),
        ("network.public_addresses", Value::Array(vec![text(PUBLIC_ADDRESSES)])),
        ("secrets.key_file", path(&state.join("secrets.key"))),
        ("catalogue.instance_types", path(&home.config("instance-types"))),
        ("pki.ca_dir", path(&home.ca())),
        ("pki.walrus_url", text(&facts.internal_url(facts.walrus))),
    ]);
    values
}

fn walrus(home: &Home, facts: &Facts) -> Values {
    let mut values = common(home, facts, "walrus", facts.walrus);
    values.extend([
        ("s3.listen", address(SocketAddr::new(facts.address, facts.s3_port))),
        ("s3.region", text(&facts.region)),
        ("s3.clc_url", text(&facts.internal_url(facts.clc))),
        ("s3.key_file", path(&home.master_keys())),
        ("s3.cloud_key_file", path(&home.cloud_key())),
        ("s3.cloud_certificate_file", path(&home.cloud_certificate_made())),
    ]);
    values
}

fn cc(home: &Home, facts: &Facts, zone: &Zone) -> Values {
    let name = cc_name(zone);
    let mut values = common(home, facts, &name, zone.cc);
    values.extend([
        ("cluster.zone", text(&zone.name)),
        ("cluster.clc_url", text(&facts.internal_url(facts.clc))),
        ("network.mode", text(network_mode(facts))),
        ("network.subnet", text(&zone.subnet_cidr)),
        ("network.gateway", text(&zone.gateway.to_string())),
        ("network.run_dir", path(&home.run_directory().join(&name))),
        ("database.path", path(&home.controller(&name).join("cc.sqlite"))),
    ]);
    values
}

fn network_mode(facts: &Facts) -> &'static str {
    match (facts.simulated_nodes, facts.user_network) {
        (Some(_), _) => "none",
        (None, true) => "user",
        (None, false) => "managed",
    }
}

fn nc(home: &Home, facts: &Facts, zone: &Zone) -> Values {
    let mut values = common(home, facts, &nc_name(zone), zone.nc);
    values.extend([
        ("node.cc_url", text(&facts.internal_url(zone.cc))),
        ("node.walrus_url", text(&facts.internal_url(facts.walrus))),
    ]);
    if facts.user_network {
        values.push(("network.mode", text("user")));
        values.push(("hypervisor.uri", text(SESSION)));
    }
    if let Some(nodes) = facts.simulated_nodes {
        values.push(("hypervisor.driver", text("sim")));
        values.push(("hypervisor.sim_nodes", Value::Integer(nodes.into())));
    }
    values
}

/// The configuration of a node that has joined from another machine.
pub fn write_node(
    home: &Home,
    sim: bool,
    address: IpAddr,
    ports: Ports,
    answer: &JoinAnswer,
) -> anyhow::Result<()> {
    let mut ledger = Ledger::open(home)?;
    let values = joined_nc(home, sim, address, ports, answer);
    ledger.put(NAME, &home.config(NAME), &fill(NC, &values)?)?;
    Ok(())
}

fn joined_nc(home: &Home, sim: bool, own: IpAddr, ports: Ports, answer: &JoinAnswer) -> Values {
    let tls = home.tls(NAME);
    let listen = SocketAddr::new(own, ports.internal);
    let driver = if sim { "sim" } else { "libvirt" };
    vec![
        ("hypervisor.driver", text(driver)),
        ("controller.state_dir", path(&home.controller(NAME))),
        ("controller.listen", address(listen)),
        ("controller.advertise", text(&format!("https://{listen}"))),
        ("controller.observe", address(SocketAddr::from((Ipv4Addr::LOCALHOST, ports.observe)))),
        ("controller.tls.ca", path(&tls.ca)),
        ("controller.tls.certificate", path(&tls.certificate)),
        ("controller.tls.key", path(&tls.key)),
        ("node.cc_url", text(&answer.cc_url)),
        ("node.walrus_url", text(&answer.walrus_url)),
    ]
}

fn text(value: &str) -> Value {
    Value::String(value.to_owned())
}

fn path(value: &Path) -> Value {
    text(&value.display().to_string())
}

fn address(value: SocketAddr) -> Value {
    text(&value.to_string())
}

/// The digest of each file as `up` wrote it: another digest is an operator's edit.
struct Ledger {
    path: PathBuf,
    written: BTreeMap<String, String>,
}

impl Ledger {
    fn open(home: &Home) -> anyhow::Result<Self> {
        let path = home.root().join("config").join(".written.json");
        let written = match std::fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error.into()),
        };
        Ok(Self { path, written })
    }

    /// False: the file was edited and is left alone.
    fn put(&mut self, name: &str, path: &Path, text: &str) -> anyhow::Result<bool> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        match std::fs::read(path) {
            Ok(present) if self.written.get(name) != Some(&digest(&present)) => return Ok(false),
            Ok(present) if present == text.as_bytes() => return Ok(true),
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        // Before the file: a crash in between must not make our own text look like an edit. The file
        // that is still there then looks edited and is kept, which is safe.
        self.written.insert(name.to_owned(), digest(text.as_bytes()));
        self.save()?;
        // A database URL may hold a password.
        write_secret(path, text.as_bytes())?;
        Ok(true)
    }

    fn save(&self) -> anyhow::Result<()> {
        if let Some(directory) = self.path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        Ok(write_durably(&self.path, &serde_json::to_vec_pretty(&self.written)?)?)
    }
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Up;
    use karri_proto::runtime::process::Controller;

    fn home() -> (tempfile::TempDir, Home) {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::at(directory.path().to_owned());
        (directory, home)
    }

    fn facts(sim: Option<u32>) -> Facts {
        Facts::new(&Up { sim, port_base: None, address: None, region: None, zones: vec![], images: None })
            .unwrap()
    }

    fn parsed<C: Controller>(home: &Home, name: &str) -> C::Config {
        let text = std::fs::read_to_string(home.config(name)).unwrap();
        let config = toml::from_str::<C::Config>(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        C::check(&config).unwrap_or_else(|e| panic!("{name}: {e}"));
        config
    }

    #[test]
    fn every_controller_accepts_what_is_written_for_it() {
        for sim in [None, Some(3)] {
            let (_directory, home) = home();
            assert!(write(&home, &facts(sim)).unwrap().is_empty());
            let clc = parsed::<karri_clc::Clc>(&home, "clc");
            assert_eq!(clc.controller.state_dir, home.controller("clc"));
            let s3 = parsed::<karri_walrus::Walrus>(&home, "walrus").s3.unwrap();
            assert_eq!((s3.listen.port(), s3.region.as_str()), (8774, "karri-1"));
            parsed::<karri_cc::Cc>(&home, "cc-karri-1a");
            let nc = parsed::<karri_nc::Nc>(&home, "nc-karri-1a");
            assert_eq!(nc.hypervisor.sim_nodes, sim.unwrap_or(1));
        }
    }

    #[test]
    fn an_ordinary_users_cloud_makes_no_networks() {
        let (_directory, home) = home();
        assert!(write(&home, &facts(None).behind_user_network()).unwrap().is_empty());
        let cc = parsed::<karri_cc::Cc>(&home, "cc-karri-1a");
        assert_eq!(cc.network.told().name(), "user");
        let nc = parsed::<karri_nc::Nc>(&home, "nc-karri-1a");
        assert_eq!(nc.network.mode, karri_nc::config::NetworkMode::User);
        assert_eq!(nc.hypervisor.uri, SESSION);
    }

    #[test]
    fn an_edited_file_stays_and_an_untouched_one_follows_the_facts() {
        let (_directory, home) = home();
        write(&home, &facts(Some(3))).unwrap();
        let clc = home.config("clc");
        let mine = std::fs::read_to_string(&clc).unwrap() + "# mine\n";
        std::fs::write(&clc, &mine).unwrap();
        assert_eq!(write(&home, &facts(Some(7))).unwrap(), ["clc"]);
        assert_eq!(std::fs::read_to_string(&clc).unwrap(), mine);
        assert_eq!(parsed::<karri_nc::Nc>(&home, "nc-karri-1a").hypervisor.sim_nodes, 7);
        std::fs::remove_file(&clc).unwrap();
        assert!(write(&home, &facts(Some(7))).unwrap().is_empty());
    }
}
