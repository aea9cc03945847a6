//! Writes the code of a restXml service (S3): for each request how its members are taken from path,
//! query, headers and body, for each answer how they are written, for each shape in a body both.

use super::names::constant;
use super::plan::{At, Field, Form, Plan, Structure, Times};
use crate::facts::ActionFact;
use anyhow::{Context, Result, bail};
use std::fmt::Write;

/// What a generated file may need, by where from, with the text that shows that it does.
pub const IMPORTS: &[(&str, &[(&str, &str)])] = &[
    ("super", &[("NAMESPACE", "NAMESPACE"), ("Operation", "Operation::"), ("header", "header::")]),
    ("crate::aws", &[("Encode", "impl Encode"), ("XmlWriter", "xml: &mut XmlWriter")]),
    (
        "crate::aws::rest",
        &[
            ("BodyKind", "BodyKind::"),
            ("Head", "head: &mut Head"),
            ("ReadXml", "impl ReadXml"),
            ("RestAction", "impl RestAction"),
            ("RestFault", "RestFault>"),
            ("RestOutput", "impl RestOutput"),
            ("RestRequest", "&RestRequest"),
            ("XmlReader", "xml: &mut XmlReader"),
        ],
    ),
    ("crate::aws::rest::read", &[("Element", "&Element"), ("need", "need("), ("need_some", "need_some(")]),
    ("crate::aws::s3", &[("S3Action", "impl S3Action")]),
];

/// The root elements of answers that have no payload member to name them: the one fact of S3's wire
/// that botocore's model lacks, since its parser does not look at them.
const ROOTS: &[(&str, &str)] = &[
    ("CompleteMultipartUpload", "CompleteMultipartUploadResult"),
    ("CreateMultipartUpload", "InitiateMultipartUploadResult"),
    ("DeleteObjects", "DeleteResult"),
    ("GetBucketAccelerateConfiguration", "AccelerateConfiguration"),
    ("GetBucketAcl", "AccessControlPolicy"),
    ("GetBucketCors", "CORSConfiguration"),
    ("GetBucketLifecycleConfiguration", "LifecycleConfiguration"),
    ("GetBucketLocation", "LocationConstraint"),
    ("GetBucketLogging", "BucketLoggingStatus"),
    ("GetBucketNotificationConfiguration", "NotificationConfiguration"),
    ("GetBucketRequestPayment", "RequestPaymentConfiguration"),
    ("GetBucketTagging", "Tagging"),
    ("GetBucketVersioning", "VersioningConfiguration"),
    ("GetBucketWebsite", "WebsiteConfiguration"),
    ("GetObjectAcl", "AccessControlPolicy"),
    ("GetObjectAttributes", "GetObjectAttributesResponse"),
    ("GetObjectTagging", "Tagging"),
    ("ListBuckets", "ListAllMyBucketsResult"),
    ("ListMultipartUploads", "ListMultipartUploadsResult"),
    ("ListObjectVersions", "ListVersionsResult"),
    ("ListObjects", "ListBucketResult"),
    ("ListObjectsV2", "ListBucketResult"),
    ("ListParts", "ListPartsResult"),
];

/// Where AWS answers another success than its model says.
const STATUSES: &[(&str, &str)] = &[("PutBucketPolicy", "204"), ("PutBucketTagging", "204")];

/// Lists that are shown even when they are empty.
const SHOWN_EMPTY: &[&str] = &["Buckets", "Grants", "TagSet"];

/// Conditions of HTTP itself, which are ignored when they cannot be read.
const CONDITIONS: &[&str] = &["If-Modified-Since", "If-Unmodified-Since"];

const BODY_BYTES_MAX: usize = 1 << 20;

/// Bodies that list a thousand keys or ten thousand parts.
const LONG_BODIES: &[&str] = &["DeleteObjects", "CompleteMultipartUpload"];
const LONG_BODY_BYTES_MAX: usize = 8 << 20;

pub fn write(plan: &Plan, structure: &Structure, out: &mut String) -> Result<()> {
    match structure.actions.as_slice() {
        [] if structure.decoded => write_read(plan, structure, out)?,
        [] => {}
        [action] => write_action(plan, structure, action, out)?,
        _ => bail!("two actions share this input"),
    }
    match structure.answers.as_slice() {
        [] if structure.encoded => write_encode(structure, out),
        [] => {}
        [action] => write_output(structure, action, out)?,
        _ => bail!("two actions share this output"),
    }
    Ok(())
}

fn write_action(plan: &Plan, structure: &Structure, action: &ActionFact, out: &mut String) -> Result<()> {
    let (name, action_name) = (structure.name, &action.name);
    let output = match &action.output {
        Some(shape) => plan.value_type(shape, &structure.file)?,
        None => "()".into(),
    };
    let usual = action.http.get("status").map_or("200", String::as_str);
    let status = STATUSES.iter().find(|(known, _)| known == action_name).map_or(usual, |(_, status)| status);
    let answer = action.output.as_ref().and_then(|shape| plan.structures.iter().find(|s| s.name == shape));
    let most = if LONG_BODIES.contains(&action_name.as_str()) { LONG_BODY_BYTES_MAX } else { BODY_BYTES_MAX };
    let asked = body_kind(structure);
    let _ = writeln!(out, "impl S3Action for {name} {{");
    let _ = writeln!(out, "const OPERATION: Operation = Operation::{action_name};\n}}\n");
    let _ = writeln!(out, "impl RestAction for {name} {{");
    let _ = writeln!(out, "const NAME: &'static str = {action_name:?};");
    let _ = writeln!(out, "const STATUS: u16 = {status};");
    let _ = writeln!(out, "const REQUEST_BODY: BodyKind = BodyKind::{asked};");
    let _ = writeln!(out, "const ANSWER_BODY: BodyKind = BodyKind::{};", answer.map_or("None", body_kind));
    if matches!(asked, "Xml" | "Text") {
        let _ = writeln!(out, "const BODY_BYTES_MAX: usize = {most};");
    }
    let _ = writeln!(out, "type Output = {output};\n");
    out.push_str("fn decode(request: &RestRequest<'_>, body: &[u8]) -> Result<Self, RestFault> {\n");
    let _ = writeln!(out, "let mut take = request.take(body);\nlet asked = Self {{");
    for field in &structure.fields {
        let how = taken(plan, structure, field).with_context(|| field.name.to_string())?;
        let _ = writeln!(out, "{}: take.{how},", field.ident);
    }
    out.push_str("};\ntake.finish(asked)\n}\n}\n\n");
    Ok(())
}

/// What the body of a request or an answer is, by what travels there.
fn body_kind(structure: &Structure) -> &'static str {
    let payload = structure.fields.iter().find(|field| field.at == At::Payload);
    match payload {
        Some(field) if field.is_structure() => "Xml",
        Some(_) => "Text",
        None if structure.shape.traits.contains_key("payload") => "Stream",
        None if structure.fields.iter().any(|field| field.at == At::Body) => "Xml",
        None => "None",
    }
}

/// The call that takes a member from a request.
fn taken(plan: &Plan, structure: &Structure, field: &Field) -> Result<String> {
    let choices = plan.enum_type(field, &structure.file)?.map(|name| format!("{name}::VALUES"));
    let required = if field.required { "required_" } else { "" };
    let (wire, header) = (&field.answer, format!("&header::{}", constant(&field.answer)));
    Ok(match (field.at, choices, field.form) {
        (At::Path, None, Form::Single) if wire == "Bucket" => "bucket()".into(),
        (At::Path, None, Form::Single) if wire == "Key" => "key()".into(),
        (At::Headers, None, Form::Single) => format!("metadata({wire:?})"),
        (At::Header, Some(choices), Form::List) => {
            format!("{required}header_choices({header}, {choices})")
        }
        (At::Header, Some(choices), Form::Single) => format!("header_choice({header}, {choices})"),
        (At::Header, None, Form::Single) if wire == "Content-Encoding" => "content_encoding()".into(),
        (At::Header, None, Form::Single) if CONDITIONS.contains(&wire.as_str()) => {
            format!("condition({header})")
        }
        (At::Header, None, Form::Single) => format!("{required}header({header})"),
        (At::Query, Some(choices), Form::Single) => format!("query_choice({wire:?}, {choices})"),
        (At::Query, None, Form::Single) => format!("{required}query({wire:?})"),
        (At::Payload, None, Form::Single) if !field.is_structure() => "text()".into(),
        (At::Payload, None, Form::Single) if field.required => format!("document({wire:?})"),
        (At::Payload, None, Form::Single) => format!("optional_document({wire:?})"),
        (at, ..) => bail!("no way to take a {:?} from {at:?}", field.form),
    })
}

/// Reads a shape from its element: one pass over the children, then what must have been there.
fn write_read(plan: &Plan, structure: &Structure, out: &mut String) -> Result<()> {
    let attribute = structure.fields.iter().find(|field| field.at == At::Attribute);
    let element = if attribute.is_some() { "element" } else { "_element" };
    let _ = writeln!(out, "impl ReadXml for {} {{", structure.name);
    let _ = writeln!(
        out,
        "fn read(xml: &mut XmlReader<'_>, {element}: &Element<'_>) -> Result<Self, RestFault> {{"
    );
    let inside: Vec<&Field> = structure.fields.iter().filter(|field| field.at == At::Body).collect();
    for field in &inside {
        let empty = if field.form == Form::List && field.flat { "Vec::new()" } else { "None" };
        let _ = writeln!(out, "let mut {} = {empty};", field.ident);
    }
    if inside.is_empty() {
        out.push_str("while xml.child()?.is_some() {\nxml.skip()?;\n}\n");
    } else {
        out.push_str("while let Some(child) = xml.child()? {\nmatch child.name() {\n");
        for field in &inside {
            let how = read(plan, structure, field).with_context(|| field.name.to_string())?;
            let _ = writeln!(out, "{:?} => xml.{how}?,", field.answer);
        }
        out.push_str("_ => xml.skip()?,\n}\n}\n");
    }
    out.push_str("Ok(Self {\n");
    for field in &structure.fields {
        let ident = &field.ident;
        let _ = match (field.at, field.form, field.required) {
            (At::Attribute, ..) => {
                let choices =
                    plan.enum_type(field, &structure.file)?.context("an attribute without choices")?;
                let name = field.answer.rsplit(':').next().unwrap_or_default();
                writeln!(out, "{ident}: element.attribute_of({name:?}, {choices}::VALUES)?,")
            }
            (_, Form::List, true) if field.flat => writeln!(out, "{ident}: need_some({ident})?,"),
            (_, Form::Single | Form::List, true) => writeln!(out, "{ident}: need({ident})?,"),
            (_, Form::List, false) if !field.flat => writeln!(out, "{ident}: {ident}.unwrap_or_default(),"),
            _ => writeln!(out, "{ident},"),
        };
    }
    out.push_str("})\n}\n}\n\n");
    Ok(())
}

fn read(plan: &Plan, structure: &Structure, field: &Field) -> Result<String> {
    let (ident, item) = (&field.ident, field.item_name());
    Ok(match (plan.enum_type(field, &structure.file)?, field.form, field.flat) {
        (None, Form::Single, _) => format!("once(&child, &mut {ident})"),
        (Some(choices), Form::Single, _) => format!("once_of(&mut {ident}, {choices}::VALUES)"),
        (None, Form::List, true) => format!("push(&child, &mut {ident})"),
        (Some(choices), Form::List, true) => format!("push_of(&mut {ident}, {choices}::VALUES)"),
        (None, Form::List, false) => format!("list({item:?}, &mut {ident})"),
        (_, form, _) => bail!("no way to read a {form:?}"),
    })
}

fn write_encode(structure: &Structure, out: &mut String) {
    let (mut attributes, mut inside) = (String::new(), String::new());
    for field in in_order(structure, At::Attribute) {
        // The one attribute of S3's answers, and what declares its prefix.
        let prefix = field.answer.split(':').next().unwrap_or_default();
        if let Some(uri) = structure.shape.traits.get("xmlns") {
            let _ = writeln!(attributes, "xml.attribute(\"xmlns:{prefix}\", {uri:?});");
        }
        let _ = writeln!(attributes, "xml.attribute({:?}, &self.{});", field.answer, field.ident);
    }
    for field in in_order(structure, At::Body) {
        let _ = writeln!(inside, "{}", written(field));
    }
    let unused = if inside.is_empty() { "_" } else { "" };
    let _ = writeln!(out, "impl Encode for {} {{", structure.name);
    let _ = writeln!(out, "fn encode(&self, {unused}xml: &mut XmlWriter) {{\n{inside}}}");
    if !attributes.is_empty() {
        let _ = writeln!(out, "\nfn attributes(&self, xml: &mut XmlWriter) {{\n{attributes}}}");
    }
    out.push_str("}\n\n");
}

/// Plain values first, then structures, then lists, as S3 itself has them.
fn in_order<'a>(structure: &'a Structure, at: At) -> Vec<&'a Field<'a>> {
    let mut fields: Vec<&Field> = structure.fields.iter().filter(|field| field.at == at).collect();
    fields.sort_by_key(|field| (field.form == Form::List, field.is_structure()));
    fields
}

fn written(field: &Field) -> String {
    let (wire, ident, item) = (&field.answer, &field.ident, field.item_name());
    match (field.form, field.required) {
        (Form::List, _) if field.flat => format!("xml.flat({wire:?}, &self.{ident});"),
        (Form::List, _) if SHOWN_EMPTY.contains(&field.name) => {
            format!("xml.list({wire:?}, {item:?}, &self.{ident});")
        }
        (Form::List | Form::SparseList, _) => format!("xml.filled_list({wire:?}, {item:?}, &self.{ident});"),
        (Form::Single, true) => format!("xml.element({wire:?}, &self.{ident});"),
        (Form::Single, false) => format!("xml.optional({wire:?}, &self.{ident});"),
    }
}

fn write_output(structure: &Structure, action: &ActionFact, out: &mut String) -> Result<()> {
    let _ = writeln!(out, "impl RestOutput for {} {{", structure.name);
    if let Some(range) = structure.field("ContentRange") {
        out.push_str("fn status(&self, usual: u16) -> u16 {\n");
        let _ = writeln!(out, "if self.{}.is_some() {{ 206 }} else {{ usual }}\n}}\n", range.ident);
    }
    let heads = structure.fields.iter().filter(|field| matches!(field.at, At::Header | At::Headers));
    let heads: String = heads.map(put).collect::<Result<_>>()?;
    if !heads.is_empty() {
        let _ = writeln!(out, "fn head(&self, head: &mut Head<'_>) {{\n{heads}}}\n");
    }
    let payload = structure.fields.iter().find(|field| field.at == At::Payload);
    match (body_kind(structure), payload) {
        ("Xml", _) => write_root(structure, action, payload, out)?,
        ("Text", Some(field)) => {
            let _ = writeln!(out, "fn text(&self) -> &str {{\n&self.{}\n}}\n", field.ident);
        }
        _ => {}
    }
    out.push_str("}\n\n");
    Ok(())
}

fn write_root(
    structure: &Structure,
    action: &ActionFact,
    payload: Option<&Field>,
    out: &mut String,
) -> Result<()> {
    let known = ROOTS.iter().find(|(known, _)| *known == action.name).map(|(_, root)| *root);
    let root = match (payload, known) {
        (Some(field), None) => field.answer.as_str(),
        (None, Some(root)) => root,
        _ => bail!("what is the root element of its answer?"),
    };
    let _ = writeln!(out, "fn root(&self, xml: &mut XmlWriter) {{");
    let _ = writeln!(out, "xml.open_in({root:?}, NAMESPACE);");
    match (payload, structure.fields.as_slice()) {
        (Some(field), _) => _ = writeln!(out, "self.{}.encode(xml);", field.ident),
        // An element of that name within the root would be the root again: its text is the answer.
        (None, [only]) if only.answer == root => {
            let _ = writeln!(out, "xml.text(self.{}.as_deref().unwrap_or_default());", only.ident);
        }
        (None, _) => {
            for field in in_order(structure, At::Body) {
                let _ = writeln!(out, "{}", written(field));
            }
        }
    }
    let _ = writeln!(out, "xml.close({root:?});\n}}\n");
    Ok(())
}

/// The statement that writes a member into the headers of an answer.
fn put(field: &Field) -> Result<String> {
    let (name, ident) = (constant(&field.answer), &field.ident);
    Ok(match (field.at, field.form, field.leaf.kind.as_str(), field.required) {
        (At::Headers, ..) => format!("head.put_metadata({:?}, &self.{ident});\n", field.answer),
        (_, Form::Single, "timestamp", _) if field.times == Times::Http => {
            format!("head.put_http_date(&header::{name}, &self.{ident});\n")
        }
        (_, Form::Single, "timestamp", _) => format!("head.put_iso_date(&header::{name}, &self.{ident});\n"),
        (_, Form::Single, _, false) => format!("head.put(&header::{name}, &self.{ident});\n"),
        (_, form, ..) => bail!("{}: no way to put a required member or a {form:?} into a header", field.name),
    })
}
