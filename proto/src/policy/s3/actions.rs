//! What S3's actions are about, a bucket or an object: IAM's reference as a table.
//!
//! Must not: say which operations are served. A policy may name what nobody asks for yet.

use super::super::context::RequestContext;
use super::super::pattern::{Pattern, Reading};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Bucket,
    Object,
}

const ON_BUCKETS: &[&str] = &[
    "CreateBucket",
    "DeleteBucket",
    "DeleteBucketPolicy",
    "DeleteBucketWebsite",
    "GetAccelerateConfiguration",
    "GetAnalyticsConfiguration",
    "GetBucketAcl",
    "GetBucketCORS",
    "GetBucketLocation",
    "GetBucketLogging",
    "GetBucketNotification",
    "GetBucketObjectLockConfiguration",
    "GetBucketOwnershipControls",
    "GetBucketPolicy",
    "GetBucketPolicyStatus",
    "GetBucketPublicAccessBlock",
    "GetBucketRequestPayment",
    "GetBucketTagging",
    "GetBucketVersioning",
    "GetBucketWebsite",
    "GetEncryptionConfiguration",
    "GetIntelligentTieringConfiguration",
    "GetInventoryConfiguration",
    "GetLifecycleConfiguration",
    "GetMetricsConfiguration",
    "GetReplicationConfiguration",
    "ListBucket",
    "ListBucketMultipartUploads",
    "ListBucketVersions",
    "PutAccelerateConfiguration",
    "PutAnalyticsConfiguration",
    "PutBucketAcl",
    "PutBucketCORS",
    "PutBucketLogging",
    "PutBucketNotification",
    "PutBucketObjectLockConfiguration",
    "PutBucketOwnershipControls",
    "PutBucketPolicy",
    "PutBucketPublicAccessBlock",
    "PutBucketRequestPayment",
    "PutBucketTagging",
    "PutBucketVersioning",
    "PutBucketWebsite",
    "PutEncryptionConfiguration",
    "PutIntelligentTieringConfiguration",
    "PutInventoryConfiguration",
    "PutLifecycleConfiguration",
    "PutMetricsConfiguration",
    "PutReplicationConfiguration",
];

const ON_OBJECTS: &[&str] = &[
    "AbortMultipartUpload",
    "BypassGovernanceRetention",
    "DeleteObject",
    "DeleteObjectTagging",
    "DeleteObjectVersion",
    "DeleteObjectVersionTagging",
    "GetObject",
    "GetObjectAcl",
    "GetObjectAttributes",
    "GetObjectLegalHold",
    "GetObjectRetention",
    "GetObjectTagging",
    "GetObjectTorrent",
    "GetObjectVersion",
    "GetObjectVersionAcl",
    "GetObjectVersionAttributes",
    "GetObjectVersionForReplication",
    "GetObjectVersionTagging",
    "GetObjectVersionTorrent",
    "InitiateReplication",
    "ListMultipartUploadParts",
    "ObjectOwnerOverrideToBucketOwner",
    "PutObject",
    "PutObjectAcl",
    "PutObjectLegalHold",
    "PutObjectRetention",
    "PutObjectTagging",
    "PutObjectVersionAcl",
    "PutObjectVersionTagging",
    "ReplicateDelete",
    "ReplicateObject",
    "ReplicateTags",
    "RestoreObject",
];

/// What the actions that a policy means by `text` are about; nothing: there is no such action.
pub(super) fn levels(text: &str) -> Vec<Level> {
    let (nobody, reading) = (RequestContext::default(), Reading { wildcards: true, variables: false });
    let pattern = Pattern::parse(text, reading);
    let means = |name: &&str| pattern.matches_ignoring_case(&format!("s3:{name}"), &nobody);
    let mut found = Vec::new();
    found.extend(ON_BUCKETS.iter().any(&means).then_some(Level::Bucket));
    found.extend(ON_OBJECTS.iter().any(&means).then_some(Level::Object));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_about_buckets_objects_or_both() {
        use Level::{Bucket, Object};
        assert_eq!(levels("s3:ListBucket"), [Bucket]);
        assert_eq!(levels("S3:getobject"), [Object]);
        assert_eq!(levels("s3:Get*"), [Bucket, Object]);
        assert_eq!(levels("*"), [Bucket, Object]);
        assert_eq!(levels("s3:List*"), [Bucket, Object]);
        for unknown in ["s3:ListObjects", "ec2:RunInstances", "s3:", "s3"] {
            assert_eq!(levels(unknown), [], "{unknown}");
        }
        let mut all = [ON_BUCKETS, ON_OBJECTS].concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), ON_BUCKETS.len() + ON_OBJECTS.len(), "each is there once");
    }
}
