//! What networks let through, from the cloud controller to the nodes whose ports need it.

use crate::cloud::{Clc, Cloud, ZONE, caller};
use crate::node::FakeNode;
use crate::samples::{intent, next};
use karri_cc::app::facts::part;
use karri_proto::ids::{NetworkInterfaceId, SecurityGroupId};
use karri_proto::instance::{Desired, Phase};
use karri_proto::internal::Role;
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::facts::{FACTS_PER_PAGE_MAX, FactService, FactsAt, FactsPage};
use karri_proto::network::{
    ADDRESSES_PER_PORT_MAX, Direction, Fact, FactChange, FactTable, GroupRule, Net4, Peer, PortFact, Traffic,
};

fn group(number: u32) -> SecurityGroupId {
    format!("sg-{number:017x}").parse().unwrap()
}

fn port_id(number: u32) -> NetworkInterfaceId {
    intent(number).spec.ports[0].id.clone()
}

/// The port of that instance.
fn port(number: u32, groups: &[u32]) -> Fact {
    let spec = &intent(number).spec.ports[0];
    Fact::Port(PortFact {
        id: spec.id.clone(),
        vpc: spec.vpc_id.clone(),
        addresses: vec![spec.private_ip],
        groups: groups.iter().copied().map(group).collect(),
    })
}

fn rule(of: u32, number: u32, peer: Peer) -> Fact {
    let id = format!("sgr-{number:017x}").parse().unwrap();
    Fact::Rule(GroupRule {
        group: group(of),
        id,
        direction: Direction::Ingress,
        traffic: Traffic::All,
        peer,
        part_of: None,
    })
}

/// What the cloud controller has decided, and how far it has told it.
struct Decided {
    table: FactTable,
    at: FactsAt,
}

impl Decided {
    fn new() -> Self {
        Self { table: FactTable::default(), at: FactsAt { epoch: 0, at: 0 } }
    }

    async fn tell(&mut self, clc: &Clc, changes: Vec<FactChange>) {
        let from = (self.at.epoch != 0).then_some(self.at.at);
        let page =
            FactsPage { epoch: 3, from, to: self.at.at + 1, caught_up: true, changes: changes.clone() };
        self.at = clc.client.facts_put(&caller("facts"), page.clone()).await.unwrap();
        assert_eq!(self.at, FactsAt { epoch: page.epoch, at: page.to });
        changes.into_iter().for_each(|change| drop(self.table.apply(change)));
    }

    async fn put(&mut self, clc: &Clc, facts: impl IntoIterator<Item = Fact>) {
        self.tell(clc, facts.into_iter().map(FactChange::Put).collect()).await;
    }

    async fn tell_everything(&mut self, clc: &Clc) {
        let changes: Vec<FactChange> = self.table.facts().map(FactChange::Put).collect();
        let to = self.at.at;
        let page = FactsPage { epoch: 3, from: None, to, caught_up: true, changes };
        assert_eq!(clc.client.facts_put(&caller("facts"), page).await.unwrap(), self.at);
    }

    async fn until_told(&self, what: &str, node: &FakeNode, ports: &[u32]) {
        let ports: Vec<NetworkInterfaceId> = ports.iter().copied().map(port_id).collect();
        let needed = part(&self.table, &ports);
        node.until_facts(what, |facts| facts.table == needed).await;
    }
}

async fn with_node() -> (Cloud, Clc, FakeNode) {
    let cloud = Cloud::start().await;
    let node = cloud.node("node-1", 8).await;
    let mut clc = cloud.clc();
    clc.until_nodes(1).await;
    (cloud, clc, node)
}

async fn launch(clc: &mut Clc, number: u32) {
    clc.put(&intent(number)).await;
    clc.until_phase(&intent(number), Phase::Running).await;
}

#[tokio::test]
async fn a_node_is_told_what_its_ports_need_and_before_their_instances() {
    let (cloud, mut clc, first) = with_node().await;
    let mut decided = Decided::new();
    let facts = [
        rule(1, 1, Peer::Group(group(2))),
        rule(2, 2, Peer::V4(Net4::EVERYWHERE)),
        rule(9, 3, Peer::V4(Net4::EVERYWHERE)),
        port(1, &[1]),
        port(2, &[2]),
        port(3, &[2]),
    ];
    decided.put(&clc, facts).await;
    launch(&mut clc, 1).await;
    decided.until_told("its part", &first, &[1]).await;
    let told = first.facts();
    assert_eq!(told.foretold, [intent(1).id], "the port's facts came first");
    assert!(told.table.port(&port_id(2)).is_some(), "members of the group that its rule refers to");
    assert_eq!(told.table.rules_of(&group(9)).count(), 0, "and nothing that it does not need");

    let revoked = FactChange::Gone(rule(1, 1, Peer::Group(group(2))).key());
    decided.tell(&clc, vec![revoked, FactChange::Put(port(1, &[1, 2]))]).await;
    decided.until_told("a rule is gone, a group is added", &first, &[1]).await;
    assert!(first.facts().table.port(&port_id(2)).is_none(), "nobody refers to it any more");

    // Another port there, and that one away again.
    launch(&mut clc, 2).await;
    decided.until_told("both", &first, &[1, 2]).await;
    let gone = next(&intent(2), Desired::Terminated);
    clc.put(&gone).await;
    clc.until_phase(&gone, Phase::Gone).await;
    decided.until_told("the surplus is withdrawn", &first, &[1]).await;
    drop(cloud);
}

#[tokio::test]
async fn answers_that_are_lost_lose_nothing() {
    let (_cloud, mut clc, node) = with_node().await;
    let mut decided = Decided::new();
    decided.put(&clc, [rule(1, 1, Peer::Group(group(1))), port(1, &[1])]).await;
    node.lose_answers(2); // of the question, and of everything
    launch(&mut clc, 1).await;
    decided.until_told("everything", &node, &[1]).await;
    node.lose_answers(1);
    decided.put(&clc, [port(2, &[1])]).await;
    decided.put(&clc, [port(3, &[1])]).await;
    decided.tell(&clc, vec![FactChange::Gone(port(2, &[]).key())]).await;
    decided.until_told("the newest", &node, &[1]).await;
}

#[tokio::test]
async fn a_restart_of_the_cluster_controller_reads_no_node_its_part_again() {
    let (mut cloud, mut clc, node) = with_node().await;
    let mut decided = Decided::new();
    let members = (1..200).map(|number| port(number, &[1]));
    decided.put(&clc, members.chain([rule(1, 1, Peer::Group(group(1)))])).await;
    launch(&mut clc, 1).await;
    decided.until_told("its part", &node, &[1]).await;
    let before = node.facts();
    cloud.restart_cc().await;
    decided.put(&clc, [port(500, &[1])]).await;
    decided.until_told("one more", &node, &[1]).await;
    let after = node.facts();
    assert_eq!(after.at().epoch, before.at().epoch, "the telling goes on");
    assert_eq!(after.changes - before.changes, 1, "with what is new alone");
}

#[tokio::test]
async fn a_node_that_lost_what_it_was_told_is_told_again() {
    let (_cloud, mut clc, mut node) = with_node().await;
    let mut decided = Decided::new();
    decided.put(&clc, [rule(1, 1, Peer::Group(group(1))), port(1, &[1]), port(2, &[1])]).await;
    launch(&mut clc, 1).await;
    decided.until_told("its part", &node, &[1]).await;
    node.lose_everything();
    decided.until_told("again", &node, &[1]).await;

    // And one that was away hears what it missed.
    node.die();
    clc.until_nodes(0).await;
    decided.tell(&clc, vec![FactChange::Gone(port(2, &[]).key())]).await;
    node.come_back().await;
    decided.until_told("what it missed", &node, &[1]).await;
}

#[tokio::test]
async fn a_cluster_that_lost_its_database_leaves_nodes_what_they_know_until_it_knows_better() {
    let (mut cloud, mut clc, node) = with_node().await;
    let mut decided = Decided::new();
    decided.put(&clc, [rule(1, 1, Peer::Group(group(1))), port(1, &[1]), port(2, &[1])]).await;
    launch(&mut clc, 1).await;
    decided.until_told("its part", &node, &[1]).await;
    cloud.stop_cc().await;
    for file in ["cc.sqlite", "cc.sqlite-wal", "cc.sqlite-shm"] {
        let _ = std::fs::remove_file(cloud.state_dir().join(file));
    }
    cloud.restart_cc().await;
    let mut clc = cloud.clc();
    clc.until_nodes(1).await;
    decided.tell_everything(&clc).await;
    clc.put(&intent(1)).await;
    clc.until_phase(&intent(1), Phase::Running).await;
    decided.put(&clc, [port(3, &[1])]).await;
    decided.until_told("what is new", &node, &[1]).await;
    assert!(!node.facts().bared, "it was told that nothing may pass");
}

#[tokio::test]
async fn only_the_cloud_controller_tells_a_cluster_and_odd_pages_are_named() {
    let (cloud, clc, _node) = with_node().await;
    let page = FactsPage { epoch: 1, from: None, to: 1, caught_up: true, changes: Vec::new() };
    for (role, cluster, name) in [
        (Role::Nc, ZONE, "node-1"),
        (Role::Cc, ZONE, "other"),
        (Role::Walrus, "", "walrus"),
        (Role::Admin, "", "admin"),
    ] {
        let stranger = cloud.client(role, cluster, name);
        let refused = stranger.facts_put(&caller("facts"), page.clone()).await.unwrap_err();
        assert_eq!(refused.kind, ApiErrorKind::Forbidden, "{role:?}");
    }
    let odd = FactsPage { from: Some(2), ..page.clone() };
    let refused = clc.client.facts_put(&caller("facts"), odd).await.unwrap_err();
    assert_eq!((refused.kind, refused.message.split(':').next()), (ApiErrorKind::Invalid, Some("to")));
    let mut huge = PortFact {
        id: port_id(1),
        vpc: intent(1).spec.ports[0].vpc_id.clone(),
        addresses: Vec::new(),
        groups: Vec::new(),
    };
    huge.groups = vec![group(1); 200_000];
    let huge = FactsPage { changes: vec![FactChange::Put(Fact::Port(huge))], ..page };
    assert!(clc.client.facts_put(&caller("facts"), huge).await.is_err(), "a body has a limit");
    let stands = FactsPage { epoch: 1, from: Some(0), to: 0, caught_up: true, changes: Vec::new() };
    assert_eq!(clc.client.facts_put(&caller("facts"), stands).await.unwrap(), FactsAt::default());
}

/// Far more than a body of which nothing is said may be.
#[tokio::test]
async fn a_page_of_the_largest_facts_arrives_and_is_told_on() {
    let (_cloud, mut clc, node) = with_node().await;
    let mut decided = Decided::new();
    decided.put(&clc, [rule(1, 1, Peer::Group(group(2))), port(1, &[1])]).await;
    launch(&mut clc, 1).await;
    let large = |number| match port(number, &[2]) {
        Fact::Port(port) => {
            let addresses = (0..ADDRESSES_PER_PORT_MAX as u32).map(|at| (u32::MAX - at).into()).collect();
            Fact::Port(PortFact { addresses, ..port })
        }
        other => other,
    };
    let last = 1 + u32::try_from(FACTS_PER_PAGE_MAX).unwrap();
    let page: Vec<Fact> = (2..=last).map(large).collect();
    let bytes = serde_json::to_string(&page).unwrap().len();
    assert!(bytes > 4 << 20, "{bytes}");
    decided.put(&clc, page).await;
    decided.until_told("all members", &node, &[1]).await;
}
