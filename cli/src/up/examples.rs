//! The commented example files against what the controllers read: complete, overridable, and of one cloud.

use super::configs::{CC, CLC, NC, WALRUS};
use crate::args::Up;
use crate::facts::Facts;
use karri_proto::runtime::config::{ConfigError, load_with};
use karri_proto::runtime::process::Controller;
use std::collections::BTreeSet;
use toml::{Table, Value};

/// A key or section that the example only shows commented out counts as shown.
fn shown(example: &str) -> Table {
    let plain = |word: &str| word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.'));
    let lines = example.lines().map(|line| {
        let bare = line.trim_start_matches(['#', ' ']);
        let section = bare.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).is_some_and(plain);
        let key = bare.split_once(" = ").is_some_and(|(key, _)| plain(key));
        if section || key { bare } else { line }
    });
    lines.collect::<Vec<_>>().join("\n").parse().unwrap()
}

/// Each value with the way to it.
fn leaves(table: &Table, way: &[String]) -> Vec<(Vec<String>, Value)> {
    let below = table.iter().flat_map(|(key, value)| {
        let way = [way, std::slice::from_ref(key)].concat();
        match value {
            Value::Table(inner) => leaves(inner, &way),
            other => vec![(way, other.clone())],
        }
    });
    below.collect()
}

fn sections(table: &Table) -> BTreeSet<Vec<String>> {
    let mut all = BTreeSet::from([Vec::new()]);
    for (way, _) in leaves(table, &[]) {
        all.extend((1..way.len()).map(|length| way[..length].to_vec()));
    }
    all
}

fn at<'a>(table: &'a mut Table, section: &[String]) -> &'a mut Table {
    section.iter().fold(table, |table, key| table[key].as_table_mut().unwrap())
}

fn variable<C: Controller>(way: &[String]) -> String {
    format!("{}_{}", C::ENVIRONMENT, way.join("__").to_ascii_uppercase())
}

fn load<C: Controller>(file: &str, environment: &[(String, String)]) -> Result<C::Config, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("example.toml");
    std::fs::write(&path, file).unwrap();
    load_with(&path, C::ENVIRONMENT, environment.iter().cloned())
}

/// The keys that the controller knows in that section: it names them when it is given another one.
fn known<C: Controller>(example: &Table, section: &[String]) -> BTreeSet<String> {
    let mut wrong = example.clone();
    at(&mut wrong, section).insert("colour".to_owned(), Value::Integer(1));
    let refused = load::<C>(&wrong.to_string(), &[]).map(drop).unwrap_err().to_string();
    let (_, expected) =
        refused.split_once("unknown field `colour`, expected ").unwrap_or_else(|| panic!("{refused}"));
    expected.lines().next().unwrap().split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Sections whose keys are names of an operator's own.
const NAMED_BY_OPERATORS: [&str; 1] = ["webhooks"];

fn every_key_is_shown_and_can_be_overridden<C: Controller>(example: &str) {
    let example = shown(example);
    load::<C>(&example.to_string(), &[]).map(drop).unwrap();
    for section in sections(&example) {
        let mut table = example.clone();
        let here: BTreeSet<String> = at(&mut table, &section).keys().cloned().collect();
        if section.last().is_none_or(|name| !NAMED_BY_OPERATORS.contains(&name.as_str())) {
            assert_eq!(here, known::<C>(&example, &section), "{} [{}]", C::NAME, section.join("."));
            let colour = variable::<C>(&[&section[..], &["colour".to_owned()]].concat());
            let refused = load::<C>(&example.to_string(), &[(colour.clone(), "7".to_owned())]).map(drop);
            let message = refused.unwrap_err().to_string();
            assert!(message.contains(&colour) && message.contains("`colour`"), "{message}");
        }
    }
    for (way, value) in leaves(&example, &[]) {
        // No key is a list of such lists: the file alone is refused, and right with the value from the environment.
        let mut broken = example.clone();
        let (key, section) = way.split_last().unwrap();
        let nonsense = Value::Array(vec![Value::Array(vec![Value::Boolean(true)])]);
        at(&mut broken, section).insert(key.clone(), nonsense);
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let variable = variable::<C>(&way);
        assert!(load::<C>(&broken.to_string(), &[]).is_err(), "{variable}");
        load::<C>(&broken.to_string(), &[(variable, text)]).map(drop).unwrap();
    }
}

#[test]
fn every_key_of_every_controller_is_in_its_example_and_can_be_overridden() {
    every_key_is_shown_and_can_be_overridden::<karri_clc::Clc>(CLC);
    every_key_is_shown_and_can_be_overridden::<karri_cc::Cc>(CC);
    every_key_is_shown_and_can_be_overridden::<karri_nc::Nc>(NC);
    every_key_is_shown_and_can_be_overridden::<karri_walrus::Walrus>(WALRUS);
}

fn example<C: Controller>(text: &str) -> C::Config {
    load::<C>(text, &[]).unwrap()
}

/// As `karri up` gives them out when it is told nothing.
#[test]
fn the_examples_are_of_one_cloud_on_the_ports_of_the_guide() {
    let ports = Facts::new(&Up {
        sim: None,
        port_base: None,
        address: None,
        region: None,
        zones: vec![],
        images: None,
    })
    .unwrap();
    let (clc, cc) = (example::<karri_clc::Clc>(CLC), example::<karri_cc::Cc>(CC));
    let (nc, walrus) = (example::<karri_nc::Nc>(NC), example::<karri_walrus::Walrus>(WALRUS));
    let s3 = walrus.s3.unwrap();
    let zone = &ports.zones[0];
    for (controller, ports) in [
        (&clc.controller, ports.clc),
        (&walrus.controller, ports.walrus),
        (&cc.controller, zone.cc),
        (&nc.controller, zone.nc),
    ] {
        assert_eq!(
            (controller.listen.port(), controller.observe.unwrap().port()),
            (ports.internal, ports.observe)
        );
        let advertised = controller.advertise.as_ref().unwrap();
        assert!(advertised.ends_with(&format!(":{}", ports.internal)), "{advertised}");
    }
    assert_eq!((clc.api.listen.port(), s3.listen.port()), (ports.public_port, ports.s3_port));
    assert_eq!(clc.api.region, s3.region);
    assert_eq!(Some(cc.cluster.clc_url), clc.controller.advertise);
    assert_eq!(s3.clc_url, clc.controller.advertise);
    assert_eq!(Some(clc.pki.walrus_url), walrus.controller.advertise);
    assert_eq!(Some(nc.node.walrus_url), walrus.controller.advertise);
    assert_eq!(Some(nc.node.cc_url), cc.controller.advertise);
}
