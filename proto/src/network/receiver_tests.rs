//! Where a receiver comes to, page by page.

use super::samples::{group, port, rule};
use super::*;
use crate::internal::error::ApiErrorKind;
use crate::internal::facts::{FACTS_PER_PAGE_MAX, FactsAt, FactsPage};
use proptest::prelude::*;

const fn at(epoch: u64, at: u64) -> FactsAt {
    FactsAt { epoch, at }
}

fn put(number: u8) -> FactChange {
    FactChange::Put(Fact::Port(port(number, &[1])))
}

fn page(epoch: u64, from: Option<u64>, to: u64, caught_up: bool, changes: Vec<FactChange>) -> FactsPage {
    FactsPage { epoch, from, to, caught_up, changes }
}

/// Takes the page and makes it durable.
fn told(receiver: &mut Receiver, page: FactsPage) -> (Taken, FactsAt) {
    let taken = receiver.take(page).unwrap();
    if let Taken::Changes(at, _) | Taken::Everything(at, _) = taken {
        receiver.settled(at);
    }
    (taken, receiver.stands())
}

fn standing(epochs: Epochs) -> Receiver {
    let mut receiver = Receiver::new(epochs, FactsAt::default());
    let (taken, stands) = told(&mut receiver, page(5, None, 3, true, vec![put(1)]));
    assert_eq!((taken, stands), (Taken::Everything(at(5, 3), vec![put(1)]), at(5, 3)));
    receiver
}

#[test]
fn changes_are_taken_from_where_it_stands_and_from_nowhere_else() {
    let mut receiver = standing(Epochs::Any);
    let next = page(5, Some(3), 4, true, vec![put(2)]);
    for elsewhere in [page(5, Some(2), 4, true, vec![put(9)]), page(6, Some(3), 4, true, vec![put(9)])] {
        assert_eq!(told(&mut receiver, elsewhere), (Taken::Nothing, at(5, 3)));
    }
    assert_eq!(told(&mut receiver, next.clone()), (Taken::Changes(at(5, 4), vec![put(2)]), at(5, 4)));
    assert_eq!(told(&mut receiver, next), (Taken::Nothing, at(5, 4)), "repeated");
}

#[test]
fn everything_in_pages_counts_when_the_last_is_there() {
    let mut receiver = standing(Epochs::Any);
    assert_eq!(told(&mut receiver, page(6, None, 1, false, vec![put(2)])), (Taken::Nothing, at(6, 1)));
    assert_eq!(receiver.at(), at(5, 3), "what it knew is in force");
    assert_eq!(told(&mut receiver, page(6, Some(2), 3, false, vec![put(9)])), (Taken::Nothing, at(6, 1)));
    assert_eq!(told(&mut receiver, page(6, Some(1), 2, false, vec![put(3)])), (Taken::Nothing, at(6, 2)));
    let (taken, stands) = told(&mut receiver, page(6, Some(2), 7, true, vec![put(4)]));
    assert_eq!((taken, stands), (Taken::Everything(at(6, 7), vec![put(2), put(3), put(4)]), at(6, 7)));
}

#[test]
fn what_is_staged_is_dropped_by_a_change_of_what_it_knows() {
    let mut receiver = standing(Epochs::Any);
    told(&mut receiver, page(6, None, 1, false, vec![put(2)]));
    let (taken, stands) = told(&mut receiver, page(5, Some(3), 4, true, vec![put(3)]));
    assert_eq!((taken, stands), (Taken::Changes(at(5, 4), vec![put(3)]), at(5, 4)));
    assert_eq!(told(&mut receiver, page(6, Some(1), 2, true, Vec::new())).0, Taken::Nothing);
}

#[test]
fn what_was_not_made_durable_is_not_where_it_stands() {
    let mut receiver = standing(Epochs::Any);
    assert!(matches!(receiver.take(page(5, Some(3), 4, true, vec![put(2)])), Ok(Taken::Changes(..))));
    assert_eq!(receiver.stands(), at(5, 3));
    assert!(matches!(receiver.take(page(9, None, 4, true, vec![put(2)])), Ok(Taken::Everything(..))));
    assert_eq!(receiver.stands(), at(5, 3));
}

#[test]
fn a_whole_telling_that_comes_late_does_not_go_back_within_its_epoch() {
    let mut receiver = standing(Epochs::Any);
    told(&mut receiver, page(5, Some(3), 9, true, vec![put(2)]));
    assert_eq!(told(&mut receiver, page(5, None, 3, true, vec![put(1)])), (Taken::Nothing, at(5, 9)));
    // In several pages its first ones may end earlier.
    told(&mut receiver, page(5, None, 2, false, vec![put(1)]));
    assert!(matches!(told(&mut receiver, page(5, Some(2), 12, true, Vec::new())).0, Taken::Everything(..)));
}

#[test]
fn a_growing_receiver_never_leaves_an_epoch_for_an_older_one() {
    let mut receiver = standing(Epochs::Growing);
    for (epoch, caught_up) in [(4, true), (5, true), (4, false), (5, false)] {
        let late = page(epoch, None, 99, caught_up, vec![put(9)]);
        assert_eq!(told(&mut receiver, late), (Taken::Nothing, at(5, 3)), "{epoch}");
    }
    told(&mut receiver, page(7, None, 1, false, vec![put(2)]));
    assert_eq!(told(&mut receiver, page(6, None, 1, true, vec![put(9)])), (Taken::Nothing, at(7, 1)));
    assert_eq!(told(&mut receiver, page(7, None, 1, false, vec![put(2)])), (Taken::Nothing, at(7, 1)));
    let (taken, _) = told(&mut receiver, page(7, Some(1), 2, true, Vec::new()));
    assert_eq!(taken, Taken::Everything(at(7, 2), vec![put(2)]), "the repeated page counts once");
}

#[test]
fn a_question_of_a_newer_sender_bars_what_an_older_one_sent() {
    let mut receiver = standing(Epochs::Growing);
    assert_eq!(told(&mut receiver, page(9, Some(0), 0, true, Vec::new())), (Taken::Nothing, at(5, 3)));
    assert_eq!(told(&mut receiver, page(8, None, 1, true, vec![put(9)])), (Taken::Nothing, at(5, 3)));
    let (taken, _) = told(&mut receiver, page(5, Some(3), 4, true, vec![put(2)]));
    assert_eq!(taken, Taken::Changes(at(5, 4), vec![put(2)]), "what begins where it stands is taken");
    assert!(matches!(told(&mut receiver, page(9, None, 1, true, Vec::new())).0, Taken::Everything(..)));
}

#[test]
fn odd_pages_are_refused_by_the_name_of_the_field() {
    let wide = |traffic, peer| FactChange::Put(Fact::Rule(rule(1, 1, Direction::Ingress, traffic, peer)));
    let v4 = |prefix| Peer::V4(Net4 { address: Ipv4Addr::UNSPECIFIED, prefix });
    let v6 = Peer::V6(Net6 { address: Ipv6Addr::UNSPECIFIED, prefix: 129 });
    let mut crowded = port(1, &[]);
    crowded.groups = vec![group(1); GROUPS_PER_PORT_MAX + 1];
    let mut spread = port(1, &[]);
    spread.addresses = vec![Ipv4Addr::LOCALHOST; ADDRESSES_PER_PORT_MAX + 1];
    let entry = |traffic| AclEntry { number: 1, allow: true, traffic, range: Net4::EVERYWHERE };
    let acl = |ingress, egress| Acl { id: samples::acl_id(1), vpc: samples::vpc_id(1), ingress, egress };
    let shape = |shape: Shape| FactChange::Put(Fact::Shape(shape));
    let wide_subnet =
        Shape::Subnet(Subnet { range: Net4 { prefix: 33, ..Net4::EVERYWHERE }, ..samples::subnet(1) });
    let far_subnet = Shape::Subnet(Subnet { tag: 1 << 24, ..samples::subnet(1) });
    let crowded_acl = Shape::Acl(acl(vec![entry(Traffic::All); ENTRIES_PER_ACL_MAX + 1], Vec::new()));
    let odd_acl = Shape::Acl(acl(Vec::new(), vec![entry(Traffic::Tcp { from: 2, to: 1 })]));
    let with = |change| page(5, Some(3), 4, true, vec![put(1), change]);
    let many = vec![put(1); FACTS_PER_PAGE_MAX + 1];
    for (odd, field) in [
        (page(0, None, 1, true, Vec::new()), "epoch: "),
        (page(5, Some(3), 2, true, Vec::new()), "to: "),
        (page(5, Some(3), 3, true, vec![put(1)]), "to: "),
        (page(5, Some(3), 4, true, many), "changes: more than 1000"),
        (with(wide(Traffic::Tcp { from: 2, to: 1 }, v4(0))), "changes[1].put.rule.traffic.to: "),
        (with(wide(Traffic::Udp { from: 9, to: 8 }, v4(0))), "changes[1].put.rule.traffic.to: "),
        (with(wide(Traffic::All, v4(33))), "changes[1].put.rule.peer.v4.prefix: 33"),
        (with(wide(Traffic::All, v6)), "changes[1].put.rule.peer.v6.prefix: 129"),
        (with(FactChange::Put(Fact::Port(crowded))), "changes[1].put.port.groups: "),
        (with(FactChange::Put(Fact::Port(spread))), "changes[1].put.port.addresses: "),
        (with(shape(wide_subnet)), "changes[1].put.shape.subnet.range.prefix: 33"),
        (with(shape(far_subnet)), "changes[1].put.shape.subnet.tag: 16777216"),
        (with(shape(crowded_acl)), "changes[1].put.shape.acl.ingress: more than 40"),
        (with(shape(odd_acl)), "changes[1].put.shape.acl.egress[0].traffic.to: "),
    ] {
        let mut receiver = standing(Epochs::Any);
        let error = receiver.take(odd).unwrap_err();
        assert_eq!(error.kind, ApiErrorKind::Invalid, "{field}");
        assert!(error.message.starts_with(field), "{field}: {}", error.message);
        assert_eq!(receiver.stands(), at(5, 3));
    }
}

#[test]
fn staging_has_an_end() {
    let mut receiver = standing(Epochs::Any);
    let full = STAGED_CHANGES_MAX / FACTS_PER_PAGE_MAX;
    let changes = || vec![FactChange::Gone(FactKey::Port(samples::port_id(1))); FACTS_PER_PAGE_MAX];
    for number in 0..full as u64 {
        let from = number.checked_sub(1);
        assert_eq!(told(&mut receiver, page(6, from, number, false, changes())).1, at(6, number));
    }
    let one_more = page(6, Some(full as u64 - 1), full as u64, true, vec![put(1)]);
    assert_eq!(receiver.take(one_more).unwrap_err().kind, ApiErrorKind::Full);
    assert_eq!(receiver.stands(), at(5, 3), "the staged is given up, and what it knew is not");
}

fn pages() -> impl Strategy<Value = FactsPage> {
    let from = proptest::option::of(0u64..4);
    (0u64..4, from, 0u64..5, any::<bool>(), proptest::collection::vec((0u8..3).prop_map(put), 0..3))
        .prop_map(|(epoch, from, to, caught_up, changes)| page(epoch, from, to, caught_up, changes))
}

proptest! {
    /// Whatever comes, in whatever order: it moves only as pages lead, and a growing one only forward.
    #[test]
    fn no_sequence_of_pages_leads_astray(all in proptest::collection::vec(pages(), 0..40), growing: bool) {
        let epochs = if growing { Epochs::Growing } else { Epochs::Any };
        let mut receiver = Receiver::new(epochs, FactsAt::default());
        for page in all {
            let (knew, stood) = (receiver.at(), receiver.stands());
            let leads = at(page.epoch, page.to);
            match receiver.take(page.clone()) {
                Err(_) => prop_assert_eq!(receiver.at(), knew),
                Ok(Taken::Nothing) => prop_assert!([knew, stood, leads].contains(&receiver.stands())),
                Ok(Taken::Changes(to, changes)) => {
                    prop_assert_eq!(Some(knew.at), page.from);
                    prop_assert_eq!((knew.epoch, to, &changes), (page.epoch, leads, &page.changes));
                    receiver.settled(to);
                }
                Ok(Taken::Everything(to, _)) => {
                    prop_assert!(page.caught_up && to == leads);
                    prop_assert!(page.from.is_none() || stood == at(page.epoch, page.from.unwrap_or(0)));
                    receiver.settled(to);
                }
            }
            if growing {
                let forward = (receiver.at().epoch, receiver.at().at) >= (knew.epoch, knew.at);
                prop_assert!(forward, "{:?} after {:?}", receiver.at(), knew);
            }
        }
    }
}
