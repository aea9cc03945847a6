//! Private addresses: each network hands them out round and round, so that an address just freed is not the next to
//! be given away. A subnet with a segment of its own is a network; all flat subnets of a zone are one.
//!
//! Pure. The unique index in the database has the last word when several controllers allot at once.

use karri_proto::instance::PortSpec;
use karri_proto::network::Net4;
use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

/// EC2 keeps the first four addresses of a subnet and the last.
const RESERVED_AT_START: u32 = 4;

/// Of a VPC that is made for its subnets.
const VPC_PREFIX: u32 = 16;

/// An IPv4 range in the form `172.31.0.0/20`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    first: u32,
    last: u32,
}

impl Cidr {
    /// None also of one that is too large or too small for anything that hands out addresses.
    pub fn parse(text: &str) -> Option<Self> {
        Self::parse_any(text).filter(|range| (8..=30).contains(&range.prefix()))
    }

    /// However large or small it is.
    pub fn parse_any(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let (address, prefix): (Ipv4Addr, u32) = (address.parse().ok()?, prefix.parse().ok()?);
        let hosts = if prefix > 32 { None } else { Some(u32::MAX.checked_shr(prefix).unwrap_or(0)) }?;
        let first = u32::from(address) & !hosts;
        Some(Self { first, last: first | hosts })
    }

    /// None as of `parse`.
    pub fn of(net: Net4) -> Option<Self> {
        Self::parse(&net.to_string())
    }

    pub fn prefix(&self) -> u32 {
        (self.last - self.first).leading_zeros()
    }

    pub fn covers(&self, other: &Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    pub fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// The first address that is not the network's own: a router's.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.first + 1)
    }

    /// The smallest range with both.
    fn with(self, other: &Self) -> Self {
        let (first, last) = (self.first.min(other.first), self.last.max(other.last));
        let hosts = u32::MAX.checked_shr((first ^ last).leading_zeros()).unwrap_or(0);
        Self { first: first & !hosts, last: first | hosts }
    }

    /// The smallest range with it that is no smaller than that prefix says.
    fn widened(self, prefix: u32) -> Self {
        let hosts = (self.last - self.first) | u32::MAX >> prefix;
        Self { first: self.first & !hosts, last: self.first | hosts }
    }

    /// Whether EC2 lets an instance have it.
    pub fn is_assignable(&self, address: Ipv4Addr) -> bool {
        let address = u32::from(address);
        address >= self.first + RESERVED_AT_START && address < self.last
    }

    /// How many addresses instances can have.
    pub fn size(&self) -> u32 {
        (self.last - self.first).saturating_sub(RESERVED_AT_START)
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.first), self.prefix())
    }
}

/// A VPC's own range where that has all of its subnets, else the least that has: the ranges of subnets are their
/// clusters' configuration. As large as a default VPC at least, so that it does not grow with the next zone.
pub fn range_of_vpc<'a>(own: &str, subnets: impl Iterator<Item = &'a str>) -> String {
    let subnets: Vec<Cidr> = subnets.filter_map(Cidr::parse).collect();
    let fits = Cidr::parse(own).is_none_or(|own| subnets.iter().all(|subnet| own.covers(subnet)));
    let all = subnets.iter().copied().reduce(|all, one| all.with(&one)).filter(|_| !fits);
    all.map_or_else(|| own.to_owned(), |all| all.widened(VPC_PREFIX).to_string())
}

/// What a subnet's addresses are handed out by; `tag` is that of its segment.
pub fn network_name(tag: u32, subnet: &str, cluster: &str) -> String {
    if tag == 0 { format!("flat/{cluster}") } else { subnet.to_owned() }
}

/// The same of a port that is there.
pub fn network_of(port: &PortSpec, cluster: &str) -> String {
    network_name(port.segment, port.subnet_id.as_str(), cluster)
}

/// By the names of networks.
#[derive(Debug, Default)]
pub struct AddressBook(HashMap<String, Pool>);

/// Pools that nobody has an address of are let go of when there are more.
const POOLS_MAX: usize = 10_000;

#[derive(Debug, Default)]
struct Pool {
    taken: HashSet<Ipv4Addr>,
    next: u32,
    /// Only these; none: all of the range.
    listed: Option<Vec<Ipv4Addr>>,
}

impl Pool {
    /// How many there are to give out.
    fn size(&self, range: Cidr) -> u32 {
        let listed = self.listed.as_ref().map(|listed| u32::try_from(listed.len()).unwrap_or(u32::MAX));
        listed.unwrap_or(range.size())
    }

    fn at(&self, range: Cidr, offset: u32) -> Option<Ipv4Addr> {
        match &self.listed {
            Some(listed) => listed.get(usize::try_from(offset).ok()?).copied(),
            None => Some(Ipv4Addr::from(range.first + RESERVED_AT_START + offset)),
        }
    }
}

impl AddressBook {
    fn pool(&mut self, network: &str) -> &mut Pool {
        if self.0.len() > POOLS_MAX {
            self.0.retain(|_, pool| !pool.taken.is_empty() || pool.listed.is_some());
        }
        self.0.entry(network.to_owned()).or_default()
    }

    /// The next free address of the range; none when it is full.
    pub fn take(&mut self, network: &str, range: Cidr) -> Option<Ipv4Addr> {
        let pool = self.pool(network);
        let size = pool.size(range);
        for step in 0..size {
            let offset = pool.next.wrapping_add(step) % size;
            let address = pool.at(range, offset)?;
            if pool.taken.insert(address) {
                pool.next = (offset + 1) % size;
                return Some(address);
            }
        }
        None
    }

    /// One particular address; false: somebody has it.
    pub fn take_this(&mut self, network: &str, address: Ipv4Addr) -> bool {
        self.pool(network).taken.insert(address)
    }

    pub fn release(&mut self, network: &str, address: Ipv4Addr) {
        if let Some(pool) = self.0.get_mut(network) {
            pool.taken.remove(&address);
        }
    }

    /// The network is no more.
    pub fn forget(&mut self, network: &str) {
        self.0.remove(network);
    }

    pub fn free_count(&self, network: &str, range: Cidr) -> u32 {
        let Some(pool) = self.0.get(network) else { return range.size() };
        let taken = match &pool.listed {
            // One that is not listed any more may still be somebody's.
            Some(listed) => listed.iter().filter(|address| pool.taken.contains(address)).count(),
            None => pool.taken.len(),
        };
        pool.size(range).saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX))
    }

    /// From now on it gives out these alone; none: all of its range.
    pub fn list(&mut self, network: &str, listed: Option<Vec<Ipv4Addr>>) {
        if listed.is_some() || self.0.contains_key(network) {
            self.pool(network).listed = listed;
        }
    }

    /// Whether it is one to be given out, taken or not.
    pub fn is_assignable(&self, network: &str, range: Cidr, address: Ipv4Addr) -> bool {
        match self.0.get(network).and_then(|pool| pool.listed.as_ref()) {
            Some(listed) => listed.contains(&address),
            None => range.is_assignable(address),
        }
    }
}

/// The MAC that goes with an address: unique on the cluster's bridge as long as the address is, and the
/// same again when the address is given out again, so that no neighbour's ARP table is wrong.
pub fn mac_of(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    // 02: locally administered, unicast.
    format!("02:6b:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        Cidr::parse(text).unwrap()
    }

    #[test]
    fn a_vpc_has_all_of_its_subnets() {
        let own = "172.31.0.0/16";
        for (subnets, range) in [
            (&[][..], own),
            (&["172.31.0.0/20", "172.31.240.0/20"], own),
            (&["10.20.16.0/20"], "10.20.0.0/16"),
            (&["10.20.16.0/20", "10.20.32.0/20"], "10.20.0.0/16"),
            (&["10.20.16.0/20", "10.21.0.0/20"], "10.20.0.0/15"),
            (&["172.31.0.0/20", "172.30.0.0/20"], "172.30.0.0/15"),
            (&["10.0.0.0/8"], "10.0.0.0/8"),
            (&["10.0.0.0/24", "192.168.0.0/24"], "0.0.0.0/0"),
        ] {
            assert_eq!(range_of_vpc(own, subnets.iter().copied()), range, "{subnets:?}");
        }
    }

    #[test]
    fn five_addresses_of_a_subnet_are_never_given_out() {
        let (mut book, range) = (AddressBook::default(), cidr("10.0.0.0/29"));
        let given: Vec<String> =
            std::iter::from_fn(|| book.take("a", range)).map(|ip| ip.to_string()).collect();
        assert_eq!(given, ["10.0.0.4", "10.0.0.5", "10.0.0.6"]);
        assert_eq!(book.free_count("a", range), 0);
        assert_eq!(book.free_count("b", range), 3, "another network has the same range");
    }

    #[test]
    fn a_network_with_a_list_gives_out_that_and_nothing_else() {
        let (mut book, range) = (AddressBook::default(), cidr("10.0.0.0/24"));
        let address = |last: u8| Ipv4Addr::new(10, 0, 0, last);
        book.list("a", Some(vec![address(2), address(77)]));
        assert_eq!(book.free_count("a", range), 2);
        let given: Vec<_> = std::iter::from_fn(|| book.take("a", range)).collect();
        assert_eq!(given, [address(2), address(77)], "also what EC2 would keep for itself");
        assert_eq!(book.free_count("a", range), 0);
        book.release("a", address(77));
        assert_eq!(book.take("a", range), Some(address(77)));
        book.list("a", Some(vec![address(77), address(78)]));
        assert_eq!((book.free_count("a", range), book.take("a", range)), (1, Some(address(78))));
        let assignable = |book: &AddressBook, last| book.is_assignable("a", range, address(last));
        assert!(assignable(&book, 77) && !assignable(&book, 9));
        book.list("a", None);
        assert!(assignable(&book, 9) && !assignable(&book, 2));
    }

    #[test]
    fn a_freed_address_is_the_last_to_be_given_out_again() {
        let (mut book, range) = (AddressBook::default(), cidr("10.0.0.0/29"));
        let first = book.take("a", range).unwrap();
        book.release("a", first);
        let later: Vec<_> = std::iter::from_fn(|| book.take("a", range)).collect();
        assert_eq!(later.last(), Some(&first));
        assert_eq!(later.len(), 3);
    }

    #[test]
    fn ranges_that_are_none_give_nothing() {
        for bad in ["", "10.0.0.0", "10.0.0.0/31", "10.0.0.0/7", "x/20"] {
            assert_eq!(Cidr::parse(bad), None, "{bad}");
        }
        let cidr = cidr("172.31.0.0/20");
        assert!(cidr.is_assignable("172.31.15.254".parse().unwrap()));
        assert!(!cidr.is_assignable("172.31.15.255".parse().unwrap()));
        assert!(!cidr.is_assignable("172.31.0.3".parse().unwrap()));
        assert!(!cidr.is_assignable("172.31.16.4".parse().unwrap()));
    }
}
