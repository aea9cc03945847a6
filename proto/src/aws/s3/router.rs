//! Which operation a request is.
//!
//! S3 tells operations apart by method, by whether the path names a key, and by *subresources*: names in
//! the query such as `acl`. Those and the methods that they take are the model's (`uses_of`), whether
//! Karri serves them or not; what else counts (`uploadId`, `list-type`, `x-amz-copy-source`) is below.
//! A name that is no subresource is ignored, as AWS does. One that is, but not with this method, is
//! refused: a `DELETE ?lifecycle` sent to a key must not delete the object.

use super::code::S3Code;
use super::fault::S3Fault;
use super::generated::{Operation, uses_of};
use crate::aws::rest::RestRequest;
use http::header::HeaderName;

static COPY_SOURCE: HeaderName = HeaderName::from_static("x-amz-copy-source");

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Route {
    Operation(Operation),
    /// An upload from a browser's form.
    PostObject,
    /// A browser asks whether another site's page may do something.
    Preflight,
}

/// What a request's path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    Service,
    Bucket,
    Object,
}

/// A method that a subresource takes at a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    pub level: Level,
    pub method: &'static str,
    /// `None` if Karri does not serve it.
    pub operation: Option<Operation>,
}

pub fn route(request: &RestRequest<'_>) -> Result<Route, S3Fault> {
    let level = match (request.bucket, request.key) {
        (None, _) => Level::Service,
        (Some(_), None | Some("")) => Level::Bucket,
        (Some(_), Some(_)) => Level::Object,
    };
    if request.method == "OPTIONS" && level != Level::Service {
        return Ok(Route::Preflight);
    }
    if let Some(operation) = by_subresource(request, level)? {
        return Ok(Route::Operation(operation));
    }
    match level {
        Level::Service => of_service(request).map(Route::Operation),
        Level::Bucket => of_bucket(request),
        Level::Object => of_object(request).map(Route::Operation),
    }
}

fn by_subresource(request: &RestRequest<'_>, level: Level) -> Result<Option<Operation>, S3Fault> {
    // HEAD has no subresources, and the service none at all.
    if level == Level::Service || request.method == "HEAD" {
        return Ok(None);
    }
    let mut found: Option<(&str, Operation)> = None;
    for name in request.query.names() {
        let uses = uses_of(name);
        if uses.is_empty() {
            continue;
        }
        let mut here = uses.iter().filter(|of| of.level == level).peekable();
        // A page may hang what it likes onto the address of an object that it reads.
        if here.peek().is_none() && level == Level::Object && request.method == "GET" {
            continue;
        }
        let used = here.find(|of| of.method == request.method).ok_or_else(|| not_allowed(request, name))?;
        let operation = used.operation.ok_or_else(|| S3Fault::not_implemented(name))?;
        match found {
            Some((first, _)) if first != name => return Err(conflict(first, name)),
            _ => found = Some((name, operation)),
        }
    }
    Ok(found.map(|(_, operation)| operation))
}

fn of_service(request: &RestRequest<'_>) -> Result<Operation, S3Fault> {
    match request.method {
        "GET" => Ok(Operation::ListBuckets),
        method => Err(S3Fault::method_not_allowed(method, "SERVICE")),
    }
}

fn of_bucket(request: &RestRequest<'_>) -> Result<Route, S3Fault> {
    let operation = match (request.method, request.query.get("list-type")) {
        ("GET", None) => Operation::ListObjects,
        ("GET", Some("2")) => Operation::ListObjectsV2,
        ("GET", Some(other)) => {
            return Err(S3Fault::invalid_argument(
                "list-type",
                other,
                "Invalid List Type specified in Request",
            ));
        }
        ("HEAD", _) => Operation::HeadBucket,
        ("PUT", _) => Operation::CreateBucket,
        ("DELETE", _) => Operation::DeleteBucket,
        ("POST", _) if is_form(request) => return Ok(Route::PostObject),
        ("POST", _) => {
            return Err(S3Fault::precondition_failed(S3Code::RequestIsNotMultiPartContent.message()));
        }
        (method, _) => return Err(S3Fault::method_not_allowed(method, "BUCKET")),
    };
    Ok(Route::Operation(operation))
}

fn of_object(request: &RestRequest<'_>) -> Result<Operation, S3Fault> {
    let upload = request.query.has("uploadId");
    Ok(match request.method {
        "GET" if upload => Operation::ListParts,
        "GET" => Operation::GetObject,
        "HEAD" => Operation::HeadObject,
        "PUT" => of_put(request, upload)?,
        "DELETE" if upload => Operation::AbortMultipartUpload,
        "DELETE" => Operation::DeleteObject,
        "POST" if upload => Operation::CompleteMultipartUpload,
        method => return Err(S3Fault::method_not_allowed(method, "OBJECT")),
    })
}

fn of_put(request: &RestRequest<'_>, upload: bool) -> Result<Operation, S3Fault> {
    let copy = request.headers.contains_key(&COPY_SOURCE);
    Ok(match (upload, request.query.get("partNumber"), copy) {
        (false, None, false) => Operation::PutObject,
        (false, None, true) => Operation::CopyObject,
        (true, Some(_), false) => Operation::UploadPart,
        (true, Some(_), true) => Operation::UploadPartCopy,
        (false, Some(part), _) => {
            let message = "This operation does not accept partNumber without uploadId";
            return Err(S3Fault::invalid_argument("partNumber", part, message));
        }
        (true, None, _) => {
            let message = "This operation does not accept uploadId without partNumber";
            let upload = request.query.get("uploadId").unwrap_or_default();
            return Err(S3Fault::invalid_argument("uploadId", upload, message));
        }
    })
}

fn is_form(request: &RestRequest<'_>) -> bool {
    let kind = request.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("multipart/form-data")
}

fn not_allowed(request: &RestRequest<'_>, subresource: &str) -> S3Fault {
    S3Fault::method_not_allowed(request.method, &subresource.to_ascii_uppercase())
}

fn conflict(first: &str, second: &str) -> S3Fault {
    let message = format!("Conflicting query string parameters: {first}, {second}");
    S3Fault::invalid_argument("ResourceType", first, message)
}

#[cfg(test)]
mod tests;
