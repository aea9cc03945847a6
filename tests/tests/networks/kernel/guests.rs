//! Machines at the ends of ports: each a namespace that speaks, hears and answers.

use super::must;
use crate::calls::NUMBERS;
use crate::model::passes::{Packet, What};
use karri_proto::instance::PortSpec;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, ipproto, socket_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// In which a packet comes that comes at all.
const QUIET_AFTER: Duration = Duration::from_millis(150);
/// For what is to come, on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(5);
const SOON: Duration = Duration::from_secs(1);
/// The first packets wait for answers to who has an address, and not all are waited with.
const SENT_TIMES: u32 = 2;
/// For so long a kernel takes no second word of where an address is. Calls come faster here than from people.
const BELIEVES: &str = "net.ipv4.neigh.eth0.locktime";
/// Who hears a ping is not told by the answer.
pub const ANSWERED: &str = "answered";

#[derive(Default)]
pub struct Guests {
    guests: BTreeMap<String, Guest>,
    count: usize,
    /// Of flows that were opened before and are gone on with.
    flows: BTreeMap<(String, Packet), UdpSocket>,
    looks: u32,
    /// How many of what was to pass did so soon, and of how many.
    pub soon: (usize, usize),
}

struct Guest {
    /// Its network namespace.
    name: String,
    hears: BTreeMap<(Ipv4Addr, u16), UdpSocket>,
    serves: Vec<TcpListener>,
}

/// A socket belongs to the namespace of the thread that made it.
fn inside<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    let file = std::fs::File::open(Path::new("/run/netns").join(namespace)).unwrap();
    std::thread::scope(|scope| {
        let there = scope.spawn(move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        });
        there.join().unwrap()
    })
}

fn udp(address: Ipv4Addr, port: u16) -> UdpSocket {
    let socket = UdpSocket::bind((address, port)).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn tcp(port: u16) -> TcpListener {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

/// What speaks for one packet.
enum Speaker {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Ping(UdpSocket),
}

fn speaker(packet: Packet) -> Speaker {
    let Packet { from, to, what } = packet;
    match what {
        What::Udp(_) => Speaker::Udp(udp(from, 0)),
        What::Tcp(port) => {
            let none = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket = socket_with(AddressFamily::INET, SocketType::STREAM, none, None).unwrap();
            bind(&socket, &SocketAddrV4::new(from, 0)).unwrap();
            // It is on its way, or it is refused: which of them is seen later.
            let _ = connect(&socket, &SocketAddrV4::new(to, port));
            Speaker::Tcp(TcpStream::from(socket))
        }
        What::Icmp(_) => {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket: OwnedFd =
                socket_with(AddressFamily::INET, SocketType::DGRAM, flags, Some(ipproto::ICMP)).unwrap();
            bind(&socket, &SocketAddrV4::new(from, 0)).unwrap();
            Speaker::Ping(UdpSocket::from(socket))
        }
    }
}

impl Guest {
    /// What hears at addresses that it has, and at no others.
    fn hear(&mut self, addresses: &[Ipv4Addr]) {
        self.hears.retain(|(address, _), _| addresses.contains(address));
        let all = addresses.iter().flat_map(|address| NUMBERS.map(|number| (*address, number)));
        let new: Vec<_> = all.filter(|at| !self.hears.contains_key(at)).collect();
        self.hears.extend(inside(&self.name, || {
            new.into_iter().map(|at| (at, udp(at.0, at.1))).collect::<Vec<_>>()
        }));
    }

    fn listen(&mut self, id: &str, look: u32, seen: &mut BTreeSet<(usize, String)>) {
        let mut words = [0; 8];
        for socket in self.hears.values() {
            while let Ok((_, from)) = socket.recv_from(&mut words) {
                let [at, number] =
                    [0, 4].map(|from| u32::from_be_bytes(*words[from..].first_chunk().unwrap()));
                // A router keeps for seconds what is for an address that nobody has: somebody has it now.
                if at == look {
                    seen.insert((number as usize, id.to_owned()));
                }
                // The flow has been answered then; whether that comes is asked with TCP.
                let _ = socket.send_to(&words, from);
            }
        }
        for listener in &self.serves {
            while let Ok((mut stream, _)) = listener.accept() {
                let _ = stream.write_all(id.as_bytes());
            }
        }
    }
}

impl Guests {
    /// A machine at this tap, or what is new at it.
    pub fn come(&mut self, port: &PortSpec, tap: &str, bridge: &str) {
        let id = port.id.to_string();
        let addresses: Vec<Ipv4Addr> = port.addresses().map(|(address, _)| address).collect();
        if !self.guests.contains_key(&id) {
            let name = format!("g{}", self.count);
            self.count += 1;
            must(&format!(
                "ip netns add {name}; \
                 ip link add {tap} mtu 1450 type veth peer name eth0 netns {name} mtu 1450 address {}; \
                 ip link set {tap} master {bridge} up; ip -n {name} link set lo up; ip -n {name} link set eth0 up; \
                 ip netns exec {name} sysctl -qw net.ipv4.ping_group_range='0 0' {BELIEVES}=0",
                port.mac
            ));
            let serves = inside(&name, || NUMBERS.map(tcp)).into_iter().collect();
            self.guests.insert(id.clone(), Guest { name, hears: BTreeMap::new(), serves });
        }
        let guest = self.guests.get_mut(&id).unwrap();
        let (name, prefix) = (&guest.name, port.subnet_cidr.split_once('/').unwrap().1);
        // The first one first: it is what the machine speaks as where nothing else is said.
        must(&format!("ip -n {name} address flush dev eth0"));
        for address in &addresses {
            must(&format!("ip -n {name} address add {address}/{prefix} dev eth0"));
        }
        must(&format!("ip -n {name} route add default via {}", port.gateway));
        guest.hear(&addresses);
        self.flows.retain(|(of, packet), _| *of != id || addresses.contains(&packet.from));
    }

    pub fn leave(&mut self, id: &str) {
        // Its sockets first: a namespace lives as long as they do.
        self.flows.retain(|(of, _), _| of != id);
        let guest = self.guests.remove(id).unwrap();
        must(&format!("ip netns delete {}", guest.name));
    }

    pub fn forget(&mut self) {
        self.flows.clear();
    }

    /// Which of them were heard by whom (UDP), or answered by whom. What is expected is waited for.
    pub fn seen(
        &mut self,
        sent: &[(String, Packet)],
        expected: &BTreeSet<(usize, String)>,
    ) -> BTreeSet<(usize, String)> {
        let mut seen = BTreeSet::new();
        for time in 0..SENT_TIMES {
            let silent = |number: &usize| !seen.iter().any(|(other, _)| other == number);
            let asked: Vec<usize> = (0..sent.len()).filter(silent).collect();
            let soon = self.ask(sent, &asked, expected, &mut seen);
            if time == 0 {
                self.soon = (self.soon.0 + soon, self.soon.1 + expected.len());
            }
        }
        self.looks += 1;
        seen
    }

    /// Returns how many of what is expected were soon there.
    fn ask(
        &mut self,
        sent: &[(String, Packet)],
        asked: &[usize],
        expected: &BTreeSet<(usize, String)>,
        seen: &mut BTreeSet<(usize, String)>,
    ) -> usize {
        let mut speakers = self.speakers(sent, asked);
        for (number, speaker) in &speakers {
            let packet = sent[*number].1;
            let words = [self.looks, u32::try_from(*number).unwrap()].map(u32::to_be_bytes).concat();
            // A refusal by an answer is none of this one's.
            let _ = match (speaker, packet.what) {
                (Speaker::Udp(socket), What::Udp(port)) => socket.send_to(&words, (packet.to, port)),
                (Speaker::Ping(socket), What::Icmp(kind)) => {
                    socket.send_to(&[kind, 0, 0, 0, 0, 0, 0, 1], (packet.to, 0))
                }
                _ => Ok(0),
            };
        }
        let (mut last, began, mut soon) = (Instant::now(), Instant::now(), 0);
        while last.elapsed() < QUIET_AFTER || (!expected.is_subset(seen) && began.elapsed() < PATIENCE) {
            let before = seen.len();
            self.guests.iter_mut().for_each(|(id, guest)| guest.listen(id, self.looks, seen));
            for (number, speaker) in &mut speakers {
                seen.extend(answered(speaker).map(|by| (*number, by)));
            }
            if seen.len() > before {
                last = Instant::now();
            }
            if began.elapsed() < SOON {
                soon = expected.intersection(seen).count();
            }
            std::thread::sleep(Duration::from_millis(5)); // between two looks, until it has been quiet
        }
        for (number, speaker) in speakers {
            if let Speaker::Udp(socket) = speaker {
                self.flows.insert(sent[number].clone(), socket);
            }
        }
        soon
    }

    /// Of UDP half of them go on with flows of before, others with each look.
    fn speakers(&mut self, sent: &[(String, Packet)], asked: &[usize]) -> Vec<(usize, Speaker)> {
        let mut speakers = Vec::new();
        let mut new: BTreeMap<&String, Vec<usize>> = BTreeMap::new();
        for number in asked {
            let goes_on = (*number as u32 + self.looks).is_multiple_of(2);
            match self.flows.remove(&sent[*number]).filter(|_| goes_on) {
                Some(socket) => speakers.push((*number, Speaker::Udp(socket))),
                None => new.entry(&sent[*number].0).or_default().push(*number),
            }
        }
        for (port, numbers) in new {
            let speak = || numbers.into_iter().map(|number| (number, speaker(sent[number].1)));
            speakers.extend(inside(&self.guests[port].name, || speak().collect::<Vec<_>>()));
        }
        speakers
    }
}

fn answered(speaker: &mut Speaker) -> Option<String> {
    let mut words = [0; 64];
    match speaker {
        Speaker::Udp(_) => None,
        Speaker::Tcp(stream) => {
            let count = stream.read(&mut words).ok().filter(|count| *count > 0)?;
            Some(String::from_utf8_lossy(&words[..count]).into_owned())
        }
        Speaker::Ping(socket) => socket.recv(&mut words).ok().map(|_| ANSWERED.to_owned()),
    }
}
