//! Which filters a kind of thing has, by the source that says it: so none is left out here unseen.

use std::collections::BTreeSet;
use std::path::Path;

/// Those of the type in the text of its source file.
pub fn declared(source: &'static str, kind: &str) -> BTreeSet<&'static str> {
    let begin = format!("impl Filterable for Shown<{kind}> {{");
    let (_, rest) = source.split_once(&begin).unwrap_or_else(|| panic!("{kind} is declared there"));
    let (_, rest) = rest.split_once("FILTERS: &'static [&'static str] =").expect("its filters are first");
    let (list, _) = rest.split_once("];").expect("the list ends");
    list.split('"').skip(1).step_by(2).collect()
}

/// The kinds of things that have filters: all files of actions are looked through.
pub fn kinds() -> BTreeSet<String> {
    let mut kinds = BTreeSet::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api/ec2")];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(path).unwrap();
            let found = text.split("impl Filterable for Shown<").skip(1);
            kinds.extend(
                found.map(|rest| rest.split_once('>').unwrap().0.trim_start_matches("ec2::").to_owned()),
            );
        }
    }
    kinds
}
