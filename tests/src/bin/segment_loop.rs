//! For `tests/bench/throughput.py`: a node with ports on one segment, in the network namespace that it is started in, until
//! standard input ends. It says the taps of its ports, one a line, and `ready` once it may be spoken to.
//!
//! ```text
//!   segment_loop node DIRECTORY TUNNEL_ADDRESS OTHER_ADDRESS NUMBER…   ports of these numbers, all in one group
//!   segment_loop sink PORT                 takes streams, and says of each its bits a second
//!   segment_loop stream ADDRESS PORT MS    sends one
//!   segment_loop answer PORT               answers the first datagram of each sender
//!   segment_loop flood ADDRESS PORT MS     sends datagrams of one byte, once the first is answered
//! ```

use anyhow::{Context, bail};
use karri_nc::app::owner_tag::Owner;
use karri_nc::drive::ports::{BridgePorts, Facts, Place, Port, Ports, TapNames, Wire};
use karri_proto::network::{
    Direction, Fact, FactChange, FactTable, GroupRule, Net4, Peer, PortFact, SegmentTag, Traffic,
};
use std::collections::HashSet;
use std::io::{BufRead, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SEGMENT: SegmentTag = 0x1001;
const TUNNEL_MTU: u32 = 1500;
const CHUNK: usize = 128 * 1024;
const BURST: u32 = 64;
const LOOK_EVERY: Duration = Duration::from_secs(3);
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

struct Told(Arc<FactTable>);

impl Facts for Told {
    fn table(&self) -> Arc<FactTable> {
        self.0.clone()
    }
}

fn id<T: std::str::FromStr>(text: &str) -> anyhow::Result<T>
where
    T::Err: std::fmt::Debug,
{
    text.parse().map_err(|fault| anyhow::anyhow!("{text}: {fault:?}"))
}

fn port(names: &TapNames, number: u8) -> anyhow::Result<Port> {
    Ok(Port {
        id: id(&format!("eni-0000000{number:010x}"))?,
        tap: format!("{}{number:010x}", names.prefix()),
        mac: format!("02:00:00:00:00:{number:02x}"),
        address: Ipv4Addr::new(10, 0, 0, number),
        secondary: Vec::new(),
        source_dest_check: true,
        of_site: false,
        segment: SEGMENT,
        subnet_cidr: "10.0.0.0/24".to_owned(),
        gateway: Ipv4Addr::new(10, 0, 0, 1),
    })
}

/// What a default group says: everything outward, and inward what its members send. All ports of all nodes are in it.
fn facts(names: &TapNames, ports: u8) -> anyhow::Result<FactTable> {
    let group = || id("sg-00000001");
    let rule = |number: &str, direction, peer| -> anyhow::Result<Fact> {
        let (id, part_of) = (id(number)?, None);
        Ok(Fact::Rule(GroupRule { group: group()?, id, direction, traffic: Traffic::All, peer, part_of }))
    };
    let mut table = FactTable::default();
    let mut put = |fact| drop(table.apply(FactChange::Put(fact)));
    put(rule("sgr-00000001", Direction::Egress, Peer::V4(Net4::EVERYWHERE))?);
    put(rule("sgr-00000002", Direction::Ingress, Peer::Group(group()?))?);
    for number in 1..=ports {
        let Port { id: own, address, .. } = port(names, number)?;
        let (vpc, groups) = (id("vpc-00000001")?, vec![group()?]);
        put(Fact::Port(PortFact { id: own, vpc, addresses: vec![address], groups }));
    }
    Ok(table)
}

async fn node(directory: &str, own: Ipv4Addr, other: Ipv4Addr, numbers: &[String]) -> anyhow::Result<()> {
    let names = TapNames::new(&Owner { cloud: "bench".to_owned(), node: own.to_string() });
    let place = Place {
        bridge: "karri-b0",
        uplink: None,
        metadata_address: Ipv4Addr::new(169, 254, 88, 1),
        wire: Wire::by(None, Some(own), 4789),
        tunnel_mtu: TUNNEL_MTU,
        vxlan_port: 4789,
        shortcut: true,
        state_dir: directory.as_ref(),
        boot_id: "bench",
    };
    let table = Told(Arc::new(facts(&names, 16)?));
    let ports = BridgePorts::open(place, names.clone(), Arc::new(table)).await?;
    let numbers: Vec<u8> = numbers.iter().map(|number| number.parse()).collect::<Result<_, _>>()?;
    let plugged: Vec<Port> = numbers.iter().map(|number| port(&names, *number)).collect::<Result<_, _>>()?;
    ports.mend(&[]).await?;
    ports.tunnels_told(&[own, other]).await?;
    ports.plug(&plugged).await?;
    plugged.iter().for_each(|port| println!("{}", port.tap));
    println!("ready");
    // As a node does. What is at a guest's link comes with a look.
    let looks = async {
        loop {
            ports.mend(&plugged).await?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().lock().lines().for_each(drop));
    tokio::select! {
        failed = looks => failed,
        ended = ended => Ok(ended?),
    }
}

fn sink(port: u16) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    println!("ready");
    let mut buffer = vec![0; 8 * CHUNK];
    loop {
        let (mut stream, _) = listener.accept()?;
        let (began, mut bytes) = (Instant::now(), 0_u64);
        loop {
            match stream.read(&mut buffer)? {
                0 => break,
                count => bytes += count as u64,
            }
        }
        println!("{:.0}", bytes as f64 * 8.0 / began.elapsed().as_secs_f64());
    }
}

fn stream(address: &str, port: u16, time: Duration) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect((address, port))?;
    let (chunk, end) = (vec![7; CHUNK], Instant::now() + time);
    while Instant::now() < end {
        stream.write_all(&chunk)?;
    }
    Ok(())
}

fn answer(port: u16) -> anyhow::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
    println!("ready");
    let (mut known, mut buffer) = (HashSet::new(), [0; 64]);
    loop {
        let (_, sender) = socket.recv_from(&mut buffer)?;
        if known.insert(sender) {
            socket.send_to(b"y", sender)?;
        }
    }
}

fn flood(address: &str, port: u16, time: Duration) -> anyhow::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect((address, port))?;
    socket.set_read_timeout(Some(ANSWERED_WITHIN))?;
    socket.send(b"x")?;
    socket.recv(&mut [0; 64]).context("nobody answers")?;
    let end = Instant::now() + time;
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
    let time = |text: &str| anyhow::Ok(Duration::from_millis(text.parse()?));
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["node", directory, own, other, ..] => {
            node(directory, own.parse()?, other.parse()?, &arguments[4..]).await
        }
        ["sink", port] => sink(port.parse()?),
        ["stream", address, port, ms] => stream(address, port.parse()?, time(ms)?),
        ["answer", port] => answer(port.parse()?),
        ["flood", address, port, ms] => flood(address, port.parse()?, time(ms)?),
        _ => bail!("what is {arguments:?}?"),
    }
}
