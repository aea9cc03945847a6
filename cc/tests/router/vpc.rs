//! VPCs as the cluster is told of them. All of them have the same ranges.

use karri_cc::app::router::{Input, Lease};
use karri_proto::network::{
    Acl, AclEntry, AddressRange, DhcpOptions, Nat, Net4, PublicAddress, RegionNames, Route, RouteTable,
    RouteTarget, SegmentTag, Shape, Subnet, Traffic, Vpc,
};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

pub struct TestVpc {
    pub number: u32,
    pub vpc: Vpc,
    pub subnets: BTreeMap<&'static str, Subnet>,
    pub tables: BTreeMap<&'static str, RouteTable>,
    pub acls: BTreeMap<&'static str, Acl>,
    pub nats: Vec<Nat>,
    pub addresses: Vec<PublicAddress>,
    pub leases: BTreeMap<&'static str, Lease>,
}

pub fn net(text: &str) -> Net4 {
    let (address, prefix) = text.split_once('/').unwrap();
    Net4 { address: address.parse().unwrap(), prefix: prefix.parse().unwrap() }
}

pub fn id<T: std::str::FromStr>(prefix: &str, number: u32) -> T
where
    T::Err: std::fmt::Debug,
{
    format!("{prefix}-{number:017x}").parse().unwrap()
}

pub fn region_names() -> RegionNames {
    RegionNames {
        domain: "ec2.internal".to_owned(),
        public_domain: "compute-1.internal".to_owned(),
        public: vec![AddressRange { first: [203, 0, 113, 1].into(), last: [203, 0, 113, 254].into() }],
    }
}

pub fn entry(number: u16, allow: bool, traffic: Traffic, range: &str) -> AclEntry {
    AclEntry { number, allow, traffic, range: net(range) }
}

impl TestVpc {
    /// With subnets a (10.0.0.0/24) and b (10.0.1.0/24), and an instance of the same name in each.
    pub fn new(number: u32) -> Self {
        let vpc = Vpc {
            id: id("vpc", number),
            ranges: vec![net("10.0.0.0/16")],
            internet_gateway: Some(id("igw", number)),
            dhcp: DhcpOptions::default(),
            dns_support: true,
            dns_hostnames: true,
            transit: number << 8,
        };
        let mut new = Self {
            number,
            vpc,
            subnets: BTreeMap::new(),
            tables: BTreeMap::new(),
            acls: BTreeMap::new(),
            nats: Vec::new(),
            addresses: Vec::new(),
            leases: BTreeMap::new(),
        };
        for (third, name) in [(0u8, "a"), (1, "b")] {
            let tag: SegmentTag = (number << 8) + u32::from(third) + 1;
            new.subnets.insert(
                name,
                Subnet {
                    id: id("subnet", tag),
                    vpc: id("vpc", number),
                    zone: "zone-a".to_owned(),
                    tag,
                    range: net(&format!("10.0.{third}.0/24")),
                    route_table: id("rtb", tag),
                    acl: id("acl", tag),
                },
            );
            let table = RouteTable { id: id("rtb", tag), vpc: id("vpc", number), routes: Vec::new() };
            new.tables.insert(name, table);
            let open = || vec![entry(100, true, Traffic::All, "0.0.0.0/0")];
            let acl = Acl { id: id("acl", tag), vpc: id("vpc", number), ingress: open(), egress: open() };
            new.acls.insert(name, acl);
            new.launch(name, name, 5);
        }
        new
    }

    pub fn launch(&mut self, name: &'static str, subnet: &str, last: u8) {
        let tag = self.subnets[subnet].tag;
        let third = u8::try_from((tag & 0xff) - 1).unwrap();
        let lease = Lease {
            tag,
            port: id("eni", (tag << 8) + u32::from(last)),
            mac: format!("02:00:{:02x}:00:{third:02x}:{last:02x}", self.number),
            address: [10, 0, third, last].into(),
            hostname: format!("ip-10-0-{third}-{last}.ec2.internal"),
        };
        self.leases.insert(name, lease);
    }

    pub fn lease(&self, name: &str) -> &Lease {
        &self.leases[name]
    }

    pub fn route(&mut self, table: &str, to: &str, target: RouteTarget) {
        let routes = &mut self.tables.get_mut(table).unwrap().routes;
        routes.retain(|route| route.to != net(to));
        routes.push(Route { to: net(to), target });
    }

    /// The public address leads to that instance from now on.
    pub fn associate(&mut self, public: Ipv4Addr, name: &str) {
        self.disassociate(public);
        let lease = self.lease(name).clone();
        self.addresses.push(PublicAddress {
            public,
            private: lease.address,
            port: lease.port,
            vpc: self.vpc.id.clone(),
            subnet: id("subnet", lease.tag),
        });
    }

    pub fn disassociate(&mut self, public: Ipv4Addr) {
        self.addresses.retain(|address| address.public != public);
    }

    pub fn nat(&mut self, subnet: &str, public: Ipv4Addr) -> RouteTarget {
        let nat = Nat {
            id: id("nat", self.number),
            vpc: self.vpc.id.clone(),
            subnet: self.subnets[subnet].id.clone(),
            private: [10, 0, 0, 200].into(),
            public: Some(public),
        };
        let target = RouteTarget::Nat(nat.id.clone());
        self.nats.push(nat);
        target
    }

    pub fn input(&self) -> Input {
        let mut shapes = vec![Shape::Vpc(self.vpc.clone())];
        shapes.extend(self.subnets.values().cloned().map(Shape::Subnet));
        shapes.extend(self.tables.values().cloned().map(Shape::RouteTable));
        shapes.extend(self.acls.values().cloned().map(Shape::Acl));
        shapes.extend(self.nats.iter().cloned().map(Shape::Nat));
        shapes.extend(self.addresses.iter().cloned().map(Shape::Address));
        let leases = self.leases.values().filter(|lease| lease.tag != 0).cloned().collect();
        Input { names: Some(region_names().into()), ..Input::new(&shapes, leases).unwrap() }
    }

    /// Public addresses of instances on the flat network.
    pub fn flat(&self) -> Vec<(PublicAddress, Subnet)> {
        let subnet = |address: &PublicAddress| {
            self.subnets.values().find(|subnet| subnet.id == address.subnet && subnet.tag == 0).cloned()
        };
        self.addresses.iter().filter_map(|address| Some((address.clone(), subnet(address)?))).collect()
    }
}
