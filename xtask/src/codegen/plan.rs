//! What is to be generated: for each structure its file, its directions and its fields with their
//! Rust types and wire names. Pure analysis of the model; writes no code.

use super::names::{field, upper_first};
use super::place;
use crate::facts::{ActionFact, Member, Model, Shape};
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};

/// Shapes written by hand in the runtime, because code around the handler table needs them.
const BY_HAND: &[(&str, &str)] = &[("Filter", "crate::aws::filter::Filter")];

/// Answers that carry only what was asked for: there an absent list differs from an empty one.
const SPARSE: &[&str] = &["InstanceAttribute", "ImageAttribute"];

pub struct Plan<'a> {
    pub model: &'a Model,
    pub structures: Vec<Structure<'a>>,
    pub enums: Vec<(&'a str, &'a Shape, String)>,
    files: BTreeMap<&'a str, String>,
}

pub struct Structure<'a> {
    pub name: &'a str,
    pub file: String,
    pub decoded: bool,
    pub encoded: bool,
    pub fields: Vec<Field<'a>>,
    pub actions: Vec<&'a ActionFact>,
}

pub struct Field<'a> {
    pub name: &'a str,
    pub ident: String,
    pub ask: String,
    pub answer: String,
    pub form: Form,
    pub required: bool,
    pub idempotency: bool,
    /// What one value is: the field's own shape, or that of the list's items.
    pub leaf: &'a Shape,
    pub leaf_name: &'a str,
    pub shape: &'a Shape,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Form {
    Single,
    List,
    SparseList,
}

impl<'a> Plan<'a> {
    pub fn new(model: &'a Model) -> Result<Self> {
        let (mut asked, mut answered) = (BTreeSet::new(), BTreeSet::new());
        let mut users: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for action in &model.actions {
            let file = place::of_action(&action.name);
            for (root, side) in [(&action.input, &mut asked), (&action.output, &mut answered)] {
                let Some(root) = root else { continue };
                let mut reached = BTreeSet::new();
                model.reach(root, &mut reached);
                for name in &reached {
                    users.entry(name.clone()).or_default().insert(file.clone());
                }
                side.extend(reached);
            }
        }
        let mut plan = Plan { model, structures: vec![], enums: vec![], files: BTreeMap::new() };
        for name in model.shapes.keys() {
            let users: Vec<String> = users.get(name).into_iter().flatten().cloned().collect();
            plan.files.insert(name, place::of_shape(name, &users));
        }
        for (name, shape) in &model.shapes {
            let file = plan.file(name)?.to_string();
            if !shape.values.is_empty() {
                plan.enums.push((name, shape, file));
            } else if shape.is_structure() && by_hand(name).is_none() {
                let (decoded, encoded) = (asked.contains(name), answered.contains(name));
                let fields = plan.fields(name, shape)?;
                let actions = model.actions.iter().filter(|a| a.input.as_ref() == Some(name)).collect();
                plan.structures.push(Structure { name, file, decoded, encoded, fields, actions });
            }
        }
        Ok(plan)
    }

    pub fn file(&self, shape: &str) -> Result<&str> {
        self.files.get(shape).map(String::as_str).with_context(|| format!("no file for {shape}"))
    }

    pub fn is_ec2(&self) -> bool {
        self.model.traits.get("protocol").is_some_and(|protocol| protocol == "ec2")
    }

    /// The Rust type of one value, as seen from `file`.
    pub fn value_type(&self, name: &str, file: &str) -> Result<String> {
        let shape = self.model.shape(name)?;
        Ok(match shape.kind.as_str() {
            "string" => "String".into(),
            "integer" => "i32".into(),
            "long" => "i64".into(),
            "float" | "double" => "f64".into(),
            "boolean" => "bool".into(),
            "timestamp" => "OffsetDateTime".into(),
            "blob" => "Vec<u8>".into(),
            "structure" => match by_hand(name) {
                Some(path) => path.into(),
                None if self.file(name)? == file => name.into(),
                None => format!("super::{name}"),
            },
            other => bail!("{name}: no Rust type for {other}"),
        })
    }

    /// The enum of a field, if its values are known.
    pub fn enum_type(&self, field: &Field, file: &str) -> Result<Option<String>> {
        if field.leaf.values.is_empty() {
            return Ok(None);
        }
        let local = self.file(field.leaf_name)? == file;
        Ok(Some(if local { field.leaf_name.into() } else { format!("super::{}", field.leaf_name) }))
    }

    fn fields(&self, owner: &str, shape: &'a Shape) -> Result<Vec<Field<'a>>> {
        shape.members.iter().map(|member| self.field(owner, member)).collect()
    }

    fn field(&self, owner: &str, member: &'a Member) -> Result<Field<'a>> {
        let shape = self.model.shape(&member.shape)?;
        if member.traits.contains_key("flattened") || shape.traits.contains_key("flattened") {
            bail!("{owner}.{}: flattened lists are not supported yet", member.name);
        }
        let form = match (shape.kind.as_str(), SPARSE.contains(&owner)) {
            ("list", true) => Form::SparseList,
            ("list", false) => Form::List,
            _ => Form::Single,
        };
        let leaf_name = shape.item().unwrap_or(&member.shape);
        let leaf = self.model.shape(leaf_name)?;
        // A timestamp has no default value, so even a required one stays optional in Rust.
        let required = member.traits.contains_key("required") && leaf.kind != "timestamp";
        Ok(Field {
            name: &member.name,
            ident: field(&member.name),
            ask: self.ask_name(member, shape),
            answer: location(member, shape).unwrap_or(&member.name).to_string(),
            form,
            required,
            idempotency: member.traits.contains_key("idempotencyToken") || member.name == "ClientToken",
            leaf,
            leaf_name,
            shape,
        })
    }

    /// The EC2 protocol: `queryName`, else `locationName` with its first letter upper-cased, else
    /// the member's name. The Query protocol takes `locationName` as it is.
    fn ask_name(&self, member: &Member, shape: &Shape) -> String {
        match (member.traits.get("queryName"), location(member, shape), self.is_ec2()) {
            (Some(query), _, true) => query.clone(),
            (_, Some(location), true) => upper_first(location),
            (_, Some(location), false) => location.to_string(),
            (_, None, _) => member.name.clone(),
        }
    }
}

impl Structure<'_> {
    pub fn field(&self, name: &str) -> Option<&Field<'_>> {
        self.fields.iter().find(|field| field.name == name)
    }
}

impl Field<'_> {
    pub fn is_secret(&self) -> bool {
        self.leaf.traits.contains_key("sensitive")
    }

    /// The element that wraps each item of a list in an answer.
    pub fn item_name(&self) -> &str {
        self.shape.traits.get("itemName").map_or("member", String::as_str)
    }

    pub fn range(&self) -> Option<(i64, i64)> {
        let bound = |key: &str| self.leaf.traits.get(key).and_then(|text| text.parse().ok());
        let numeric = matches!(self.leaf.kind.as_str(), "integer" | "long") && self.form == Form::Single;
        if !numeric || (bound("min").is_none() && bound("max").is_none()) {
            return None;
        }
        let (lowest, highest) =
            if self.leaf.kind == "long" { (i64::MIN, i64::MAX) } else { (i32::MIN.into(), i32::MAX.into()) };
        Some((bound("min").unwrap_or(lowest), bound("max").unwrap_or(highest)))
    }
}

fn location<'a>(member: &'a Member, shape: &'a Shape) -> Option<&'a str> {
    member.traits.get("locationName").or_else(|| shape.traits.get("locationName")).map(String::as_str)
}

pub fn by_hand(name: &str) -> Option<&'static str> {
    BY_HAND.iter().find(|(shape, _)| *shape == name).map(|(_, path)| *path)
}
