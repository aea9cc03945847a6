//! The OpenAPI documents of the internal APIs in `docs/api` are what the controllers serve.
//!
//! `KARRI_BLESS=1` writes them anew.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test
use karri_proto::internal::openapi::documents;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/api")
}

fn all() -> Vec<(&'static str, Value)> {
    let mut all = documents();
    all.push(("blobs", karri_walrus::api::blobs::document()));
    all.push(("captures", karri_walrus::api::captures::document()));
    all.push(("buckets", karri_walrus::api::buckets::document()));
    all.push(("objects", karri_walrus::api::objects::document()));
    all
}

#[test]
fn documents_are_fresh() {
    for (name, document) in all() {
        let path = folder().join(format!("{name}.json"));
        let text = serde_json::to_string_pretty(&document).unwrap() + "\n";
        if std::env::var_os("KARRI_BLESS").is_some() {
            std::fs::create_dir_all(folder()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == text,
            "{} is old: KARRI_BLESS=1 cargo test --workspace --test openapi",
            path.display()
        );
    }
    let files = std::fs::read_dir(folder()).unwrap().count();
    assert_eq!(files, all().len(), "a document of an interface that is no more");
}

#[test]
fn every_operation_has_a_name_of_its_own_and_every_reference_leads_somewhere() {
    for (name, document) in all() {
        let mut ids = Vec::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                let id = operation["operationId"].as_str();
                ids.push(id.unwrap_or_else(|| panic!("{name}: {method} {path} has no name")).to_owned());
                assert!(
                    operation["responses"]["default"].is_object() || id == Some("blob_list"),
                    "{name}: {id:?}"
                );
            }
        }
        assert!(!ids.is_empty(), "{name}");
        let all = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), all, "{name}: {ids:?}");
        references(&document).for_each(|reference| {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{name}: {reference} leads nowhere");
        });
    }
}

fn references(document: &Value) -> impl Iterator<Item = String> {
    let text = document.to_string();
    let parts: Vec<String> = text.split("\"$ref\":\"").skip(1).map(str::to_owned).collect();
    parts.into_iter().map(|part| part[..part.find('"').unwrap()].to_owned())
}
