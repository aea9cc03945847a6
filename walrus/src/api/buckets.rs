//! Whose buckets there are, for the cloud controller: an account that owns some is not deleted.

use crate::store::objects::{BucketQuery, Objects};
use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use axum::extract::{Path, State};
use axum::{Json, Router};
use karri_proto::internal::buckets::{ACCOUNT_BUCKETS_PATH, AccountBuckets, NAMED_MAX};
use karri_proto::internal::caller::guarded;
use karri_proto::internal::openapi::{self, named};
use karri_proto::internal::{ApiError, Role};

/// Nothing: there are no objects here, so nobody has a bucket.
type Kept = Option<Objects>;

pub fn router(objects: Kept) -> Router {
    guarded(api().with_state(objects).into(), |id| id.role == Role::Clc)
}

/// What this interface is, for `docs/api`.
pub fn document() -> serde_json::Value {
    openapi::document("Whose buckets there are, for the cloud controller", api)
}

fn api() -> ApiRouter<Kept> {
    ApiRouter::new().api_route(ACCOUNT_BUCKETS_PATH, get_with(handle, named("account_buckets")))
}

async fn handle(
    State(objects): State<Kept>,
    Path(account): Path<String>,
) -> Result<Json<AccountBuckets>, ApiError> {
    let Some(objects) = objects else { return Ok(Json(AccountBuckets::default())) };
    let query = BucketQuery {
        owner: Some(account.as_str().into()),
        prefix: String::new(),
        region: None,
        after: None,
        limit: NAMED_MAX,
    };
    let page = objects.bucket_list(&query).await.map_err(ApiError::internal)?;
    let names = page.buckets.iter().map(|bucket| bucket.name.to_string()).collect();
    Ok(Json(AccountBuckets { names, more: page.next.is_some() }))
}
