//! What clusters are told of VPCs: what follows from the rows, whatever happens on the way.

use crate::support::networks::{free_addresses, only, subnet, vpc};
use crate::support::vpc::{Routed, routed, told};
use crate::support::{Client, Cloud, Database, FakeCluster, until};
use karri_clc::config::Limits;
use karri_proto::network::{
    AclEntry, Fact, FactTable, Net4, ROUTES_PER_TABLE_MAX, RouteTarget, Shape, ShapeKey, Subnet, Traffic, Vpc,
};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

on_both! {
    every_cluster_is_told_of_default_vpcs
    a_vpc_is_told_as_it_changes
    a_change_is_told_and_nothing_else
    a_cloud_that_starts_again_tells_the_same
    a_zone_that_moves_takes_its_flat_subnets_along
    whatever_users_do_addresses_are_counted_and_clusters_told
}

fn net(text: &str) -> Net4 {
    karri_clc::app::security_group::terms::net4(text).unwrap()
}

fn vpc_of(table: &FactTable, id: &str) -> Option<Vpc> {
    match table.shape(&ShapeKey::Vpc(id.parse().unwrap()))? {
        Shape::Vpc(vpc) => Some(vpc.clone()),
        _ => None,
    }
}

fn subnet_of(table: &FactTable, id: &str) -> Option<Subnet> {
    match table.shape(&ShapeKey::Subnet(id.parse().unwrap()))? {
        Shape::Subnet(subnet) => Some(subnet.clone()),
        _ => None,
    }
}

async fn every_cluster_is_told_of_default_vpcs(cloud: Cloud) {
    let here = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let there = cloud.cluster_at("zone-b", 1, "172.31.16.0/20").await;
    let id = only(&alice, "DescribeVpcs", ("is-default", "true"), "vpcId").await;
    for cluster in [&here, &there] {
        let table = cluster.wait_for_facts("all of it", |table| table.shapes().count() == 5).await;
        let told = vpc_of(&table, &id).unwrap();
        assert_eq!(told.ranges, [net("172.31.0.0/16")]);
        assert_eq!(told.internet_gateway.unwrap().as_str(), id.replacen("vpc-", "igw-", 1));
        assert!(told.dns_support && told.dns_hostnames && told.transit == 0);
        for (zone, range) in [("zone-a", "172.31.0.0/20"), ("zone-b", "172.31.16.0/20")] {
            let words = ("availability-zone", zone);
            let told = subnet_of(&table, &only(&alice, "DescribeSubnets", words, "subnetId").await).unwrap();
            assert_eq!((told.zone.as_str(), told.tag, told.range), (zone, 0, net(range)));
            let Some(Shape::RouteTable(routes)) = table.shape(&ShapeKey::RouteTable(told.route_table)) else {
                panic!("no route table")
            };
            let [route] = routes.routes.as_slice() else { panic!("{:?}", routes.routes) };
            assert_eq!((route.to, &route.target), (Net4::EVERYWHERE, &RouteTarget::Internet));
            let Some(Shape::Acl(acl)) = table.shape(&ShapeKey::Acl(told.acl)) else { panic!("no ACL") };
            let all = AclEntry { number: 100, allow: true, traffic: Traffic::All, range: Net4::EVERYWHERE };
            assert_eq!((&acl.ingress, &acl.egress), (&vec![all.clone()], &vec![all]));
        }
    }
}

async fn a_vpc_is_told_as_it_changes(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let id = vpc(&alice, "10.0.0.0/16").await;
    let told = cluster.wait_for_facts("the VPC", |table| vpc_of(table, &id).is_some()).await;
    let before = vpc_of(&told, &id).unwrap();
    assert_eq!((before.ranges, before.internet_gateway), (vec![net("10.0.0.0/16")], None));
    assert!(before.transit >= 4096);
    assert!(before.dns_support && !before.dns_hostnames);
    let modify = [("VpcId", id.as_str()), ("EnableDnsHostnames.Value", "true")];
    alice.ec2("ModifyVpcAttribute", &modify).await.ok();
    cluster.wait_for_facts("public names", |table| vpc_of(table, &id).unwrap().dns_hostnames).await;
    let within = subnet(&alice, &id, "10.0.1.0/24", "zone-a").await;
    let told = cluster.wait_for_facts("the subnet", |table| subnet_of(table, &within).is_some()).await;
    let told_subnet = subnet_of(&told, &within).unwrap();
    assert_eq!((told_subnet.range, told_subnet.vpc.as_str()), (net("10.0.1.0/24"), id.as_str()));
    assert!(told_subnet.tag >= 4096 && told_subnet.tag != before.transit);
    let Some(Shape::RouteTable(routes)) = told.shape(&ShapeKey::RouteTable(told_subnet.route_table)) else {
        panic!("no route table")
    };
    assert!(routes.routes.is_empty(), "no way out of the VPC");
    let modify = [("VpcId", id.as_str()), ("EnableDnsSupport.Value", "false")];
    alice.ec2("ModifyVpcAttribute", &modify).await.ok();
    let mute = |vpc: Vpc| !vpc.dns_support && !vpc.dns_hostnames; // whatever is said of the latter
    cluster.wait_for_facts("no names", |table| mute(vpc_of(table, &id).unwrap())).await;
    let more = [("VpcId", id.as_str()), ("CidrBlock", "10.1.0.0/16")];
    let association = alice.ec2("AssociateVpcCidrBlock", &more).await.ok().one("associationId");
    let both = [net("10.0.0.0/16"), net("10.1.0.0/16")];
    cluster.wait_for_facts("two ranges", |table| vpc_of(table, &id).unwrap().ranges == both).await;
    alice.ec2("DisassociateVpcCidrBlock", &[("AssociationId", &association)]).await.ok();
    cluster.wait_for_facts("one range", |table| vpc_of(table, &id).unwrap().ranges == both[..1]).await;
    alice.ec2("DeleteSubnet", &[("SubnetId", &within)]).await.ok();
    cluster.wait_for_facts("no subnet", |table| subnet_of(table, &within).is_none()).await;
    alice.ec2("DeleteVpc", &[("VpcId", &id)]).await.ok();
    let of_it = |table: &FactTable| table.shapes().any(|shape| shape.vpc().as_str() == id);
    cluster.wait_for_facts("nothing of it", |table| !of_it(table)).await;
}

async fn a_change_is_told_and_nothing_else(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let mut last = String::new();
    for number in 0..20 {
        last = vpc(&alice, "10.0.0.0/16").await;
        subnet(&alice, &last, "10.0.0.0/24", "zone-a").await;
        cluster.wait_for_facts("so many", |table| table.shapes().count() == 4 * (number + 2)).await;
    }
    let before = cluster.facts.changes();
    let within = subnet(&alice, &last, "10.0.1.0/24", "zone-a").await;
    cluster.wait_for_facts("one more", |table| subnet_of(table, &within).is_some()).await;
    assert_eq!(cluster.facts.changes(), before + 1);
    let modify = [("VpcId", last.as_str()), ("EnableDnsSupport.Value", "false")];
    alice.ec2("ModifyVpcAttribute", &modify).await.ok();
    cluster.wait_for_facts("no names", |table| !vpc_of(table, &last).unwrap().dns_support).await;
    assert_eq!(cluster.facts.changes(), before + 2);
    assert_eq!(cluster.facts.whole(), 1);
}

async fn a_cloud_that_starts_again_tells_the_same(mut cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 2).await;
    let alice = cloud.owner().await;
    let id = vpc(&alice, "10.0.0.0/16").await;
    let within = subnet(&alice, &id, "10.0.0.0/28", "zone-a").await;
    alice.run(1, &[("SubnetId", &within), ("PrivateIpAddress", "10.0.0.5")]).await.ok();
    let all = |table: &FactTable| subnet_of(table, &within).is_some() && table.ports().count() == 1;
    let before = cluster.wait_for_facts("all", all).await;
    cloud.stop().await;
    cloud.start_again().await;
    until("everything is told", || async { (cluster.facts.whole() == 2).then_some(()) }).await;
    cluster.wait_for_facts("the same", |table| *table == before).await;
    let alice = Client { url: cloud.endpoint.public_url.clone().unwrap(), ..alice };
    // What is taken is taken still.
    assert_eq!(free_addresses(&alice, &within).await, 10);
    let again = [("SubnetId", within.as_str()), ("PrivateIpAddress", "10.0.0.5")];
    alice.run(1, &again).await.refused(400, "InvalidIPAddress.InUse");
    alice.ec2("DeleteSubnet", &[("SubnetId", &within)]).await.refused(400, "DependencyViolation");
}

async fn a_zone_that_moves_takes_its_flat_subnets_along(cloud: Cloud) {
    let mut cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let id = vpc(&alice, "10.0.0.0/16").await;
    let own = subnet(&alice, &id, "10.0.0.0/24", "zone-a").await;
    let default = only(&alice, "DescribeSubnets", ("default-for-az", "true"), "subnetId").await;
    let told = |range: &'static str| {
        let default = default.clone();
        move |table: &FactTable| subnet_of(table, &default).is_some_and(|told| told.range == net(range))
    };
    cluster.wait_for_facts("where it was", told("172.31.0.0/20")).await;
    cluster.subnet_cidr = "10.20.16.0/20".to_owned();
    cluster.hello(&cloud).await;
    let table = cluster.wait_for_facts("where it is", told("10.20.16.0/20")).await;
    let of_default = subnet_of(&table, &default).unwrap().vpc;
    assert_eq!(vpc_of(&table, of_default.as_str()).unwrap().ranges, [net("10.20.0.0/16")]);
    assert_eq!(subnet_of(&table, &own).unwrap().range, net("10.0.0.0/24"), "one's own stays");
    assert_eq!(free_addresses(&alice, &own).await, 251);
}

/// Any address of it, and the bits of its prefix.
type Range = (u32, u32);
/// Its range, and by id the addresses of the instances that are in it.
type ModelSubnet = (Range, BTreeMap<String, Ipv4Addr>);

#[derive(Default)]
struct ModelVpc {
    range: Range,
    /// By id.
    subnets: BTreeMap<String, ModelSubnet>,
}

/// What there is after all that was done.
#[derive(Default)]
struct Model(BTreeMap<String, ModelVpc>);

const INSTANCES_MAX: usize = 12;
const VPCS_MAX: usize = 4;

/// The first and the last address.
fn ends((address, prefix): Range) -> (u32, u32) {
    let size = 1u32 << (32 - prefix);
    let first = address / size * size;
    (first, first + (size - 1))
}

fn text((address, prefix): Range) -> String {
    format!("{}/{prefix}", Ipv4Addr::from(address))
}

impl Model {
    fn some_vpc(&self, rng: &mut StdRng) -> Option<String> {
        self.0.keys().collect::<Vec<_>>().choose(rng).map(|id| (*id).clone())
    }

    fn some_subnet(&self, rng: &mut StdRng) -> Option<(String, String)> {
        let all = self.0.iter().flat_map(|(id, vpc)| vpc.subnets.keys().map(move |subnet| (id, subnet)));
        let all: Vec<_> = all.collect();
        all.choose(rng).map(|(vpc, subnet)| ((*vpc).clone(), (*subnet).clone()))
    }

    fn instances(&self) -> usize {
        self.0.values().flat_map(|vpc| vpc.subnets.values()).map(|(_, instances)| instances.len()).sum()
    }

    async fn step(&mut self, rng: &mut StdRng, alice: &Client) {
        match rng.gen_range(0..12) {
            0 | 1 if self.0.len() < VPCS_MAX => self.create_vpc(rng, alice).await,
            2 => self.delete_vpc(rng, alice).await,
            0..=5 => self.create_subnet(rng, alice).await,
            6 => self.delete_subnet(rng, alice).await,
            7..=9 if self.instances() < INSTANCES_MAX => self.launch(rng, alice).await,
            _ => self.terminate(rng, alice).await,
        }
    }

    async fn create_vpc(&mut self, rng: &mut StdRng, alice: &Client) {
        let range = (0x0a00_0000 | rng.gen_range(0..4u32) << 14, rng.gen_range(15..30));
        let answer = alice.ec2("CreateVpc", &[("CidrBlock", &text(range))]).await;
        match (16..=28).contains(&range.1) {
            true => drop(self.0.insert(answer.ok().one("vpcId"), ModelVpc { range, ..ModelVpc::default() })),
            false => drop(answer.refused(400, "InvalidVpc.Range")),
        }
    }

    async fn delete_vpc(&mut self, rng: &mut StdRng, alice: &Client) {
        let Some(id) = self.some_vpc(rng) else { return };
        let answer = alice.ec2("DeleteVpc", &[("VpcId", &id)]).await;
        match self.0[&id].subnets.is_empty() {
            true => {
                answer.ok();
                self.0.remove(&id);
            }
            false => drop(answer.refused(400, "DependencyViolation")),
        }
    }

    async fn create_subnet(&mut self, rng: &mut StdRng, alice: &Client) {
        let Some(id) = self.some_vpc(rng) else { return };
        let vpc = self.0.get_mut(&id).unwrap();
        let offset = rng.gen_range(0..512u32) << 4;
        let range = (ends(vpc.range).0.wrapping_add(offset), rng.gen_range(20..30));
        let (first, last) = ends(range);
        let within = ends(vpc.range).0 <= first && last <= ends(vpc.range).1;
        let meets = vpc.subnets.values().any(|(other, _)| {
            let other = ends(*other);
            first <= other.1 && other.0 <= last
        });
        let zone = *["zone-a", "zone-b"].choose(rng).unwrap();
        let words = [("VpcId", id.as_str()), ("CidrBlock", &text(range)), ("AvailabilityZone", zone)];
        let answer = alice.ec2("CreateSubnet", &words).await;
        if range.1 > 28 || !within {
            answer.refused(400, "InvalidSubnet.Range");
        } else if meets {
            answer.refused(400, "InvalidSubnet.Conflict");
        } else {
            vpc.subnets.insert(answer.ok().one("subnetId"), (range, BTreeMap::new()));
        }
    }

    async fn delete_subnet(&mut self, rng: &mut StdRng, alice: &Client) {
        let Some((vpc, id)) = self.some_subnet(rng) else { return };
        let answer = alice.ec2("DeleteSubnet", &[("SubnetId", &id)]).await;
        let subnets = &mut self.0.get_mut(&vpc).unwrap().subnets;
        match subnets[&id].1.is_empty() {
            true => {
                answer.ok();
                subnets.remove(&id);
            }
            false => drop(answer.refused(400, "DependencyViolation")),
        }
    }

    async fn launch(&mut self, rng: &mut StdRng, alice: &Client) {
        let Some((vpc, id)) = self.some_subnet(rng) else { return };
        let (range, instances) = self.0.get_mut(&vpc).unwrap().subnets.get_mut(&id).unwrap();
        let (first, last) = ends(*range);
        let asked = rng.gen_bool(0.5).then(|| Ipv4Addr::from(rng.gen_range(first..=first + 8)));
        let address = asked.map(|address| address.to_string());
        let mut words = vec![("SubnetId", id.as_str())];
        words.extend(address.as_deref().map(|address| ("PrivateIpAddress", address)));
        let answer = alice.run(1, &words).await;
        let taken = |address: &Ipv4Addr| instances.values().any(|other| other == address);
        match asked {
            Some(address) if u32::from(address) < first + 4 => {
                answer.refused(400, "InvalidParameterValue");
            }
            Some(address) if taken(&address) => drop(answer.refused(400, "InvalidIPAddress.InUse")),
            _ => {
                let answer = answer.ok();
                let address: Ipv4Addr = answer.first("privateIpAddress").unwrap().parse().unwrap();
                assert!((first + 4..last).contains(&u32::from(address)) && !taken(&address), "{address}");
                assert!(asked.is_none_or(|asked| asked == address));
                instances.insert(answer.one("instanceId"), address);
            }
        }
    }

    async fn terminate(&mut self, rng: &mut StdRng, alice: &Client) {
        let Some((vpc, id)) = self.some_subnet(rng) else { return };
        let instances = &mut self.0.get_mut(&vpc).unwrap().subnets.get_mut(&id).unwrap().1;
        let Some((instance, _)) = instances.pop_first() else { return };
        alice.ec2("TerminateInstances", &[("InstanceId.1", &instance)]).await.ok();
        alice.wait_for(&instance, "terminated").await;
    }

    async fn check(&self, alice: &Client) {
        let told = alice
            .ec2("DescribeSubnets", &[("Filter.1.Name", "default-for-az"), ("Filter.1.Value.1", "false")]);
        let told = told.await.ok();
        let counts = told.all("subnetId").into_iter().zip(told.all("availableIpAddressCount"));
        let counts: BTreeMap<String, usize> =
            counts.map(|(id, count)| (id, count.parse().unwrap())).collect();
        let subnets = self.0.values().flat_map(|vpc| &vpc.subnets);
        let expected = subnets
            .map(|(id, (range, instances))| (id.clone(), (1usize << (32 - range.1)) - 5 - instances.len()));
        assert_eq!(counts, expected.collect());
    }

    /// Whether a cluster knows these VPCs and subnets of users, and no others.
    fn is_told(&self, table: &FactTable) -> bool {
        let mut vpcs = BTreeMap::new();
        let mut subnets = BTreeMap::new();
        let mut tags = Vec::new();
        for shape in table.shapes() {
            match shape {
                Shape::Vpc(vpc) if vpc.transit != 0 => {
                    tags.push(vpc.transit);
                    vpcs.insert(vpc.id.to_string(), vpc.ranges.clone());
                }
                Shape::Subnet(subnet) if subnet.tag != 0 => {
                    tags.push(subnet.tag);
                    subnets.insert(subnet.id.to_string(), (subnet.vpc.to_string(), subnet.range));
                }
                _ => {}
            }
        }
        let distinct: BTreeSet<u32> = tags.iter().copied().collect();
        let own = self.0.iter().map(|(id, vpc)| (id.clone(), vec![net(&text(vpc.range))]));
        let within = self.0.iter().flat_map(|(id, vpc)| {
            vpc.subnets
                .iter()
                .map(move |(subnet, (range, _))| (subnet.clone(), (id.clone(), net(&text(*range)))))
        });
        distinct.len() == tags.len() && vpcs == own.collect() && subnets == within.collect()
    }
}

async fn whatever_users_do_addresses_are_counted_and_clusters_told(cloud: Cloud) {
    const STEPS: usize = 120;
    let clusters: [FakeCluster; 2] =
        [cloud.cluster("zone-a", 8).await, cloud.cluster_at("zone-b", 8, "172.31.16.0/20").await];
    let alice = cloud.owner().await;
    let mut model = Model::default();
    let mut rng = StdRng::seed_from_u64(15);
    for step in 0..STEPS {
        model.step(&mut rng, &alice).await;
        if step % 10 == 9 {
            model.check(&alice).await;
        }
        if step % 40 == 20 {
            clusters[step % 2].facts.lose(1);
        }
        if step == 70 {
            clusters[0].facts.forget();
        }
    }
    model.check(&alice).await;
    assert!(model.instances() > 0 && model.0.len() > 1, "something is left to be told of");
    for cluster in &clusters {
        cluster.wait_for_facts("what there is", |table| model.is_told(table)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reconciles_tells_what_was_changed_at_the_other() {
    let cloud = Cloud::start(Database::Postgres).await;
    let cluster = cloud.cluster("zone-a", 2).await;
    let alice = cloud.owner().await;
    let (second, stopper) = cloud.second().await;
    let there = Client { url: second.public_url.clone().unwrap(), ..alice.clone() };
    let id = vpc(&there, "10.0.0.0/16").await;
    let within = subnet(&alice, &id, "10.0.0.0/28", "zone-a").await;
    cluster.wait_for_facts("the subnet", |table| subnet_of(table, &within).is_some()).await;
    let meets = [("VpcId", id.as_str()), ("CidrBlock", "10.0.0.0/24")];
    there.ec2("CreateSubnet", &meets).await.refused(400, "InvalidSubnet.Conflict");
    // Each knows what is taken at the other.
    let words = [("SubnetId", within.as_str()), ("PrivateIpAddress", "10.0.0.9")];
    let instance = there.run(1, &words).await.ok().one("instanceId");
    alice.run(1, &words).await.refused(400, "InvalidIPAddress.InUse");
    alice.ec2("DeleteSubnet", &[("SubnetId", &within)]).await.refused(400, "DependencyViolation");
    there.ec2("TerminateInstances", &[("InstanceId.1", &instance)]).await.ok();
    alice.wait_for(&instance, "terminated").await;
    alice.ec2("DeleteSubnet", &[("SubnetId", &within)]).await.ok();
    there.run(1, &words).await.refused(400, "InvalidSubnetID.NotFound");
    there.ec2("DeleteVpc", &[("VpcId", &id)]).await.ok();
    let of_it = |table: &FactTable| table.shapes().any(|shape| shape.vpc().as_str() == id);
    cluster.wait_for_facts("nothing of it", |table| !of_it(table)).await;
    stopper.stop().await;
}

/// As many in a row as are more than a body of which nothing is said may be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_facts_arrive_however_many_they_are() {
    const TABLES: usize = 40;
    const ENTRIES_PER_CALL: usize = 100;
    const BODY_BYTES_USUAL: usize = 2 << 20;
    let limits = Limits { routes_per_table: ROUTES_PER_TABLE_MAX, ..Limits::default() };
    let cloud = Cloud::start_with(Database::Sqlite, limits).await;
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let Routed { vpc, gateway, .. } = routed(&alice).await;
    let most = ROUTES_PER_TABLE_MAX.to_string();
    let empty = [("PrefixListName", "wide"), ("AddressFamily", "IPv4"), ("MaxEntries", most.as_str())];
    let list = told(&alice, "CreateManagedPrefixList", &empty, "prefixListId").await;
    let names: Vec<String> = (1..=ENTRIES_PER_CALL).map(|at| format!("AddEntry.{at}.Cidr")).collect();
    for third in 0..ROUTES_PER_TABLE_MAX / ENTRIES_PER_CALL {
        let version = (third + 1).to_string();
        let cidrs = (0..ENTRIES_PER_CALL).map(|last| format!("100.64.{third}.{last}/32"));
        let cidrs: Vec<String> = cidrs.collect();
        let of_list = [("PrefixListId", list.as_str()), ("CurrentVersion", &version)];
        let added = names.iter().zip(&cidrs).map(|(name, cidr)| (name.as_str(), cidr.as_str()));
        let words: Vec<(&str, &str)> = of_list.into_iter().chain(added).collect();
        alice.ec2("ModifyManagedPrefixList", &words).await.ok();
    }
    for _ in 0..TABLES {
        let table = told(&alice, "CreateRouteTable", &[("VpcId", &vpc)], "routeTableId").await;
        let route =
            [("RouteTableId", table.as_str()), ("DestinationPrefixListId", &list), ("GatewayId", &gateway)];
        alice.ec2("CreateRoute", &route).await.ok();
    }
    let is_wide = |shape: &&Shape| matches!(shape, Shape::RouteTable(table) if table.routes.len() == ROUTES_PER_TABLE_MAX);
    let all = |table: &FactTable| table.shapes().filter(is_wide).count() == TABLES;
    cluster.wait_for_facts("each as it comes", all).await;
    cluster.facts.forget();
    let anew = cluster.wait_for_facts("all of them anew", all).await;
    assert_eq!(cluster.facts.whole(), 2, "in one go");
    let bytes = |shape: &Shape| serde_json::to_string(&Fact::Shape(shape.clone())).unwrap().len();
    let bytes: usize = anew.shapes().filter(is_wide).map(bytes).sum();
    assert!(bytes > BODY_BYTES_USUAL, "{bytes}");
}
