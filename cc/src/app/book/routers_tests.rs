//! What is told of VPCs, and when.

use super::{RouterNews, VpcNews};
use crate::app::book::{Book, Settings, Snapshot};
use crate::app::node::NodeRecord;
use crate::app::placement::Policy;
use crate::app::router::samples::{A, ELSEWHERE, address, far, id, lease, subnet, usual};
use crate::app::samples::{facts, intent, next};
use karri_proto::ids::VpcId;
use karri_proto::instance::{Desired, InstanceIntent};
use karri_proto::internal::facts::FactsPage;
use karri_proto::internal::instances::{Cursor, ReportPage};
use karri_proto::network::{ClusterHosts, Fact, FactChange, Shape, ShapeKey};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

const SETTINGS: Settings = Settings { policy: Policy::FirstFit, node_lost_ms: 60_000, tunnels: false };

fn book() -> Book {
    Book::load(Snapshot { epoch: 9, ..Snapshot::default() }, SETTINGS, 0)
}

fn tell(book: &mut Book, changes: Vec<FactChange>) {
    let at = book.facts_at();
    let from = (at.epoch != 0).then_some(at.at);
    let page = FactsPage { epoch: 3, from, to: at.at + 1, caught_up: true, changes };
    book.facts_put(page).unwrap();
}

fn put(shapes: Vec<Shape>) -> Vec<FactChange> {
    shapes.into_iter().map(|shape| FactChange::Put(Fact::Shape(shape))).collect()
}

/// In subnet a of the usual VPC.
fn inside(number: u32) -> InstanceIntent {
    let mut intent = intent(number);
    let port = &mut intent.spec.ports[0];
    (port.segment, port.vpc_id) = (A, id("vpc", 1));
    intent
}

fn changed(news: &RouterNews) -> Vec<&VpcId> {
    news.vpcs.keys().collect()
}

fn leases(news: &RouterNews) -> usize {
    news.vpcs[&id::<VpcId>("vpc", 1)].input.as_ref().map_or(0, |input| input.leases.len())
}

#[test]
fn each_change_of_a_vpc_is_told_once_and_all_of_it_after_a_restart() {
    let mut book = book();
    tell(&mut book, put(usual()));
    book.put(inside(1), 0).unwrap();
    book.put(intent(2), 0).unwrap();
    let first = book.take_router_news();
    assert!(first.everything);
    assert_eq!((changed(&first), leases(&first)), (vec![&id::<VpcId>("vpc", 1)], 1));
    let version = book.routers_version();
    assert_eq!(book.take_router_news(), RouterNews { tunnels: book.tunnels(), ..RouterNews::default() });
    book.put(intent(3), 0).unwrap();
    book.put(next(&intent(2), Desired::Terminated), 0).unwrap();
    assert_eq!(book.routers_version(), version, "nothing of a VPC has changed");

    book.put(inside(4), 0).unwrap();
    assert!(book.routers_version() > version);
    assert_eq!(leases(&book.take_router_news()), 2);
    book.put(next(&inside(1), Desired::Terminated), 0).unwrap(); // was nowhere: gone at once
    assert_eq!(leases(&book.take_router_news()), 1);
    let gone = FactChange::Gone(Fact::Shape(usual().remove(0)).key());
    tell(&mut book, vec![gone]);
    let news = book.take_router_news();
    assert_eq!((news.everything, news.vpcs), (false, BTreeMap::from([(id("vpc", 1), VpcNews::default())])));
}

#[test]
fn an_address_of_the_flat_network_is_told_with_its_subnet() {
    let mut book = book();
    let mut flat = subnet(A);
    flat.tag = 0;
    let public = address([203, 0, 113, 5], &lease(A, 5));
    tell(&mut book, put(vec![Shape::Subnet(flat.clone()), Shape::Subnet(subnet(ELSEWHERE))]));
    book.take_router_news();
    tell(&mut book, put(vec![Shape::Address(public.clone())]));
    assert_eq!(book.take_router_news().vpcs[&id::<VpcId>("vpc", 1)].flat, [(public.clone(), flat)]);
    tell(
        &mut book,
        vec![FactChange::Gone(karri_proto::network::FactKey::Shape(ShapeKey::Address(public.public)))],
    );
    assert_eq!(book.take_router_news().vpcs[&id::<VpcId>("vpc", 1)].flat, []);
}

fn record(name: &str, tunnel: Option<Ipv4Addr>) -> NodeRecord {
    NodeRecord { owner: name.into(), url: format!("https://{name}"), tunnel, facts: facts(name, 3) }
}

#[test]
fn tunnels_are_those_of_the_nodes_that_there_are() {
    let mut book = book();
    let (one, two) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
    for (name, tunnel) in [("a", Some(two)), ("b", Some(one)), ("c", None)] {
        book.hello(record(name, tunnel), 0).unwrap();
    }
    assert_eq!(*book.tunnels(), [one, two]);
    let version = book.routers_version();
    book.hello(record("b", Some(one)), 1).unwrap();
    assert_eq!(book.routers_version(), version, "it said the same again");
    book.hello(record("b", None), 2).unwrap();
    assert_eq!(*book.tunnels(), [two]);
    assert!(book.routers_version() > version);
    (0..20_000).step_by(500).for_each(|now_ms| book.tick(now_ms)); // it falls silent
    book.node_forget("a", true, 20_000).unwrap();
    assert!(book.tunnels().is_empty());
}

#[test]
fn hosts_of_the_zones_other_clusters_are_among_the_tunnels_while_they_are_told_of() {
    let mut book = book();
    let (one, two) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
    let hosts = |tunnels: &[Ipv4Addr]| {
        Fact::Hosts(ClusterHosts { cluster: "east".to_owned(), tunnels: tunnels.to_vec() })
    };
    tell(&mut book, vec![FactChange::Put(hosts(&[one, two]))]);
    assert_eq!(*book.tunnels(), [one, two]);
    let version = book.routers_version();
    tell(&mut book, put(usual()));
    tell(&mut book, vec![FactChange::Put(hosts(&[two]))]);
    assert_eq!(*book.tunnels(), [two]);
    assert!(book.routers_version() > version);
    tell(&mut book, vec![FactChange::Gone(hosts(&[]).key())]);
    assert!(book.tunnels().is_empty());
}

/// A node that has told everything: there is nothing on it.
fn ready(book: &mut Book, name: &str, tunnel: Option<Ipv4Addr>) {
    book.hello(record(name, tunnel), 0).unwrap();
    let asked = book.node(name).unwrap().cursor;
    let next = Cursor { epoch: 1, sequence: asked.sequence + 1 };
    let page = ReportPage { next, restarted: true, caught_up: true, reports: Vec::new(), resources: None };
    book.node_page(name, asked, page, 0);
}

fn placed(book: &mut Book, intent: InstanceIntent) -> Option<String> {
    let id = intent.id.clone();
    book.put(intent, 0).unwrap();
    book.row(&id).unwrap().node.clone()
}

fn book_with_tunnels() -> Book {
    let settings = Settings { tunnels: true, ..SETTINGS };
    Book::load(Snapshot { epoch: 9, ..Snapshot::default() }, settings, 0)
}

const TUNNEL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

#[test]
fn a_node_without_a_tunnel_takes_nothing_of_segments_beside_other_hosts() {
    let mut book = book_with_tunnels();
    ready(&mut book, "a", None);
    assert_eq!(placed(&mut book, inside(1)).as_deref(), Some("a"), "there is no other host");
    ready(&mut book, "b", Some(TUNNEL));
    assert_eq!(placed(&mut book, inside(2)).as_deref(), Some("b"));
    assert_eq!(placed(&mut book, intent(3)).as_deref(), Some("a"), "the flat network needs no tunnel");
    for number in [4, 5] {
        assert_eq!(placed(&mut book, inside(number)).as_deref(), Some("b"));
    }
    assert_eq!(placed(&mut book, inside(6)), None, "b is full");
    ready(&mut book, "a", Some(Ipv4Addr::new(192, 0, 2, 1)));
    book.tick(1);
    assert_eq!(book.row(&inside(6).id).unwrap().node.as_deref(), Some("a"), "it has one now");
}

#[test]
fn hosts_of_the_zones_other_clusters_are_other_hosts_too() {
    let mut book = book_with_tunnels();
    let hosts = Fact::Hosts(ClusterHosts { cluster: "east".to_owned(), tunnels: vec![TUNNEL] });
    tell(&mut book, vec![FactChange::Put(hosts)]);
    ready(&mut book, "a", None);
    assert_eq!(placed(&mut book, inside(1)), None);
    assert_eq!(placed(&mut book, intent(2)).as_deref(), Some("a"));
}

#[test]
fn without_tunnels_between_hosts_a_node_needs_none() {
    let mut book = book();
    ready(&mut book, "a", None);
    ready(&mut book, "b", Some(TUNNEL));
    assert_eq!(placed(&mut book, inside(1)).as_deref(), Some("a"));
}

#[test]
fn a_port_in_another_cluster_of_the_zone_makes_a_router_here() {
    let mut book = book();
    let far = Shape::Far(far(A, 9));
    tell(&mut book, put(usual()));
    tell(&mut book, put(vec![far.clone()]));
    assert_eq!(leases(&book.take_router_news()), 1);
    book.put(inside(1), 0).unwrap();
    assert_eq!(leases(&book.take_router_news()), 2);
    tell(&mut book, vec![FactChange::Gone(Fact::Shape(far).key())]);
    assert_eq!(leases(&book.take_router_news()), 1);
}
