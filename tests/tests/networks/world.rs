//! What the database says, as the API tells it, and what the cluster was told: both beside what the model says.

use crate::model::{Entry, Model, Peer, Rule};
use crate::support::{Answer, Client};
use crate::xml::Element;
use karri_proto::network::{self, Direction, Fact, FactTable, Net4, RouteTarget, Shape, Traffic};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

type Ports = Option<(u16, u16)>;

/// As EC2 tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    pub vpcs: BTreeMap<String, String>,
    /// VPC, range, free addresses.
    pub subnets: BTreeMap<String, (String, String, usize)>,
    /// By group and their own ids.
    pub rules: BTreeMap<(String, String), Rule>,
    pub ports: BTreeMap<String, ToldPort>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldPort {
    pub subnet: String,
    /// With the public address of each.
    pub addresses: Vec<(Ipv4Addr, Option<Ipv4Addr>)>,
    pub groups: BTreeSet<String>,
    pub instance: Option<(String, u32)>,
}

impl Told {
    pub fn by(model: &Model) -> Self {
        let port = |(id, port): (&String, &crate::model::Port)| {
            let addresses = port.addresses.iter().map(|one| (*one, model.public_of(id, *one))).collect();
            let groups = port.groups.iter().cloned().collect();
            (
                id.clone(),
                ToldPort { subnet: port.subnet.clone(), addresses, groups, instance: port.instance.clone() },
            )
        };
        let rules = model.groups.iter().flat_map(|(group, of)| {
            of.rules.iter().map(move |(id, rule)| ((group.clone(), id.clone()), rule.clone()))
        });
        let subnet = |(id, subnet): (&String, &crate::model::Subnet)| {
            (id.clone(), (subnet.vpc.clone(), subnet.range.to_string(), model.free(id)))
        };
        Self {
            vpcs: model.vpcs.iter().map(|(id, vpc)| (id.clone(), vpc.range.to_string())).collect(),
            subnets: model.subnets.iter().map(subnet).collect(),
            rules: rules.collect(),
            ports: model.ports.iter().map(port).collect(),
        }
    }

    pub async fn asked(client: &Client, model: &Model) -> Self {
        let own = [("Filter.1.Name", "is-default"), ("Filter.1.Value.1", "false")];
        let vpcs = Element::parse(&client.ec2("DescribeVpcs", &own).await.ok().text);
        let subnets = Element::parse(&client.ec2("DescribeSubnets", &[]).await.ok().text);
        let rules = rules_of(&client.ec2("DescribeSecurityGroupRules", &[]).await.ok());
        let ports = Element::parse(&client.ec2("DescribeNetworkInterfaces", &[]).await.ok().text);
        let vpcs: BTreeMap<_, _> =
            vpcs.items("vpcSet").iter().map(|vpc| (vpc.text("vpcId"), vpc.text("cidrBlock"))).collect();
        let of_own = |of: &Element| vpcs.contains_key(&of.text("vpcId"));
        let subnet = |of: &Element| {
            let free = of.text("availableIpAddressCount").parse().unwrap();
            (of.text("subnetId"), (of.text("vpcId"), of.text("cidrBlock"), free))
        };
        let known = |group: &String| model.groups.contains_key(group);
        let rules = rules.into_iter().filter(|(group, ..)| known(group));
        Self {
            subnets: subnets.items("subnetSet").iter().filter(|of| of_own(of)).map(subnet).collect(),
            rules: rules.map(|(group, id, rule)| ((group, id), rule)).collect(),
            ports: ports.items("networkInterfaceSet").iter().filter(|of| of_own(of)).map(port_of).collect(),
            vpcs,
        }
    }
}

fn port_of(of: &Element) -> (String, ToldPort) {
    let address = |one: &Element| {
        let public =
            one.child("association").map(|association| association.text("publicIp").parse().unwrap());
        (one.text("privateIpAddress").parse().unwrap(), public)
    };
    let attachment = of.child("attachment");
    let instance = attachment.map(|at| (at.text("instanceId"), at.text("deviceIndex").parse().unwrap()));
    let told = ToldPort {
        subnet: of.text("subnetId"),
        addresses: of.items("privateIpAddressesSet").iter().map(address).collect(),
        groups: of.items("groupSet").iter().map(|group| group.text("groupId")).collect(),
        instance,
    };
    (of.text("networkInterfaceId"), told)
}

/// Group, id, what it says.
pub fn rules_of(answer: &Answer) -> Vec<(String, String, Rule)> {
    let rule = |of: &Element| {
        let ports = match of.text("ipProtocol").as_str() {
            "-1" => None,
            "udp" => Some((of.text("fromPort").parse().unwrap(), of.text("toPort").parse().unwrap())),
            other => panic!("a rule of {other}"),
        };
        let peer = match of.child("referencedGroupInfo") {
            Some(group) => Peer::Group(group.text("groupId")),
            None => Peer::Range(crate::calls::net(&of.text("cidrIpv4"))),
        };
        let rule = Rule { outward: of.text("isEgress") == "true", ports, peer };
        (of.text("groupId"), of.text("securityGroupRuleId"), rule)
    };
    Element::parse(&answer.text).items("securityGroupRuleSet").iter().map(rule).collect()
}

/// As the cluster is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    pub ports: BTreeMap<String, (Vec<Ipv4Addr>, BTreeSet<String>)>,
    pub rules: BTreeMap<String, (String, Rule)>,
    /// To which private address of which port.
    pub public: BTreeMap<Ipv4Addr, (Ipv4Addr, String)>,
    pub gateways: BTreeMap<String, Option<String>>,
    pub subnets: BTreeMap<String, (String, Net4)>,
    /// Whether everything else is reached by the internet gateway; none: there is no such route.
    pub routes: BTreeMap<String, Option<bool>>,
    pub entries: BTreeMap<(String, bool, u16), Entry>,
}

impl Facts {
    pub fn by(model: &Model) -> Self {
        let mut facts = Self::default();
        for (id, port) in model.living() {
            facts.ports.insert(id.clone(), (port.addresses.clone(), port.groups.iter().cloned().collect()));
            for group in &port.groups {
                let rules = model.groups[group].rules.iter();
                facts.rules.extend(rules.map(|(id, rule)| (id.clone(), (group.clone(), rule.clone()))));
            }
        }
        for address in model.addresses.values() {
            let living = address.leads_to.clone().filter(|(port, _)| model.ports[port].instance.is_some());
            facts.public.extend(living.map(|(port, private)| (address.public, (private, port))));
        }
        for (id, vpc) in &model.vpcs {
            facts.gateways.insert(id.clone(), vpc.gateway.clone());
            facts.routes.insert(vpc.table.clone(), vpc.route.as_ref().map(|_| vpc.route == vpc.gateway));
            let entries = vpc.entries.iter();
            facts
                .entries
                .extend(entries.map(|((way, number), entry)| ((vpc.acl.clone(), *way, *number), *entry)));
        }
        let subnets = model.subnets.iter();
        facts.subnets =
            subnets.map(|(id, subnet)| (id.clone(), (subnet.vpc.clone(), subnet.range))).collect();
        facts
    }

    pub fn of(table: &FactTable, model: &Model) -> Self {
        let mut facts = Self::default();
        let is_own = |vpc: &str| model.vpcs.contains_key(vpc);
        for fact in table.facts() {
            match fact {
                Fact::Port(port) if is_own(port.vpc.as_str()) => {
                    let groups = port.groups.iter().map(ToString::to_string).collect();
                    facts.ports.insert(port.id.to_string(), (port.addresses, groups));
                }
                Fact::Port(_) => {}
                Fact::Rule(rule) => {
                    let (id, group) = (rule.id.to_string(), rule.group.to_string());
                    facts.rules.insert(id, (group, rule_of(&rule)));
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
                self.subnets.insert(subnet.id.to_string(), (subnet.vpc.to_string(), subnet.range));
            }
            Shape::RouteTable(table) => {
                let route = table.routes.iter().find(|route| route.to == Net4::EVERYWHERE);
                let leads = route.map(|route| route.target == RouteTarget::Internet);
                self.routes.insert(table.id.to_string(), leads);
            }
            Shape::Acl(acl) => {
                for (way, entries) in [(true, &acl.egress), (false, &acl.ingress)] {
                    let own = entries.iter().map(|of| ((acl.id.to_string(), way, of.number), entry_of(of)));
                    self.entries.extend(own);
                }
            }
            Shape::Address(address) => {
                self.public.insert(address.public, (address.private, address.port.to_string()));
            }
            Shape::Nat(_) => {}
            Shape::Far(port) => panic!("there is one cluster: {port:?}"),
        }
    }
}

fn ports_of(traffic: Traffic) -> Ports {
    match traffic {
        Traffic::All => None,
        Traffic::Udp { from, to } => Some((from, to)),
        other => panic!("nobody has asked for {other:?}"),
    }
}

fn rule_of(rule: &network::GroupRule) -> Rule {
    let peer = match &rule.peer {
        network::Peer::V4(range) => Peer::Range(*range),
        network::Peer::Group(group) => Peer::Group(group.to_string()),
        network::Peer::V6(range) => panic!("nobody has asked for {range:?}"),
    };
    Rule { outward: rule.direction == Direction::Egress, ports: ports_of(rule.traffic), peer }
}

fn entry_of(entry: &network::AclEntry) -> Entry {
    Entry { allow: entry.allow, ports: ports_of(entry.traffic), range: entry.range }
}
