//! A bucket's website: its configuration, and serving it.
//!
//! ```text
//!   BUCKET.WEBSITE_DOMAIN/path → redirect all? → rule by prefix? → the object, or the index below it
//!       └ not found, or not allowed → rule by error? → the index one level down? → the error document → our own page
//! ```
//!
//! Whoever reads a website is nobody in particular: what a page is made of must be open to all.

mod serve;

use super::cx::Cx;
use super::settings::{self, of, set};
use crate::app::s3::website as rules;
use karri_proto::aws::s3::{
    DeleteBucketWebsiteRequest, GetBucketWebsiteOutput, GetBucketWebsiteRequest, PutBucketWebsiteRequest,
    S3Code, S3Fault, WebsiteConfiguration,
};
pub use serve::serve;
use std::sync::Arc;

pub async fn get_bucket_website(
    cx: Cx,
    request: GetBucketWebsiteRequest,
) -> Result<GetBucketWebsiteOutput, S3Fault> {
    let of = of!(request, settings::WEBSITE);
    let found: Option<Arc<WebsiteConfiguration>> =
        settings::fetch(&cx, of, "s3:GetBucketWebsite", "WebsiteConfiguration").await?;
    let found = (*set(found, S3Code::NoSuchWebsiteConfiguration, of.bucket)?).clone();
    Ok(GetBucketWebsiteOutput {
        error_document: found.error_document,
        index_document: found.index_document,
        redirect_all_requests_to: found.redirect_all_requests_to,
        routing_rules: found.routing_rules,
    })
}

pub async fn put_bucket_website(cx: Cx, request: PutBucketWebsiteRequest) -> Result<(), S3Fault> {
    let of = of!(request, settings::WEBSITE);
    let asked = request.website_configuration.clone();
    rules::check(&asked)?;
    let output = GetBucketWebsiteOutput {
        error_document: asked.error_document,
        index_document: asked.index_document,
        redirect_all_requests_to: asked.redirect_all_requests_to,
        routing_rules: asked.routing_rules,
    };
    settings::put(&cx, of, "s3:PutBucketWebsite", &output).await
}

pub async fn delete_bucket_website(cx: Cx, request: DeleteBucketWebsiteRequest) -> Result<(), S3Fault> {
    settings::delete(&cx, of!(request, settings::WEBSITE), "s3:DeleteBucketWebsite").await
}
