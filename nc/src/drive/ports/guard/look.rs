//! What the kernel has of one port's groups, beside what is wanted.

use super::kernel::{self, Jump};
use super::text::{SetText, Text};
use super::{Guard, PortError};
use crate::drive::ports::Port;
use crate::drive::ports::program::run;
use karri_proto::internal::kernel::{KernelLook, counted};
use std::collections::{BTreeMap, BTreeSet};

/// A look during which something was changed is taken again, so many times at most.
const LOOKS_MAX: u32 = 3;
/// So many members of a set are told.
const MEMBERS_TOLD_MAX: usize = 8;
const WAYS: &str = "the ways to security groups (mangle, filter and raw) are not as they should be";

struct Wanted {
    text: Text,
    /// In the chains that many ports have in common, what leads to this one's.
    ways: BTreeMap<String, Vec<String>>,
    jumps: Vec<Jump>,
    printed: BTreeMap<String, Vec<String>>,
    steps: u64,
}

impl Guard {
    /// `None`: it guards no such port.
    pub async fn look_at(&self, port: &Port) -> Result<Option<KernelLook>, PortError> {
        for turn in 1.. {
            let Some(wanted) = self.wanted_of(port).await else { return Ok(None) };
            let found = kernel::look(&self.names).await?;
            let saved = run("iptables-save", &["-c", "-t", "mangle"], String::new()).await?;
            if turn < LOOKS_MAX && self.inner.lock().await.steps != wanted.steps {
                continue;
            }
            let mut look = KernelLook::default();
            wanted.lines(&mut look, &saved, &found.text);
            wanted.differences(&mut look, &found);
            return Ok(Some(look));
        }
        Ok(None)
    }

    async fn wanted_of(&self, port: &Port) -> Option<Wanted> {
        let inner = self.inner.lock().await;
        let text = inner.state.text_of(&port.tap);
        if text.chains.is_empty() {
            return None;
        }
        let jumps = kernel::jumps_wanted(&self.names, &inner.setting);
        let ways = inner.state.ways_to(&port.tap);
        Some(Wanted { text, ways, jumps, printed: inner.printed.clone(), steps: inner.steps })
    }
}

impl Wanted {
    fn lines(&self, look: &mut KernelLook, saved: &str, found: &Text) {
        let lines: Vec<_> = saved.lines().filter_map(counted).collect();
        let mut tell = |chain: &str, is_meant: &dyn Fn(&str) -> bool| {
            for (packets, _, rule) in lines.iter().filter(|(_, of, rule)| *of == chain && is_meant(rule)) {
                look.line(format!("iptables mangle {chain}"), *rule, Some(*packets));
            }
        };
        for (chain, ways) in &self.ways {
            tell(chain, &|rule| ways.iter().any(|way| way == rule));
        }
        for chain in self.text.chains.keys() {
            tell(chain, &|_| true);
        }
        for name in self.text.sets.keys() {
            if let Some(set) = found.sets.get(name) {
                look.line(format!("ipset {name}"), set_line(set), None);
            }
        }
    }

    fn differences(&self, look: &mut KernelLook, found: &kernel::Found) {
        if kernel::differ(&found.jumps, &self.jumps) {
            look.differs(WAYS);
        }
        for (chain, ways) in &self.ways {
            let has = found.text.chains.get(chain);
            for way in ways.iter().filter(|way| has.is_none_or(|has| !has.contains(way))) {
                look.differs(format!("iptables mangle {chain} lacks: {way}"));
            }
        }
        let now = kernel::as_put(&found.text, &self.text, &self.printed);
        for (name, wanted) in &self.text.chains {
            look.compare(&format!("iptables mangle {name}"), now.chains.get(name).map(Vec::as_slice), wanted);
        }
        for (name, wanted) in &self.text.sets {
            let place = format!("ipset {name}");
            let Some(found) = now.sets.get(name) else {
                look.differs(format!("{place} is missing"));
                continue;
            };
            members(look, &format!("{place} lacks"), &wanted.members, &found.members);
            members(look, &format!("{place} has besides"), &found.members, &wanted.members);
        }
    }
}

fn members(look: &mut KernelLook, words: &str, of: &BTreeSet<String>, without: &BTreeSet<String>) {
    let these: Vec<&String> = of.difference(without).collect();
    if !these.is_empty() {
        look.differs(format!("{words}: {}", told(&these)));
    }
}

fn set_line(set: &SetText) -> String {
    let kind = set.create.split(' ').nth(2).unwrap_or_default();
    let members: Vec<&String> = set.members.iter().collect();
    format!("{kind}, {} members: {}", members.len(), told(&members))
}

fn told(members: &[&String]) -> String {
    let first: Vec<&str> = members.iter().take(MEMBERS_TOLD_MAX).map(|member| member.as_str()).collect();
    let more = members.len().saturating_sub(MEMBERS_TOLD_MAX);
    if more == 0 { first.join(" ") } else { format!("{} … and {more} more", first.join(" ")) }
}
