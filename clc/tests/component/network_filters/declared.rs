//! Which filters a kind of thing has, by the source that says it: so none is left out here unseen.

use std::collections::BTreeSet;

/// Those of the type in the text of its source file.
pub fn declared(source: &'static str, kind: &str) -> BTreeSet<&'static str> {
    let begin = format!("impl Filterable for Shown<{kind}> {{");
    let (_, rest) = source.split_once(&begin).unwrap_or_else(|| panic!("{kind} is declared there"));
    let (_, rest) = rest.split_once("FILTERS: &'static [&'static str] =").expect("its filters are first");
    let (list, _) = rest.split_once("];").expect("the list ends");
    list.split('"').skip(1).step_by(2).collect()
}
