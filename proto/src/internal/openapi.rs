//! The OpenAPI documents of the internal APIs, made from the routes and types that serve them.
//!
//! They are checked in under `docs/api`, one per interface, and a test keeps them fresh.

use super::{
    admin, bundles, clusters, exports, facts, fleet, instance_bundles, instances, join, kernel, nodes,
    signers, story,
};
use aide::axum::ApiRouter;
use aide::openapi::{Info, OpenApi};
use aide::transform::TransformOperation;
use serde_json::{Map, Value, json};

/// Each interface that this crate serves, with its document.
pub fn documents() -> Vec<(&'static str, Value)> {
    vec![
        ("admin", document("AdminService: accounts, users, keys, tokens, status", admin::api)),
        (
            "bundles",
            document("BundleService: image bundles and disks in buckets, made into blobs", bundles::api),
        ),
        ("clusters", document("ClusterService: a cluster makes itself known", clusters::api)),
        ("exports", document("ExportService: blobs, written to buckets as disk images", exports::api)),
        ("facts", document("FactService: what networks let through", facts::api)),
        ("fleet", document("FleetService: nodes as the operator wants them", fleet::api)),
        (
            "instance-bundles",
            document(
                "InstanceBundleService: root disks, written to buckets as bundles",
                instance_bundles::api,
            ),
        ),
        ("instances", document("InstanceService: intents down, reports up", instances::api)),
        ("join", document("JoinService: a node's way in", join::api)),
        ("kernel", document("KernelService: what is in kernels for a port or a subnet", kernel::api)),
        ("nodes", document("NodeService: a node makes itself known", nodes::api)),
        ("signers", document("SignerService: who signs S3 requests", signers::api)),
        ("story", document("StoryService: what the controllers did for a request", story::api)),
    ]
}

/// Describes the operations of one interface. Its routes are made in here: schemas are gathered, per
/// thread, while that happens.
pub fn document<S: Clone + Send + Sync + 'static>(title: &str, api: impl FnOnce() -> ApiRouter<S>) -> Value {
    aide::generate::reset_context();
    aide::generate::extract_schemas(true);
    let api = api();
    let info = Info { title: title.to_owned(), version: "v1".to_owned(), ..Info::default() };
    let mut document = OpenApi { info, ..OpenApi::default() };
    let _: axum::Router<S> = api.finish_api(&mut document);
    let mut value = serde_json::to_value(&document).unwrap_or_default();
    if let Some(paths) = value["paths"].as_object_mut() {
        paths.iter_mut().for_each(|(path, operations)| name_parameters(path, operations));
    }
    value
}

/// Names an operation as its trait's method.
pub fn named(id: &str) -> impl Fn(TransformOperation<'_>) -> TransformOperation<'_> {
    move |operation| operation.id(id)
}

/// A path with one parameter is extracted as a bare value, which does not tell its name.
fn name_parameters(path: &str, operations: &mut Value) {
    let names: Vec<&str> =
        path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
    let parameter =
        |name| json!({"in": "path", "name": name, "required": true, "schema": {"type": "string"}});
    for operation in operations.as_object_mut().into_iter().flat_map(Map::values_mut) {
        let Some(operation) = operation.as_object_mut() else { continue };
        let known = operation.entry("parameters").or_insert_with(|| json!([]));
        let Some(known) = known.as_array_mut() else { continue };
        known.retain(|parameter| parameter["in"] != "path");
        known.extend(names.iter().map(parameter));
    }
}
