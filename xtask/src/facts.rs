//! The facts of a service model, and the compact text form they are kept in.
//!
//! One line per action, shape, member or enum value, so that a diff of `proto/model/` reads as what
//! AWS changed. Names and traits only: botocore's prose never enters the tree.
//!
//! ```text
//! service ec2 protocol=ec2 version=2016-11-15 xmlns=http://…
//! action RunInstances input=RunInstancesRequest output=Reservation
//! action GetBucketAcl input=GetBucketAclRequest method=GET output=GetBucketAclOutput uri=/{Bucket}?acl
//! refused GetObjectTorrent method=GET uri=/{Bucket}/{Key+}?torrent
//! structure RunInstancesRequest
//!   MaxCount Integer required
//! list FilterList of=Filter itemName=Filter
//! string Tenancy
//!   = dedicated
//! ```

use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// `key=value` facts; a flag such as `required` has an empty value.
pub type Traits = BTreeMap<String, String>;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Model {
    pub service: String,
    pub traits: Traits,
    pub actions: Vec<ActionFact>,
    /// Actions of a REST service that we do not serve: a router must know that they exist.
    pub refused: Vec<ActionFact>,
    pub shapes: BTreeMap<String, Shape>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct ActionFact {
    pub name: String,
    pub input: Option<String>,
    pub output: Option<String>,
    /// How HTTP says it, in a REST service: `method`, `uri`, `status`.
    pub http: Traits,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shape {
    pub kind: String,
    pub traits: Traits,
    pub members: Vec<Member>,
    pub values: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Member {
    pub name: String,
    pub shape: String,
    pub traits: Traits,
}

impl ActionFact {
    fn to_line(&self, kind: &str) -> String {
        let mut traits = self.http.clone();
        let named = [("input", &self.input), ("output", &self.output)];
        traits.extend(named.into_iter().filter_map(|(k, v)| Some((k.to_string(), v.clone()?))));
        line(kind, &self.name, &traits)
    }

    fn parse(name: String, mut traits: Traits) -> Self {
        let (input, output) = (traits.remove("input"), traits.remove("output"));
        Self { name, input, output, http: traits }
    }
}

impl Shape {
    /// The shape of a list's items.
    pub fn item(&self) -> Option<&str> {
        self.traits.get("of").map(String::as_str)
    }

    pub fn is_structure(&self) -> bool {
        self.kind == "structure"
    }
}

impl Model {
    pub fn shape(&self, name: &str) -> Result<&Shape> {
        self.shapes.get(name).with_context(|| format!("model has no shape {name}"))
    }

    /// Every shape that can be reached from `root`, itself included.
    pub fn reach(&self, root: &str, into: &mut BTreeSet<String>) {
        if !into.insert(root.to_string()) {
            return;
        }
        let Some(shape) = self.shapes.get(root) else { return };
        let entries = ["key", "value"].into_iter().filter_map(|key| shape.traits.get(key));
        let below = shape.members.iter().map(|m| m.shape.as_str()).chain(shape.item());
        let below = below.chain(entries.map(String::as_str));
        for name in below {
            self.reach(name, into);
        }
    }

    pub fn to_text(&self) -> String {
        let mut out = String::new();
        let service = line("service", &self.service, &self.traits);
        out.push_str("# Written by `cargo xtask model` from botocore's service model. Do not edit.\n");
        let _ = writeln!(out, "{service}\n");
        for action in &self.actions {
            let _ = writeln!(out, "{}", action.to_line("action"));
        }
        for action in &self.refused {
            let _ = writeln!(out, "{}", action.to_line("refused"));
        }
        out.push('\n');
        for (name, shape) in &self.shapes {
            let _ = writeln!(out, "{}", line(&shape.kind, name, &shape.traits));
            for member in &shape.members {
                let _ = writeln!(out, "  {}", line(&member.name, &member.shape, &member.traits));
            }
            for value in &shape.values {
                let _ = writeln!(out, "  = {value}");
            }
        }
        out
    }

    pub fn parse(text: &str) -> Result<Model> {
        let mut model = Model::default();
        let mut current = None;
        for (number, raw) in text.lines().enumerate() {
            if raw.trim().is_empty() || raw.starts_with('#') {
                continue;
            }
            model.parse_line(raw, &mut current).with_context(|| format!("line {}: {raw}", number + 1))?;
        }
        Ok(model)
    }

    fn parse_line(&mut self, raw: &str, current: &mut Option<String>) -> Result<()> {
        if let Some(inner) = raw.strip_prefix("  ") {
            let name = current.as_ref().context("a member before any shape")?;
            let shape = self.shapes.get_mut(name).context("no such shape")?;
            if let Some(value) = inner.strip_prefix("= ") {
                shape.values.push(value.to_string());
                return Ok(());
            }
            let (name, target, traits) = split(inner)?;
            shape.members.push(Member { name, shape: target, traits });
            return Ok(());
        }
        let (kind, name, traits) = split(raw)?;
        match kind.as_str() {
            "service" => (self.service, self.traits) = (name, traits),
            "action" => self.actions.push(ActionFact::parse(name, traits)),
            "refused" => self.refused.push(ActionFact::parse(name, traits)),
            _ => {
                *current = Some(name.clone());
                self.shapes.insert(name, Shape { kind, traits, ..Shape::default() });
            }
        }
        Ok(())
    }
}

fn line(first: &str, second: &str, traits: &Traits) -> String {
    let mut out = format!("{first} {second}");
    for (key, value) in traits {
        let _ = if value.is_empty() { write!(out, " {key}") } else { write!(out, " {key}={value}") };
    }
    out
}

fn split(line: &str) -> Result<(String, String, Traits)> {
    let mut words = line.split(' ');
    let (Some(first), Some(second)) = (words.next(), words.next()) else { bail!("expected two words") };
    let traits = words
        .map(|word| word.split_once('=').unwrap_or((word, "")))
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect();
    Ok((first.to_string(), second.to_string(), traits))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "service ec2 protocol=ec2\n\naction Go input=GoRequest uri=/{A}?b=2\n\
                        refused Stay uri=/{A}?stay\n\nstructure GoRequest\n  \
                        Count Integer min=1 required\ninteger Integer\nstring Mode\n  = two words\n";

    #[test]
    fn text_survives_a_round_trip() {
        let model = Model::parse(TEXT).unwrap();
        assert_eq!(model, Model::parse(&model.to_text()).unwrap());
        assert_eq!(model.shapes["Mode"].values, ["two words"]);
        assert_eq!(model.actions[0].http["uri"], "/{A}?b=2");
        assert!(model.shapes["GoRequest"].members[0].traits.contains_key("required"));
    }

    #[test]
    fn a_member_outside_a_shape_is_refused_with_its_line() {
        let fault = Model::parse("service a\n  Lost String\n").unwrap_err();
        assert!(fault.to_string().starts_with("line 2"), "{fault}");
    }
}
