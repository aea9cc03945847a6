//! The controllers' configuration files: the commented examples of `deploy/config`, filled in. What an
//! operator has edited since is kept as it is.

use super::template::fill;
use super::trust::{cc_name, nc_name};
use crate::args::NodeJoin;
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

const CLC: &str = include_str!("../../../deploy/config/clc.toml");
const CC: &str = include_str!("../../../deploy/config/cc.toml");
const NC: &str = "[controller]\nstate_dir = \"\"\nlisten = \"\"\n#advertise = \"\"\nobserve = \"\"\n[controller.tls]\nca = \"\"\n\
    certificate = \"\"\nkey = \"\"\n[cluster]\ncc_url = \"\"\nwalrus_url = \"\"\n";
const WALRUS: &str = include_str!("../../../deploy/config/walrus.toml");
const INSTANCE_TYPES: &str = "";

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
        ("walrus".to_owned(), fill(WALRUS, &common(home, facts, "walrus", facts.walrus))?),
        ("clc".to_owned(), fill(CLC, &clc(home, facts))?),
    ];
    for zone in &facts.zones {
        all.push((cc_name(zone), fill(CC, &cc(home, facts, zone))?));
        all.push((nc_name(zone), fill(NC, &nc(home, facts, zone))?));
    }
    Ok(all)
}

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
        ("secrets.key_file", path(&state.join("secrets.key"))),
        ("catalogue.instance_types", path(&home.config("instance-types"))),
        ("pki.ca_dir", path(&home.ca())),
        ("pki.walrus_url", text(&facts.internal_url(facts.walrus))),
    ]);
    values
}

fn cc(home: &Home, facts: &Facts, zone: &Zone) -> Values {
    let name = cc_name(zone);
    let mut values = common(home, facts, &name, zone.cc);
    values.extend([
        ("cluster.zone", text(&zone.name)),
        ("cluster.clc_url", text(&facts.internal_url(facts.clc))),
        ("network.mode", text(if facts.simulated_nodes.is_some() { "none" } else { "flat" })),
        ("network.subnet", text(&zone.subnet_cidr)),
        ("network.gateway", text(&zone.gateway.to_string())),
        ("database.path", path(&home.controller(&name).join("cc.sqlite"))),
    ]);
    values
}

fn nc(home: &Home, facts: &Facts, zone: &Zone) -> Values {
    let mut values = common(home, facts, &nc_name(zone), zone.nc);
    values.extend([]);
    values
}

/// The configuration of a node that has joined from another machine.
pub fn write_node(
    home: &Home,
    wanted: &NodeJoin,
    address: IpAddr,
    answer: &JoinAnswer,
) -> anyhow::Result<()> {
    let mut ledger = Ledger::open(home)?;
    let values = joined_nc(home, wanted, address, answer);
    ledger.put("nc", &home.config("nc"), &fill(NC, &values)?)?;
    Ok(())
}

fn joined_nc(home: &Home, wanted: &NodeJoin, own: IpAddr, answer: &JoinAnswer) -> Values {
    let tls = home.tls("nc");
    let listen = SocketAddr::new(own, wanted.port);
    vec![
        ("controller.state_dir", path(&home.controller("nc"))),
        ("controller.listen", address(listen)),
        ("controller.advertise", text(&format!("https://{listen}"))),
        ("controller.observe", address(SocketAddr::from((Ipv4Addr::LOCALHOST, wanted.port + 1)))),
        ("controller.tls.ca", path(&tls.ca)),
        ("controller.tls.certificate", path(&tls.certificate)),
        ("controller.tls.key", path(&tls.key)),
        ("cluster.cc_url", text(&answer.cc_url)),
        ("cluster.walrus_url", text(&answer.walrus_url)),
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
