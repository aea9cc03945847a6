//! Random calls: each with what EC2 answers, by the model alone, and what the model is afterwards.

mod acls;
mod addresses;
mod groups;
mod lists;
mod nats;
mod ports;
mod tables;

use crate::model::{Acl, Entry, Group, Model, Subnet, Table, Traffic, Vpc};
use crate::support::networks::{default_group, only};
use crate::support::vpc::main_table;
use crate::support::{Answer, Client};
use karri_proto::network::Net4;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::{IteratorRandom, SliceRandom};
use std::net::Ipv4Addr;
use std::sync::Mutex;

const VPCS_MAX: usize = 3;
const TABLES_MAX: usize = 6;
const ACLS_MAX: usize = 6;
const LISTS_MAX: usize = 3;
const INSTANCES_MAX: usize = 5;
const ADDRESSES_MAX: usize = 4;
/// Of a t3.micro: interfaces, and addresses of each.
const PLACES: usize = 2;
const ADDRESSES_OF_PORT: usize = 2;
/// In which the cloud's public addresses are.
const PUBLIC: &str = "198.18.0.0/28";
/// To which packets are sent.
pub const NUMBERS: [u16; 3] = [53, 1000, 2000];

type Words = Vec<(&'static str, String)>;
/// What EC2 is to answer: nothing wrong, or this code.
type Expected = Result<(), &'static str>;

/// One account's.
pub struct Caller<'a> {
    pub client: Client,
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

/// Of everything both ways.
fn all() -> Entry {
    Entry { allow: true, traffic: Traffic::All, range: everywhere() }
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
            0..=1 => self.vpc_create().await,
            2 => self.vpc_delete().await,
            3..=5 => self.subnet_create().await,
            6 => self.subnet_delete().await,
            7..=9 => self.group_create().await,
            10 => self.group_delete().await,
            11..=21 => self.rule_authorise().await,
            22..=25 => self.rule_revoke().await,
            26..=30 => self.rule_modify().await,
            31..=33 => self.list_create().await,
            34..=38 => self.list_modify().await,
            39 => self.list_delete().await,
            40..=46 => self.launch().await,
            47..=48 => self.terminate().await,
            49..=51 => self.interface_create().await,
            52 => self.interface_delete().await,
            53..=55 => self.attach().await,
            56 => self.detach().await,
            57..=59 => self.assign().await,
            60 => self.unassign().await,
            61..=63 => self.groups_change().await,
            64..=66 => self.address_allocate().await,
            67..=71 => self.address_associate().await,
            72 => self.address_disassociate().await,
            73 => self.address_release().await,
            74 => self.gateway_attach().await,
            75 => self.gateway_detach().await,
            76 => self.nat_change().await,
            77 => self.table_create().await,
            78..=79 => self.table_associate().await,
            80 => self.table_disassociate().await,
            81 => self.table_replace().await,
            82 => self.table_delete().await,
            83..=84 => self.route_create().await,
            85 => self.route_replace().await,
            86 => self.route_delete().await,
            87 => self.nat_change().await,
            88 => self.acl_create().await,
            89..=91 => self.acl_associate().await,
            92 => self.acl_delete().await,
            93..=95 => self.entry_create().await,
            96..=97 => self.entry_replace().await,
            _ => self.entry_delete().await,
        };
        let _: Option<()> = done;
    }

    /// Enough for packets to have somewhere to go.
    pub async fn begin(&mut self, instances: usize) {
        self.vpc_create().await;
        for _ in 0..6 {
            self.subnet_create().await;
        }
        self.gateway_attach().await;
        self.route_create().await;
        for _ in 0..instances {
            self.launch().await;
        }
        for _ in 0..2 {
            self.rule_authorise().await;
            self.address_allocate().await;
            self.address_associate().await;
        }
        if self.rng.gen_bool(0.5) {
            self.table_create().await;
            self.table_associate().await;
            self.nat_change().await;
            self.route_create().await;
            self.route_create().await;
        }
    }

    /// Nothing runs any more, and nobody has an address; the rest is the next one's to bear.
    pub async fn end(&mut self) {
        for id in self.model.instances.clone() {
            self.call("TerminateInstances", vec![("InstanceId.1", id.clone())], Ok(())).await;
            self.client.wait_for(&id, "terminated").await;
            self.instance_gone(&id);
        }
        for id in self.model.nats.clone().into_keys() {
            self.nat_delete(id).await;
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
        let acl = only(&self.client, "DescribeNetworkAcls", ("vpc-id", &id), "networkAclId").await;
        let vpc = Vpc {
            range: net(cidr),
            default_group: default_group(&self.client, &id).await,
            main_table: main_table(&self.client, &id).await,
            default_acl: acl.clone(),
            gateway: None,
        };
        let entries = [((true, 100), all()), ((false, 100), all())].into();
        self.model.acls.insert(acl, Acl { vpc: id.clone(), entries });
        let table = Table { vpc: id.clone(), routes: Default::default() };
        self.model.tables.insert(vpc.main_table.clone(), table);
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
        let tables = self.model.tables.values().filter(|table| table.vpc == id).count();
        let acls = self.model.acls.values().filter(|acl| acl.vpc == id).count();
        let more = groups > 1 || tables > 1 || acls > 1;
        let used = self.model.subnets_of(&id).next().is_some() || vpc.gateway.is_some() || more;
        let expected = if used { Err("DependencyViolation") } else { Ok(()) };
        self.call("DeleteVpc", vec![("VpcId", id.clone())], expected).await?;
        self.model.vpcs.remove(&id);
        self.model.groups.retain(|_, group| group.vpc != id);
        self.model.tables.retain(|_, table| table.vpc != id);
        self.model.acls.retain(|_, acl| acl.vpc != id);
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
        let subnet = Subnet { vpc: id, range, table: None, acl: vpc.default_acl };
        self.model.subnets.insert(answer.one("subnetId"), subnet);
        Some(())
    }

    async fn subnet_delete(&mut self) -> Option<()> {
        let id = self.any(self.model.subnets.clone().into_keys())?;
        let used = self.model.ports.values().any(|port| port.subnet == id)
            || self.model.nats.values().any(|nat| nat.subnet == id);
        let expected = if used { Err("DependencyViolation") } else { Ok(()) };
        self.call("DeleteSubnet", vec![("SubnetId", id.clone())], expected).await?;
        self.model.subnets.remove(&id);
        Some(())
    }

    fn traffic(&mut self) -> Traffic {
        let first = *NUMBERS.choose(&mut self.rng).unwrap_or(&0);
        let ends = [(first, first), (first, first + 1500), (0, first), (1024, u16::MAX)];
        let (from, to) = *ends.choose(&mut self.rng).unwrap_or(&ends[0]);
        match self.rng.gen_range(0..10) {
            0..=2 => Traffic::All,
            3..=5 => Traffic::Udp(from, to),
            6..=7 => Traffic::Tcp(from, to),
            _ => Traffic::Icmp(*[None, Some(8), Some(0)].choose(&mut self.rng).unwrap_or(&None)),
        }
    }

    fn range(&mut self) -> Net4 {
        if self.rng.gen_bool(0.2) {
            return net(PUBLIC);
        }
        let own = self.any(self.model.ports.clone().into_values());
        let address = own.map_or(Ipv4Addr::new(10, 0, 0, 7), |port| port.addresses[0]);
        let public = self.any(self.model.addresses.clone().into_values()).map(|address| address.public);
        let prefix = *[0, 16, 24, 32, 32].choose(&mut self.rng).unwrap_or(&0);
        let address = public.filter(|_| prefix == 32 && self.rng.gen_bool(0.3)).unwrap_or(address);
        let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
        Net4 { address: Ipv4Addr::from(u32::from(address) & mask), prefix: prefix as u8 }
    }
}
