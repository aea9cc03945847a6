//! Connections that go by a public address which leads elsewhere now: they end, so that none is answered by whom it
//! was not meant for.

use karri_net::nfnetlink::{Attribute, Nfnetlink, attribute_put, attributes, find};
use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::net::Ipv4Addr;

const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const TUPLE_ADDRESSES: u16 = 1;
const ADDRESS_SOURCE: u16 = 1;
const ADDRESS_DESTINATION: u16 = 2;

/// Public addresses, and whose they are; none: a NAT gateway's.
pub type Public = BTreeMap<Ipv4Addr, Option<Ipv4Addr>>;

/// Who speaks to whom, as the first packet said and as the answers say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    pub from: Ipv4Addr,
    pub to: Ipv4Addr,
    pub answer_from: Ipv4Addr,
    pub answer_to: Ipv4Addr,
    /// By which the kernel is told to forget it.
    key: Vec<u8>,
}

impl Flow {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let all = attributes(bytes)?;
        let (from, to) = ends(&all, TUPLE_ORIGINAL)?;
        let (answer_from, answer_to) = ends(&all, TUPLE_REPLY)?;
        let mut key = Vec::new();
        for kind in [TUPLE_ORIGINAL, ID, ZONE] {
            if let Some(value) = find(&all, kind) {
                attribute_put(&mut key, kind, value, kind == TUPLE_ORIGINAL);
            }
        }
        Ok(Self { from, to, answer_from, answer_to, key })
    }
}

fn ends(all: &[Attribute<'_>], tuple: u16) -> Result<(Ipv4Addr, Ipv4Addr)> {
    let missing = || Error::new(ErrorKind::InvalidData, "a flow without addresses");
    let tuple = attributes(find(all, tuple).ok_or_else(missing)?)?;
    let addresses = attributes(find(&tuple, TUPLE_ADDRESSES).ok_or_else(missing)?)?;
    let address = |kind| {
        let four: [u8; 4] =
            find(&addresses, kind).and_then(|bytes| bytes.try_into().ok()).ok_or_else(missing)?;
        Ok::<_, Error>(Ipv4Addr::from(four))
    };
    Ok((address(ADDRESS_SOURCE)?, address(ADDRESS_DESTINATION)?))
}

/// In a router, where nobody else translates: it was translated as nothing would be now.
pub fn is_stale(flow: &Flow, public: &Public) -> bool {
    let to_another = flow.answer_from != flow.to && public.get(&flow.to) != Some(&Some(flow.answer_from));
    let from_another = flow.answer_to != flow.from
        && match public.get(&flow.answer_to) {
            Some(Some(private)) => *private != flow.from,
            Some(None) => false,
            None => true,
        };
    to_another || from_another
}

/// On the host, where others translate too: it goes by an address of `flat` and not as that says, or by one of `gone`.
pub fn is_stale_among_others(flow: &Flow, flat: &BTreeMap<Ipv4Addr, Ipv4Addr>, gone: &[Ipv4Addr]) -> bool {
    let to_another = flat.get(&flow.to).is_some_and(|private| flow.answer_from != *private);
    let from_another =
        flow.answer_to != flow.from && flat.get(&flow.answer_to).is_some_and(|private| flow.from != *private);
    to_another || from_another || [flow.to, flow.answer_to].iter().any(|address| gone.contains(address))
}

/// Makes the kernel forget the flows that `condemned` picks out; tells how many. Of this thread's namespace. Blocking.
pub fn cut(mut condemned: impl FnMut(&Flow) -> bool) -> Result<usize> {
    let netlink = Nfnetlink::open()?;
    let mut keys = Vec::new();
    netlink.flows(|bytes| {
        let flow = Flow::parse(bytes)?;
        if condemned(&flow) {
            keys.push(flow.key);
        }
        Ok(())
    })?;
    for key in &keys {
        netlink.flow_delete(key)?;
    }
    Ok(keys.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
    const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 5);
    const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
    const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);
    const NAT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 200);

    fn stale(flow: [Ipv4Addr; 4]) -> bool {
        let [from, to, answer_from, answer_to] = flow;
        let flow = Flow { from, to, answer_from, answer_to, key: Vec::new() };
        is_stale(&flow, &Public::from([(PUBLIC, Some(GUEST)), (NAT, None)]))
    }

    #[test]
    fn what_would_be_translated_otherwise_now_is_stale() {
        assert!(!stale([CLIENT, PUBLIC, GUEST, CLIENT]), "in by the address");
        assert!(stale([CLIENT, PUBLIC, OTHER, CLIENT]), "to whom it belonged before");
        assert!(!stale([GUEST, CLIENT, CLIENT, PUBLIC]) && stale([OTHER, CLIENT, CLIENT, PUBLIC]));
        assert!(!stale([OTHER, CLIENT, CLIENT, NAT]), "by the NAT gateway");
        assert!(stale([OTHER, CLIENT, CLIENT, CLIENT]), "by an address that is none of ours any more");
        assert!(!stale([GUEST, OTHER, OTHER, GUEST]), "within the VPC");
        assert!(
            !stale([OTHER, PUBLIC, GUEST, NAT]) && stale([OTHER, PUBLIC, OTHER, NAT]),
            "back into the VPC"
        );
    }

    #[test]
    fn on_the_host_only_what_goes_by_our_addresses_is_judged() {
        let flat = BTreeMap::from([(PUBLIC, GUEST)]);
        let stale = |from, to, answer_from, answer_to| {
            is_stale_among_others(&Flow { from, to, answer_from, answer_to, key: Vec::new() }, &flat, &[NAT])
        };
        assert!(!stale(CLIENT, PUBLIC, GUEST, CLIENT) && stale(CLIENT, PUBLIC, OTHER, CLIENT));
        assert!(!stale(GUEST, CLIENT, CLIENT, PUBLIC) && stale(OTHER, CLIENT, CLIENT, PUBLIC));
        assert!(
            stale(CLIENT, NAT, OTHER, CLIENT) && stale(OTHER, CLIENT, CLIENT, NAT),
            "no address any more"
        );
        assert!(!stale(CLIENT, OTHER, GUEST, CLIENT), "somebody else's translation");
    }

    #[test]
    fn a_message_that_is_cut_short_is_an_error() {
        assert!(Flow::parse(&[]).is_err());
        assert!(Flow::parse(&[8, 0, 1, 0]).is_err());
        assert!(Flow::parse(&[4, 0, 1, 0, 4, 0, 2, 0]).is_err());
    }
}
