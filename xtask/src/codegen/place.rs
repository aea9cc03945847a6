//! Which generated file a shape lives in: the file of its resource.

use super::names::snake;

/// Nouns whose file is not simply their own name, and actions whose file is not that of their noun; the
/// longest prefix wins.
const RESOURCES: &[(&str, &str)] = &[
    ("AccountAttribute", "account"),
    ("AvailabilityZone", "region"),
    ("BlockDeviceMapping", "volume"),
    ("CallerIdentity", "identity"),
    ("ConsoleOutput", "instance"),
    ("Image", "image"),
    ("Instance", "instance"),
    ("InstanceType", "instance_type"),
    ("KeyPair", "key_pair"),
    ("ManagedPrefixList", "managed_prefix_list"),
    ("NetworkInterface", "network_interface"),
    ("Region", "region"),
    ("SecurityGroup", "security_group"),
    ("Subnet", "subnet"),
    ("Tag", "tag"),
    ("Volume", "volume"),
    ("Vpc", "vpc"),
];

const RESOURCES_OF_S3: &[(&str, &str)] = &[
    ("Bucket", "bucket"),
    ("BucketAccelerate", "accelerate"),
    ("BucketAcl", "acl"),
    ("BucketCors", "cors"),
    ("BucketEncryption", "encryption"),
    ("BucketLifecycle", "lifecycle"),
    ("BucketLogging", "logging"),
    ("BucketNotification", "notification"),
    ("BucketOwnership", "ownership"),
    ("BucketPolicy", "policy"),
    ("BucketReplication", "replication"),
    ("BucketRequestPayment", "payment"),
    ("BucketTagging", "tagging"),
    ("BucketVersioning", "versioning"),
    ("BucketWebsite", "website"),
    ("Grant", "acl"),
    ("ListObject", "listing"),
    ("MultipartUpload", "multipart"),
    ("Object", "object"),
    ("ObjectAcl", "acl"),
    ("ObjectLegalHold", "lock"),
    ("ObjectLock", "lock"),
    ("ObjectRetention", "lock"),
    ("ObjectTagging", "tagging"),
    ("Part", "multipart"),
    ("PublicAccessBlock", "public_access_block"),
    ("Tag", "tagging"),
];

/// Where shapes go that several resources share and none owns by name.
pub const COMMON: &str = "common";

/// The file of an action: that of the noun behind its verb.
pub fn of_action(service: &str, name: &str) -> String {
    let noun = name.find(|c: char| c.is_uppercase()).and_then(|_| {
        let second = name.char_indices().skip(1).find(|(_, c)| c.is_uppercase())?.0;
        Some(&name[second..])
    });
    let noun = noun.unwrap_or(name);
    let file = by_prefix(service, name).or_else(|| by_prefix(service, noun));
    file.map_or_else(|| snake(singular(noun)), str::to_string)
}

/// `Images` and `Addresses` without their plural.
fn singular(noun: &str) -> &str {
    match noun.strip_suffix("es") {
        Some(stem) if stem.ends_with("ss") => stem,
        _ if noun.ends_with("ss") => noun,
        _ => noun.strip_suffix('s').unwrap_or(noun),
    }
}

/// The file of a shape that the actions of `users` (file names) reach.
pub fn of_shape(service: &str, name: &str, users: &[String]) -> String {
    match users {
        [only] => only.clone(),
        _ => by_prefix(service, name).unwrap_or(COMMON).to_string(),
    }
}

fn by_prefix(service: &str, noun: &str) -> Option<&'static str> {
    let resources = if service == "s3" { RESOURCES_OF_S3 } else { RESOURCES };
    let matching = resources.iter().filter(|(prefix, _)| noun.starts_with(prefix));
    matching.max_by_key(|(prefix, _)| prefix.len()).map(|(_, file)| *file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_live_with_their_resource() {
        for (action, file) in [
            ("RunInstances", "instance"),
            ("DescribeInstanceTypeOfferings", "instance_type"),
            ("GetConsoleOutput", "instance"),
            ("CreateTags", "tag"),
            ("DescribePlacementGroups", "placement_group"),
            ("DescribeAddresses", "address"),
            ("AllocateAddress", "address"),
        ] {
            assert_eq!(of_action("ec2", action), file);
        }
        for (action, file) in [
            ("CreateBucket", "bucket"),
            ("ListBuckets", "bucket"),
            ("GetObjectAcl", "acl"),
            ("DeleteObjects", "object"),
            ("ListObjectsV2", "listing"),
            ("UploadPartCopy", "multipart"),
            ("DeletePublicAccessBlock", "public_access_block"),
        ] {
            assert_eq!(of_action("s3", action), file);
        }
    }
}
