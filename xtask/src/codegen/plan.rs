//! What is to be generated: for each structure its file, its directions and its fields with their
//! Rust types and wire names. Pure analysis of the model; writes no code.

use super::names::{field, upper_first};
use super::place;
use crate::facts::{ActionFact, Member, Model, Shape};
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};

/// Shapes written by hand in the runtime, because code around the handler table needs them.
const BY_HAND: &[(&str, &str)] = &[("Filter", "crate::aws::filter::Filter")];

/// Members of S3's answers that are always sent, whatever the model says: clients count on them.
const ALWAYS: &[(&str, &[&str])] = &[
    ("ListObjectsOutput", &["IsTruncated", "Marker", "MaxKeys", "Name", "Prefix"]),
    ("ListObjectsV2Output", &["IsTruncated", "KeyCount", "MaxKeys", "Name", "Prefix"]),
    (
        "ListObjectVersionsOutput",
        &["IsTruncated", "KeyMarker", "MaxKeys", "Name", "Prefix", "VersionIdMarker"],
    ),
    ("ListMultipartUploadsOutput", &["Bucket", "IsTruncated", "KeyMarker", "MaxUploads", "UploadIdMarker"]),
    ("ListPartsOutput", &["Bucket", "IsTruncated", "Key", "MaxParts", "PartNumberMarker", "UploadId"]),
    ("CreateMultipartUploadOutput", &["Bucket", "Key", "UploadId"]),
    ("CompleteMultipartUploadOutput", &["Bucket", "ETag", "Key", "Location"]),
];

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
    pub shape: &'a Shape,
    pub file: String,
    pub decoded: bool,
    pub encoded: bool,
    pub fields: Vec<Field<'a>>,
    /// The actions that it asks for, and those that it answers.
    pub actions: Vec<&'a ActionFact>,
    pub answers: Vec<&'a ActionFact>,
}

pub struct Field<'a> {
    pub name: &'a str,
    pub ident: String,
    pub ask: String,
    pub answer: String,
    pub form: Form,
    pub at: At,
    /// The items of a list stand in the structure itself, without an element around them.
    pub flat: bool,
    pub times: Times,
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

/// Where a member travels; all but those of REST services in the body.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum At {
    Body,
    /// It is the body.
    Payload,
    Path,
    Query,
    Header,
    /// A map: all headers with a prefix.
    Headers,
    Attribute,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Times {
    Iso,
    Http,
}

impl<'a> Plan<'a> {
    pub fn new(model: &'a Model) -> Result<Self> {
        let (mut asked, mut answered) = (BTreeSet::new(), BTreeSet::new());
        let mut users: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for action in &model.actions {
            let file = place::of_action(&model.service, &action.name);
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
            plan.files.insert(name, place::of_shape(&model.service, name, &users));
        }
        for (name, shape) in &model.shapes {
            let file = plan.file(name)?.to_string();
            if !shape.values.is_empty() {
                plan.enums.push((name, shape, file));
            } else if shape.is_structure() && by_hand(name).is_none() {
                let (decoded, encoded) = (asked.contains(name), answered.contains(name));
                let fields = plan.fields(name, shape)?;
                let actions = model.actions.iter().filter(|a| a.input.as_ref() == Some(name)).collect();
                let answers = model.actions.iter().filter(|a| a.output.as_ref() == Some(name)).collect();
                plan.structures.push(Structure {
                    name,
                    shape,
                    file,
                    decoded,
                    encoded,
                    fields,
                    actions,
                    answers,
                });
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

    pub fn is_rest(&self) -> bool {
        self.model.traits.get("protocol").is_some_and(|protocol| protocol == "rest-xml")
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
            "map" => "crate::aws::rest::Metadata".into(),
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
        let members = shape.members.iter().filter(|member| !member.traits.contains_key("streaming"));
        members.map(|member| self.field(owner, shape, member)).collect()
    }

    fn field(&self, owner: &str, holder: &'a Shape, member: &'a Member) -> Result<Field<'a>> {
        let shape = self.model.shape(&member.shape)?;
        let flat = member.traits.contains_key("flattened") || shape.traits.contains_key("flattened");
        if flat && !self.is_rest() {
            bail!("{owner}.{}: only a REST service is known to flatten lists", member.name);
        }
        let at = self.place_of(owner, holder, member, shape)?;
        let form = match (shape.kind.as_str(), SPARSE.contains(&owner)) {
            ("list", true) => Form::SparseList,
            ("list", false) => Form::List,
            _ => Form::Single,
        };
        let leaf_name = shape.item().unwrap_or(&member.shape);
        let leaf = self.model.shape(leaf_name)?;
        let always = ALWAYS.iter().any(|(name, members)| *name == owner && members.contains(&&*member.name));
        // An answer whose body is one structure is nothing without it.
        let whole =
            at == At::Payload && self.model.actions.iter().any(|a| a.output.as_deref() == Some(owner));
        let required = member.traits.contains_key("required") || always || whole;
        // A timestamp has no default value, so even a required one stays optional in Rust.
        let required = required && leaf.kind != "timestamp";
        let format = member.traits.get("timestampFormat").or_else(|| shape.traits.get("timestampFormat"));
        let times = match (format.map(String::as_str), at) {
            (Some("rfc822"), _) | (None, At::Header) => Times::Http,
            (Some("iso8601"), _) | (None, _) => Times::Iso,
            (Some(other), _) => bail!("{owner}.{}: times in the form {other}", member.name),
        };
        Ok(Field {
            name: &member.name,
            ident: field(&member.name),
            ask: self.ask_name(member, shape),
            answer: location(member, shape).unwrap_or(&member.name).to_string(),
            form,
            at,
            flat,
            times,
            required,
            idempotency: member.traits.contains_key("idempotencyToken") || member.name == "ClientToken",
            leaf,
            leaf_name,
            shape,
        })
    }

    fn place_of(&self, owner: &str, holder: &Shape, member: &Member, shape: &Shape) -> Result<At> {
        if !self.is_rest() {
            return Ok(At::Body);
        }
        let said = member.traits.get("location").map(String::as_str);
        Ok(match (said, shape.kind.as_str()) {
            (Some("uri"), _) => At::Path,
            (Some("querystring"), _) => At::Query,
            (Some("headers"), "map") => At::Headers,
            (Some("header"), _) => At::Header,
            (None, "map") => bail!("{owner}.{}: a map in a body", member.name),
            (None, _) if member.traits.contains_key("xmlAttribute") => At::Attribute,
            (None, _) if holder.traits.get("payload") == Some(&member.name) => At::Payload,
            (None, _) => At::Body,
            (Some(other), _) => bail!("{owner}.{}: a member in {other}", member.name),
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

    pub fn is_structure(&self) -> bool {
        self.leaf.is_structure()
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
