//! What the cluster was told, in the model's words.

use crate::model::{Entry, Model, Nat, Peer, Rule, Traffic};
use karri_proto::network::{self, Direction, Fact, FactTable, Net4, RouteTarget, Shape};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// Of all accounts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    pub ports: BTreeMap<String, (Vec<Ipv4Addr>, BTreeSet<String>)>,
    /// Rule, group, what it says. One that names a prefix list says as many things as that has entries.
    pub rules: BTreeSet<(String, String, Rule)>,
    /// To which private address of which port.
    pub public: BTreeMap<Ipv4Addr, (Ipv4Addr, String)>,
    pub gateways: BTreeMap<String, Option<String>>,
    pub subnets: BTreeMap<String, ToldSubnet>,
    pub routes: BTreeMap<String, BTreeMap<Net4, Way>>,
    pub nats: BTreeMap<String, Nat>,
    /// By direction and number.
    pub acls: BTreeMap<String, BTreeMap<(bool, u16), Entry>>,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    Out,
    Through(String),
    Nowhere,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldSubnet {
    pub vpc: String,
    pub range: Net4,
    pub table: String,
    pub acl: String,
}

impl Facts {
    pub fn by(models: &[&Model]) -> Self {
        let mut facts = Self::default();
        models.iter().for_each(|model| facts.add(model));
        facts
    }

    fn add(&mut self, model: &Model) {
        for (id, port) in model.living() {
            self.ports.insert(id.clone(), (port.addresses.clone(), port.groups.iter().cloned().collect()));
            for group in &port.groups {
                for (id, rule) in &model.groups[group].rules {
                    let parts = parts(model, rule).into_iter();
                    self.rules.extend(parts.map(|rule| (id.clone(), group.clone(), rule)));
                }
            }
        }
        for address in model.addresses.values() {
            let living = address.leads_to.clone().filter(|(port, _)| model.ports[port].instance.is_some());
            self.public.extend(living.map(|(port, private)| (address.public, (private, port))));
        }
        self.gateways.extend(model.vpcs.iter().map(|(id, vpc)| (id.clone(), vpc.gateway.clone())));
        for (id, table) in &model.tables {
            let routes = table.routes.iter();
            let way = |gateway: &String| match model.is_open(&table.vpc, gateway) {
                true if model.nats.contains_key(gateway) => Way::Through(gateway.clone()),
                true => Way::Out,
                false => Way::Nowhere,
            };
            let routes = routes.map(|(to, gateway)| (*to, way(gateway)));
            self.routes.insert(id.clone(), routes.collect());
        }
        self.nats.extend(model.nats.clone());
        self.acls.extend(model.acls.iter().map(|(id, acl)| (id.clone(), acl.entries.clone())));
        for (id, subnet) in &model.subnets {
            let (table, acl) = (model.table_of(id).clone(), subnet.acl.clone());
            let told = ToldSubnet { vpc: subnet.vpc.clone(), range: subnet.range, table, acl };
            self.subnets.insert(id.clone(), told);
        }
    }

    pub fn of(table: &FactTable, models: &[&Model]) -> Self {
        let mut facts = Self::default();
        let is_own = |vpc: &str| models.iter().any(|model| model.vpcs.contains_key(vpc));
        for fact in table.facts() {
            match fact {
                Fact::Port(port) if is_own(port.vpc.as_str()) => {
                    let groups = port.groups.iter().map(ToString::to_string).collect();
                    facts.ports.insert(port.id.to_string(), (port.addresses, groups));
                }
                Fact::Port(_) => {}
                Fact::Rule(rule) => {
                    let id = rule.part_of.as_ref().unwrap_or(&rule.id).to_string();
                    facts.rules.insert((id, rule.group.to_string(), rule_of(&rule)));
                }
                Fact::Shape(shape) if is_own(shape.vpc().as_str()) => facts.shape(shape),
                Fact::Shape(_) => {}
                Fact::Hosts(hosts) => panic!("there is one cluster: {hosts:?}"),
            }
        }
        facts
    }

    fn shape(&mut self, shape: Shape) {
        match shape {
            Shape::Vpc(vpc) => {
                let gateway = vpc.internet_gateway.map(|gateway| gateway.to_string());
                self.gateways.insert(vpc.id.to_string(), gateway);
            }
            Shape::Subnet(subnet) => {
                let (table, acl) = (subnet.route_table.to_string(), subnet.acl.to_string());
                let told = ToldSubnet { vpc: subnet.vpc.to_string(), range: subnet.range, table, acl };
                self.subnets.insert(subnet.id.to_string(), told);
            }
            Shape::RouteTable(table) => {
                let routes = table.routes.iter();
                let way = |target: &RouteTarget| match target {
                    RouteTarget::Internet => Way::Out,
                    RouteTarget::Nat(id) => Way::Through(id.to_string()),
                    RouteTarget::Blackhole => Way::Nowhere,
                    RouteTarget::Interface(id) => panic!("nobody has asked for {id}"),
                };
                let routes = routes.map(|route| (route.to, way(&route.target)));
                self.routes.insert(table.id.to_string(), routes.collect());
            }
            Shape::Acl(acl) => {
                let ways = [(true, &acl.egress), (false, &acl.ingress)].into_iter();
                let entries = ways.flat_map(|(way, entries)| entries.iter().map(move |of| (way, of)));
                let entries = entries.map(|(way, of)| ((way, of.number), entry_of(of)));
                self.acls.insert(acl.id.to_string(), entries.collect());
            }
            Shape::Address(address) => {
                self.public.insert(address.public, (address.private, address.port.to_string()));
            }
            Shape::Nat(nat) => {
                let (subnet, public) = (nat.subnet.to_string(), nat.public.unwrap());
                self.nats.insert(nat.id.to_string(), Nat { subnet, private: nat.private, public });
            }
            Shape::Far(port) => panic!("there is one cluster: {port:?}"),
        }
    }
}

/// Clusters know no prefix lists.
fn parts(model: &Model, rule: &Rule) -> Vec<Rule> {
    match &rule.peer {
        Peer::Range(_) | Peer::Group(_) => vec![rule.clone()],
        Peer::List(list) => {
            let entries = model.lists[list].entries.iter();
            entries.map(|range| Rule { peer: Peer::Range(*range), ..rule.clone() }).collect()
        }
    }
}

fn traffic_of(traffic: network::Traffic) -> Traffic {
    match traffic {
        network::Traffic::All => Traffic::All,
        network::Traffic::Tcp { from, to } => Traffic::Tcp(from, to),
        network::Traffic::Udp { from, to } => Traffic::Udp(from, to),
        network::Traffic::Icmp { r#type, code: None } => Traffic::Icmp(r#type),
        other => panic!("nobody has asked for {other:?}"),
    }
}

fn rule_of(rule: &network::GroupRule) -> Rule {
    let peer = match &rule.peer {
        network::Peer::V4(range) => Peer::Range(*range),
        network::Peer::Group(group) => Peer::Group(group.to_string()),
        network::Peer::V6(range) => panic!("nobody has asked for {range:?}"),
    };
    Rule { outward: rule.direction == Direction::Egress, traffic: traffic_of(rule.traffic), peer }
}

fn entry_of(entry: &network::AclEntry) -> Entry {
    Entry { allow: entry.allow, traffic: traffic_of(entry.traffic), range: entry.range }
}
