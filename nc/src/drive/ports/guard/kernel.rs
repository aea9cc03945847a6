//! What there is in the kernel of this node's chains, jumps and sets, and how it is changed.

use super::names::Names;
use super::text::{Step, Text};
use super::wanted::jumps;
use crate::drive::ports::PortError;
use crate::drive::ports::program::run;
use karri_net::nfnetlink::{Nfnetlink, is_counted};
use karri_proto::network::SegmentTag;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;
use tokio::sync::OnceCell;

/// The kernel lets go of a set some time after the last rule that looks into it.
const DESTROY_TRIES: u32 = 10;
const DESTROY_WAIT: Duration = Duration::from_millis(20);
const RESTORE: [&str; 3] = ["--noflush", "--wait", "10"];

/// Table, the kernel's own chain, the rule there.
pub type Jump = (&'static str, &'static str, String);

/// All that is this node's own.
#[derive(Debug, Default)]
pub struct Found {
    pub text: Text,
    pub jumps: Vec<Jump>,
}

/// What rules follow from besides ports and facts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Setting {
    /// Nobody but this node asked for the frames of its bridge to be filtered, so the host's own rules for what it
    /// forwards are not meant for them.
    pub whole_bridge: bool,
    /// Which zone the kernel's connection tracking has for each segment.
    pub zones: BTreeMap<SegmentTag, u16>,
}

/// The rules in the kernel's own chains.
pub fn jumps_wanted(names: &Names, setting: &Setting) -> Vec<Jump> {
    let mut all: Vec<Jump> =
        jumps(names).into_iter().map(|(chain, rule)| ("mangle", chain, rule.to_string())).collect();
    let (bridge, taps, tag) = (&names.bridge, &names.taps, tag(names));
    let mut forward = |matched: String| {
        all.push(("filter", "FORWARD", format!("{matched} -m comment --comment {tag} -j ACCEPT")));
    };
    forward(format!("-m physdev --physdev-in {taps}+ --physdev-is-bridged"));
    forward(format!("-m physdev --physdev-out {taps}+ --physdev-is-bridged"));
    if setting.whole_bridge {
        forward(format!("-i {bridge} -o {bridge} -m physdev --physdev-is-bridged"));
    }
    if !setting.zones.is_empty() {
        let bridges = names.segments.bridges();
        forward(format!("-i {bridges} -o {bridges} -m physdev --physdev-is-bridged"));
        all.extend(segments_shut(&bridges, &tag));
    }
    let zone = |(segment, zone): (&SegmentTag, &u16)| {
        let rule =
            format!("-i {} -m comment --comment {tag} -j CT --zone {zone}", names.segments.bridge(*segment));
        ("raw", "PREROUTING", rule)
    };
    all.extend(setting.zones.iter().map(zone));
    all
}

/// The host itself is neither to be reached from a segment nor a way from one to anywhere.
fn segments_shut(bridges: &str, tag: &str) -> [Jump; 3] {
    let drop =
        |chain, matched: String| ("mangle", chain, format!("{matched} -m comment --comment {tag} -j DROP"));
    [
        drop("INPUT", format!("-i {bridges}")),
        drop("FORWARD", format!("-i {bridges} -m physdev ! --physdev-is-bridged")),
        drop("POSTROUTING", format!("-o {bridges} -m physdev ! --physdev-is-bridged")),
    ]
}

fn tag(names: &Names) -> String {
    format!("karri-{}", names.taps)
}

pub async fn look(names: &Names) -> Result<Found, PortError> {
    let mut found = Found::default();
    for table in ["mangle", "filter", "raw"] {
        chains_parse(&mut found, names, table, &run("iptables-save", &["-t", table], String::new()).await?);
    }
    sets_parse(&mut found.text, names, &run("ipset", &["save"], String::new()).await?);
    Ok(found)
}

fn chains_parse(found: &mut Found, names: &Names, table: &'static str, saved: &str) {
    const BUILT_IN: [&str; 5] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];
    let own_jump = format!("-j {}-", names.way(super::names::Way::From).trim_end_matches("-from"));
    let tagged = format!("--comment {} -j ", tag(names));
    for line in saved.lines() {
        if let Some(name) = line.strip_prefix(':').and_then(|line| line.split(' ').next()) {
            if names.are_own(name) && table == "mangle" {
                found.text.chains.entry(name.to_owned()).or_default();
            }
        } else if let Some((chain, rule)) = line.strip_prefix("-A ").and_then(|line| line.split_once(' ')) {
            if names.are_own(chain) && table == "mangle" {
                found.text.chains.entry(chain.to_owned()).or_default().push(rule.trim().to_owned());
            } else if let Some(chain) = BUILT_IN.iter().find(|name| **name == chain) {
                // Those to the metadata service have the same comment.
                let is_here = table != "filter" || *chain == "FORWARD";
                if (is_here && rule.contains(&tagged)) || (table == "mangle" && rule.contains(&own_jump)) {
                    found.jumps.push((table, chain, rule.trim().to_owned()));
                }
            }
        }
    }
}

fn sets_parse(text: &mut Text, names: &Names, saved: &str) {
    for line in saved.lines() {
        let mut words = line.split(' ');
        let (Some(verb), Some(name), Some(third)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        if !names.are_own(name) {
            continue;
        }
        let set = text.sets.entry(name.to_owned()).or_default();
        if verb == "create" {
            set.create = line.to_owned();
        } else {
            set.members.insert(third.to_owned());
        }
    }
}

/// Sets by the number of their members: quicker to get than the members.
pub async fn set_sizes(names: &Names) -> Result<BTreeMap<String, usize>, PortError> {
    let printed = run("ipset", &["list", "-terse"], String::new()).await?;
    let mut sizes = BTreeMap::new();
    let mut name = "";
    for line in printed.lines() {
        if let Some(of) = line.strip_prefix("Name: ") {
            name = of;
        } else if let Some(count) = line.strip_prefix("Number of entries: ").filter(|_| names.are_own(name)) {
            sizes.insert(name.to_owned(), count.trim().parse().unwrap_or(usize::MAX));
        }
    }
    Ok(sizes)
}

/// A number that is another after every change of rules, whoever makes it. `None`: this host's iptables and ebtables
/// do not stand on nf_tables, which counts.
pub async fn generation() -> Option<u32> {
    static COUNTS: OnceCell<bool> = OnceCell::const_new();
    let counts = COUNTS.get_or_try_init(async || {
        let both = || Ok::<_, std::io::Error>(is_counted("iptables")? && is_counted("ebtables")?);
        tokio::task::spawn_blocking(both).await.map_err(std::io::Error::other)?
    });
    if !*counts.await.ok()? {
        return None;
    }
    tokio::task::spawn_blocking(|| Nfnetlink::open()?.tables_generation()).await.ok()?.ok()
}

/// The lines that bring the jumps found to those wanted, by table: missing ones come first in their chain.
fn jump_lines(found: &[Jump], wanted: &[Jump]) -> BTreeMap<&'static str, String> {
    let mut lines: BTreeMap<&'static str, String> = BTreeMap::new();
    let mut left: Vec<&Jump> = wanted.iter().collect();
    let mut add = |table, line: String| {
        let _ = writeln!(lines.entry(table).or_default(), "{line}");
    };
    for jump in found {
        match left.iter().position(|wanted| *wanted == jump) {
            Some(at) => drop(left.swap_remove(at)),
            None => add(jump.0, format!("-D {} {}", jump.1, jump.2)),
        }
    }
    for (table, chain, rule) in left {
        add(table, format!("-I {chain} 1 {rule}"));
    }
    lines
}

pub fn differ(found: &[Jump], wanted: &[Jump]) -> bool {
    !jump_lines(found, wanted).is_empty()
}

/// Whether a rule of another node leads to its ports on the same bridge.
pub async fn others_route_to(names: &Names) -> Result<bool, PortError> {
    let saved = run("iptables-save", &["-t", "mangle"], String::new()).await?;
    let start = format!("-A POSTROUTING -o {} -m physdev ! --physdev-is-bridged -j KARRI-", names.bridge);
    Ok(saved
        .lines()
        .any(|line| line.starts_with(&start) && !line.ends_with(&names.way(super::names::Way::Routed))))
}

/// Whether a rule of another node is about this segment.
pub async fn others_use(names: &Names, segment: SegmentTag) -> Result<bool, PortError> {
    let saved = run("iptables-save", &["-t", "raw"], String::new()).await?;
    let start = format!("-A PREROUTING -i {} -m comment --comment karri-", names.segments.bridge(segment));
    let own = format!(" {} ", tag(names));
    Ok(saved.lines().any(|line| line.starts_with(&start) && !line.contains(&own)))
}

/// One step, and with it the jumps that are missing or too many. True: something changed.
pub async fn take(step: &Step, found: &[Jump], wanted: &[Jump]) -> Result<bool, PortError> {
    let mut jumps = jump_lines(found, wanted);
    if step.is_nothing() && jumps.is_empty() {
        return Ok(false);
    }
    ipset(&step.fill).await?;
    let mangle = step.chains.clone();
    // Jumps come when there is where they lead to, and go before it does.
    let (goes, comes): (Vec<_>, Vec<_>) = jumps
        .remove("mangle")
        .unwrap_or_default()
        .lines()
        .map(str::to_owned)
        .partition(|line| line.starts_with("-D"));
    let (rules, removed) = split_removals(&mangle);
    let mut script = String::new();
    if !mangle.is_empty() || !goes.is_empty() || !comes.is_empty() {
        let lines = |lines: Vec<String>| lines.into_iter().map(|line| line + "\n").collect::<String>();
        script = format!("*mangle\n{rules}{}{}{removed}COMMIT\n", lines(goes), lines(comes));
    }
    for (table, lines) in jumps {
        let _ = write!(script, "*{table}\n{lines}COMMIT\n");
    }
    if !script.is_empty() {
        run("iptables-restore", &RESTORE, script).await?;
    }
    ipset(&step.empty).await?;
    destroy(&step.destroy).await?;
    Ok(true)
}

fn split_removals(script: &str) -> (String, String) {
    let (removed, rules): (Vec<&str>, Vec<&str>) = script.lines().partition(|line| line.starts_with("-X "));
    let joined = |lines: Vec<&str>| lines.iter().flat_map(|line| [*line, "\n"]).collect();
    (joined(rules), joined(removed))
}

async fn ipset(script: &str) -> Result<(), PortError> {
    if script.is_empty() {
        return Ok(());
    }
    run("ipset", &["-exist", "restore"], script.to_owned()).await.map(drop)
}

async fn destroy(sets: &[String]) -> Result<(), PortError> {
    if sets.is_empty() {
        return Ok(());
    }
    let script: String = sets.iter().map(|name| format!("destroy {name}\n")).collect();
    let mut tries = 1;
    // Those that are gone after a failed try are no error in the next.
    while let Err(error) = ipset(&script).await {
        if tries == DESTROY_TRIES {
            return Err(error);
        }
        tries += 1;
        tokio::time::sleep(DESTROY_WAIT).await;
    }
    Ok(())
}

/// Without the differences that only the kernel's tools make when they print. `was` is how a chain was printed after
/// it was put.
pub fn as_put(now: &Text, wanted: &Text, was: &BTreeMap<String, Vec<String>>) -> Text {
    let mut same = now.clone();
    for (name, lines) in &mut same.chains {
        if let (Some(wanted), Some(was)) = (wanted.chains.get(name), was.get(name))
            && lines == was
        {
            lines.clone_from(wanted);
        }
    }
    same
}
