//! What cargo knows of the crates: which of ours uses which, their licences, crates that we ship twice.
//!
//! The lists of allowed licences and duplicates are those of `deny.toml`, so that `cargo deny`, where
//! there is a network for it, judges by the same.

use super::Problem;
use super::tree::Tree;
use crate::cargo::cargo;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

const DENY: &str = "deny.toml";

/// Which crate of ours may use which others of ours. Dependencies point one way.
const MAY_USE: &[(&str, &[&str])] = &[
    ("karri-proto", &[]),
    ("karri-mesh", &[]),
    ("karri-net", &[]),
    ("karri-clc", &["karri-proto", "karri-mesh"]),
    ("karri-cc", &["karri-proto", "karri-mesh", "karri-net"]),
    ("karri-nc", &["karri-proto", "karri-mesh", "karri-net"]),
    ("karri-walrus", &["karri-proto", "karri-mesh"]),
    ("karri-cli", &["karri-proto", "karri-mesh", "karri-clc", "karri-cc", "karri-nc", "karri-walrus"]),
    (
        "karri-tests",
        &["karri-proto", "karri-mesh", "karri-clc", "karri-cc", "karri-nc", "karri-walrus", "karri-cli"],
    ),
    ("xtask", &[]), // it writes code for the others: it must build when they do not
];

/// Crates that only some of ours may use directly.
const ONLY_FOR: &[(&str, &[&str])] = &[("virt", &["karri-nc"]), ("rtnetlink", &["karri-cc", "karri-net"])];

/// What we build for people, as opposed to tests and tooling.
const NOT_SHIPPED: &[&str] = &["karri-tests", "xtask"];

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
    resolve: Resolve,
}

#[derive(Debug, Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Debug, Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<EdgeKind>,
}

#[derive(Debug, Deserialize)]
struct EdgeKind {
    kind: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Deny {
    licenses: Licenses,
    bans: Bans,
}

#[derive(Debug, Deserialize)]
struct Licenses {
    allow: Vec<String>,
    #[serde(default)]
    exceptions: Vec<Exception>,
}

#[derive(Debug, Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Bans {
    #[serde(default)]
    skip: Vec<Skip>,
}

#[derive(Debug, Deserialize)]
struct Skip {
    #[serde(rename = "crate")]
    name: String,
    #[serde(default)]
    reason: String,
}

pub fn check(root: &Path, tree: &Tree) -> Result<Vec<Problem>> {
    let metadata: Metadata = serde_json::from_slice(&cargo_metadata(root)?)?;
    let deny: Deny = toml::from_str(tree.get(DENY).with_context(|| format!("{DENY} is missing"))?)?;
    let mut problems = direction(&metadata);
    problems.extend(licences(&metadata, &deny.licenses));
    problems.extend(duplicates(&metadata, &deny.bans));
    Ok(problems)
}

fn cargo_metadata(root: &Path) -> Result<Vec<u8>> {
    let arguments = ["metadata", "--format-version", "1", "--locked", "--filter-platform"];
    let output = cargo().args(arguments).arg(host()?).current_dir(root).output()?;
    if !output.status.success() {
        bail!("cargo metadata (is Cargo.lock committed?): {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.stdout)
}

fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("rustc is needed")?;
    let text = String::from_utf8(output.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

fn direction(metadata: &Metadata) -> Vec<Problem> {
    let ours = metadata.packages.iter().filter(|p| metadata.workspace_members.contains(&p.id));
    let mut problems = Vec::new();
    for package in ours {
        let at = format!("{} (Cargo.toml)", package.name);
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == package.name) else {
            let what = "is a new member: say in xtask/src/tidy/crates.rs what it may use";
            problems.push(Problem::new(&at, 0, what));
            continue;
        };
        for used in package.dependencies.iter().map(|d| d.name.as_str()) {
            let ours = MAY_USE.iter().any(|(name, _)| *name == used);
            if ours && !allowed.contains(&used) && used != package.name {
                let what = format!("must not use {used}: they meet in karri-proto");
                problems.push(Problem::new(&at, 0, what));
            }
            let reserved = ONLY_FOR.iter().find(|(name, _)| *name == used);
            if let Some((_, users)) = reserved.filter(|(_, users)| !users.contains(&package.name.as_str())) {
                let what = format!("must not use {used}: only {} may", users.join(", "));
                problems.push(Problem::new(&at, 0, what));
            }
        }
    }
    problems
}

fn licences(metadata: &Metadata, rules: &Licenses) -> Vec<Problem> {
    let mut problems = Vec::new();
    for package in &metadata.packages {
        let exception = rules.exceptions.iter().find(|e| e.name == package.name);
        let more = exception.map(|e| e.allow.as_slice()).unwrap_or_default();
        let expression = package.license.as_deref().unwrap_or("none");
        let allowed = |licence: &str| rules.allow.iter().chain(more).any(|known| known == licence);
        if !Licence::new(expression).satisfied(&allowed) {
            let what = format!(
                "the licence of {} {} is {expression}: use another crate, or allow it in {DENY} with a reason",
                package.name, package.version
            );
            problems.push(Problem::new(DENY, 0, what));
        }
    }
    let names: BTreeSet<_> = metadata.packages.iter().map(|p| p.name.as_str()).collect();
    let stale = rules.exceptions.iter().filter(|e| !names.contains(e.name.as_str()));
    problems.extend(stale.map(|e| {
        let what = format!("makes an exception for {}, which is not used: remove it", e.name);
        Problem::new(DENY, 0, what)
    }));
    problems
}

/// An SPDX expression, read from left to right; `/` is the old way to write OR.
struct Licence<'a> {
    words: Vec<&'a str>,
    at: usize,
}

impl<'a> Licence<'a> {
    fn new(expression: &'a str) -> Self {
        let mut words = Vec::new();
        for word in expression.split_whitespace() {
            let mut rest = word;
            while let Some(at) = rest.find(['(', ')', '/']) {
                words.extend((at > 0).then(|| &rest[..at]));
                words.push(&rest[at..=at]);
                rest = &rest[at + 1..];
            }
            words.extend((!rest.is_empty()).then_some(rest));
        }
        Self { words, at: 0 }
    }

    fn satisfied(mut self, allowed: &dyn Fn(&str) -> bool) -> bool {
        self.either(allowed) && self.at == self.words.len()
    }

    fn take(&mut self, wanted: &[&str]) -> bool {
        let found = self.words.get(self.at).is_some_and(|word| wanted.contains(word));
        self.at += usize::from(found);
        found
    }

    fn either(&mut self, allowed: &dyn Fn(&str) -> bool) -> bool {
        let mut any = self.both(allowed);
        while self.take(&["OR", "/"]) {
            any |= self.both(allowed);
        }
        any
    }

    fn both(&mut self, allowed: &dyn Fn(&str) -> bool) -> bool {
        let mut all = self.one(allowed);
        while self.take(&["AND"]) {
            all &= self.one(allowed);
        }
        all
    }

    fn one(&mut self, allowed: &dyn Fn(&str) -> bool) -> bool {
        if self.take(&["("]) {
            let inner = self.either(allowed);
            return self.take(&[")"]) && inner;
        }
        let Some(name) = self.words.get(self.at).copied() else { return false };
        self.at += 1;
        if self.take(&["WITH"]) {
            let exception = self.words.get(self.at).copied().unwrap_or_default();
            self.at += 1;
            return allowed(&format!("{name} WITH {exception}"));
        }
        allowed(name)
    }
}

fn duplicates(metadata: &Metadata, rules: &Bans) -> Vec<Problem> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let shipped = shipped(metadata);
    for package in metadata.packages.iter().filter(|p| shipped.contains(p.id.as_str())) {
        versions.entry(&package.name).or_default().insert(&package.version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    let mut problems = Vec::new();
    for (name, versions) in versions.iter().filter(|(name, _)| !rules.skip.iter().any(|s| s.name == **name)) {
        let versions: Vec<_> = versions.iter().copied().collect();
        let what = format!(
            "{name} is shipped in versions {}: bring its users together (cargo tree -i), or allow it in {DENY} with a reason",
            versions.join(" and ")
        );
        problems.push(Problem::new(DENY, 0, what));
    }
    for skip in &rules.skip {
        if skip.reason.is_empty() {
            problems.push(Problem::new(DENY, 0, format!("skips {} without a reason", skip.name)));
        }
        if !versions.contains_key(skip.name.as_str()) {
            let what = format!("skips {}, which is shipped once only: remove the line", skip.name);
            problems.push(Problem::new(DENY, 0, what));
        }
    }
    problems
}

/// Every crate that is part of what we build for people.
fn shipped(metadata: &Metadata) -> BTreeSet<&str> {
    let edges: BTreeMap<&str, &Node> = metadata.resolve.nodes.iter().map(|n| (n.id.as_str(), n)).collect();
    let members = metadata.packages.iter().filter(|p| metadata.workspace_members.contains(&p.id));
    let roots = members.filter(|p| !NOT_SHIPPED.contains(&p.name.as_str()));
    let mut ahead: Vec<&str> = roots.map(|p| p.id.as_str()).collect();
    let mut seen = BTreeSet::new();
    while let Some(id) = ahead.pop() {
        if seen.insert(id) {
            let deps = edges.get(id).map(|node| node.deps.as_slice()).unwrap_or_default();
            let not_dev = |edge: &&Edge| edge.dep_kinds.iter().any(|k| k.kind.as_deref() != Some("dev"));
            ahead.extend(deps.iter().filter(not_dev).map(|edge| edge.pkg.as_str()));
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// A workspace of our members, each `(name, uses)`, and foreign `(name, version, licence)` crates
    /// that the first member uses.
    fn metadata(members: &[(&str, &[&str])], foreign: &[(&str, &str, &str)]) -> Metadata {
        let package = |id: &str, name: &str, version: &str, licence: &str, uses: &[&str]| {
            let uses: Vec<Value> = uses.iter().map(|name| json!({ "name": name })).collect();
            json!({"id": id, "name": name, "version": version, "license": licence, "dependencies": uses})
        };
        let mut packages: Vec<Value> =
            members.iter().map(|(name, uses)| package(name, name, "0.1.0", "Apache-2.0", uses)).collect();
        let ids: Vec<String> = foreign.iter().map(|(name, version, _)| format!("{name} {version}")).collect();
        for ((name, version, licence), id) in foreign.iter().zip(&ids) {
            packages.push(package(id, name, version, licence, &[]));
        }
        let deps: Vec<Value> =
            ids.iter().map(|id| json!({"pkg": id, "dep_kinds": [{"kind": null}]})).collect();
        let node = json!({"id": members[0].0, "deps": deps});
        let names: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
        let all = json!({"packages": packages, "workspace_members": names, "resolve": {"nodes": [node]}});
        serde_json::from_value(all).unwrap()
    }

    fn lines(problems: Vec<Problem>) -> String {
        problems.iter().map(|p| format!("{p}\n")).collect()
    }

    #[test]
    fn a_controller_that_uses_another_is_told() {
        let good = metadata(&[("karri-clc", &["karri-proto", "serde"]), ("karri-nc", &["virt"])], &[]);
        assert_eq!(lines(direction(&good)), "");
        let bad: &[(&str, &[&str])] = &[
            ("karri-clc", &["karri-cc"]),
            ("karri-mesh", &["karri-proto"]),
            ("karri-proto", &["karri-nc"]),
            ("karri-cc", &["virt"]),
            ("karri-novelty", &[]),
        ];
        let told = lines(direction(&metadata(bad, &[])));
        for expected in [
            "karri-clc (Cargo.toml): must not use karri-cc",
            "karri-mesh (Cargo.toml): must not use karri-proto",
            "karri-proto (Cargo.toml): must not use karri-nc",
            "karri-cc (Cargo.toml): must not use virt: only karri-nc may",
            "karri-novelty (Cargo.toml): is a new member",
        ] {
            assert!(told.contains(expected), "{told}");
        }
    }

    #[test]
    fn licence_expressions_are_understood() {
        let allowed = |name: &str| ["MIT", "Apache-2.0", "X WITH Y"].contains(&name);
        for (expression, expected) in [
            ("MIT", true),
            ("MIT OR GPL-3.0", true),
            ("GPL-3.0/MIT", true),
            ("MIT AND GPL-3.0", false),
            ("(MIT OR GPL-3.0) AND Apache-2.0", true),
            ("(MIT OR Apache-2.0) AND GPL-3.0", false),
            ("X WITH Y", true),
            ("X", false),
            ("(MIT", false),
            ("none", false),
            ("", false),
        ] {
            assert_eq!(Licence::new(expression).satisfied(&allowed), expected, "{expression}");
        }
    }

    #[test]
    fn a_licence_that_is_not_allowed_is_told() {
        let rules = |crate_name: &str| Licenses {
            allow: vec!["Apache-2.0".into()],
            exceptions: vec![Exception { name: crate_name.into(), allow: vec!["LGPL-2.1".into()] }],
        };
        let used = metadata(&[("karri-nc", &[])], &[("virt", "0.4.0", "LGPL-2.1")]);
        assert_eq!(lines(licences(&used, &rules("virt"))), "");
        let told = lines(licences(&used, &rules("other")));
        assert!(told.contains("the licence of virt 0.4.0 is LGPL-2.1"), "{told}");
        assert!(told.contains("makes an exception for other, which is not used"), "{told}");
    }

    #[test]
    fn a_crate_that_is_shipped_twice_is_told() {
        let twice = metadata(&[("karri-nc", &[])], &[("rand", "0.8.5", "MIT"), ("rand", "0.9.0", "MIT")]);
        let skip =
            |name: &str, reason: &str| Bans { skip: vec![Skip { name: name.into(), reason: reason.into() }] };
        assert_eq!(lines(duplicates(&twice, &skip("rand", "two users"))), "");
        let told = lines(duplicates(&twice, &skip("sha2", "")));
        assert!(told.contains("rand is shipped in versions 0.8.5 and 0.9.0"), "{told}");
        assert!(told.contains("skips sha2 without a reason"), "{told}");
        assert!(told.contains("skips sha2, which is shipped once only"), "{told}");
        let only_tests = metadata(&[("karri-tests", &[])], &[("a", "1.0.0", "MIT"), ("a", "2.0.0", "MIT")]);
        assert_eq!(lines(duplicates(&only_tests, &Bans { skip: vec![] })), "");
    }
}
