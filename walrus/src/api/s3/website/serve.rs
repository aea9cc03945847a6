//! One request of a website's reader.

use super::super::cx::{Cx, Request};
use super::super::object_get::{self, READ};
use super::super::reply::{Reply, status};
use super::super::{authorise, settings};
use crate::app::s3::website::{self, Asked, Target};
use axum::body::Body;
use http::{HeaderValue, Method, StatusCode, header};
use karri_proto::aws::rest::RestAction as _;
use karri_proto::aws::rest::{Query, RestRequest};
use karri_proto::aws::s3::{GetObjectRequest, S3Code, S3Fault, WebsiteConfiguration};
use std::sync::Arc;

/// Never a fault: a reader sees a page.
pub async fn serve(cx: Cx) -> (Reply, Option<S3Fault>) {
    match answer(&cx).await {
        Ok(reply) => (reply, None),
        Err(fault) => (page(&cx, &fault, None), Some(fault)),
    }
}

async fn answer(cx: &Cx) -> Result<Reply, S3Fault> {
    if !matches!(cx.method, Method::GET | Method::HEAD) {
        let fault = S3Fault::method_not_allowed(cx.method.as_str(), "OBJECT");
        return Err(fault.with_header(header::ALLOW, HeaderValue::from_static("GET, HEAD")));
    }
    let name = cx.address.bucket.as_deref().unwrap_or_default();
    let bucket = authorise::bucket(cx, name, None).await?;
    let site = settings::set(settings::website(&bucket)?, S3Code::NoSuchWebsiteConfiguration, name)?;
    let key = cx.address.key.as_deref().unwrap_or_default();
    let query = cx.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let asked = Asked { host: &cx.host, key, query: &query };
    let redirect = website::redirect_all(&site, asked);
    if let Some(target) = redirect.or_else(|| website::routed(&site.routing_rules, asked, None)) {
        return Ok(sent_to(&target));
    }
    match object(cx, name, &website::document(&site, key)).await {
        Ok(reply) => Ok(reply),
        Err(fault) if fault.status() < 400 => Err(fault),
        Err(fault) => refused(cx, &site, asked, fault).await,
    }
}

/// The object is not there, or not for everybody.
async fn refused(
    cx: &Cx,
    site: &WebsiteConfiguration,
    asked: Asked<'_>,
    fault: S3Fault,
) -> Result<Reply, S3Fault> {
    if let Some(target) = website::routed(&site.routing_rules, asked, Some(fault.status())) {
        return Ok(sent_to(&target));
    }
    let name = cx.address.bucket.as_deref().unwrap_or_default();
    if let Some(index) = website::index_below(site, asked.key)
        && is_open(cx, name, &index).await
    {
        let location = format!("/{}/", website::encoded(asked.key));
        return Ok(sent_to(&Target { status: 302, location }));
    }
    let Some(document) = site.error_document.as_ref().filter(|_| fault.status() < 500) else {
        return Err(fault);
    };
    match object(&plain(cx), name, &document.key).await {
        Ok(mut reply) => {
            reply.status = status(fault.status());
            Ok(reply)
        }
        Err(second) => Ok(page(cx, &fault, Some(&second))),
    }
}

fn sent_to(target: &Target) -> Reply {
    Reply::plain(target.status).header(header::LOCATION, target.location.as_str())
}

/// Whether everybody may read it, and it is there.
async fn is_open(cx: &Cx, bucket: &str, key: &str) -> bool {
    let Ok(bucket) = authorise::bucket(cx, bucket, None).await else { return false };
    object_get::find(cx, bucket, key, None, READ).await.is_ok()
}

/// The request without what is asked of the object that is not there: ranges and conditions.
fn plain(cx: &Cx) -> Cx {
    let mut headers = cx.headers.clone();
    for name in [
        header::RANGE,
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_UNMODIFIED_SINCE,
    ] {
        headers.remove(name);
    }
    Arc::new(Request { headers, ..cx.again() })
}

/// As GetObject by nobody in particular would answer; an object may say that it is elsewhere.
async fn object(cx: &Cx, bucket: &str, key: &str) -> Result<Reply, S3Fault> {
    let query = Query::parse("")?;
    let request = RestRequest {
        method: "GET",
        bucket: Some(bucket),
        key: Some(key),
        query: &query,
        headers: &cx.headers,
    };
    let request = GetObjectRequest::decode(&request, &[])?;
    let mut reply = object_get::get_object(cx.clone(), request).await?;
    if let Some(location) = reply.headers.remove("x-amz-website-redirect-location") {
        let mut moved = Reply::plain(301);
        moved.headers.insert(header::LOCATION, location);
        return Ok(moved);
    }
    if cx.method == Method::HEAD {
        reply.body = Body::empty();
    }
    Ok(reply)
}

/// `second` is why the website's own page cannot be shown.
fn page(cx: &Cx, fault: &S3Fault, second: Option<&S3Fault>) -> Reply {
    let status = status(fault.status());
    let mut reply = Reply { status, headers: http::HeaderMap::new(), body: Body::empty() };
    for (name, value) in fault.headers() {
        reply.headers.insert(name.clone(), value.clone());
    }
    if status == StatusCode::NOT_MODIFIED {
        return reply;
    }
    reply = reply.header(header::CONTENT_TYPE, "text/html; charset=utf-8");
    if cx.method != Method::HEAD {
        reply.body = Body::from(html(cx, status, fault, second));
    }
    reply
}

fn html(cx: &Cx, status: StatusCode, fault: &S3Fault, second: Option<&S3Fault>) -> String {
    let title = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or_default());
    let item = |name: &str, text: &str| format!("<li>{name}: {}</li>\n", escaped(text));
    let mut items = item("Code", fault.code().as_str()) + &item("Message", fault.message());
    items.extend(fault.elements().iter().map(|(name, text)| item(name, text)));
    items += &item("RequestId", &cx.request_id);
    items += &item("HostId", &cx.host_id);
    let also = second.map(|second| {
        let items = item("Code", second.code().as_str()) + &item("Message", second.message());
        let title = "An Error Occurred While Attempting to Retrieve a Custom Error Document";
        format!("<h3>{title}</h3>\n<ul>\n{items}</ul>\n")
    });
    format!(
        "<html>\n<head><title>{title}</title></head>\n<body>\n<h1>{title}</h1>\n<ul>\n{items}</ul>\n{}<hr/>\n\
         </body>\n</html>\n",
        also.unwrap_or_default()
    )
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
