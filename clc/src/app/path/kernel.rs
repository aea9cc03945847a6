//! What kernels have at each station: asked of the clusters, and shown where it belongs.

use super::place::Shown;
use crate::app::App;
use futures_util::future::join_all;
use karri_proto::internal::Caller;
use karri_proto::internal::kernel::{KernelAbout, KernelLine, KernelLook, KernelPart, KernelService};
use karri_proto::internal::path::Station;
use karri_proto::network::{Direction, SegmentTag};
use std::collections::{BTreeMap, BTreeSet};

/// Which part of what is told about something belongs to a station.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    pub about: KernelAbout,
    pub at: At,
    pub decides: Option<Decides>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// All of a port, or what a packet meets that comes to it or from it.
    Port(Option<Direction>),
    Segment,
    Acl(SegmentTag, Direction),
    Table(SegmentTag),
    /// Where addresses are translated.
    Gateway,
}

/// Which of a station's lines its verdict follows from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decides {
    /// The one that leads to this group's rules.
    Group(String),
    /// The one behind all groups of a port.
    NoGroup,
    /// The one in this place of a chain.
    Nth(usize),
    Last,
    /// The route to this network.
    Route(String),
}

impl At {
    /// Whether a line at this place, or a sentence that begins with it, is of this station.
    fn has(self, place: &str) -> bool {
        match self {
            At::Port(None) => true,
            At::Port(Some(Direction::Egress)) => !is_only_toward_a_port(place),
            At::Port(Some(Direction::Ingress)) => !is_only_from_a_port(place),
            At::Acl(tag, direction) => place.contains(&format!(" s{tag:x}-acl-{} ", end(direction))),
            At::Table(tag) => {
                let marks = place.contains(&format!(" s{tag:x}-from "));
                marks || place.contains("ip route table ") || place.contains("ip rule ")
            }
            At::Gateway => place.contains("iptables nat ") || place.contains("iptables filter "),
            At::Segment => ["ip route ", "ip rule ", "iptables "].iter().all(|other| !place.contains(other)),
        }
    }
}

fn is_only_toward_a_port(place: &str) -> bool {
    let ends = ["-to ", "-in "].iter().any(|end| place.contains(end));
    ends || place.contains("-to-") || place.contains("-routed-")
}

fn is_only_from_a_port(place: &str) -> bool {
    place.starts_with("ebtables ") || place.contains("-from") || place.contains("-out ")
}

fn end(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "in",
        Direction::Egress => "out",
    }
}

impl Decides {
    /// Of the lines of a station in their order.
    fn find(&self, at: At, lines: &[KernelLine]) -> Option<usize> {
        let is_ports_own = |line: &KernelLine| match at {
            At::Port(Some(Direction::Egress)) => line.place.ends_with("-from"),
            At::Port(_) => line.place.ends_with("-to"),
            _ => false,
        };
        match self {
            Decides::Group(group) => {
                let words = format!("--comment {group} ");
                lines.iter().position(|line| is_ports_own(line) && line.text.contains(&words))
            }
            Decides::NoGroup => lines.iter().rposition(|line| is_ports_own(line) && line.text == "-j DROP"),
            Decides::Nth(number) => (*number < lines.len()).then_some(*number),
            Decides::Last => lines.len().checked_sub(1),
            Decides::Route(net) => {
                let is_to = |line: &KernelLine| line.text.split(' ').any(|word| word == net);
                lines.iter().position(is_to)
            }
        }
    }
}

impl App {
    /// Each station with what kernels have there, all of them asked at the same time.
    pub(super) async fn with_kernels(&self, caller: &Caller, shown: Vec<Shown>) -> Vec<Station> {
        let abouts: BTreeSet<_> =
            shown.iter().filter_map(|one| Some(one.look.as_ref()?.about.clone())).collect();
        let told = join_all(abouts.into_iter().map(|about| async move {
            let parts = self.kernels_of(caller, &about).await;
            (about, parts)
        }));
        let told: BTreeMap<KernelAbout, Vec<KernelPart>> = told.await.into_iter().collect();
        shown.into_iter().map(|one| joined(one, &told)).collect()
    }

    async fn kernels_of(&self, caller: &Caller, about: &KernelAbout) -> Vec<KernelPart> {
        let clusters = self.clusters.list();
        let asked = clusters.iter().map(|link| async move {
            let caller = self.caller(&caller.request_id);
            match link.client().kernel(&caller, about).await {
                Ok(parts) => parts,
                Err(error) => vec![KernelPart::blind(format!("cc {}", link.name), error)],
            }
        });
        join_all(asked).await.into_iter().flatten().collect()
    }
}

fn joined(shown: Shown, told: &BTreeMap<KernelAbout, Vec<KernelPart>>) -> Station {
    let Shown { mut station, look } = shown;
    let Some(look) = look else { return station };
    let parts = told.get(&look.about).into_iter().flatten();
    station.kernel = parts.filter_map(|part| part_of(part, &look)).collect();
    station
}

/// `None`: nothing of it is of this station.
fn part_of(part: &KernelPart, look: &Look) -> Option<KernelPart> {
    let lines = part.look.lines.iter().filter(|line| look.at.has(&format!("{} ", line.place)));
    let mut lines: Vec<KernelLine> = lines.cloned().collect();
    let differs = part.look.differs.iter();
    // What differs of a port is of interest whatever the packet.
    let is_meant = |what: &&String| matches!(look.at, At::Port(_)) || look.at.has(what);
    let differs: Vec<String> = differs.filter(is_meant).cloned().collect();
    if lines.is_empty() && differs.is_empty() {
        return None;
    }
    if let Some(line) = look.decides.as_ref().and_then(|decides| decides.find(look.at, &lines)) {
        lines[line].decides = true;
    }
    Some(KernelPart { who: part.who.clone(), look: KernelLook { lines, differs } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(lines: &[(&str, &str)], differs: &[&str]) -> KernelPart {
        let mut look = KernelLook::default();
        lines.iter().for_each(|(place, text)| look.line(*place, *text, Some(1)));
        differs.iter().for_each(|what| look.differs(*what));
        KernelPart { who: "nc n".into(), look }
    }

    fn seen(part: &KernelPart, at: At, decides: Option<Decides>) -> Vec<String> {
        let about: KernelAbout = "eni-00000001".parse().unwrap();
        let part = part_of(part, &Look { about, at, decides });
        let mark = |line: KernelLine| if line.decides { format!("> {}", line.text) } else { line.text };
        part.map_or_else(Vec::new, |part| {
            part.look.lines.into_iter().map(mark).chain(part.look.differs).collect()
        })
    }

    #[test]
    fn a_port_is_shown_from_the_side_that_a_packet_comes_from() {
        let part = look(
            &[
                ("ebtables nat k1", "e"),
                ("iptables mangle KARRI-k1-from-7", "way from"),
                ("iptables mangle KARRI-k1x-from", "-j DROP"),
                ("iptables mangle KARRI-k1-to-7", "way to"),
                ("iptables mangle KARRI-k1x-to", "-m comment --comment sg-1 -j KARRI-k1-abc-in"),
                ("iptables mangle KARRI-k1x-to", "-j DROP"),
                ("iptables mangle KARRI-k1-abc-in", "in"),
                ("iptables mangle KARRI-k1-abc-out", "out"),
                ("ipset KARRI-k1-abc-in", "set in"),
                ("bridge b", "port"),
            ],
            &["the ways to security groups are gone"],
        );
        let port = |direction| At::Port(Some(direction));
        let (group, none) = (Some(Decides::Group("sg-1".into())), Some(Decides::NoGroup));
        let gone = "the ways to security groups are gone";
        assert_eq!(
            seen(&part, port(Direction::Ingress), none),
            [
                "way to",
                "-m comment --comment sg-1 -j KARRI-k1-abc-in",
                "> -j DROP",
                "in",
                "set in",
                "port",
                gone
            ]
        );
        assert_eq!(
            seen(&part, port(Direction::Ingress), group)[1],
            "> -m comment --comment sg-1 -j KARRI-k1-abc-in"
        );
        assert_eq!(
            seen(&part, port(Direction::Egress), Some(Decides::NoGroup)),
            ["e", "way from", "> -j DROP", "out", "port", gone]
        );
        assert_eq!(seen(&part, At::Port(None), None).len(), 11);
    }

    #[test]
    fn a_router_is_shown_by_its_parts() {
        let part = look(
            &[
                ("ns: iptables mangle s1001-acl-in", "first"),
                ("ns: iptables mangle s1001-acl-in", "-j DROP"),
                ("ns: iptables mangle s1001-acl-out", "out"),
                ("ns: iptables nat to-public", "nat"),
                ("ns: ip route table 1004097", "blackhole 192.0.2.0/24 proto 75"),
                ("ns: ip rule", "iif s1001 lookup 1004097"),
                ("link b.1001", "bridge"),
            ],
            &["ns: iptables mangle s1001-acl-in lacks: x", "namespace ns is missing"],
        );
        let into = At::Acl(0x1001, Direction::Ingress);
        let lacks = "ns: iptables mangle s1001-acl-in lacks: x";
        assert_eq!(seen(&part, into, Some(Decides::Nth(0))), ["> first", "-j DROP", lacks]);
        assert_eq!(seen(&part, into, Some(Decides::Last)), ["first", "> -j DROP", lacks]);
        assert_eq!(seen(&part, into, Some(Decides::Nth(7))), ["first", "-j DROP", lacks]);
        assert_eq!(seen(&part, At::Acl(0x1001, Direction::Egress), None), ["out"]);
        assert!(seen(&part, At::Acl(0x100, Direction::Ingress), None).is_empty());
        assert_eq!(seen(&part, At::Gateway, None), ["nat"]);
        let hole = Some(Decides::Route("192.0.2.0/24".into()));
        assert_eq!(
            seen(&part, At::Table(0x1001), hole),
            ["> blackhole 192.0.2.0/24 proto 75", "iif s1001 lookup 1004097"]
        );
        assert_eq!(seen(&part, At::Segment, None), ["bridge", "namespace ns is missing"]);
    }
}
