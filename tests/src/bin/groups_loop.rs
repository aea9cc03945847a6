//! For `tests/bench/groups.py`: a node's ports with security groups in the network namespace that it is started in,
//! changed as it reads commands from standard input. Answers each with the microseconds that it took.
//!
//! ```text
//!   ports N        plugs N ports, each in five groups
//!   rules N        tells rules until there are N in all
//!   authorise K    tells one more rule, of kind K: host, wide or group
//!   revoke         takes it back
//!   members N      gives the first port's group N members
//!   mend           looks at everything
//! ```
//!
//! `groups_loop flood ADDRESS PORT MILLISECONDS` sends datagrams of one byte instead.

use anyhow::{Context, bail};
use karri_nc::app::owner_tag::Owner;
use karri_nc::drive::ports::{BridgePorts, Facts, Place, Port, Ports, TapNames, Wire};
use karri_proto::ids::SecurityGroupId;
use karri_proto::network::{
    Direction, Fact, FactChange, FactKey, FactTable, GroupRule, Net4, Peer, PortFact, Traffic,
};
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

const GROUPS: u32 = 200;
const GROUPS_PER_PORT: u32 = 5;
const EXTRA: u32 = u32::MAX;
const FIRST_MEMBER: u32 = 0x0a40_0000;
const FIRST_PEER: u32 = 0xc633_0000;

#[derive(Default)]
struct Told(RwLock<Arc<FactTable>>);

impl Facts for Told {
    fn table(&self) -> Arc<FactTable> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Told {
    fn apply(&self, changes: Vec<FactChange>) {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let facts = Arc::make_mut(&mut table);
        changes.into_iter().for_each(|change| drop(facts.apply(change)));
    }
}

struct Bench {
    facts: Arc<Told>,
    ports: BridgePorts,
    names: TapNames,
    rules: u32,
    members: u32,
}

fn group(number: u32) -> anyhow::Result<SecurityGroupId> {
    format!("sg-{number:08x}").parse().map_err(|fault| anyhow::anyhow!("{fault:?}"))
}

fn rule(of: u32, id: u32, traffic: Traffic, peer: Peer) -> anyhow::Result<FactChange> {
    let id = format!("sgr-{id:08x}").parse().map_err(|fault| anyhow::anyhow!("{fault:?}"))?;
    Ok(FactChange::Put(Fact::Rule(GroupRule {
        group: group(of)?,
        id,
        direction: Direction::Ingress,
        traffic,
        peer,
        part_of: None,
    })))
}

fn host(number: u32) -> Peer {
    Peer::V4(Net4 { address: Ipv4Addr::from(FIRST_PEER + number), prefix: 32 })
}

impl Bench {
    async fn tell(&self, changes: Vec<FactChange>) -> anyhow::Result<Duration> {
        let keys: Vec<FactKey> = changes.iter().map(FactChange::key).collect();
        self.facts.apply(changes);
        let start = Instant::now();
        self.ports.told(Some(&keys)).await?;
        Ok(start.elapsed())
    }

    fn port(&self, number: u32) -> anyhow::Result<Port> {
        Ok(Port {
            id: format!("eni-0000000{number:010x}").parse().map_err(|fault| anyhow::anyhow!("{fault:?}"))?,
            // Spread over the digits, as those of interfaces are.
            tap: format!("{}{:x}{number:09x}", self.names.prefix(), number % 16),
            mac: format!("02:00:00:00:{:02x}:{:02x}", number >> 8, number & 0xff),
            address: Ipv4Addr::from(0xac1f_0005 + number),
            secondary: Vec::new(),
            source_dest_check: true,
            of_site: false,
            segment: 0,
            subnet_cidr: "172.31.0.0/16".to_owned(),
            gateway: Ipv4Addr::new(172, 31, 0, 1),
        })
    }

    fn port_fact(&self, number: u32) -> anyhow::Result<FactChange> {
        let Port { id, address, .. } = self.port(number)?;
        let groups =
            (0..GROUPS_PER_PORT).map(|of| group((number + of * 37) % GROUPS)).collect::<Result<_, _>>()?;
        let vpc = "vpc-00000001".parse().map_err(|fault| anyhow::anyhow!("{fault:?}"))?;
        Ok(FactChange::Put(Fact::Port(PortFact { id, vpc, addresses: vec![address], groups })))
    }

    async fn plug(&self, count: u32) -> anyhow::Result<Duration> {
        let ports = (0..count).map(|number| self.port(number)).collect::<Result<Vec<_>, _>>()?;
        let start = Instant::now();
        self.ports.plug(&ports).await?;
        let plugged = start.elapsed();
        let facts = (0..count).map(|number| self.port_fact(number)).collect::<Result<_, _>>()?;
        Ok(plugged + self.tell(facts).await?)
    }

    async fn rules(&mut self, count: u32) -> anyhow::Result<Duration> {
        let new = (self.rules..count).map(|number| {
            let port = u16::try_from(1000 + number % 50).unwrap_or(1);
            rule(number % GROUPS, number, Traffic::Tcp { from: port, to: port }, host(number))
        });
        let new = new.collect::<Result<_, _>>()?;
        self.rules = self.rules.max(count);
        self.tell(new).await
    }

    async fn authorise(&self, kind: &str) -> anyhow::Result<Duration> {
        let (traffic, peer) = match kind {
            "host" => (Traffic::Tcp { from: 22, to: 22 }, host(EXTRA >> 20)),
            "wide" => (Traffic::Tcp { from: 1024, to: 9999 }, host(1)),
            "group" => (Traffic::Tcp { from: 443, to: 443 }, Peer::Group(group(7)?)),
            _ => bail!("authorise: {kind}"),
        };
        self.tell(vec![rule(3, EXTRA, traffic, peer)?]).await
    }

    async fn revoke(&self) -> anyhow::Result<Duration> {
        let FactChange::Put(fact) = rule(3, EXTRA, Traffic::All, host(0))? else { bail!("no fact") };
        self.tell(vec![FactChange::Gone(fact.key())]).await
    }

    /// The first port lets in UDP from members of a group that no port here is in.
    async fn members(&mut self, count: u32) -> anyhow::Result<Duration> {
        let of = GROUPS + 1;
        let mut changes =
            vec![rule(0, EXTRA - 1, Traffic::Udp { from: 0, to: u16::MAX }, Peer::Group(group(of)?))?];
        for number in 0..count.max(self.members) {
            let id = format!("eni-1{number:016x}").parse().map_err(|fault| anyhow::anyhow!("{fault:?}"))?;
            let vpc = "vpc-00000001".parse().map_err(|fault| anyhow::anyhow!("{fault:?}"))?;
            // The last one is who sends.
            let address = match number + 1 == count {
                true => Ipv4Addr::new(172, 31, 0, 2),
                false => Ipv4Addr::from(FIRST_MEMBER + number),
            };
            let fact = PortFact { id, vpc, addresses: vec![address], groups: vec![group(of)?] };
            let gone = FactChange::Gone(FactKey::Port(fact.id.clone()));
            changes.push(if number < count { FactChange::Put(Fact::Port(fact)) } else { gone });
        }
        self.members = count;
        self.tell(changes).await
    }
}

fn flood(address: &str, port: &str, milliseconds: &str) -> anyhow::Result<()> {
    const BURST: u32 = 64;
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect((address, port.parse()?))?;
    let end = Instant::now() + Duration::from_millis(milliseconds.parse()?);
    while Instant::now() < end {
        for _ in 0..BURST {
            let _ = socket.send(b"x"); // what is lost on the way is not counted
        }
    }
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [verb, address, port, milliseconds] = &arguments[..] {
        anyhow::ensure!(verb == "flood", "{verb}");
        return flood(address, port, milliseconds);
    }
    let [directory] = &arguments[..] else { bail!("usage: groups_loop DIR") };
    let names = TapNames::new(&Owner { cloud: "bench".to_owned(), node: "node".to_owned() });
    let place = Place {
        bridge: "karri-bench",
        uplink: None,
        metadata_address: Ipv4Addr::new(169, 254, 88, 1),
        wire: Wire::Alone,
        tunnel_mtu: 1500,
        vxlan_port: 4789,
        shortcut: true,
        state_dir: directory.as_ref(),
        boot_id: "bench",
    };
    let facts = Arc::new(Told::default());
    let ports = BridgePorts::open(place, names.clone(), facts.clone()).await?;
    ports.mend(&[]).await?;
    let mut bench = Bench { facts, ports, names, rules: 0, members: 0 };
    println!("{}", bench.port(0)?.tap);
    for line in std::io::stdin().lines() {
        let line = line?;
        let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let count = || rest.parse().with_context(|| line.clone());
        let took = match verb {
            "ports" => bench.plug(count()?).await?,
            "rules" => bench.rules(count()?).await?,
            "authorise" => bench.authorise(rest).await?,
            "revoke" => bench.revoke().await?,
            "members" => bench.members(count()?).await?,
            "mend" => {
                let start = Instant::now();
                bench.ports.mend(&[]).await?;
                start.elapsed()
            }
            _ => bail!("what is {line}?"),
        };
        println!("{}", took.as_micros());
    }
    Ok(())
}
