//! What all listings share: where a page begins, how keys are rolled up, where it ends.
//!
//! A page costs what it answers: a common prefix is one step to the first key behind it, whatever lies
//! below it. The steps are taken inside the database, by a recursive query over `least`, which finds the
//! first key from a place on.

use super::ids::{UploadId, VersionId};
use std::ops::Range;

/// A part of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// In order; with `prefixes` at most as many as were asked for.
    pub entries: Vec<T>,
    pub prefixes: Vec<String>,
    /// The last of both, when there is more behind it.
    pub next: Option<Next>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// A key or a common prefix.
    pub key: String,
    pub version: Option<VersionId>,
    pub upload: Option<UploadId>,
}

impl Next {
    pub(super) fn key(key: &str) -> Self {
        Self { key: key.to_owned(), version: None, upload: None }
    }
}

/// One row of a listing.
#[derive(Debug)]
pub(super) enum Item<T> {
    Entry(T),
    Prefix(String),
}

/// Of one item more than may be answered, if there are so many.
pub(super) fn page<T>(mut items: Vec<Item<T>>, limit: usize, next: impl Fn(&T) -> Next) -> Page<T> {
    let more = items.len() > limit;
    items.truncate(limit);
    let next = match items.last().filter(|_| more) {
        Some(Item::Entry(entry)) => Some(next(entry)),
        Some(Item::Prefix(prefix)) => Some(Next::key(prefix)),
        None => None,
    };
    let mut page = Page { entries: Vec::with_capacity(items.len()), prefixes: Vec::new(), next };
    for item in items {
        match item {
            Item::Entry(entry) => page.entries.push(entry),
            Item::Prefix(prefix) => page.prefixes.push(prefix),
        }
    }
    page
}

/// The common prefix that `key` is rolled up into.
pub(super) fn common_prefix<'k>(key: &'k str, prefix: &str, delimiter: Option<&str>) -> Option<&'k str> {
    let delimiter = delimiter.filter(|delimiter| !delimiter.is_empty())?;
    let below = key.strip_prefix(prefix)?;
    let at = below.find(delimiter)?;
    Some(&key[..prefix.len() + at + delimiter.len()])
}

/// No byte of UTF-8 is as great, so this is behind every key that begins so.
const BEHIND: u8 = 0xff;

/// Behind every key that begins so.
pub(super) fn behind(prefix: &str) -> Vec<u8> {
    [prefix.as_bytes(), &[BEHIND]].concat()
}

/// The keys that a page may show: those that begin with `prefix` and, as they are shown, come after `after`.
pub(super) fn keys(prefix: &str, delimiter: Option<&str>, after: Option<&str>) -> Range<Vec<u8>> {
    let from = match after.filter(|after| after.as_bytes() >= prefix.as_bytes()) {
        None => prefix.as_bytes().to_vec(),
        Some(after) => match common_prefix(after, prefix, delimiter) {
            Some(shown) => behind(shown),
            None => [after.as_bytes(), &[0]].concat(),
        },
    };
    from..behind(prefix)
}

/// A query over the keys and the common prefixes (each by its first key) from `?2` up to `?3`: `?4` is the
/// length of the prefix, `?5` the delimiter, `?6` how many. `least` finds the first key `{from}`.
pub(super) fn walk(least: &str, tail: &str) -> String {
    let first = least.replace("{from}", ">= ?2");
    let next = least.replace(
        "{from}",
        "> CASE WHEN instr(substr(k, ?4 + 1), ?5) > 0 \
         THEN CAST(substr(k, 1, ?4 + instr(substr(k, ?4 + 1), ?5) - 1 + length(?5)) || x'ff' AS BLOB) \
         ELSE k END",
    );
    format!(
        "WITH RECURSIVE walk (k) AS (SELECT ({first}) \
         UNION ALL SELECT ({next}) FROM walk WHERE k IS NOT NULL LIMIT ?6) {tail}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_roll_up_at_the_first_delimiter_behind_the_prefix() {
        let check = |key, prefix, delimiter, expected| {
            assert_eq!(common_prefix(key, prefix, delimiter), expected, "{key} {prefix} {delimiter:?}");
        };
        check("a/b/c", "", Some("/"), Some("a/"));
        check("a/b/c", "a/", Some("/"), Some("a/b/"));
        check("a/b", "a/", Some("/"), None);
        check("a/b", "b", Some("/"), None);
        check("a--b--c", "a", Some("--"), Some("a--"));
        check("a/b", "", None, None);
        check("a/b", "", Some(""), None);
        check("éñ/x", "é", Some("/"), Some("éñ/"));
    }

    #[test]
    fn a_page_begins_behind_what_was_shown() {
        let from = |prefix, delimiter, after| keys(prefix, delimiter, after).start;
        assert_eq!(from("p", None, None), b"p");
        assert_eq!(from("p", None, Some("a")), b"p");
        assert_eq!(from("p", None, Some("pa")), b"pa\0");
        assert_eq!(from("p/", Some("/"), Some("p/a/")), b"p/a/\xff");
        assert_eq!(from("p/", Some("/"), Some("p/a/b")), b"p/a/\xff");
        assert_eq!(from("p/", Some("/"), Some("p/a")), b"p/a\0");
        assert_eq!(keys("p", None, None).end, b"p\xff");
    }
}
