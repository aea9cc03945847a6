//! Chains and sets as text, as the kernel's tools print them; and what leads from one state to another.

use super::wanted::Wanted;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text {
    pub chains: BTreeMap<String, Vec<String>>,
    pub sets: BTreeMap<String, SetText>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SetText {
    /// The line that makes it.
    pub create: String,
    pub members: BTreeSet<String>,
}

impl From<Wanted> for Text {
    fn from(wanted: Wanted) -> Self {
        let chains = wanted
            .chains
            .into_iter()
            .map(|(name, rules)| (name, rules.iter().map(ToString::to_string).collect()));
        let sets = wanted.sets.into_iter().map(|(name, set)| {
            let members = set.members.iter().map(ToString::to_string).collect();
            let text = SetText { create: set.kind.create(&name), members };
            (name, text)
        });
        Self { chains: chains.collect(), sets: sets.collect() }
    }
}

impl Text {
    pub fn join(&mut self, other: Text) {
        self.chains.extend(other.chains);
        self.sets.extend(other.sets);
    }
}

/// Scripts for ipset and iptables, in the order in which they have to run so that no packet meets less than one
/// of the two states asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// New sets and members.
    pub fill: String,
    /// Lines of the table `mangle`.
    pub chains: String,
    /// Members that go.
    pub empty: String,
    /// Sets that go.
    pub destroy: Vec<String>,
    /// Names of all that changes.
    pub changed: Vec<String>,
    /// Something may be refused now that was not before.
    pub forbids: bool,
}

impl Step {
    pub fn is_nothing(&self) -> bool {
        self.changed.is_empty()
    }
}

pub fn step(before: &Text, after: &Text) -> Step {
    let mut step = Step::default();
    for (name, set) in &after.sets {
        set_step(&mut step, name, before.sets.get(name), set);
    }
    let (mut declared, mut rules, mut gone) = (String::new(), String::new(), String::new());
    for (name, lines) in &after.chains {
        let old = before.chains.get(name);
        if old == Some(lines) {
            continue;
        }
        let _ = writeln!(declared, ":{name} - [0:0]"); // makes it, or empties it
        for line in lines {
            let _ = writeln!(rules, "-A {name} {line}");
        }
        step.forbids |= old.is_some_and(|old| old.iter().any(|line| !lines.contains(line)));
        step.changed.push(name.clone());
    }
    for name in before.chains.keys().filter(|name| !after.chains.contains_key(*name)) {
        let _ = writeln!(declared, ":{name} - [0:0]");
        let _ = writeln!(gone, "-X {name}");
        step.changed.push(name.clone());
    }
    step.chains = declared + &rules + &gone;
    for name in before.sets.keys().filter(|name| !after.sets.contains_key(*name)) {
        step.destroy.push(name.clone());
        step.changed.push(name.clone());
    }
    step.forbids |= !step.destroy.is_empty();
    step
}

fn set_step(step: &mut Step, name: &str, before: Option<&SetText>, after: &SetText) {
    let nothing = BTreeSet::new();
    let old = before.map_or(&nothing, |set| &set.members);
    let (mut added, mut removed) =
        (after.members.difference(old).peekable(), old.difference(&after.members).peekable());
    if before.is_some() && added.peek().is_none() && removed.peek().is_none() {
        return;
    }
    step.changed.push(name.to_owned());
    step.forbids |= removed.peek().is_some();
    if before.is_none() {
        let _ = writeln!(step.fill, "{}", after.create);
    }
    for member in added {
        let _ = writeln!(step.fill, "add {name} {member}");
    }
    for member in removed {
        let _ = writeln!(step.empty, "del {name} {member}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(members: &[&str]) -> SetText {
        let members = members.iter().map(|member| (*member).to_owned()).collect();
        SetText { create: "create S hash:net".to_owned(), members }
    }

    fn text(chains: &[(&str, &[&str])], sets: &[(&str, SetText)]) -> Text {
        let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
        Text {
            chains: chains.iter().map(|(name, of)| ((*name).to_owned(), lines(of))).collect(),
            sets: sets.iter().map(|(name, set)| ((*name).to_owned(), set.clone())).collect(),
        }
    }

    #[test]
    fn what_is_as_wanted_is_left_alone() {
        let same = text(&[("A", &["-j DROP"])], &[("S", set(&["10.0.0.0/8"]))]);
        assert_eq!(step(&same, &same), Step::default());
        assert!(step(&same, &same).is_nothing());
    }

    #[test]
    fn a_new_member_costs_one_line_and_forbids_nothing() {
        let before = text(&[("A", &["-j DROP"])], &[("S", set(&["10.0.0.0/8"]))]);
        let after = text(&[("A", &["-j DROP"])], &[("S", set(&["10.0.0.0/8", "11.0.0.0/8"]))]);
        let forth = step(&before, &after);
        assert_eq!((forth.fill.as_str(), forth.chains.as_str()), ("add S 11.0.0.0/8\n", ""));
        assert!(!forth.forbids);
        let back = step(&after, &before);
        assert_eq!((back.fill.as_str(), back.empty.as_str()), ("", "del S 11.0.0.0/8\n"));
        assert!(back.forbids);
    }

    #[test]
    fn a_set_is_there_before_its_rule_and_goes_after_it() {
        let nothing = Text::default();
        let all =
            text(&[("A", &["-m set --match-set S src -j ACCEPT", "-j DROP"])], &[("S", set(&["10.0.0.1"]))]);
        let made = step(&nothing, &all);
        assert_eq!(made.fill, "create S hash:net\nadd S 10.0.0.1\n");
        assert_eq!(made.chains, ":A - [0:0]\n-A A -m set --match-set S src -j ACCEPT\n-A A -j DROP\n");
        let gone = step(&all, &nothing);
        assert_eq!((gone.chains.as_str(), gone.destroy), (":A - [0:0]\n-X A\n", vec!["S".to_owned()]));
        assert!(gone.forbids);
    }

    #[test]
    fn a_line_more_in_a_chain_forbids_nothing_and_a_line_less_may() {
        let (one, two) = (text(&[("A", &["a"])], &[]), text(&[("A", &["a", "b"])], &[]));
        assert!(!step(&one, &two).forbids);
        assert!(step(&two, &one).forbids);
    }
}
