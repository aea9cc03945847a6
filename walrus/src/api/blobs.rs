//! Image blobs over the internal API: what `karri_proto::internal::blobs` calls.
//!
//! Reading is for nc, cc, clc and the operator; importing and deleting for clc and the operator. Both
//! directions are streams.

use super::range::{self, Range};
use crate::app::import::{For, ImportError, Importer};
use crate::app::sniff::Purpose;
use crate::store::blobs::BlobInfo;
use crate::store::holds::Hold;
use aide::axum::ApiRouter;
use aide::axum::routing::{delete_with, get_with, post_with};
use axum::body::{Body, BodyDataStream};
use axum::extract::{Path, Query, State};
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, RANGE,
};
use axum::http::{Method, Response, StatusCode};
use axum::{Json, Router};
use futures_util::StreamExt;
use karri_proto::instance::{BlobRef, Digest};
use karri_proto::internal::blobs::{
    BLOB_IMPORT_PATH, BLOB_INFO_PATH, BLOB_PATH, BlobFacts, BlobPurpose, ImportedBlob,
};
use karri_proto::internal::caller::guarded;
use karri_proto::internal::openapi::{self, named};
use karri_proto::internal::{ApiError, Caller, Identity, Role};
use karri_proto::runtime::metrics::Metrics;
use karri_proto::runtime::process::Base;
use schemars::JsonSchema;
use serde::Deserialize;
use std::io::{Seek, SeekFrom};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio_util::io::ReaderStream;

const READ_BUFFER_BYTES: usize = 256 * 1024;
const READ_SLOT_WAIT_MAX: Duration = Duration::from_secs(20);
/// How long a refused upload is still read, so that its sender gets to see the answer.
const DRAIN_MAX: Duration = Duration::from_secs(10);

#[derive(Clone)]
struct Blobs {
    importer: Importer,
    reads: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

fn may_read(identity: &Identity) -> bool {
    matches!(identity.role, Role::Nc | Role::Cc | Role::Clc | Role::Admin)
}

fn may_write(identity: &Identity) -> bool {
    matches!(identity.role, Role::Clc | Role::Admin)
}

pub fn router(importer: Importer, base: &Base) -> Router {
    let reads = Arc::new(Semaphore::new(importer.limits().reads_at_once));
    let state = Blobs { importer, reads, metrics: base.metrics.clone() };
    let reading = Router::from(reading().with_state(state.clone()));
    guarded(reading, may_read).merge(guarded(writing().with_state(state).into(), may_write))
}

/// What this interface is, for `docs/api`.
pub fn document() -> serde_json::Value {
    openapi::document("BlobService: image blobs by digest", || reading().merge(writing()))
}

fn reading() -> ApiRouter<Blobs> {
    ApiRouter::new()
        .api_route(BLOB_IMPORT_PATH, get_with(handle_list, named("blob_list")))
        .api_route(BLOB_PATH, get_with(handle_read, named("blob_read")))
        .api_route(BLOB_INFO_PATH, get_with(handle_info, named("blob_info")))
}

fn writing() -> ApiRouter<Blobs> {
    ApiRouter::new()
        .api_route(BLOB_IMPORT_PATH, post_with(handle_import, named("blob_import")))
        .api_route(BLOB_PATH, delete_with(handle_delete, named("blob_delete")))
}

/// The digest of a path and what is known of its blob.
fn find(blobs: &Blobs, text: &str) -> Result<(Digest, BlobInfo), ApiError> {
    let digest: Digest = text.parse().map_err(|error| ApiError::invalid(format!("{error}")))?;
    match blobs.importer.store().blob_info(&digest) {
        Some(info) => Ok((digest, info)),
        None => Err(ApiError::not_found(format!("there is no blob {digest}"))),
    }
}

async fn handle_list(State(blobs): State<Blobs>) -> Json<Vec<BlobRef>> {
    Json(blobs.importer.store().blob_list())
}

async fn handle_info(
    State(blobs): State<Blobs>,
    Path(digest): Path<String>,
) -> Result<Json<BlobFacts>, ApiError> {
    let (digest, info) = find(&blobs, &digest)?;
    if info.hold == Hold::Cached {
        // Whoever asks is about to register an image on it, and this one may go at any time.
        return Err(ApiError::not_found(format!("there is no blob {digest}")));
    }
    Ok(Json(info.facts(&digest)))
}

async fn handle_delete(
    State(blobs): State<Blobs>,
    caller: Caller,
    Path(digest): Path<String>,
) -> Result<(), ApiError> {
    let digest: Digest = digest.parse().map_err(|error| ApiError::invalid(format!("{error}")))?;
    let (store, name) = (blobs.importer.store().clone(), digest.clone());
    let removed = spawn_blocking(move || store.blob_delete(&name)).await.map_err(ApiError::internal)?;
    if removed.map_err(ApiError::internal)? {
        tracing::info!(request_id = caller.request_id, %digest, caller = %caller.identity, "blob deleted");
    }
    Ok(())
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ImportQuery {
    #[serde(rename = "as")]
    purpose: Option<BlobPurpose>,
}

async fn handle_import(
    State(blobs): State<Blobs>,
    caller: Caller,
    query: Result<Query<ImportQuery>, axum::extract::rejection::QueryRejection>,
    body: Body,
) -> Result<Json<ImportedBlob>, ApiError> {
    let mut body = body.into_data_stream();
    let result = import(&blobs, &caller, query.map(|Query(q)| q).map_err(|e| e.to_string()), &mut body).await;
    if result.is_err() {
        drain(body);
    }
    result.map(Json)
}

/// Reads on for a while what has been refused.
pub(super) fn drain(mut body: BodyDataStream) {
    tokio::spawn(async move {
        let all = async { while let Some(Ok(_)) = body.next().await {} };
        let _ = tokio::time::timeout(DRAIN_MAX, all).await;
    });
}

async fn import(
    blobs: &Blobs,
    caller: &Caller,
    query: Result<ImportQuery, String>,
    body: &mut BodyDataStream,
) -> Result<ImportedBlob, ApiError> {
    let purpose = match query.map_err(ApiError::invalid)?.purpose {
        None => Purpose::Any,
        Some(BlobPurpose::Disk) => Purpose::Disk,
        Some(BlobPurpose::Kernel) => Purpose::Kernel,
        Some(BlobPurpose::Ramdisk) => Purpose::Ramdisk,
    };
    let mut body = body.map(|bytes| bytes.map_err(|error| ImportError::Broken(error.to_string())));
    Ok(blobs.importer.import(&mut body, purpose, Hold::Imported, For::operator(&caller.request_id)).await?)
}

async fn handle_read(
    State(blobs): State<Blobs>,
    caller: Caller,
    method: Method,
    headers: HeaderMap,
    Path(digest): Path<String>,
) -> Result<Response<Body>, ApiError> {
    let (digest, info) = find(&blobs, &digest)?;
    let range = headers.get(RANGE).and_then(|value| value.to_str().ok());
    let answer = Response::builder()
        .header(ACCEPT_RANGES, "bytes")
        .header(CONTENT_TYPE, "application/octet-stream")
        .header(ETAG, format!("\"{digest}\""));
    let (answer, from, to) = match range::parse(range, info.bytes) {
        Range::Whole => (answer, 0, info.bytes),
        Range::Part(from, to) => {
            let part = format!("bytes {from}-{}/{}", to - 1, info.bytes);
            (answer.status(StatusCode::PARTIAL_CONTENT).header(CONTENT_RANGE, part), from, to)
        }
        Range::Unsatisfiable => {
            let whole = format!("bytes */{}", info.bytes);
            let answer = answer.status(StatusCode::RANGE_NOT_SATISFIABLE).header(CONTENT_RANGE, whole);
            return answer.body(Body::empty()).map_err(ApiError::internal);
        }
    };
    if method == Method::HEAD {
        return answer.header(CONTENT_LENGTH, to - from).body(Body::empty()).map_err(ApiError::internal);
    }
    tracing::info!(request_id = caller.request_id, %digest, from, to, caller = %caller.identity, "a blob is read");
    let body = stream(&blobs, digest, from, to).await?;
    answer.header(CONTENT_LENGTH, to - from).body(body).map_err(ApiError::internal)
}

async fn stream(blobs: &Blobs, digest: Digest, from: u64, to: u64) -> Result<Body, ApiError> {
    let slot = tokio::time::timeout(READ_SLOT_WAIT_MAX, blobs.reads.clone().acquire_owned()).await;
    let slot: OwnedSemaphorePermit = slot
        .map_err(|_| ApiError::unreachable("too many reads are under way"))?
        .map_err(ApiError::internal)?;
    let store = blobs.importer.store().clone();
    let file = spawn_blocking(move || {
        let mut file = store.blob_open(&digest)?;
        file.seek(SeekFrom::Start(from))?;
        std::io::Result::Ok(file)
    });
    let file = file.await.map_err(ApiError::internal)?.map_err(ApiError::internal)?;
    blobs.metrics.count("karri_walrus_reads_total", &[]);
    let reader = tokio::fs::File::from_std(file).take(to - from);
    let chunks = ReaderStream::with_capacity(reader, READ_BUFFER_BYTES);
    Ok(Body::from_stream(chunks.inspect(move |_| {
        let _ = &slot; // held until the last byte is sent or the reader is gone
    })))
}
