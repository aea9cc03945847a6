//! For a fuzz loop: whatever a request is made of, telling and decoding it must neither panic nor hang.

use super::{
    CompleteMultipartUploadRequest, CreateBucketRequest, DeleteObjectsRequest, GetObjectAttributesRequest,
    ListObjectsV2Request, PutBucketAclRequest, PutBucketLifecycleConfigurationRequest,
    PutBucketReplicationRequest, PutBucketWebsiteRequest, PutObjectRequest, PutObjectTaggingRequest,
    RestoreObjectRequest, S3Fault, route,
};
use crate::aws::rest::{Query, RestAction, RestRequest};
use http::header::{HeaderMap, HeaderName, HeaderValue};

/// `METHOD /bucket/key?query`, lines of headers, an empty line, a body.
pub fn fuzz_rest(data: &[u8]) {
    let mut lines = data.splitn(2, |byte| *byte == b'\n');
    let (first, mut rest) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let Ok(first) = std::str::from_utf8(first) else { return };
    let (method, target) = first.split_once(' ').unwrap_or((first, ""));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = path.trim_start_matches('/');
    let (bucket, key) = path.split_once('/').map_or((path, None), |(bucket, key)| (bucket, Some(key)));
    let mut headers = HeaderMap::new();
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { break };
        let (name, value) =
            (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(&line[colon + 1..]));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let Ok(query) = Query::parse(query) else { return };
    let request = RestRequest { method, bucket: Some(bucket), key, query: &query, headers: &headers };
    if let Err(fault) = route(&request) {
        let _ = fault.document(target, "", "");
    }
    each_decoded(&request, rest);
}

fn each_decoded(request: &RestRequest<'_>, body: &[u8]) {
    decoded::<PutObjectRequest>(request, body);
    decoded::<ListObjectsV2Request>(request, body);
    decoded::<GetObjectAttributesRequest>(request, body);
    decoded::<DeleteObjectsRequest>(request, body);
    decoded::<CompleteMultipartUploadRequest>(request, body);
    decoded::<CreateBucketRequest>(request, body);
    decoded::<PutBucketAclRequest>(request, body);
    decoded::<PutBucketLifecycleConfigurationRequest>(request, body);
    decoded::<PutBucketReplicationRequest>(request, body);
    decoded::<PutBucketWebsiteRequest>(request, body);
    decoded::<PutObjectTaggingRequest>(request, body);
    decoded::<RestoreObjectRequest>(request, body);
}

fn decoded<A: RestAction>(request: &RestRequest<'_>, body: &[u8]) {
    if let Err(fault) = A::decode(request, body) {
        let _ = S3Fault::from(fault).document("/", "", "");
    }
}
