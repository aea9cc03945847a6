//! `cargo xtask model`: botocore's service models in, `proto/model/*.txt` out.
//!
//! Reads only the actions named in `proto/model/<service>.actions` and what they reach. Knows
//! botocore's JSON; knows nothing of Rust code, which is `codegen`'s part.

use crate::facts::{ActionFact, Member, Model, Shape, Traits};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Our file name, and where botocore keeps the service.
pub const SERVICES: &[(&str, &str)] =
    &[("ec2", "ec2/2016-11-15"), ("s3", "s3/2006-03-01"), ("sts", "sts/2011-06-15")];

/// Enums whose members a cloud's operator chooses, or that old clients use with values which newer
/// models dropped: they are kept as plain strings, and the handler decides.
const OPEN_ENUMS: &[&str] = &["InstanceType", "AccountAttributeName", "BucketLocationConstraint", "Event"];

/// Values that AWS documents and takes, though the model does not know them.
const MORE_VALUES: &[(&str, &[&str])] = &[(
    "BucketCannedACL",
    &["aws-exec-read", "bucket-owner-full-control", "bucket-owner-read", "log-delivery-write"],
)];

/// Times that are only handed on, in the client's own spelling.
const TIMES_AS_TEXT: &[&str] = &["ResponseExpires"];

const SHAPE_FACTS: &[&str] =
    &["min", "max", "locationName", "flattened", "sensitive", "payload", "timestampFormat"];
const MEMBER_FACTS: &[&str] = &[
    "queryName",
    "locationName",
    "flattened",
    "idempotencyToken",
    "location",
    "streaming",
    "xmlAttribute",
    "timestampFormat",
];

pub fn run(root: &Path, botocore: Option<PathBuf>) -> Result<()> {
    let botocore = match botocore {
        Some(dir) => dir,
        None => find_botocore(root)?,
    };
    let version = version_of(&botocore)?;
    for (service, place) in SERVICES {
        let folder = root.join("proto/model");
        let names = std::fs::read_to_string(folder.join(format!("{service}.actions")))?;
        let json = read_gz(&botocore.join("data").join(place).join("service-2.json.gz"))?;
        let mut model = extract(service, &json, names.split_whitespace())?;
        model.traits.insert("botocore".into(), version.clone());
        std::fs::write(folder.join(format!("{service}.txt")), model.to_text())?;
        println!("{service}: {} actions, {} shapes", model.actions.len(), model.shapes.len());
    }
    Ok(())
}

fn find_botocore(root: &Path) -> Result<PathBuf> {
    let lib = root.join("target/test-venv/lib");
    let found = std::fs::read_dir(&lib)
        .with_context(|| format!("no botocore: {} is missing; give --botocore DIR", lib.display()))?
        .flatten()
        .map(|entry| entry.path().join("site-packages/botocore"))
        .find(|path| path.is_dir());
    found.with_context(|| format!("no botocore under {}; give --botocore DIR", lib.display()))
}

/// Kept with the facts, because the judge must compare with the same botocore.
fn version_of(botocore: &Path) -> Result<String> {
    let text = std::fs::read_to_string(botocore.join("__init__.py"))?;
    let version = text.lines().find_map(|line| line.strip_prefix("__version__ = "));
    Ok(version.context("botocore does not say its version")?.trim_matches(['\'', '"']).to_string())
}

fn read_gz(path: &Path) -> Result<Value> {
    let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}

fn extract<'a>(service: &str, json: &Value, names: impl Iterator<Item = &'a str>) -> Result<Model> {
    let mut model = Model { service: service.to_string(), ..Model::default() };
    for (key, from) in [("protocol", "protocol"), ("version", "apiVersion"), ("xmlns", "xmlNamespace")] {
        match json["metadata"][from].as_str() {
            Some(value) => _ = model.traits.insert(key.to_string(), value.to_string()),
            // A REST service says it with each body.
            None if key == "xmlns" => {}
            None => bail!("metadata lacks {from}"),
        }
    }
    let rest = model.traits["protocol"] == "rest-xml";
    let mut all = Model::default();
    for (name, shape) in json["shapes"].as_object().context("no shapes")? {
        all.shapes.insert(name.clone(), extract_shape(name, shape)?);
    }
    let mut reached = BTreeSet::new();
    for name in names {
        let operation = json["operations"].get(name).with_context(|| format!("no action {name}"))?;
        let shape_of = |side: &str| operation[side]["shape"].as_str().map(str::to_string);
        let action = ActionFact {
            name: name.to_string(),
            input: shape_of("input"),
            output: shape_of("output"),
            http: if rest { http_of(operation)? } else { Traits::new() },
        };
        for root in action.input.iter().chain(&action.output) {
            all.reach(root, &mut reached);
        }
        model.actions.push(action);
    }
    all.shapes.retain(|name, _| reached.contains(name));
    model.shapes = all.shapes;
    if rest {
        model.refused = refused(json, &model)?;
    }
    Ok(model)
}

fn http_of(operation: &Value) -> Result<Traits> {
    let mut http = Traits::new();
    for (key, from) in [("method", "method"), ("uri", "requestUri")] {
        let value = operation["http"][from].as_str().with_context(|| format!("an action without {from}"))?;
        http.insert(key.to_string(), value.to_string());
    }
    if let Some(status) = operation["http"]["responseCode"].as_u64() {
        http.insert("status".to_string(), status.to_string());
    }
    Ok(http)
}

/// The actions that are not served, unless one that is answers to the same method and URI.
fn refused(json: &Value, model: &Model) -> Result<Vec<ActionFact>> {
    let mut refused = Vec::new();
    for (name, operation) in json["operations"].as_object().context("no operations")? {
        let http = http_of(operation)?;
        let same = |action: &ActionFact| {
            action.name == *name
                || ["method", "uri"].iter().all(|key| action.http.get(*key) == http.get(*key))
        };
        if !model.actions.iter().any(same) {
            refused.push(ActionFact { name: name.clone(), http, ..ActionFact::default() });
        }
    }
    Ok(refused)
}

fn extract_shape(name: &str, json: &Value) -> Result<Shape> {
    let kind = json["type"].as_str().with_context(|| format!("{name} has no type"))?;
    let kind = if TIMES_AS_TEXT.contains(&name) { "string" } else { kind }.to_string();
    let mut shape = Shape { kind, traits: traits_of(json, SHAPE_FACTS)?, ..Shape::default() };
    let required: Vec<&str> =
        json["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (member, reference) in json["members"].as_object().into_iter().flatten() {
        let mut traits = traits_of(reference, MEMBER_FACTS)?;
        if required.contains(&member.as_str()) {
            traits.insert("required".into(), String::new());
        }
        let target = reference["shape"].as_str().context("a member without shape")?.to_string();
        shape.members.push(Member { name: member.clone(), shape: target, traits });
    }
    if let Some(item) = json.get("member") {
        let target = item["shape"].as_str().context("a list without shape")?;
        shape.traits.insert("of".into(), target.to_string());
        if let Some(wire) = item["locationName"].as_str() {
            shape.traits.insert("itemName".into(), wire.to_string());
        }
    }
    for side in ["key", "value"] {
        if let Some(target) = json[side]["shape"].as_str() {
            shape.traits.insert(side.to_string(), target.to_string());
        }
    }
    if !OPEN_ENUMS.contains(&name) {
        let values = json["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
        shape.values = values.map(str::to_string).collect();
        let more = MORE_VALUES.iter().filter(|(shape, _)| *shape == name).flat_map(|(_, values)| *values);
        shape.values.extend(more.map(|value| value.to_string()));
    }
    Ok(shape)
}

fn traits_of(json: &Value, wanted: &[&str]) -> Result<Traits> {
    let mut traits = Traits::new();
    for &key in wanted {
        let text = match &json[key] {
            Value::Null | Value::Bool(false) => continue,
            Value::Bool(true) => String::new(),
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            other => bail!("{key} is {other}"),
        };
        traits.insert(key.to_string(), text);
    }
    for (key, from) in [("xmlns", "uri"), ("xmlnsPrefix", "prefix")] {
        if let Some(text) = json["xmlNamespace"][from].as_str() {
            traits.insert(key.to_string(), text.to_string());
        }
    }
    Ok(traits)
}
