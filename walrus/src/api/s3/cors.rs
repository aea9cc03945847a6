//! Cross-origin requests: the configuration, preflights, and the headers of other answers.

use super::S3;
use super::cx::Cx;
use super::reply::Reply;
use super::settings::{self, of, set};
use crate::app::s3::cors::{self, Asked};
use http::{HeaderMap, HeaderName, HeaderValue};
use karri_proto::aws::s3::{
    CORSConfiguration, DeleteBucketCorsRequest, GetBucketCorsOutput, GetBucketCorsRequest,
    PutBucketCorsRequest, S3Code, S3Fault,
};
use std::sync::Arc;

const ROOT: &str = "CORSConfiguration";

pub async fn get_bucket_cors(cx: Cx, request: GetBucketCorsRequest) -> Result<GetBucketCorsOutput, S3Fault> {
    let of = of!(request, settings::CORS);
    let found: Option<Arc<CORSConfiguration>> = settings::fetch(&cx, of, "s3:GetBucketCORS", ROOT).await?;
    let found = set(found, S3Code::NoSuchCorsConfiguration, of.bucket)?;
    Ok(GetBucketCorsOutput { cors_rules: found.cors_rules.clone() })
}

pub async fn put_bucket_cors(cx: Cx, request: PutBucketCorsRequest) -> Result<(), S3Fault> {
    cors::check(&request.cors_configuration)?;
    let of = of!(request, settings::CORS);
    let output = GetBucketCorsOutput { cors_rules: request.cors_configuration.cors_rules.clone() };
    settings::put(&cx, of, "s3:PutBucketCORS", &output).await
}

pub async fn delete_bucket_cors(cx: Cx, request: DeleteBucketCorsRequest) -> Result<(), S3Fault> {
    settings::delete(&cx, of!(request, settings::CORS), "s3:PutBucketCORS").await
}

async fn configuration(s3: &S3, bucket: &str) -> Option<Arc<CORSConfiguration>> {
    let bucket = s3.objects.bucket_fetch(bucket).await.ok()?;
    settings::read(&bucket, settings::CORS, ROOT).ok()?
}

/// A browser asks before it lets a page do something.
pub async fn preflight(cx: &Cx) -> Result<Reply, S3Fault> {
    let bad = |text: String| S3Fault::saying(S3Code::BadRequest, text);
    let origin = cx.header("origin");
    let origin =
        origin.ok_or_else(|| bad("Insufficient information. Origin request header needed.".to_owned()))?;
    let method = cx.header("access-control-request-method");
    let method = method.ok_or_else(|| bad("Invalid Access-Control-Request-Method: null".to_owned()))?;
    let forbidden = |text: &'static str| S3Fault::saying(S3Code::AccessForbidden, text);
    let bucket = cx.address.bucket.as_deref().unwrap_or_default();
    let configuration = configuration(&cx.s3, bucket).await;
    let configuration =
        configuration.ok_or_else(|| forbidden("CORSResponse: CORS is not enabled for this bucket."))?;
    let asked = Asked { origin, method, headers: cx.header("access-control-request-headers") };
    let rule = cors::rule(&configuration, asked).ok_or_else(|| {
        forbidden(
            "CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, \
             request method / Access-Control-Request-Method or Access-Control-Request-Headers are not \
             whitelisted by the resource's CORS spec.",
        )
    })?;
    let mut reply = Reply::plain(200);
    put(&mut reply.headers, cors::headers(rule, asked));
    Ok(reply)
}

/// A page's request, for when its answer is there.
#[derive(Debug, Clone)]
pub struct Page {
    bucket: String,
    origin: String,
    method: String,
}

impl Page {
    /// Nothing for a request that no page makes.
    pub fn of(bucket: Option<&str>, method: &str, headers: &HeaderMap) -> Option<Self> {
        let origin = headers.get(http::header::ORIGIN)?.to_str().ok()?.to_owned();
        let asked =
            headers.get(http::header::ACCESS_CONTROL_REQUEST_METHOD).and_then(|value| value.to_str().ok());
        let method = asked.unwrap_or(method).to_owned();
        Some(Self { bucket: bucket?.to_owned(), origin, method })
    }

    pub async fn tell(&self, s3: &S3, headers: &mut HeaderMap) {
        let Some(configuration) = configuration(s3, &self.bucket).await else { return };
        let asked = Asked { origin: &self.origin, method: &self.method, headers: None };
        if let Some(rule) = cors::rule(&configuration, asked) {
            put(headers, cors::headers(rule, asked));
        }
    }
}

fn put(headers: &mut HeaderMap, new: Vec<(&'static str, String)>) {
    for (name, value) in new {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}
