//! For `tests/bench/routers.py`: a cluster controller's network with many VPCs in the namespaces that it is started in,
//! changed as it reads commands from standard input. Answers each with the microseconds that it took.
//!
//! ```text
//!   subnets N    there are N subnets, each with an instance, ten to a VPC
//!   acl          one entry of a network ACL is another
//!   route        one route table has a route more, or less
//!   address      a public address leads to one instance, or to the next
//!   port         one instance more, or less, in a subnet that has some
//!   leg          the only instance of a subnet comes, or goes
//!   round        nothing has changed
//!   again        another life of the controller finds all of it
//!   memory       answers with kilobytes of memory instead
//! ```

use anyhow::{Context, bail};
use karri_cc::app::router::{Input, Lease, Router, Site, outside, router};
use karri_cc::config::{NetworkConfig, NetworkMode};
use karri_cc::drive::flat::{Flat, remove};
use karri_cc::drive::{Driver, Wanted};
use karri_proto::network::{
    Acl, AclEntry, DhcpOptions, Net4, PublicAddress, Route, RouteTable, RouteTarget, Shape, Subnet, Traffic,
    Vpc,
};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

const BRIDGE: &str = "karri-bn";
const ZONE: &str = "zone-a";
const PER_VPC: u32 = 10;
const FIRST_PUBLIC: u32 = 0xcb00_7100;

fn site() -> Site {
    Site { zone: ZONE.to_owned(), extends: false, bridge: BRIDGE.to_owned() }
}

fn id<T: FromStr>(prefix: &str, number: u32) -> anyhow::Result<T> {
    format!("{prefix}-{number:017x}").parse().map_err(|_| anyhow::anyhow!("{prefix}-{number}"))
}

fn net(address: [u8; 4], prefix: u8) -> Net4 {
    Net4 { address: address.into(), prefix }
}

/// One VPC; all have the same ranges.
struct Owned {
    vpc: Vpc,
    subnets: Vec<Subnet>,
    tables: Vec<RouteTable>,
    acls: Vec<Acl>,
    addresses: Vec<PublicAddress>,
    leases: Vec<Lease>,
}

impl Owned {
    fn new(number: u32, subnets: u32) -> anyhow::Result<Self> {
        let vpc = Vpc {
            id: id("vpc", number)?,
            ranges: vec![net([10, 0, 0, 0], 16)],
            internet_gateway: Some(id("igw", number)?),
            dhcp: DhcpOptions::default(),
            dns_support: true,
            dns_hostnames: false,
            transit: 0xff_0000 + number,
        };
        let mut new = Self {
            vpc,
            subnets: Vec::new(),
            tables: Vec::new(),
            acls: Vec::new(),
            addresses: Vec::new(),
            leases: Vec::new(),
        };
        for third in 0..subnets {
            new.add(number * PER_VPC + third + 1, u8::try_from(third)?)?;
        }
        Ok(new)
    }

    fn add(&mut self, tag: u32, third: u8) -> anyhow::Result<()> {
        let everything =
            |number, allow| AclEntry { number, allow, traffic: Traffic::All, range: Net4::EVERYWHERE };
        let tcp = AclEntry { traffic: Traffic::Tcp { from: 22, to: 22 }, ..everything(50, false) };
        self.subnets.push(Subnet {
            id: id("subnet", tag)?,
            vpc: self.vpc.id.clone(),
            zone: ZONE.to_owned(),
            tag,
            range: net([10, 0, third, 0], 24),
            route_table: id("rtb", tag)?,
            acl: id("acl", tag)?,
        });
        let everywhere = Route { to: Net4::EVERYWHERE, target: RouteTarget::Internet };
        self.tables.push(RouteTable {
            id: id("rtb", tag)?,
            vpc: self.vpc.id.clone(),
            routes: vec![everywhere],
        });
        self.acls.push(Acl {
            id: id("acl", tag)?,
            vpc: self.vpc.id.clone(),
            ingress: vec![tcp, everything(100, true)],
            egress: vec![everything(100, true)],
        });
        self.launch(tag, third, 5)
    }

    fn launch(&mut self, tag: u32, third: u8, last: u8) -> anyhow::Result<()> {
        self.leases.push(Lease {
            tag,
            port: id("eni", (tag << 8) + u32::from(last))?,
            mac: format!("02:{:02x}:{:02x}:{:02x}:00:{last:02x}", tag >> 16, (tag >> 8) & 0xff, tag & 0xff),
            address: [10, 0, third, last].into(),
            hostname: format!("ip-10-0-{third}-{last}.ec2.internal"),
        });
        Ok(())
    }

    fn router(&self) -> anyhow::Result<Router> {
        let mut shapes = vec![Shape::Vpc(self.vpc.clone())];
        shapes.extend(self.subnets.iter().cloned().map(Shape::Subnet));
        shapes.extend(self.tables.iter().cloned().map(Shape::RouteTable));
        shapes.extend(self.acls.iter().cloned().map(Shape::Acl));
        shapes.extend(self.addresses.iter().cloned().map(Shape::Address));
        let input = Input::new(&shapes, self.leases.clone()).context("no VPC")?;
        router(&input, &site()).context("no router")
    }
}

struct Bench {
    network: NetworkConfig,
    driver: Flat,
    wanted: Wanted,
    vpcs: Vec<Owned>,
    /// Changes of one kind go there and back.
    turns: BTreeMap<String, u32>,
}

impl Bench {
    fn new(directory: &Path) -> anyhow::Result<Self> {
        let network = NetworkConfig {
            mode: NetworkMode::Managed,
            pairs: Vec::new(),
            forwarded: Vec::new(),
            bridge: BRIDGE.to_owned(),
            subnet: "172.31.0.0/20".parse().map_err(anyhow::Error::msg)?,
            gateway: [172, 31, 0, 1].into(),
            dns: vec![Ipv4Addr::LOCALHOST],
            run_dir: directory.join("run"),
            driver: Default::default(),
            trunk: None,
            vlan_first: None,
            vlan_last: None,
            tunnel_address: Some(Ipv4Addr::new(192, 0, 2, 1)),
            tunnel_mtu: 1500,
            vxlan_port: 4789,
            public_interface: None,
            masquerade_public: Some(false),
        };
        let driver = Flat::new(&network);
        let wanted = Wanted {
            tunnels: [1, 2, 3].map(|last| Ipv4Addr::new(192, 0, 2, last)).into(),
            ..Wanted::default()
        };
        Ok(Self { network, driver, wanted, vpcs: Vec::new(), turns: BTreeMap::new() })
    }

    fn subnets(&mut self, count: u32) -> anyhow::Result<()> {
        for number in u32::try_from(self.vpcs.len())?..count.div_ceil(PER_VPC) {
            self.vpcs.push(Owned::new(number, PER_VPC.min(count - number * PER_VPC))?);
            self.want(usize::try_from(number)?)?;
        }
        Ok(())
    }

    /// What a change of one VPC's rows makes anew.
    fn want(&mut self, number: usize) -> anyhow::Result<()> {
        let router = self.vpcs.get(number).context("no such VPC")?.router()?;
        self.wanted.routers.insert(router.vpc.clone(), Arc::new(router));
        let none = std::iter::empty::<(&PublicAddress, &Subnet)>();
        self.wanted.outside = outside(&site(), none, self.wanted.routers.values().map(Arc::as_ref));
        Ok(())
    }

    fn change(&mut self, kind: &str) -> anyhow::Result<()> {
        let turn = self.turns.entry(kind.to_owned()).or_default();
        *turn += 1;
        let (turn, is_there) = (*turn, *turn % 2 == 1);
        let vpc = self.vpcs.first_mut().context("no VPC")?;
        match kind {
            "acl" => {
                let entry =
                    vpc.acls.first_mut().and_then(|acl| acl.ingress.first_mut()).context("no entry")?;
                entry.traffic = Traffic::Tcp { from: 1, to: u16::try_from(turn)? };
            }
            "route" => {
                let routes = &mut vpc.tables.first_mut().context("no table")?.routes;
                routes.truncate(1);
                if is_there {
                    routes.push(Route { to: net([198, 51, 100, 0], 24), target: RouteTarget::Blackhole });
                }
            }
            "address" => {
                let lease = &vpc.leases[usize::from(is_there)];
                let subnet =
                    vpc.subnets.iter().find(|subnet| subnet.tag == lease.tag).context("no subnet")?;
                vpc.addresses = vec![PublicAddress {
                    public: Ipv4Addr::from(FIRST_PUBLIC),
                    private: lease.address,
                    port: lease.port.clone(),
                    vpc: vpc.vpc.id.clone(),
                    subnet: subnet.id.clone(),
                }];
            }
            "port" | "leg" if !is_there => drop(vpc.leases.pop()),
            "port" => vpc.launch(vpc.subnets[0].tag, 0, 77)?,
            "leg" => {
                let (tag, third) = (0xf_0000 + turn, 200);
                if vpc.subnets.len() > usize::try_from(PER_VPC)? {
                    vpc.subnets.pop();
                    vpc.tables.pop();
                    vpc.acls.pop();
                }
                vpc.add(tag, third)?;
            }
            _ => bail!("no such change: {kind}"),
        }
        self.want(0)
    }

    async fn apply(&mut self) -> anyhow::Result<()> {
        Ok(self.driver.apply(&self.wanted).await?)
    }
}

fn memory_kb() -> anyhow::Result<u128> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).context("no number")?.parse()?)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let directory = std::env::args().nth(1).context("a directory for its files")?;
    let mut bench = Bench::new(Path::new(&directory))?;
    let outcome = obey(&mut bench).await;
    let network = bench.network.clone();
    drop(bench);
    remove(&network).await?;
    outcome
}

async fn obey(bench: &mut Bench) -> anyhow::Result<()> {
    for line in std::io::stdin().lines() {
        let line = line?;
        let (command, argument) = line.split_once(' ').unwrap_or((&line, ""));
        let began = Instant::now();
        match command {
            "memory" => {
                println!("{}", memory_kb()?);
                continue;
            }
            "subnets" => bench.subnets(argument.parse()?)?,
            "again" => bench.driver = Flat::new(&bench.network),
            "round" => {}
            kind => bench.change(kind)?,
        }
        bench.apply().await?;
        println!("{}", began.elapsed().as_micros());
    }
    Ok(())
}
