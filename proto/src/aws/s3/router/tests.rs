//! The router's table: a request line in words, and what it is or why it is refused.

use super::*;
use crate::aws::rest::Query;
use http::{HeaderMap, HeaderValue};

/// `target` is `/`, `/b`, `/b/key?query`; `headers` is `name: value` lines.
fn routed(method: &str, target: &str, headers: &[&str]) -> Result<String, String> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = path.trim_start_matches('/');
    let (bucket, key) = path.split_once('/').map_or((path, None), |(bucket, key)| (bucket, Some(key)));
    let mut map = HeaderMap::new();
    for line in headers {
        let (name, value) = line.split_once(": ").unwrap();
        map.insert(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
    }
    let query = Query::parse(query).unwrap();
    let bucket = Some(bucket).filter(|bucket| !bucket.is_empty());
    match route(&RestRequest { method, bucket, key, query: &query, headers: &map }) {
        Ok(Route::Operation(operation)) => Ok(operation.name().to_string()),
        Ok(other) => Ok(format!("{other:?}")),
        Err(fault) => Err(fault.code().as_str().to_string()),
    }
}

fn check(cases: &[(&str, &str, &str)]) {
    for (method, target, expected) in cases {
        assert_eq!(routed(method, target, &[]).unwrap_or_else(|code| code), *expected, "{method} {target}");
    }
}

#[test]
fn plain_requests_are_told_by_method_and_path() {
    check(&[
        ("GET", "/", "ListBuckets"),
        ("GET", "/?x-id=ListBuckets&max-buckets=7", "ListBuckets"),
        ("GET", "/b", "ListObjects"),
        ("GET", "/b/", "ListObjects"),
        ("GET", "/b?list-type=2&prefix=acl", "ListObjectsV2"),
        ("HEAD", "/b", "HeadBucket"),
        ("PUT", "/b", "CreateBucket"),
        ("PUT", "/b?x-id=CreateBucket", "CreateBucket"),
        ("DELETE", "/b", "DeleteBucket"),
        ("GET", "/b/k", "GetObject"),
        ("GET", "/b/k/acl", "GetObject"),
        ("GET", "/b//", "GetObject"),
        ("HEAD", "/b/k", "HeadObject"),
        ("PUT", "/b/k?x-id=PutObject", "PutObject"),
        ("DELETE", "/b/k?versionId=1", "DeleteObject"),
    ]);
}

#[test]
fn subresources_make_another_operation_of_it() {
    check(&[
        ("GET", "/b?acl", "GetBucketAcl"),
        ("GET", "/b?acl=", "GetBucketAcl"),
        ("GET", "/b?prefix=x&acl=1", "GetBucketAcl"),
        ("PUT", "/b?acl", "PutBucketAcl"),
        ("GET", "/b?versions&prefix=a", "ListObjectVersions"),
        ("GET", "/b?versioning", "GetBucketVersioning"),
        ("GET", "/b?uploads", "ListMultipartUploads"),
        ("GET", "/b?location", "GetBucketLocation"),
        ("GET", "/b?policyStatus", "GetBucketPolicyStatus"),
        ("GET", "/b?lifecycle", "GetBucketLifecycleConfiguration"),
        ("DELETE", "/b?lifecycle", "DeleteBucketLifecycle"),
        ("POST", "/b?delete", "DeleteObjects"),
        ("GET", "/b?list-type=2&versions", "ListObjectVersions"),
        ("GET", "/b/k?acl&versionId=v", "GetObjectAcl"),
        ("DELETE", "/b/k?tagging", "DeleteObjectTagging"),
        ("GET", "/b/k?attributes", "GetObjectAttributes"),
        ("PUT", "/b/k?legal-hold", "PutObjectLegalHold"),
        ("PUT", "/b?object-lock", "PutObjectLockConfiguration"),
        ("POST", "/b/k?restore&versionId=v", "RestoreObject"),
        ("POST", "/b/k?uploads", "CreateMultipartUpload"),
    ]);
}

#[test]
fn uploads_are_told_by_their_id_and_part() {
    check(&[
        ("GET", "/b/k?uploadId=u", "ListParts"),
        ("PUT", "/b/k?uploadId=u&partNumber=1", "UploadPart"),
        ("POST", "/b/k?uploadId=u", "CompleteMultipartUpload"),
        ("DELETE", "/b/k?uploadId=u", "AbortMultipartUpload"),
        ("GET", "/b/k?partNumber=1", "GetObject"),
        ("HEAD", "/b/k?uploadId=u", "HeadObject"),
        ("PUT", "/b/k?partNumber=1", "InvalidArgument"),
        ("PUT", "/b/k?uploadId=u", "InvalidArgument"),
    ]);
}

#[test]
fn copies_are_told_by_a_header() {
    let copy: &[&str] = &["x-amz-copy-source: b/other"];
    assert_eq!(routed("PUT", "/b/k", copy), Ok("CopyObject".into()));
    assert_eq!(routed("PUT", "/b/k?uploadId=u&partNumber=2", copy), Ok("UploadPartCopy".into()));
    assert_eq!(routed("PUT", "/b/k?tagging", copy), Ok("PutObjectTagging".into()));
    assert_eq!(routed("PUT", "/b", copy), Ok("CreateBucket".into()));
}

#[test]
fn what_browsers_send_is_known() {
    let form: &[&str] = &["content-type: Multipart/Form-Data; boundary=x"];
    assert_eq!(routed("POST", "/b", form), Ok("PostObject".into()));
    assert_eq!(routed("POST", "/b/", form), Ok("PostObject".into()));
    assert_eq!(routed("POST", "/b?delete", form), Ok("DeleteObjects".into()));
    assert_eq!(routed("POST", "/b", &["content-type: text/plain"]), Err("PreconditionFailed".into()));
    check(&[
        ("POST", "/b", "PreconditionFailed"),
        ("OPTIONS", "/b", "Preflight"),
        ("OPTIONS", "/b/k?acl", "Preflight"),
        ("OPTIONS", "/", "MethodNotAllowed"),
    ]);
}

#[test]
fn names_that_mean_nothing_are_ignored() {
    check(&[
        ("GET", "/b/k?unknown=1", "GetObject"),
        ("GET", "/b/k?ACL", "GetObject"),
        ("GET", "/b/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0", "GetObject"),
        ("GET", "/b?unknown", "ListObjects"),
        ("PUT", "/b/k?v=1", "PutObject"),
        // Subresources of buckets mean nothing to a reader of an object.
        ("GET", "/b/k?versions", "GetObject"),
        ("GET", "/b/k?session=1&logging", "GetObject"),
        ("HEAD", "/b/k?acl", "HeadObject"),
    ]);
}

#[test]
fn what_a_subresource_does_not_take_is_refused_and_never_another_operation() {
    check(&[
        ("DELETE", "/b/k?lifecycle", "MethodNotAllowed"),
        ("DELETE", "/b/k?acl", "MethodNotAllowed"),
        ("PUT", "/b/k?versioning", "MethodNotAllowed"),
        ("PUT", "/b/k?attributes", "MethodNotAllowed"),
        ("PUT", "/b/k?uploads", "MethodNotAllowed"),
        ("DELETE", "/b?acl", "MethodNotAllowed"),
        ("DELETE", "/b?versioning", "MethodNotAllowed"),
        ("PUT", "/b?uploads", "MethodNotAllowed"),
        ("GET", "/b?delete", "MethodNotAllowed"),
        ("PUT", "/b?policyStatus", "MethodNotAllowed"),
        ("POST", "/b/k", "MethodNotAllowed"),
        ("POST", "/", "MethodNotAllowed"),
        ("PATCH", "/b/k", "MethodNotAllowed"),
        ("BREW", "/b", "MethodNotAllowed"),
    ]);
}

#[test]
fn what_aws_serves_and_karri_does_not_says_so() {
    check(&[
        ("GET", "/b/k?torrent", "NotImplemented"),
        ("POST", "/b/k?select&select-type=2", "NotImplemented"),
        ("PUT", "/b/k?renameObject", "NotImplemented"),
        ("PUT", "/b/k?encryption", "NotImplemented"),
        ("GET", "/b?inventory&id=1", "NotImplemented"),
        ("PUT", "/b?analytics&id=1", "NotImplemented"),
        ("DELETE", "/b?intelligent-tiering&id=1", "NotImplemented"),
        ("GET", "/b?session", "NotImplemented"),
    ]);
}

#[test]
fn contradictions_are_refused() {
    check(&[
        ("GET", "/b?acl&policy", "InvalidArgument"),
        ("PUT", "/b/k?acl&tagging", "InvalidArgument"),
        ("GET", "/b?list-type=3", "InvalidArgument"),
        ("GET", "/b?acl&acl=2", "GetBucketAcl"),
    ]);
}

#[test]
fn every_operation_has_a_way_to_it() {
    let mut reached: Vec<Operation> = Vec::new();
    for name in ["acl", "uploads", "delete"] {
        reached.extend(uses_of(name).iter().filter_map(|of| of.operation));
    }
    assert!(reached.contains(&Operation::GetObjectAcl) && reached.contains(&Operation::DeleteObjects));
    for (at, operation) in Operation::ALL.iter().enumerate() {
        assert_eq!(*operation as usize, at, "a table of handlers is indexed by it");
    }
}
