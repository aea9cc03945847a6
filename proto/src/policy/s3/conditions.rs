//! The condition keys that a bucket policy may speak of: S3's own, and all of AWS's global ones.
//!
//! A key that no request will ever have makes a condition that says something else than its author meant.

const KEYS: &[&str] = &[
    "AccessGrantsInstanceArn",
    "AccessPointNetworkOrigin",
    "DataAccessPointAccount",
    "DataAccessPointArn",
    "InventoryAccessibleOptionalFields",
    "LocationConstraint",
    "ObjectCreationOperation",
    "RequestObjectTagKeys",
    "ResourceAccount",
    "TlsVersion",
    "VersionId",
    "authType",
    "delimiter",
    "destinationRegion",
    "if-match",
    "if-none-match",
    "isReplicationPauseRequest",
    "max-keys",
    "object-lock-legal-hold",
    "object-lock-mode",
    "object-lock-remaining-retention-days",
    "object-lock-retain-until-date",
    "prefix",
    "signatureAge",
    "signatureversion",
    "x-amz-acl",
    "x-amz-content-sha256",
    "x-amz-copy-source",
    "x-amz-grant-full-control",
    "x-amz-grant-read",
    "x-amz-grant-read-acp",
    "x-amz-grant-write",
    "x-amz-grant-write-acp",
    "x-amz-metadata-directive",
    "x-amz-object-ownership",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-storage-class",
    "x-amz-website-redirect-location",
];

/// These go on with a tag's key.
const PREFIXES: &[&str] = &["ExistingObjectTag/", "RequestObjectTag/", "BucketTag/"];

pub(super) fn is_known(key: &str) -> bool {
    let Some((vendor, name)) = key.split_once(':') else { return false };
    let starts = |prefix: &&str| {
        name.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix))
            && name.len() > prefix.len()
    };
    match vendor.to_ascii_lowercase().as_str() {
        "aws" => !name.is_empty(),
        "s3" => KEYS.iter().any(|known| known.eq_ignore_ascii_case(name)) || PREFIXES.iter().any(starts),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_no_case_and_tags_have_names() {
        for known in ["s3:Prefix", "aws:SourceIp", "AWS:sourceip", "s3:ExistingObjectTag/security"] {
            assert!(is_known(known), "{known}");
        }
        for unknown in ["s3:prefixes", "s3:ExistingObjectTag/", "ec2:Region", "prefix", "aws:", "s3:é"] {
            assert!(!is_known(unknown), "{unknown}");
        }
    }
}
