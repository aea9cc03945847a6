//! Forms (`application/x-www-form-urlencoded`) into a tree of parameters.
//!
//! `Tag.1.Key=a` becomes the node Tag, below it 1, below it Key with the value `a`. Reading takes nodes
//! out of the tree, so what is left at the end is what nobody recognised. Strict: a wrong escape, bytes
//! that are not UTF-8, or a parameter given twice is a fault, never a guess. Knows no action.

use super::{Decode, WireFault};
use crate::fault::shown;
use std::collections::BTreeMap;

/// A form larger than this is refused unread. RunInstances with full user data needs 25 kB.
pub const FORM_BYTES_MAX: usize = 1 << 20;
pub const PARAMETERS_MAX: usize = 10_000;
/// Names nested deeper than this are refused; the deepest of EC2's has fewer than ten parts.
pub const NESTING_MAX: usize = 16;
/// The highest `N` in `Name.N`. Gaps cost nothing: items are kept by index, not in a dense array.
pub const LIST_INDEX_MAX: u32 = 100_000;
/// So many allowed values are named in a message; longer sets are not.
const CHOICES_SHOWN_MAX: usize = 12;

/// What every request may carry besides its action's own parameters.
const COMMON: &[&str] = &[
    "Action",
    "Version",
    "AWSAccessKeyId",
    "Signature",
    "SignatureMethod",
    "SignatureVersion",
    "Timestamp",
    "Expires",
    "SecurityToken",
];

/// A node: its own value, and what lies below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params {
    path: String,
    value: Option<String>,
    below: BTreeMap<String, Params>,
}

impl Params {
    /// Reads one form: a body, or a query string without its `?`.
    pub fn parse(form: &[u8]) -> Result<Params, WireFault> {
        Self::parse_all(&[form])
    }

    /// Reads several forms as one request (a query string and a body).
    pub fn parse_all(forms: &[&[u8]]) -> Result<Params, WireFault> {
        if forms.iter().map(|form| form.len()).sum::<usize>() > FORM_BYTES_MAX {
            return Err(WireFault::malformed(format!("The request is larger than {FORM_BYTES_MAX} bytes.")));
        }
        let mut root = Params::default();
        let pairs = forms.iter().flat_map(|form| form.split(|byte| *byte == b'&'));
        for (count, pair) in pairs.filter(|pair| !pair.is_empty()).enumerate() {
            if count >= PARAMETERS_MAX {
                return Err(WireFault::malformed(format!(
                    "The request has more than {PARAMETERS_MAX} parameters."
                )));
            }
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let name = unescape(halves.next().unwrap_or_default())?;
            let value = unescape(halves.next().unwrap_or_default())?;
            root.insert(&name, value)?;
        }
        Ok(root)
    }

    fn insert(&mut self, name: &str, value: String) -> Result<(), WireFault> {
        if name.split('.').count() > NESTING_MAX {
            return Err(WireFault::malformed(format!(
                "A parameter is nested deeper than {NESTING_MAX} levels."
            )));
        }
        let mut node = self;
        let mut end = 0;
        for part in name.split('.') {
            if part.is_empty() {
                return Err(WireFault::malformed(
                    "The query string contains a parameter with an empty name.",
                ));
            }
            end += part.len();
            let path = &name[..end];
            node = node.below.entry(part.to_string()).or_default();
            if node.path.is_empty() {
                node.path = path.to_string();
            }
            end += 1;
        }
        match node.value.replace(value) {
            None => Ok(()),
            Some(_) => Err(WireFault::new(
                "InvalidQueryParameter",
                format!("The parameter {} may only be specified once.", shown(&node.path)),
            )),
        }
    }

    /// The whole name of this node, as the client wrote it: `Tag.1.Key`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// A top-level value, left in place.
    pub fn peek(&self, name: &str) -> Option<&str> {
        self.below.get(name)?.value.as_deref()
    }

    pub fn action(&self) -> Option<&str> {
        self.peek("Action")
    }

    pub fn version(&self) -> Option<&str> {
        self.peek("Version")
    }

    /// Takes out what belongs to the request rather than to its action.
    pub fn drop_common(&mut self) {
        self.below.retain(|name, _| !COMMON.contains(&name.as_str()) && !name.starts_with("X-Amz-"));
    }

    /// Fails if anything was left unread.
    pub fn finish(&self) -> Result<(), WireFault> {
        match self.first_leaf() {
            Some(leaf) => Err(WireFault::unknown(&leaf.path)),
            None => Ok(()),
        }
    }

    pub fn optional<T: Decode>(&mut self, name: &str) -> Result<Option<T>, WireFault> {
        self.below.remove(name).map(Self::read).transpose()
    }

    pub fn required<T: Decode>(&mut self, name: &str) -> Result<T, WireFault> {
        self.optional(name)?.ok_or_else(|| WireFault::missing(&self.full(name)))
    }

    /// `Name.1`, `Name.2` …, in the order of their indexes, from 0 or 1, gaps allowed.
    pub fn list<T: Decode>(&mut self, name: &str) -> Result<Vec<T>, WireFault> {
        let Some(node) = self.below.remove(name) else { return Ok(Vec::new()) };
        match node.value.as_deref() {
            // `Name=` is how some clients spell an empty list.
            Some("") if node.below.is_empty() => return Ok(Vec::new()),
            Some(_) => return Err(WireFault::unknown(&node.path)),
            None => {}
        }
        let mut items = node.below.into_iter().map(|(key, item)| Ok((index(&key, &item)?, item)));
        let mut items = items.by_ref().collect::<Result<Vec<(u32, Params)>, WireFault>>()?;
        items.sort_by_key(|(index, _)| *index);
        items.into_iter().map(|(_, item)| Self::read(item)).collect()
    }

    /// A list as the Query services write it: `Name.member.1`.
    pub fn member_list<T: Decode>(&mut self, name: &str) -> Result<Vec<T>, WireFault> {
        let Some(mut node) = self.below.remove(name) else { return Ok(Vec::new()) };
        if node.value.as_deref() == Some("") {
            node.value = None;
        }
        let items = node.list("member")?;
        node.finish()?;
        Ok(items)
    }

    pub fn check_present(&self, name: &str) -> Result<(), WireFault> {
        let present = self.below.get(name).is_some_and(|node| {
            !node.below.is_empty() || node.value.as_ref().is_some_and(|value| !value.is_empty())
        });
        if present { Ok(()) } else { Err(WireFault::missing(&self.full(name))) }
    }

    /// Every value at or below `name` must be one of `choices`.
    pub fn check_choice(&self, name: &str, choices: &[&str]) -> Result<(), WireFault> {
        let Some(node) = self.below.get(name) else { return Ok(()) };
        node.each_value(&mut |path, value| match choices.contains(&value) {
            true => Ok(()),
            false if choices.len() > CHOICES_SHOWN_MAX => Err(WireFault::invalid(path, value, "")),
            false => {
                let why = format!("Valid values are: {}.", choices.join(", "));
                Err(WireFault::invalid(path, value, &why))
            }
        })
    }

    /// A number outside the range is refused in EC2's words; what is no number is left to decoding.
    pub fn check_range(&self, name: &str, min: i64, max: i64) -> Result<(), WireFault> {
        let Some(number) = self.peek(name).and_then(|text| text.parse::<i64>().ok()) else { return Ok(()) };
        range(name, number, min, max)
    }

    pub fn check_count(&self, name: &str, most: usize) -> Result<(), WireFault> {
        let count = self.below.get(name).map_or(0, |node| node.below.len());
        if count <= most {
            return Ok(());
        }
        let why = format!("At most {most} values may be given.");
        Err(WireFault::invalid(&self.full(name), &format!("{count} values"), &why))
    }

    /// This node's own value, for a scalar. A node without one has only unexpected things below it.
    pub(super) fn take_value(&mut self) -> Result<String, WireFault> {
        self.value
            .take()
            .ok_or_else(|| WireFault::unknown(self.first_leaf().map_or(&self.path, |leaf| &leaf.path)))
    }

    fn read<T: Decode>(mut node: Params) -> Result<T, WireFault> {
        let value = T::decode(&mut node)?;
        node.finish()?;
        Ok(value)
    }

    fn full(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_string() } else { format!("{}.{name}", self.path) }
    }

    fn first_leaf(&self) -> Option<&Params> {
        if self.value.is_some() { Some(self) } else { self.below.values().find_map(Params::first_leaf) }
    }

    fn each_value(
        &self,
        visit: &mut impl FnMut(&str, &str) -> Result<(), WireFault>,
    ) -> Result<(), WireFault> {
        if let Some(value) = &self.value {
            visit(&self.path, value)?;
        }
        self.below.values().try_for_each(|node| node.each_value(visit))
    }
}

/// EC2 names the parameter in lower camel case here, and says "greater than" for the least value.
pub(super) fn range(name: &str, number: i64, min: i64, max: i64) -> Result<(), WireFault> {
    let expecting = match number {
        n if n < min => format!("greater than {min}"),
        n if n > max => format!("less than {max}"),
        _ => return Ok(()),
    };
    let mut chars = name.chars();
    let first = chars.next().map(|c| c.to_ascii_lowercase()).into_iter();
    let name: String = first.chain(chars).collect();
    let message =
        format!("Value ( {number} ) for parameter {name} is invalid. Expecting a value {expecting}.");
    Err(WireFault::new("InvalidParameterValue", message))
}

fn index(key: &str, item: &Params) -> Result<u32, WireFault> {
    let canonical = key.bytes().all(|byte| byte.is_ascii_digit()) && (key == "0" || !key.starts_with('0'));
    let index = key.parse().ok().filter(|_| canonical);
    match index {
        Some(index) if index <= LIST_INDEX_MAX => Ok(index),
        Some(_) => Err(WireFault::malformed(format!("A list index is greater than {LIST_INDEX_MAX}."))),
        None => Err(WireFault::unknown(item.first_leaf().map_or(&item.path, |leaf| &leaf.path))),
    }
}

/// `+` and `%XX`; anything else stands for itself.
fn unescape(text: &[u8]) -> Result<String, WireFault> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => match (rest.next().and_then(hex), rest.next().and_then(hex)) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => {
                    return Err(WireFault::malformed(
                        "The query string contains an incomplete percent escape.",
                    ));
                }
            },
            _ => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| WireFault::malformed("The query string is not valid UTF-8."))
}

fn hex(digit: &u8) -> Option<u8> {
    char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests;
