//! What operations are called in a log: `REST.METHOD.KIND`.

/// `name` is the operation's in the API; nothing: the request named none that there is.
pub fn operation(name: Option<&str>, method: &str, has_key: bool) -> String {
    let kind = name.and_then(kind).unwrap_or(if has_key { "OBJECT" } else { "BUCKET" });
    match name {
        Some("CopyObject" | "UploadPartCopy") => format!("REST.COPY.{kind}"),
        _ => format!("REST.{method}.{kind}"),
    }
}

fn kind(name: &str) -> Option<&'static str> {
    let of = name.trim_start_matches("Get").trim_start_matches("Put").trim_start_matches("Delete");
    Some(match of {
        "UploadPart" | "UploadPartCopy" => "PART",
        "CreateMultipartUpload" | "ListMultipartUploads" => "UPLOADS",
        "CompleteMultipartUpload" | "AbortMultipartUpload" | "ListParts" => "UPLOAD",
        "Objects" => "MULTI_OBJECT_DELETE",
        "ListObjectVersions" => "BUCKETVERSIONS",
        "Preflight" => "PREFLIGHT",
        "RestoreObject" => "RESTORE",
        "BucketLocation" => "LOCATION",
        "BucketAcl" | "ObjectAcl" => "ACL",
        "BucketPolicy" => "BUCKETPOLICY",
        "BucketPolicyStatus" => "BUCKETPOLICYSTATUS",
        "BucketVersioning" => "VERSIONING",
        "BucketLifecycleConfiguration" | "BucketLifecycle" => "LIFECYCLE",
        "BucketCors" => "CORS",
        "BucketWebsite" => "WEBSITE",
        "BucketLogging" => "LOGGING_STATUS",
        "BucketNotificationConfiguration" => "NOTIFICATION",
        "BucketTagging" => "TAGGING",
        "ObjectTagging" => "OBJECT_TAGGING",
        "BucketEncryption" => "ENCRYPTION",
        "BucketReplication" => "REPLICATION",
        "BucketRequestPayment" => "REQUEST_PAYMENT",
        "BucketAccelerateConfiguration" => "ACCELERATE",
        "PublicAccessBlock" => "PUBLIC_ACCESS_BLOCK",
        "BucketOwnershipControls" => "OWNERSHIP_CONTROLS",
        "ObjectLockConfiguration" => "OBJECT_LOCK",
        "ObjectRetention" => "OBJECT_LOCK_RETENTION",
        "ObjectLegalHold" => "OBJECT_LOCK_LEGALHOLD",
        "ObjectAttributes" => "OBJECT_ATTRIBUTES",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_have_s3s_names() {
        for (name, method, has_key, expected) in [
            (Some("GetObject"), "GET", true, "REST.GET.OBJECT"),
            (Some("PutObject"), "PUT", true, "REST.PUT.OBJECT"),
            (Some("DeleteObject"), "DELETE", true, "REST.DELETE.OBJECT"),
            (Some("DeleteObjects"), "POST", false, "REST.POST.MULTI_OBJECT_DELETE"),
            (Some("CopyObject"), "PUT", true, "REST.COPY.OBJECT"),
            (Some("UploadPartCopy"), "PUT", true, "REST.COPY.PART"),
            (Some("ListObjectsV2"), "GET", false, "REST.GET.BUCKET"),
            (Some("CreateMultipartUpload"), "POST", true, "REST.POST.UPLOADS"),
            (Some("CompleteMultipartUpload"), "POST", true, "REST.POST.UPLOAD"),
            (Some("GetBucketAcl"), "GET", false, "REST.GET.ACL"),
            (Some("DeleteBucketLifecycle"), "DELETE", false, "REST.DELETE.LIFECYCLE"),
            (None, "PATCH", true, "REST.PATCH.OBJECT"),
        ] {
            assert_eq!(operation(name, method, has_key), expected, "{name:?}");
        }
    }
}
