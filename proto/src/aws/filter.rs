//! EC2's filters: the values of one filter are alternatives, several filters must all match.
//!
//! `*` and `?` are wildcards, a backslash takes their meaning away. `tag:KEY`, `tag-key` and
//! `tag-value` work for everything that has tags. What a filter looks at is said by the resource
//! (`Filterable`); nothing here knows one.

use super::{Decode, Params, WireFault};

/// EC2's own limit on the values of all filters of one request.
pub const FILTER_VALUES_MAX: usize = 200;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    pub name: String,
    pub values: Vec<String>,
}

impl Decode for Filter {
    fn decode(params: &mut Params) -> Result<Self, WireFault> {
        // EC2 itself calls a filter without a name 'null'.
        let name = params.optional("Name")?.unwrap_or_else(|| "null".to_string());
        Ok(Self { name, values: params.list("Value")? })
    }
}

/// What filters can look at.
pub trait Filterable {
    /// The filter names this resource knows, without the ones for tags.
    const FILTERS: &'static [&'static str];
    /// Whether `tag:KEY`, `tag-key` and `tag-value` are known.
    const TAGGED: bool = true;

    /// Calls `each` with every value that the resource has for this filter.
    fn filter_values(&self, name: &str, each: &mut dyn FnMut(&str));

    /// Calls `each` with every tag's key and value.
    fn filter_tags(&self, _each: &mut dyn FnMut(&str, &str)) {}
}

/// Filters that were checked against a kind of resource, with their patterns compiled.
#[derive(Debug, Clone)]
pub struct Selection {
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone)]
struct Condition {
    subject: Subject,
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone)]
enum Subject {
    Named(String),
    Tag(String),
    TagKey,
    TagValue,
}

impl Selection {
    pub fn of<T: Filterable>(filters: &[Filter]) -> Result<Selection, WireFault> {
        if filters.iter().map(|filter| filter.values.len()).sum::<usize>() > FILTER_VALUES_MAX {
            let message = format!(
                "The maximum number of filter values specified on a single call is {FILTER_VALUES_MAX}"
            );
            return Err(WireFault::new("FilterLimitExceeded", message));
        }
        let conditions = filters.iter().map(|filter| {
            let patterns = filter.values.iter().map(|value| Pattern::new(value)).collect();
            Ok(Condition { subject: Subject::of::<T>(&filter.name)?, patterns })
        });
        Ok(Selection { conditions: conditions.collect::<Result<_, WireFault>>()? })
    }

    pub fn matches<T: Filterable>(&self, resource: &T) -> bool {
        self.conditions.iter().all(|condition| condition.matches(resource))
    }

    /// True when nothing was asked, so that everything matches.
    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }
}

impl Subject {
    fn of<T: Filterable>(name: &str) -> Result<Subject, WireFault> {
        match name {
            _ if T::FILTERS.contains(&name) => Ok(Subject::Named(name.to_string())),
            "tag-key" if T::TAGGED => Ok(Subject::TagKey),
            "tag-value" if T::TAGGED => Ok(Subject::TagValue),
            _ => match name.strip_prefix("tag:") {
                Some(key) if T::TAGGED => Ok(Subject::Tag(key.to_string())),
                _ => {
                    let name: String = name.chars().take(128).collect();
                    Err(WireFault::new("InvalidParameterValue", format!("The filter '{name}' is invalid")))
                }
            },
        }
    }
}

impl Condition {
    fn matches<T: Filterable>(&self, resource: &T) -> bool {
        let mut found = false;
        let any = |value: &str| self.patterns.iter().any(|pattern| pattern.matches(value));
        match &self.subject {
            Subject::Named(name) => resource.filter_values(name, &mut |value| found = found || any(value)),
            Subject::Tag(wanted) => {
                resource.filter_tags(&mut |key, value| found = found || (key == wanted && any(value)));
            }
            Subject::TagKey => resource.filter_tags(&mut |key, _| found = found || any(key)),
            Subject::TagValue => resource.filter_tags(&mut |_, value| found = found || any(value)),
        }
        found
    }
}

/// A value with wildcards.
#[derive(Debug, Clone)]
pub struct Pattern {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    Just(char),
    One,
    Many,
}

impl Pattern {
    pub fn new(text: &str) -> Pattern {
        let mut parts = Vec::with_capacity(text.len());
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            parts.push(match c {
                '*' => Part::Many,
                '?' => Part::One,
                '\\' => Part::Just(chars.next().unwrap_or('\\')),
                _ => Part::Just(c),
            });
        }
        Pattern { parts }
    }

    /// Goes back only to the last `*`, so the cost is at most pattern × text, never exponential.
    pub fn matches(&self, text: &str) -> bool {
        let (mut part, mut rest) = (0, text);
        let mut retry: Option<(usize, &str)> = None;
        loop {
            let head = rest.chars().next();
            match (self.parts.get(part), head) {
                (Some(Part::Many), _) => {
                    part += 1;
                    retry = Some((part, rest));
                    continue;
                }
                (None, None) => return true,
                (Some(Part::One), Some(c)) => (part, rest) = (part + 1, &rest[c.len_utf8()..]),
                (Some(Part::Just(wanted)), Some(c)) if *wanted == c => {
                    (part, rest) = (part + 1, &rest[c.len_utf8()..]);
                }
                _ => {
                    let Some((after, from)) = retry else { return false };
                    let Some(skipped) = from.chars().next() else { return false };
                    (part, rest) = (after, &from[skipped.len_utf8()..]);
                    retry = Some((part, rest));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
