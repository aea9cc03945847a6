//! Taps that are on no bridge, or of which no record says on which they belong.

use super::Port;
use karri_net::Link;
use karri_proto::network::SegmentTag;
use std::collections::{BTreeMap, HashMap};

/// Where taps without a record were seen.
#[derive(Debug, Default)]
pub struct Strays {
    segments: HashMap<String, SegmentTag>,
}

impl Strays {
    /// Looks where `taps` are joined. `segment_of`: by the name of a bridge, 0 for the flat one.
    pub fn look<'a>(
        &mut self,
        taps: impl Iterator<Item = &'a String>,
        links: &[Link],
        segment_of: impl Fn(&str) -> Option<SegmentTag>,
    ) {
        let by_name: HashMap<&str, &Link> = links.iter().map(|link| (link.name.as_str(), link)).collect();
        let names: HashMap<u32, &str> = links.iter().map(|link| (link.index, link.name.as_str())).collect();
        let mut now = HashMap::new();
        for tap in taps {
            let bridge = by_name.get(tap.as_str()).and_then(|link| link.controller);
            let seen = bridge.and_then(|index| segment_of(names.get(&index)?));
            if let Some(segment) = seen.or_else(|| self.segments.get(tap).copied()) {
                now.insert(tap.clone(), segment);
            }
        }
        self.segments = now;
    }

    /// `None`: it was on no bridge whenever somebody looked.
    pub fn segment(&self, tap: &str) -> Option<SegmentTag> {
        self.segments.get(tap).copied()
    }

    pub fn segments(&self) -> impl Iterator<Item = SegmentTag> {
        self.segments.values().copied()
    }
}

/// Of these taps, those that exist and are on no bridge.
pub fn loose(taps: &BTreeMap<String, SegmentTag>, links: &[Link]) -> BTreeMap<String, SegmentTag> {
    let on_none = links.iter().filter(|link| link.controller.is_none());
    let known = on_none.filter_map(|link| Some((link.name.clone(), *taps.get(&link.name)?)));
    known.collect()
}

/// Of these ports, those of the flat network.
pub fn flat(ports: &[Port]) -> impl Iterator<Item = &Port> {
    ports.iter().filter(|port| port.segment == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use karri_net::Kind;

    fn link(index: u32, name: &str, controller: Option<u32>) -> Link {
        let name = name.to_owned();
        let (kind, mtu, group) = (Kind::Other, 1500, 0);
        let (up, arp, ipv6, mac, isolated, hairpin) = (true, true, false, None, false, false);
        let below = None;
        Link { index, name, kind, up, arp, ipv6, mtu, mac, group, controller, below, isolated, hairpin }
    }

    #[test]
    fn a_tap_without_a_record_belongs_where_it_was_seen_last() {
        let segment_of = |bridge: &str| match bridge {
            "karri0" => Some(0),
            "karri0.1001" => Some(0x1001),
            _ => None,
        };
        let taps = ["a", "b", "c", "d"].map(str::to_owned);
        let bridges = [link(1, "karri0", None), link(2, "karri0.1001", None), link(3, "docker0", None)];
        let mut strays = Strays::default();
        let of = |a, b, c| [link(4, "a", a), link(5, "b", b), link(6, "c", c)];
        strays.look(taps.iter(), &[&bridges[..], &of(Some(1), Some(2), Some(3))].concat(), segment_of);
        let known = |strays: &Strays| taps.each_ref().map(|tap| strays.segment(tap));
        assert_eq!(known(&strays), [Some(0), Some(0x1001), None, None]);
        strays.look(taps.iter(), &[&bridges[..1], &of(None, None, None)].concat(), segment_of);
        assert_eq!(known(&strays), [Some(0), Some(0x1001), None, None], "its bridge was taken away");
        strays.look(taps[..1].iter(), &bridges, segment_of);
        assert_eq!(known(&strays), [Some(0), None, None, None]);
    }

    #[test]
    fn only_known_taps_on_no_bridge_are_loose() {
        let taps = BTreeMap::from([("a".to_owned(), 0), ("b".to_owned(), 5), ("c".to_owned(), 5)]);
        let links = [link(1, "a", Some(9)), link(2, "b", None), link(3, "eth0", None)];
        assert_eq!(loose(&taps, &links), BTreeMap::from([("b".to_owned(), 5)]));
    }
}
