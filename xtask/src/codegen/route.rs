//! Writes what a REST service's router needs: the operations, the uses of each subresource (a name in
//! the query of a `requestUri`), and the names of headers, made once.

use super::emit::HEADER;
use super::names::constant;
use super::plan::{At, Plan};
use crate::facts::ActionFact;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

pub fn headers(plan: &Plan) -> String {
    let fields = plan.structures.iter().flat_map(|structure| &structure.fields);
    let headers = fields.filter(|field| field.at == At::Header);
    let names: BTreeSet<String> = headers.map(|field| field.answer.to_ascii_lowercase()).collect();
    let mut out = format!("{HEADER}//! Generated: the names of headers.\n\nuse http::HeaderName;\n\n");
    for name in names {
        let _ =
            writeln!(out, "pub static {}: HeaderName = HeaderName::from_static({name:?});", constant(&name));
    }
    out
}

pub fn operations(plan: &Plan) -> Result<String> {
    let mut out = format!("{HEADER}//! Generated: the operations, and which subresource asks for which.\n\n");
    out.push_str("use super::ACTIONS;\nuse crate::aws::s3::router::{Level, Use};\n\n");
    let members = plan.model.shapes.values().flat_map(|shape| &shape.members);
    let namespace = members.filter_map(|member| member.traits.get("xmlns")).next();
    let _ = writeln!(out, "/// The namespace of bodies.\npub const NAMESPACE: &str = {:?};\n", {
        namespace.context("no member says its namespace")?
    });
    let names: Vec<&str> = plan.model.actions.iter().map(|action| action.name.as_str()).collect();
    out.push_str("#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]\npub enum Operation {\n");
    for name in &names {
        let _ = writeln!(out, "{name},");
    }
    out.push_str("}\n\nimpl Operation {\npub const ALL: &'static [Operation] = &[\n");
    for name in &names {
        let _ = writeln!(out, "Operation::{name},");
    }
    out.push_str("];\n\npub fn name(self) -> &'static str {\nACTIONS[self as usize]\n}\n}\n\n");
    write_uses(plan, &mut out)?;
    Ok(out)
}

fn write_uses(plan: &Plan, out: &mut String) -> Result<()> {
    let mut uses: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let served = plan.model.actions.iter().map(|action| (action, true));
    for (action, is_served) in served.chain(plan.model.refused.iter().map(|action| (action, false))) {
        let Some((level, name)) = subresource(action)? else { continue };
        let method = action.http.get("method").context("no method")?;
        let operation =
            if is_served { format!("Some(Operation::{})", action.name) } else { "None".to_string() };
        let one = format!("Use {{ level: Level::{level}, method: {method:?}, operation: {operation} }}");
        let all = uses.entry(name).or_default();
        if !all.contains(&one) {
            all.push(one);
        }
    }
    out.push_str("/// What a parameter of that name asks for; nothing if it is no subresource.\n");
    out.push_str("pub fn uses_of(name: &str) -> &'static [Use] {\nmatch name {\n");
    for (name, uses) in uses {
        let _ = writeln!(out, "{name:?} => &[{}],", uses.join(", "));
    }
    out.push_str("_ => &[],\n}\n}\n");
    Ok(())
}

/// `/{Bucket}?acl` is the subresource `acl` of a bucket. A name with a value (`list-type=2`) is none.
fn subresource(action: &ActionFact) -> Result<Option<(&'static str, &str)>> {
    let uri = action.http.get("uri").with_context(|| format!("{} has no uri", action.name))?;
    let Some((path, query)) = uri.split_once('?') else { return Ok(None) };
    let level = if path.contains("{Key+}") { "Object" } else { "Bucket" };
    let name = query.split('&').next().filter(|name| !name.contains('='));
    Ok(name.map(|name| (level, name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_in_the_query_is_a_subresource() {
        for (uri, expected) in [
            ("/{Bucket}?acl", Some(("Bucket", "acl"))),
            ("/{Bucket}/{Key+}?select&select-type=2", Some(("Object", "select"))),
            ("/{Bucket}?list-type=2", None),
            ("/{Bucket}/{Key+}", None),
        ] {
            let http = [("uri".to_string(), uri.to_string())].into();
            let action = ActionFact { http, ..ActionFact::default() };
            assert_eq!(subresource(&action).unwrap(), expected, "{uri}");
        }
    }
}
