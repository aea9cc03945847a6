//! AWS's published Signature Version 4 cases: each verifies, and each with one part of it changed
//! does not. See `data/sigv4/README.md`.

#![allow(clippy::unwrap_used)] // helpers of tests, which the lint takes for code

use karri_proto::sign::{self, PathRule, Payload, RequestView, Rules, Secret, SignFault, Verifier};
use serde_json::Value;

const CASES: &str = include_str!("data/sigv4/cases.jsonl");

struct Case {
    label: String,
    rules: Rules,
    secret: String,
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: String,
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap().to_owned()
}

impl Case {
    fn read(line: &str) -> Self {
        let value: Value = serde_json::from_str(line).unwrap();
        let target = text(&value, "target");
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let path_rule =
            if value["path"] == "normalised" { PathRule::Normalised } else { PathRule::Reencoded };
        let pair = |h: &Value| (h[0].as_str().unwrap().to_owned(), h[1].as_str().unwrap().to_owned());
        Case {
            label: format!("{} ({})", text(&value, "name"), text(&value, "place")),
            rules: Rules { path: path_rule, token_unsigned: value["token_unsigned"] == true, ..Rules::EC2 },
            secret: text(&value, "secret"),
            method: text(&value, "method"),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: value["headers"].as_array().unwrap().iter().map(pair).collect(),
            body: text(&value, "body"),
        }
    }

    /// Verifies at the very second of signing.
    fn outcome(&self) -> Result<(), SignFault> {
        let headers: Vec<(&str, &[u8])> =
            self.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
        let view = RequestView {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: &headers,
            payload: Payload::Body(self.body.as_bytes()),
        };
        let claim = sign::parse(&view)?;
        let now = claim.signed_at.unwrap();
        Verifier::new(self.rules).verify(&claim, &Secret::new(&*self.secret), &view, now).map(drop)
    }
}

fn cases() -> impl Iterator<Item = Case> {
    CASES.lines().map(Case::read)
}

#[test]
fn every_published_case_verifies() {
    let refused: Vec<String> =
        cases().filter_map(|c| c.outcome().err().map(|fault| format!("{}: {fault}", c.label))).collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    assert_eq!(cases().count(), CASE_COUNT);
}

/// So that a truncated data file does not pass.
const CASE_COUNT: usize = 77;

#[test]
fn every_published_case_is_refused_when_changed() {
    type Change = (&'static str, fn(&mut Case));
    let changes: [Change; 6] = [
        ("method", |c| c.method = "PATCH".into()),
        ("path", |c| c.path.push('x')),
        ("query", |c| c.query.push_str("&more=1")),
        ("body", |c| c.body.push('x')),
        ("secret", |c| c.secret.push('x')),
        ("host", |c| c.headers.iter_mut().find(|(n, _)| n == "Host").unwrap().1.push('x')),
    ];
    for (what, change) in changes {
        for mut case in cases() {
            change(&mut case);
            assert!(case.outcome().is_err(), "{} with another {what} was accepted", case.label);
        }
    }
}
