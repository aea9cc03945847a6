//! What every Describe action does alike: filters, order, pages.
//!
//! Filters look at the answer itself, so a resource cannot be filtered by something it does not show.

use karri_proto::aws::Action;
use karri_proto::aws::ec2::Tag;
use karri_proto::aws::filter::{Filterable, Selection};
use karri_proto::aws::paging::Page;
use karri_proto::fault::{Fault, FaultCode, shown, shown_list};
use std::collections::HashSet;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Names that one request may list things by.
const NAMED_MAX: usize = 1000;

/// Something as a client is shown it.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown<T>(pub T);

/// The resources that the request's filters let through, sorted, and the page of them it asks for.
pub fn page<A: Action, T>(
    request: &A,
    mut items: Vec<T>,
    key: impl Fn(&T) -> String,
) -> Result<(Vec<T>, Option<String>), Fault>
where
    Shown<T>: Filterable,
{
    let page = Page::of(request)?;
    items = filtered(request, items)?;
    let mut keyed: Vec<(String, T)> = items.into_iter().map(|item| (key(&item), item)).collect();
    keyed.sort_by(|a, b| a.0.cmp(&b.0));
    let (kept, token) = page.cut(keyed, |(key, _)| key);
    Ok((kept.into_iter().map(|(_, item)| item).collect(), token))
}

/// For actions without pages: the same, in the order given.
pub fn filtered<A: Action, T>(request: &A, items: Vec<T>) -> Result<Vec<T>, Fault>
where
    Shown<T>: Filterable,
{
    let selection = Selection::of::<Shown<T>>(request.filters())?;
    if selection.is_empty() {
        return Ok(items);
    }
    let kept = items.into_iter().map(Shown).filter(|shown| selection.matches(shown));
    Ok(kept.map(|shown| shown.0).collect())
}

/// EC2 takes either the ids that are wanted or the size of a page.
pub fn ids_or_page(ids: &[String], max_results: Option<i32>, parameter: &str) -> Result<(), Fault> {
    if ids.is_empty() || max_results.is_none() {
        return Ok(());
    }
    let sentence = format!("The parameter {parameter} cannot be used with the parameter maxResults");
    Err(Fault::new(FaultCode::InvalidParameterCombination, sentence))
}

/// Of a listing, those that were named, if any were. `missing` is the fault for the names without one.
pub fn named<T>(
    wanted: &[String],
    items: Vec<T>,
    name: impl Fn(&T) -> &str,
    missing: impl Fn(&[&str]) -> Fault,
) -> Result<Vec<T>, Fault> {
    if wanted.is_empty() {
        return Ok(items);
    }
    if wanted.len() > NAMED_MAX {
        let sentence = format!("At most {NAMED_MAX} resources can be named in one request");
        return Err(Fault::invalid_parameter(sentence));
    }
    let there: HashSet<&str> = items.iter().map(&name).collect();
    let absent: Vec<&str> = wanted.iter().map(String::as_str).filter(|want| !there.contains(want)).collect();
    if !absent.is_empty() {
        return Err(missing(&absent));
    }
    let wanted: HashSet<&str> = wanted.iter().map(String::as_str).collect();
    Ok(items.into_iter().filter(|item| wanted.contains(name(item))).collect())
}

/// `The vpc ID 'vpc-1' does not exist`, `The vpc IDs 'vpc-1, vpc-2' do not exist`
pub fn absent(code: FaultCode, what: &str, ids: &[&str]) -> Fault {
    let sentence = match ids {
        [id] => format!("The {what} '{}' does not exist", shown(id)),
        ids => format!("The {what}s '{}' do not exist", shown_list(ids)),
    };
    Fault::new(code, sentence)
}

/// Tells a filter a value that may be absent.
pub fn tell(each: &mut dyn FnMut(&str), value: &Option<String>) {
    if let Some(value) = value {
        each(value);
    }
}

pub fn tell_flag(each: &mut dyn FnMut(&str), value: Option<bool>) {
    if let Some(value) = value {
        each(if value { "true" } else { "false" });
    }
}

pub fn tell_number(each: &mut dyn FnMut(&str), value: Option<impl std::fmt::Display>) {
    if let Some(value) = value {
        each(&value.to_string());
    }
}

pub fn tell_tags(each: &mut dyn FnMut(&str, &str), tags: &[Tag]) {
    for tag in tags {
        each(tag.key.as_deref().unwrap_or_default(), tag.value.as_deref().unwrap_or_default());
    }
}

/// A time as filters and text members have it: `2026-01-02T03:04:05.000Z`.
pub fn tell_time(each: &mut dyn FnMut(&str), at: Option<OffsetDateTime>) {
    if let Some(at) = at {
        each(&time_text(at));
    }
}

pub fn time_text(at: OffsetDateTime) -> String {
    let millis = at.replace_nanosecond(0).unwrap_or(at);
    let text = millis.format(&Rfc3339).unwrap_or_default();
    format!("{}.{:03}Z", text.trim_end_matches('Z'), at.millisecond())
}

pub fn time_of(unix_ms: i64) -> OffsetDateTime {
    let nanos = i128::from(unix_ms) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds() {
        assert_eq!(time_text(time_of(1_767_323_045_007)), "2026-01-02T03:04:05.007Z");
        assert_eq!(time_text(time_of(0)), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn names_without_a_resource_are_all_in_the_fault() {
        let wanted = ["a".to_owned(), "x".to_owned(), "y".to_owned()];
        let missing = |ids: &[&str]| absent(FaultCode::InvalidVpcIdNotFound, "vpc ID", ids);
        let fault = named(&wanted, vec!["a", "b"], |item| *item, missing).unwrap_err();
        assert_eq!(fault.message(), "The vpc IDs 'x, y' do not exist");
        assert_eq!(named(&wanted[..1], vec!["a", "b"], |item| *item, missing).unwrap(), ["a"]);
        assert_eq!(named(&[], vec!["a", "b"], |item| *item, missing).unwrap(), ["a", "b"]);
    }

    #[test]
    fn more_names_than_the_limit_are_refused_before_anything_is_looked_for() {
        let missing = |ids: &[&str]| absent(FaultCode::InvalidVpcIdNotFound, "vpc ID", ids);
        let wanted: Vec<String> = (0..=NAMED_MAX).map(|n| format!("v{n}")).collect();
        let fault = named(&wanted, vec!["v1"], |item| *item, missing).unwrap_err();
        assert_eq!(fault.message(), "At most 1000 resources can be named in one request");
        let fault = named(&wanted[1..], vec!["v1"], |item| *item, missing).unwrap_err();
        assert_eq!(fault.code(), "InvalidVpcID.NotFound");
    }
}
