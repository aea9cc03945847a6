//! Random calls: each with what EC2 answers, by the model alone, and what the model is afterwards.

mod ports;
mod ways;

use crate::model::{Entry, Group, Model, Peer, Rule, Subnet, Vpc};
use crate::support::networks::{default_group, only};
use crate::support::vpc::{main_table, told};
use crate::support::{Answer, Client};
use karri_proto::network::Net4;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::{IteratorRandom, SliceRandom};
use std::net::Ipv4Addr;
use std::sync::Mutex;

const VPCS_MAX: usize = 3;
const INSTANCES_MAX: usize = 5;
const ADDRESSES_MAX: usize = 4;
/// Of a t3.micro: interfaces, and addresses of each.
const PLACES: usize = 2;
const ADDRESSES_OF_PORT: usize = 2;
pub const NUMBERS: [u16; 3] = [53, 1000, 2000];

type Words = Vec<(&'static str, String)>;
/// What EC2 is to answer: nothing wrong, or this code.
type Expected = Result<(), &'static str>;

pub struct Caller<'a> {
    pub client: &'a Client,
    pub rng: StdRng,
    pub model: Model,
    /// All that was called, for who has to find out why.
    pub said: &'a Mutex<Vec<String>>,
}

pub fn net(text: &str) -> Net4 {
    let (address, prefix) = text.split_once('/').unwrap();
    Net4 { address: address.parse().unwrap(), prefix: prefix.parse().unwrap() }
}

pub fn everywhere() -> Net4 {
    Net4::EVERYWHERE
}

impl Caller<'_> {
    fn any<T: Clone>(&mut self, of: impl Iterator<Item = T>) -> Option<T> {
        of.choose(&mut self.rng)
    }

    async fn call(&mut self, action: &str, words: Words, expected: Expected) -> Option<Answer> {
        let words: Vec<(&str, &str)> = words.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.said.lock().unwrap().push(format!("{action} {words:?}: {expected:?}"));
        let answer = self.client.ec2(action, &words).await;
        let got = if answer.status == 200 { Ok(()) } else { Err(answer.code()) };
        assert_eq!(got, expected.map_err(str::to_owned), "{}", answer.text);
        expected.is_ok().then_some(answer)
    }

    /// One call, or none where there is nothing to call about.
    pub async fn step(&mut self) {
        let what = self.rng.gen_range(0..100);
        let done = match what {
            0..=3 => self.vpc_create().await,
            4 => self.vpc_delete().await,
            5..=10 => self.subnet_create().await,
            11..=12 => self.subnet_delete().await,
            13..=16 => self.group_create().await,
            17..=18 => self.group_delete().await,
            19..=33 => self.rule_authorise().await,
            34..=38 => self.rule_revoke().await,
            39..=48 => self.launch().await,
            49..=50 => self.terminate().await,
            51..=55 => self.interface_create().await,
            56..=57 => self.interface_delete().await,
            58..=62 => self.attach().await,
            63..=64 => self.detach().await,
            65..=69 => self.assign().await,
            70..=71 => self.unassign().await,
            72..=74 => self.groups_change().await,
            75..=77 => self.address_allocate().await,
            78..=83 => self.address_associate().await,
            84 => self.address_disassociate().await,
            85 => self.address_release().await,
            86..=88 => self.gateway_attach().await,
            89 => self.gateway_detach().await,
            90..=92 => self.route_create().await,
            93 => self.route_delete().await,
            94..=97 => self.entry_create().await,
            _ => self.entry_delete().await,
        };
        let _: Option<()> = done;
    }

    /// Enough for packets to have somewhere to go.
    pub async fn begin(&mut self) {
        self.vpc_create().await;
        for _ in 0..6 {
            self.subnet_create().await;
        }
        self.gateway_attach().await;
        self.route_create().await;
        for _ in 0..3 {
            self.launch().await;
        }
    }

    /// Nothing runs any more, and nobody has an address; the rest is the next one's to bear.
    pub async fn end(&mut self) {
        for id in self.model.instances.clone() {
            self.call("TerminateInstances", vec![("InstanceId.1", id.clone())], Ok(())).await;
            self.client.wait_for(&id, "terminated").await;
            self.instance_gone(&id);
        }
        for (allocation, address) in self.model.addresses.clone() {
            if address.leads_to.is_some() {
                self.call("DisassociateAddress", vec![("PublicIp", address.public.to_string())], Ok(()))
                    .await;
            }
            self.call("ReleaseAddress", vec![("AllocationId", allocation.clone())], Ok(())).await;
            self.model.addresses.remove(&allocation);
        }
    }

    async fn vpc_create(&mut self) -> Option<()> {
        if self.model.vpcs.len() == VPCS_MAX {
            return None;
        }
        let cidr = *["10.0.0.0/16", "10.1.0.0/16"].choose(&mut self.rng)?;
        let answer = self.call("CreateVpc", vec![("CidrBlock", cidr.into())], Ok(())).await?;
        let id = answer.first("vpcId")?;
        let acl = only(self.client, "DescribeNetworkAcls", ("vpc-id", &id), "networkAclId").await;
        let all = Entry { allow: true, ports: None, range: everywhere() };
        let vpc = Vpc {
            range: net(cidr),
            default_group: default_group(self.client, &id).await,
            table: main_table(self.client, &id).await,
            acl,
            gateway: None,
            route: None,
            entries: [((true, 100), all), ((false, 100), all)].into(),
        };
        let filter = [("Filter.1.Name", "group-id"), ("Filter.1.Value.1", vpc.default_group.as_str())];
        let rules = self.client.ec2("DescribeSecurityGroupRules", &filter).await.ok();
        let rules = crate::world::rules_of(&rules).into_iter().map(|(_, id, rule)| (id, rule));
        let group = Group { vpc: id.clone(), name: "default".into(), rules: rules.collect() };
        self.model.groups.insert(vpc.default_group.clone(), group);
        self.model.vpcs.insert(id, vpc);
        Some(())
    }

    async fn vpc_delete(&mut self) -> Option<()> {
        let id = self.any(self.model.vpcs.clone().into_keys())?;
        let vpc = &self.model.vpcs[&id];
        let groups = self.model.groups.values().filter(|group| group.vpc == id).count();
        let used = self.model.subnets_of(&id).next().is_some() || vpc.gateway.is_some() || groups > 1;
        let expected = if used { Err("DependencyViolation") } else { Ok(()) };
        self.call("DeleteVpc", vec![("VpcId", id.clone())], expected).await?;
        self.model.vpcs.remove(&id);
        self.model.groups.retain(|_, group| group.vpc != id);
        Some(())
    }

    async fn subnet_create(&mut self) -> Option<()> {
        let (id, vpc) = self.any(self.model.vpcs.clone().into_iter())?;
        let [a, b, ..] = vpc.range.address.octets();
        let range = net(&format!("{a}.{b}.{}.0/24", self.rng.gen_range(0..3)));
        let taken = self.model.subnets_of(&id).any(|(_, subnet)| subnet.range == range);
        let expected = if taken { Err("InvalidSubnet.Conflict") } else { Ok(()) };
        let words = vec![
            ("VpcId", id.clone()),
            ("CidrBlock", range.to_string()),
            ("AvailabilityZone", "zone-a".into()),
        ];
        let answer = self.call("CreateSubnet", words, expected).await?;
        self.model.subnets.insert(answer.one("subnetId"), Subnet { vpc: id, range });
        Some(())
    }

    async fn subnet_delete(&mut self) -> Option<()> {
        let id = self.any(self.model.subnets.clone().into_keys())?;
        let used = self.model.ports.values().any(|port| port.subnet == id);
        let expected = if used { Err("DependencyViolation") } else { Ok(()) };
        self.call("DeleteSubnet", vec![("SubnetId", id.clone())], expected).await?;
        self.model.subnets.remove(&id);
        Some(())
    }

    async fn group_create(&mut self) -> Option<()> {
        let vpc = self.any(self.model.vpcs.clone().into_keys())?;
        let name = *["web", "db", "ops"].choose(&mut self.rng)?;
        let twice = self.model.groups.values().any(|group| group.vpc == vpc && group.name == name);
        let expected = if twice { Err("InvalidGroup.Duplicate") } else { Ok(()) };
        let words =
            vec![("GroupName", name.into()), ("GroupDescription", "d".into()), ("VpcId", vpc.clone())];
        let answer = self.call("CreateSecurityGroup", words, expected).await?;
        let id = answer.one("groupId");
        let filter = [("Filter.1.Name", "group-id"), ("Filter.1.Value.1", id.as_str())];
        let rule = told(self.client, "DescribeSecurityGroupRules", &filter, "securityGroupRuleId").await;
        let all = Rule { outward: true, ports: None, peer: Peer::Range(everywhere()) };
        self.model.groups.insert(id, Group { vpc, name: name.into(), rules: [(rule, all)].into() });
        Some(())
    }

    async fn group_delete(&mut self) -> Option<()> {
        let (id, group) = self.any(self.model.groups.clone().into_iter())?;
        let by_port = self.model.ports.values().any(|port| port.groups.contains(&id));
        let mut others = self.model.groups.iter().filter(|(other, _)| **other != id);
        let by_rule =
            others.any(|(_, other)| other.rules.values().any(|rule| rule.peer == Peer::Group(id.clone())));
        let expected = match (group.name == "default", by_port || by_rule) {
            (true, _) => Err("CannotDelete"),
            (false, true) => Err("DependencyViolation"),
            (false, false) => Ok(()),
        };
        self.call("DeleteSecurityGroup", vec![("GroupId", id.clone())], expected).await?;
        self.model.groups.remove(&id);
        Some(())
    }

    fn ports(&mut self) -> Option<(u16, u16)> {
        let first = *NUMBERS.choose(&mut self.rng)?;
        [None, Some((first, first)), Some((first, first + 1500)), Some((0, first))]
            .choose(&mut self.rng)
            .copied()?
    }

    fn range(&mut self) -> Net4 {
        let own = self.any(self.model.ports.clone().into_values());
        let address = own.map_or(Ipv4Addr::new(10, 0, 0, 7), |port| port.addresses[0]);
        let public = self.any(self.model.addresses.clone().into_values()).map(|address| address.public);
        let prefix = *[0, 16, 24, 32, 32].choose(&mut self.rng).unwrap_or(&0);
        let address = public.filter(|_| prefix == 32 && self.rng.gen_bool(0.3)).unwrap_or(address);
        let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
        Net4 { address: Ipv4Addr::from(u32::from(address) & mask), prefix: prefix as u8 }
    }

    async fn rule_authorise(&mut self) -> Option<()> {
        let (id, group) = self.any(self.model.groups.clone().into_iter())?;
        let outward = self.rng.gen_bool(0.25);
        let mates = self.model.groups.iter().filter(|(_, other)| other.vpc == group.vpc);
        let mate = mates.map(|(id, _)| id.clone()).choose(&mut self.rng)?;
        let peer = if self.rng.gen_bool(0.4) { Peer::Group(mate) } else { Peer::Range(self.range()) };
        let rule = Rule { outward, ports: self.ports(), peer };
        let twice = group.rules.values().any(|known| *known == rule);
        let expected = if twice { Err("InvalidPermission.Duplicate") } else { Ok(()) };
        let mut words = vec![("GroupId", id.clone())];
        match rule.ports {
            None => words.push(("IpPermissions.1.IpProtocol", "-1".into())),
            Some((from, to)) => words.extend([
                ("IpPermissions.1.IpProtocol", "udp".into()),
                ("IpPermissions.1.FromPort", from.to_string()),
                ("IpPermissions.1.ToPort", to.to_string()),
            ]),
        }
        words.push(match &rule.peer {
            Peer::Range(range) => ("IpPermissions.1.IpRanges.1.CidrIp", range.to_string()),
            Peer::Group(group) => ("IpPermissions.1.Groups.1.GroupId", group.clone()),
        });
        let action = if outward { "AuthorizeSecurityGroupEgress" } else { "AuthorizeSecurityGroupIngress" };
        let answer = self.call(action, words, expected).await?;
        self.model.groups.get_mut(&id)?.rules.insert(answer.one("securityGroupRuleId"), rule);
        Some(())
    }

    async fn rule_revoke(&mut self) -> Option<()> {
        let (id, group) = self.any(self.model.groups.clone().into_iter())?;
        let (rule, what) = self.any(group.rules.into_iter())?;
        let action = if what.outward { "RevokeSecurityGroupEgress" } else { "RevokeSecurityGroupIngress" };
        let words = vec![("GroupId", id.clone()), ("SecurityGroupRuleId.1", rule.clone())];
        self.call(action, words.clone(), Ok(())).await?;
        self.model.groups.get_mut(&id)?.rules.remove(&rule);
        self.call(action, words, Err("InvalidSecurityGroupRuleId.NotFound")).await;
        Some(())
    }
}
