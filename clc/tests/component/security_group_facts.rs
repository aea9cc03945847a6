//! What clusters are told of groups: what follows from the rows, whatever happens on the way.

use crate::support::facts::lets_nothing_through;
use crate::support::groups::made as group;
use crate::support::{Client, Cloud, Database, FakeCluster, until};
use karri_clc::app::security_group::{Lists, Peer, Rule};
use karri_proto::network::{self, Fact, FactChange, FactTable, PortFact};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use std::collections::{BTreeMap, BTreeSet, HashSet};

on_both! {
    a_cluster_hears_of_ports_and_rules_as_they_come_and_go
    a_change_is_told_and_nothing_else
    a_cluster_that_loses_what_it_was_told_is_told_again
    a_cloud_that_starts_again_tells_everything
    another_cluster_hears_of_those_that_its_rules_name
    whatever_users_do_the_clusters_end_up_with_what_follows
}

async fn open(client: &Client, group: &str, port: &str) -> String {
    let words = [
        ("GroupId", group),
        ("IpProtocol", "tcp"),
        ("FromPort", port),
        ("ToPort", port),
        ("CidrIp", "0.0.0.0/0"),
    ];
    client.ec2("AuthorizeSecurityGroupIngress", &words).await.ok().one("securityGroupRuleId")
}

fn rules_of<'a>(table: &'a FactTable, group: &str) -> BTreeSet<&'a str> {
    table.rules_of(&group.parse().unwrap()).map(|rule| rule.id.as_str()).collect()
}

fn addresses_of(table: &FactTable, group: &str) -> Vec<String> {
    let mut found: Vec<String> =
        table.addresses_of(&group.parse().unwrap()).map(|ip| ip.to_string()).collect();
    found.sort();
    found
}

async fn a_cluster_hears_of_ports_and_rules_as_they_come_and_go(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 2).await;
    let alice = cloud.owner().await;
    let web = group(&alice, "web").await;
    let rule = open(&alice, &web, "80").await;
    assert!(lets_nothing_through(&cluster.facts.table()), "nobody is in it");
    let launched = alice.run(1, &[("SecurityGroup.1", "web")]).await.ok();
    let (id, address) = (launched.one("instanceId"), launched.first("privateIpAddress").unwrap());
    // Rules and ports come each in their own order.
    let both =
        |table: &FactTable| table.ports().count() == 1 && rules_of(table, &web).contains(rule.as_str());
    let table = cluster.wait_for_facts("the port and its group's rule", both).await;
    assert_eq!(addresses_of(&table, &web), [address]);
    assert_eq!(table.rules_of(&web.parse().unwrap()).count(), 2, "and the one that lets everything out");

    let second = open(&alice, &web, "81").await;
    cluster.wait_for_facts("a rule more", |table| rules_of(table, &web).contains(second.as_str())).await;
    let by_id = [("GroupId", web.as_str()), ("SecurityGroupRuleId.1", rule.as_str())];
    alice.ec2("RevokeSecurityGroupIngress", &by_id).await.ok();
    cluster.wait_for_facts("a rule less", |table| !rules_of(table, &web).contains(rule.as_str())).await;
    let replaced = [
        ("GroupId", web.as_str()),
        ("SecurityGroupRule.1.SecurityGroupRuleId", second.as_str()),
        ("SecurityGroupRule.1.SecurityGroupRule.IpProtocol", "-1"),
        ("SecurityGroupRule.1.SecurityGroupRule.CidrIpv4", "10.0.0.0/8"),
    ];
    alice.ec2("ModifySecurityGroupRules", &replaced).await.ok();
    let from_ten = |table: &FactTable| {
        let peer = network::Peer::V4(karri_clc::app::security_group::terms::net4("10.0.0.0/8").unwrap());
        table.rules_of(&web.parse().unwrap()).any(|rule| rule.id.as_str() == second && rule.peer == peer)
    };
    cluster.wait_for_facts("a rule changed", from_ten).await;

    let other = group(&alice, "other").await;
    alice.ec2("ModifyInstanceAttribute", &[("InstanceId", &id), ("GroupId.1", &other)]).await.ok();
    let moved =
        |table: &FactTable| !addresses_of(table, &other).is_empty() && rules_of(table, &web).is_empty();
    cluster.wait_for_facts("another group", moved).await;
    alice.ec2("TerminateInstances", &[("InstanceId.1", &id)]).await.ok();
    cluster.wait_for_facts("nothing", lets_nothing_through).await;
}

async fn a_change_is_told_and_nothing_else(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 4).await;
    let alice = cloud.owner().await;
    let web = group(&alice, "web").await;
    for port in 1..=20 {
        open(&alice, &web, &port.to_string()).await;
    }
    alice.run(3, &[("SecurityGroup.1", "web")]).await.ok();
    let all = |table: &FactTable| table.ports().count() == 3 && rules_of(table, &web).len() == 21;
    cluster.wait_for_facts("all", all).await;
    until("running", || async {
        let states = alice.ec2("DescribeInstances", &[]).await.ok().states();
        states.iter().all(|state| state == "running").then_some(())
    })
    .await;
    let before = cluster.facts.changes();
    open(&alice, &web, "22").await;
    cluster.wait_for_facts("one more", |table| rules_of(table, &web).len() == 22).await;
    assert_eq!(cluster.facts.changes(), before + 1);
    assert_eq!(cluster.facts.whole(), 1);
}

async fn a_cluster_that_loses_what_it_was_told_is_told_again(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 2).await;
    let alice = cloud.owner().await;
    let web = group(&alice, "web").await;
    alice.run(1, &[("SecurityGroup.1", "web")]).await.ok();
    cluster.wait_for_facts("the port", |table| table.ports().count() == 1).await;
    // The answer to a page is lost: it comes again, and is no news.
    cluster.facts.lose(2);
    let rule = open(&alice, &web, "80").await;
    until("answers are lost", || async { cluster.facts.answers_lost().then_some(()) }).await;
    cluster.wait_for_facts("the rule", |table| rules_of(table, &web).contains(rule.as_str())).await;
    let rule = open(&alice, &web, "81").await;
    cluster.wait_for_facts("the next", |table| rules_of(table, &web).contains(rule.as_str())).await;
    assert_eq!(cluster.facts.whole(), 1);
    // It has nothing any more, and nothing changes: it is asked all the same.
    cluster.facts.forget();
    cluster
        .wait_for_facts("everything", |table| table.ports().count() == 1 && rules_of(table, &web).len() == 3)
        .await;
}

async fn a_cloud_that_starts_again_tells_everything(mut cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 2).await;
    let alice = cloud.owner().await;
    let web = group(&alice, "web").await;
    alice.run(1, &[("SecurityGroup.1", "web")]).await.ok();
    let rule = open(&alice, &web, "80").await;
    let before =
        cluster.wait_for_facts("the rule", |table| rules_of(table, &web).contains(rule.as_str())).await;
    cloud.stop().await;
    cloud.start_again().await;
    until("everything is told", || async { (cluster.facts.whole() == 2).then_some(()) }).await;
    cluster.wait_for_facts("the same", |table| *table == before).await;
    let alice = Client { url: cloud.endpoint.public_url.clone().unwrap(), ..alice };
    let rule = open(&alice, &web, "81").await;
    cluster.wait_for_facts("the next", |table| rules_of(table, &web).contains(rule.as_str())).await;
}

async fn another_cluster_hears_of_those_that_its_rules_name(cloud: Cloud) {
    let here = cloud.cluster_at("zone-a", 1, "172.31.0.0/20").await;
    let there = cloud.cluster_at("zone-b", 1, "172.31.16.0/20").await;
    let alice = cloud.owner().await;
    let (web, db) = (group(&alice, "web").await, group(&alice, "db").await);
    let run = async |name: &str, zone: &str| {
        let more = [("SecurityGroup.1", name), ("Placement.AvailabilityZone", zone)];
        alice.run(1, &more).await.ok().first("privateIpAddress").unwrap()
    };
    let (front, back) = (run("web", "zone-a").await, run("db", "zone-b").await);
    there.wait_for_facts("its own", |table| addresses_of(table, &db) == [back.as_str()]).await;
    here.wait_for_facts("its own", |table| addresses_of(table, &web) == [front.as_str()]).await;
    assert!(addresses_of(&there.facts.table(), &web).is_empty(), "nothing names it");
    let words = [
        ("GroupId", db.as_str()),
        ("IpPermissions.1.IpProtocol", "-1"),
        ("IpPermissions.1.Groups.1.GroupId", web.as_str()),
    ];
    alice.ec2("AuthorizeSecurityGroupIngress", &words).await.ok();
    there.wait_for_facts("who may come", |table| addresses_of(table, &web) == [front.as_str()]).await;
    assert!(rules_of(&there.facts.table(), &web).is_empty(), "what may reach that one is nothing to it");
    assert!(addresses_of(&here.facts.table(), &db).is_empty());
    alice.ec2("RevokeSecurityGroupIngress", &words).await.ok();
    there.wait_for_facts("nobody", |table| addresses_of(table, &web).is_empty()).await;
}

/// What a cluster has to know, from the rows alone.
async fn follows(cloud: &Cloud, cluster: &FakeCluster, accounts: &[&str]) -> FactTable {
    let store = cloud.store().await;
    let mut rules: Vec<Rule> = Vec::new();
    for account in accounts {
        rules.extend(store.rules_of_account(account).await.unwrap());
    }
    let instances = store.instances_changed_after(0).await.unwrap();
    let shapes = store.networks_changed_after(None).await.unwrap().unwrap().shapes;
    store.close().await;
    let mut own = Vec::new();
    let mut others = Vec::new();
    for instance in instances.iter().filter(|one| one.state.as_str() != "terminated") {
        let ports = instance.spec.ports.iter().map(|port| PortFact {
            id: port.id.clone(),
            vpc: port.vpc_id.clone(),
            addresses: vec![port.private_ip],
            groups: port.groups.iter().map(|(id, _)| id.clone()).collect(),
        });
        if instance.cluster == cluster.zone { own.extend(ports) } else { others.extend(ports) }
    }
    let groups: HashSet<_> = own.iter().flat_map(|port| port.groups.clone()).collect();
    rules.retain(|rule| groups.contains(&rule.group));
    let named: HashSet<_> = rules
        .iter()
        .filter_map(|rule| match &rule.terms.peer {
            Peer::Group(group) => Some(group.clone()),
            _ => None,
        })
        .collect();
    others.retain(|port| port.groups.iter().any(|group| named.contains(group)));
    let mut table = FactTable::default();
    shapes.into_iter().for_each(|shape| drop(table.apply(FactChange::Put(Fact::Shape(shape)))));
    for port in own.into_iter().chain(others) {
        table.apply(FactChange::Put(Fact::Port(port)));
    }
    let told = rules.iter().flat_map(|rule| rule.facts(&Lists::new()));
    told.for_each(|fact| drop(table.apply(FactChange::Put(Fact::Rule(fact)))));
    table
}

#[derive(Default)]
struct ModelGroup {
    id: String,
    /// By id: port and peer.
    rules: BTreeMap<String, (u8, String)>,
}

/// What there is after all that was done.
#[derive(Default)]
struct Model {
    /// By name.
    groups: BTreeMap<String, ModelGroup>,
    /// By instance: its groups.
    instances: BTreeMap<String, BTreeSet<String>>,
}

const NAMES: [&str; 4] = ["default", "a", "b", "c"];
const INSTANCES_MAX: usize = 6;

impl Model {
    fn is_free(&self, name: &str) -> bool {
        let named = |(other, group): (&String, &ModelGroup)| {
            other != name && group.rules.values().any(|(_, peer)| peer == name)
        };
        !self.groups.iter().any(named) && !self.instances.values().any(|groups| groups.contains(name))
    }

    fn permission(&self, group: &str, port: u8, peer: &str) -> Vec<(String, String)> {
        let name = |part: &str| format!("IpPermissions.1.{part}");
        let port = port.to_string();
        let peer = match peer {
            "" => (name("IpRanges.1.CidrIp"), "0.0.0.0/0".to_owned()),
            peer => (name("Groups.1.GroupName"), peer.to_owned()),
        };
        vec![
            ("GroupName".to_owned(), group.to_owned()),
            (name("IpProtocol"), "tcp".to_owned()),
            (name("FromPort"), port.clone()),
            (name("ToPort"), port),
            peer,
        ]
    }

    async fn step(&mut self, rng: &mut StdRng, alice: &Client) {
        let name = *NAMES.choose(rng).unwrap();
        let peer = *["", "default", "a", "b"].choose(rng).unwrap();
        let port = rng.gen_range(1..3u8);
        match rng.gen_range(0..10) {
            0 | 1 => {
                let words = [("GroupName", name), ("GroupDescription", "d")];
                let answer = alice.ec2("CreateSecurityGroup", &words).await;
                match (name, self.groups.contains_key(name)) {
                    ("default", _) => drop(answer.refused(400, "InvalidParameterValue")),
                    (_, true) => drop(answer.refused(400, "InvalidGroup.Duplicate")),
                    (_, false) => {
                        let id = answer.ok().one("groupId");
                        self.groups.insert(name.to_owned(), ModelGroup { id, ..ModelGroup::default() });
                    }
                }
            }
            2 => {
                let answer = alice.ec2("DeleteSecurityGroup", &[("GroupName", name)]).await;
                match (name, self.groups.contains_key(name), self.is_free(name)) {
                    ("default", ..) => drop(answer.refused(400, "CannotDelete")),
                    (_, false, _) => drop(answer.refused(400, "InvalidGroup.NotFound")),
                    (_, true, false) => drop(answer.refused(400, "InvalidGroup.InUse")),
                    (_, true, true) => {
                        answer.ok();
                        self.groups.remove(name);
                    }
                }
            }
            3..=5 => {
                let words = self.permission(name, port, peer);
                let words: Vec<(&str, &str)> = words.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
                let answer = alice.ec2("AuthorizeSecurityGroupIngress", &words).await;
                let known =
                    self.groups.contains_key(name) && (peer.is_empty() || self.groups.contains_key(peer));
                let there = self.rule(name, port, peer).is_some();
                match (known, there) {
                    (false, _) => drop(answer.refused(400, "InvalidGroup.NotFound")),
                    (true, true) => drop(answer.refused(400, "InvalidPermission.Duplicate")),
                    (true, false) => {
                        let id = answer.ok().one("securityGroupRuleId");
                        self.groups.get_mut(name).unwrap().rules.insert(id, (port, peer.to_owned()));
                    }
                }
            }
            6 => {
                let words = self.permission(name, port, peer);
                let words: Vec<(&str, &str)> = words.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
                let answer = alice.ec2("RevokeSecurityGroupIngress", &words).await;
                let known =
                    self.groups.contains_key(name) && (peer.is_empty() || self.groups.contains_key(peer));
                match (known, self.rule(name, port, peer)) {
                    (false, _) => drop(answer.refused(400, "InvalidGroup.NotFound")),
                    (true, None) => drop(answer.refused(400, "InvalidPermission.NotFound")),
                    (true, Some(id)) => {
                        assert_eq!(answer.ok().one("securityGroupRuleId"), id);
                        self.groups.get_mut(name).unwrap().rules.remove(&id);
                    }
                }
            }
            7 => {
                if self.instances.len() >= INSTANCES_MAX {
                    return;
                }
                let zone = *["zone-a", "zone-b"].choose(rng).unwrap();
                let more = [("SecurityGroup.1", name), ("Placement.AvailabilityZone", zone)];
                let answer = alice.run(1, &more).await;
                if self.groups.contains_key(name) {
                    let id = answer.ok().one("instanceId");
                    self.instances.insert(id, BTreeSet::from([name.to_owned()]));
                } else {
                    answer.refused(400, "InvalidGroup.NotFound");
                }
            }
            8 => {
                let Some(id) = self.instances.keys().nth(rng.gen_range(0..INSTANCES_MAX)).cloned() else {
                    return;
                };
                let Some(group) = self.groups.get(name) else { return };
                let words = [("InstanceId", id.as_str()), ("GroupId.1", group.id.as_str())];
                alice.ec2("ModifyInstanceAttribute", &words).await.ok();
                self.instances.insert(id, BTreeSet::from([name.to_owned()]));
            }
            _ => {
                let Some(id) = self.instances.keys().next().cloned() else { return };
                alice.ec2("TerminateInstances", &[("InstanceId.1", &id)]).await.ok();
                alice.wait_for(&id, "terminated").await;
                self.instances.remove(&id);
            }
        }
    }

    fn rule(&self, group: &str, port: u8, peer: &str) -> Option<String> {
        let rules = &self.groups.get(group)?.rules;
        rules.iter().find(|(_, rule)| **rule == (port, peer.to_owned())).map(|(id, _)| id.clone())
    }
}

async fn whatever_users_do_the_clusters_end_up_with_what_follows(cloud: Cloud) {
    const STEPS: usize = 120;
    let clusters = [
        cloud.cluster_at("zone-a", 2, "172.31.0.0/20").await,
        cloud.cluster_at("zone-b", 2, "172.31.16.0/20").await,
    ];
    let alice = cloud.owner().await;
    let mut model = Model::default();
    let default = [("GroupName.1", "default")];
    let id = alice.ec2("DescribeSecurityGroups", &default).await.ok().first("groupId").unwrap();
    model.groups.insert("default".into(), ModelGroup { id, ..ModelGroup::default() });
    let mut rng = StdRng::seed_from_u64(4);
    for step in 0..STEPS {
        model.step(&mut rng, &alice).await;
        if step % 20 == 0 {
            clusters[step % 2].facts.lose(1);
        }
        if step % 50 == 49 {
            clusters[0].facts.forget();
        }
    }
    let shown = alice.ec2("DescribeSecurityGroups", &[]).await.ok().all("groupName");
    assert_eq!(shown.into_iter().collect::<BTreeSet<_>>(), model.groups.keys().cloned().collect());
    for cluster in &clusters {
        let expected = follows(&cloud, cluster, &[&alice.account]).await;
        cluster.wait_for_facts("what follows", |table| *table == expected).await;
    }
    assert!(!model.instances.is_empty(), "something is left to be told of");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reconciles_tells_what_was_changed_at_the_other() {
    let cloud = Cloud::start(Database::Postgres).await;
    let cluster = cloud.cluster("zone-a", 2).await;
    let alice = cloud.owner().await;
    let (second, stopper) = cloud.second().await;
    let there = Client { url: second.public_url.clone().unwrap(), ..alice.clone() };
    let web = group(&there, "web").await;
    let id = there.run(1, &[("SecurityGroup.1", "web")]).await.ok().one("instanceId");
    cluster.wait_for_facts("the port", |table| table.ports().count() == 1).await;
    let rule = open(&there, &web, "80").await;
    cluster.wait_for_facts("the rule", |table| rules_of(table, &web).contains(rule.as_str())).await;
    // Each knows what is in use at the other.
    let named = [("GroupId", web.as_str())];
    alice.ec2("DeleteSecurityGroup", &named).await.refused(400, "DependencyViolation");
    there.ec2("TerminateInstances", &[("InstanceId.1", &id)]).await.ok();
    alice.wait_for(&id, "terminated").await;
    alice.ec2("DeleteSecurityGroup", &named).await.ok();
    there.run(1, &[("SecurityGroupId.1", &web)]).await.refused(400, "InvalidGroup.NotFound");
    stopper.stop().await;
}

/// Launches and deletions at once: no instance is ever in a group that is not there.
async fn a_group_and_who_comes_into_it(engine: Database) {
    let cloud = Cloud::start(engine).await;
    let _cluster = cloud.cluster("zone-a", 4).await;
    let alice = cloud.owner().await;
    for round in 0..6 {
        let name = format!("round-{round}");
        group(&alice, &name).await;
        let mut calls = tokio::task::JoinSet::new();
        for number in 0..4 {
            let (alice, name) = (alice.clone(), name.clone());
            calls.spawn(async move {
                match number {
                    0..3 => ("run", alice.run(1, &[("SecurityGroup.1", &name)]).await),
                    _ => ("delete", alice.ec2("DeleteSecurityGroup", &[("GroupName", &name)]).await),
                }
            });
        }
        let (mut launched, mut deleted) = (0, false);
        while let Some(answer) = calls.join_next().await {
            let (what, answer) = answer.unwrap();
            match (what, answer.status) {
                ("run", 200) => launched += 1,
                ("delete", 200) => deleted = true,
                ("run", _) => drop(answer.refused(400, "InvalidGroup.NotFound")),
                _ => drop(answer.refused(400, "InvalidGroup.InUse")),
            }
        }
        assert!(deleted == (launched == 0), "round {round}: {launched} launched, deleted: {deleted}");
        let ids = alice.ec2("DescribeInstances", &[]).await.ok().instances();
        for id in &ids {
            alice.ec2("TerminateInstances", &[("InstanceId.1", id)]).await.ok();
            alice.wait_for(id, "terminated").await;
        }
    }
}

mod a_group_and_who_comes_into_it {
    use crate::support::Database;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_sqlite() {
        super::a_group_and_who_comes_into_it(Database::Sqlite).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_postgres() {
        super::a_group_and_who_comes_into_it(Database::Postgres).await;
    }
}
