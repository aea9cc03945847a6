//! What is modelled, served and tested: none may fall behind unseen.
//!
//! `clc/actions.txt` is the checked-in list of what is behind. An action is tested when a component test
//! or a client test calls it, and not only to hear what would be if it were meant.

use karri_clc::api::table;
use karri_proto::aws::{Service, ec2, sts};
use std::collections::BTreeSet;
use std::path::Path;

const LIST: &str = include_str!("../../actions.txt");

/// Asks every action with `DryRun`.
const DRY: &str = "dry_run.rs";

fn read_all(folder: &Path, ending: &str) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name == DRY) {
            continue;
        }
        if path.extension().is_some_and(|found| found == ending) {
            text.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
    text
}

/// `RunInstances` as Python clients spell it: `run_instances`.
fn snake(action: &str) -> String {
    let mut text = String::new();
    for c in action.chars() {
        if c.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

#[test]
fn the_list_of_what_is_not_served_or_not_tested_is_true() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let own = read_all(&root.join("tests/component"), "rs");
    let clients = read_all(&root.join("../tests/clients"), "py");
    let table = table();
    let mut lines = Vec::new();
    for (service, modelled) in [(Service::Ec2, ec2::ACTIONS), (Service::Sts, sts::ACTIONS)] {
        let served: BTreeSet<&str> = table.actions(service).into_iter().collect();
        let modelled: BTreeSet<&str> = modelled.iter().copied().collect();
        lines.extend(modelled.difference(&served).map(|action| format!("not served: {action}")));
        let tested = |action: &&&str| {
            own.contains(&format!("\"{action}\"")) || clients.contains(&format!(".{}(", snake(action)))
        };
        lines.extend(served.iter().filter(|a| !tested(a)).map(|action| format!("not tested: {action}")));
    }
    let listed: Vec<&str> = LIST.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert_eq!(listed, lines, "bring clc/actions.txt up to date");
}
