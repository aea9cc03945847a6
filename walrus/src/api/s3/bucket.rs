//! Buckets themselves: list, create, head, location, delete.

use super::acl::{self, GrantHeaders};
use super::authorise::{self, Grant};
use super::cx::{Cx, time};
use super::fault::About;
use super::settings;
use crate::app::s3::acl::Permission;
use crate::app::s3::names::check_bucket_name;
use crate::app::s3::tags;
use crate::store::objects::{BucketQuery, NewBucket, StoreError, UploadQuery, VersionQuery};
use karri_proto::aws::s3::{
    Bucket, CreateBucketOutput, CreateBucketRequest, DeleteBucketRequest, GetBucketLocationOutput,
    GetBucketLocationRequest, GetBucketTaggingOutput, GetPublicAccessBlockOutput, HeadBucketOutput,
    HeadBucketRequest, ListBucketsOutput, ListBucketsRequest, PublicAccessBlockConfiguration, S3Code,
    S3Fault,
};

const BUCKETS_MAX: i32 = 10_000;
const DEFAULT_REGION: &str = "us-east-1";
/// What a region was called when it was AWS's only other one, and is called since.
const OLD_NAME: (&str, &str) = ("EU", "eu-west-1");

pub async fn list_buckets(cx: Cx, request: ListBucketsRequest) -> Result<ListBucketsOutput, S3Fault> {
    authorise::allow_service(&cx, "s3:ListAllMyBuckets", "*")?;
    let Some(signer) = cx.signer() else { return Err(S3Fault::new(S3Code::AccessDenied)) };
    let max = request.max_buckets.unwrap_or(BUCKETS_MAX);
    if !(1..=BUCKETS_MAX).contains(&max) {
        let text = "Argument max-buckets must be an integer between 1 and 10000";
        return Err(S3Fault::invalid_argument("max-buckets", &max.to_string(), text));
    }
    let after = request.continuation_token.as_deref().map(super::list::token_key).transpose()?;
    let query = BucketQuery {
        owner: Some(signer.who.account.id.as_str().into()),
        prefix: request.prefix.clone().unwrap_or_default(),
        after,
        region: request.bucket_region.clone(),
        limit: usize::try_from(max).unwrap_or_default(),
    };
    let page = cx.s3.objects.bucket_list(&query).await.map_err(|e| About::default().fault(e))?;
    let buckets = page.buckets.iter().map(|bucket| Bucket {
        name: Some(bucket.name.to_string()),
        creation_date: Some(time(bucket.created)),
        bucket_region: request.max_buckets.and(Some(bucket.region.to_string())),
        bucket_arn: None,
    });
    Ok(ListBucketsOutput {
        buckets: buckets.collect(),
        continuation_token: page.next.map(|name| super::list::token(&name)),
        owner: Some(acl::owner_of(&signer.who.account)),
        prefix: request.prefix,
    })
}

pub async fn create_bucket(cx: Cx, request: CreateBucketRequest) -> Result<CreateBucketOutput, S3Fault> {
    check_bucket_name(&request.bucket)?;
    let arn = format!("arn:aws:s3:::{}", request.bucket);
    for action in actions_of_create(&cx, &request) {
        authorise::allow_service(&cx, action, &arn)?;
    }
    let Some(signer) = cx.signer() else { return Err(S3Fault::new(S3Code::AccessDenied)) };
    let region = region(&cx, &request)?;
    let owner = &signer.who.account;
    let settings = settings_of_new(&cx, &request).await?;
    let new = NewBucket {
        name: request.bucket.as_str().into(),
        owner: owner.id.as_str().into(),
        region: region.as_str().into(),
        object_lock: request.object_lock_enabled_for_bucket == Some(true),
        settings,
    };
    match cx.s3.objects.bucket_create(new).await {
        Ok(_) => {}
        // In its first region S3 takes a repeated request for a good one.
        Err(StoreError::BucketExists(known)) if *known.owner == *owner.id => {
            if *known.region != *DEFAULT_REGION {
                let fault = S3Fault::new(S3Code::BucketAlreadyOwnedByYou);
                return Err(fault.with("BucketName", &request.bucket));
            }
        }
        Err(error) => return Err(About::bucket(&request.bucket).fault(error)),
    }
    Ok(CreateBucketOutput { location: Some(format!("/{}", request.bucket)), bucket_arn: None })
}

/// What is asked for besides the bucket wants its own permission.
fn actions_of_create(cx: &Cx, request: &CreateBucketRequest) -> Vec<&'static str> {
    const GRANTS: [&str; 5] = [
        "x-amz-grant-full-control",
        "x-amz-grant-read",
        "x-amz-grant-read-acp",
        "x-amz-grant-write",
        "x-amz-grant-write-acp",
    ];
    let lists = request.acl.as_deref().is_some_and(|canned| canned != "private")
        || GRANTS.iter().any(|name| cx.header(name).is_some());
    let tags = request.create_bucket_configuration.as_ref().is_some_and(|asked| !asked.tags.is_empty());
    let locks = request.object_lock_enabled_for_bucket == Some(true);
    let further = [
        (lists, "s3:PutBucketAcl"),
        (request.object_ownership.is_some(), "s3:PutBucketOwnershipControls"),
        (locks, "s3:PutBucketObjectLockConfiguration"),
        (locks, "s3:PutBucketVersioning"),
        (tags, "s3:TagResource"),
    ];
    let further = further.into_iter().filter(|(asked, _)| *asked).map(|(_, action)| action);
    std::iter::once("s3:CreateBucket").chain(further).collect()
}

fn region(cx: &Cx, request: &CreateBucketRequest) -> Result<String, S3Fault> {
    let own = &cx.s3.options.region;
    let asked = request.create_bucket_configuration.as_ref();
    let asked = asked.and_then(|configuration| configuration.location_constraint.as_deref());
    match asked.filter(|asked| !asked.is_empty()) {
        // Older clients know one region only, and say nothing.
        None => Ok(own.clone()),
        Some(asked) if asked == own || (asked, &own[..]) == OLD_NAME => Ok(own.clone()),
        Some(asked) if cx.s3.options.regions.iter().any(|known| known.eq_ignore_ascii_case(asked)) => {
            Ok(own.clone())
        }
        Some(asked) => {
            let text = format!(
                "The {asked} location constraint is incompatible for the region specific endpoint this request \
                 was sent to."
            );
            Err(S3Fault::saying(S3Code::IllegalLocationConstraint, text))
        }
    }
}

async fn settings_of_new(cx: &Cx, request: &CreateBucketRequest) -> Result<Vec<(String, String)>, S3Fault> {
    let mut kept = Vec::new();
    let options = &cx.s3.options;
    let ownership = request.object_ownership.clone().or_else(|| options.object_ownership_default.clone());
    let grants = GrantHeaders {
        full_control: request.grant_full_control.as_deref(),
        read: request.grant_read.as_deref(),
        read_acp: request.grant_read_acp.as_deref(),
        write: request.grant_write.as_deref(),
        write_acp: request.grant_write_acp.as_deref(),
    };
    let owner = cx.canonical().unwrap_or_default();
    let list = acl::asked(cx, request.acl.as_deref(), &grants, owner, owner).await?;
    let enforced = ownership.as_deref() == Some(settings::ENFORCED);
    if let Some(list) = list {
        if enforced && !list.is_only(owner) {
            return Err(S3Fault::new(S3Code::InvalidBucketAclWithObjectOwnership));
        }
        if options.block_public_access_default && list.is_public() {
            return Err(S3Fault::new(S3Code::AccessDenied));
        }
        kept.push((settings::ACL.to_owned(), list.to_text()));
    }
    kept.extend(ownership.map(|ownership| (settings::OWNERSHIP.to_owned(), ownership)));
    if options.block_public_access_default {
        let all = PublicAccessBlockConfiguration {
            block_public_acls: Some(true),
            block_public_policy: Some(true),
            ignore_public_acls: Some(true),
            restrict_public_buckets: Some(true),
        };
        let output = GetPublicAccessBlockOutput { public_access_block_configuration: all };
        kept.push((settings::PUBLIC_ACCESS_BLOCK.to_owned(), settings::to_text(&output)));
    }
    let tagged = request.create_bucket_configuration.as_ref().map(|c| c.tags.clone()).unwrap_or_default();
    if !tagged.is_empty() {
        let tag_set = tags::to_document(&tags::of_bucket(tagged)?);
        kept.push((settings::TAGGING.to_owned(), settings::to_text(&GetBucketTaggingOutput { tag_set })));
    }
    Ok(kept)
}

pub async fn head_bucket(cx: Cx, request: HeadBucketRequest) -> Result<HeadBucketOutput, S3Fault> {
    let (name, expected) = (&request.bucket, request.expected_bucket_owner.as_deref());
    let grant = Grant::Bucket(Permission::Read);
    let bucket = authorise::bucket_for(&cx, name, expected, "s3:ListBucket", grant).await?;
    Ok(HeadBucketOutput {
        bucket_region: Some(bucket.region.to_string()),
        access_point_alias: Some(false),
        ..HeadBucketOutput::default()
    })
}

pub async fn get_bucket_location(
    cx: Cx,
    request: GetBucketLocationRequest,
) -> Result<GetBucketLocationOutput, S3Fault> {
    let (name, expected) = (&request.bucket, request.expected_bucket_owner.as_deref());
    let bucket = authorise::bucket_for(&cx, name, expected, "s3:GetBucketLocation", Grant::Nobody).await?;
    // The first region has no name here.
    let region = (*bucket.region != *DEFAULT_REGION).then(|| bucket.region.to_string());
    Ok(GetBucketLocationOutput { location_constraint: region })
}

pub async fn delete_bucket(cx: Cx, request: DeleteBucketRequest) -> Result<(), S3Fault> {
    let (name, expected) = (&request.bucket, request.expected_bucket_owner.as_deref());
    let bucket = authorise::bucket_for(&cx, name, expected, "s3:DeleteBucket", Grant::Nobody).await?;
    let about = About::bucket(name);
    match cx.s3.objects.bucket_delete(bucket.id).await {
        Err(StoreError::BucketNotEmpty) => {}
        done => return done.map_err(|e| about.fault(e)),
    }
    // What was only begun does not keep a bucket.
    abort_uploads(&cx, &bucket).await.map_err(|e| about.fault(e))?;
    cx.s3.objects.bucket_delete(bucket.id).await.map_err(|e| about.fault(e))
}

/// Of a bucket that has nothing else.
async fn abort_uploads(cx: &Cx, bucket: &crate::store::objects::Bucket) -> Result<(), StoreError> {
    let objects = &cx.s3.objects;
    let any = VersionQuery {
        prefix: String::new(),
        delimiter: None,
        key_marker: None,
        version_marker: None,
        limit: 1,
    };
    if !objects.version_list(bucket.id, &any).await?.entries.is_empty() {
        return Err(StoreError::BucketNotEmpty);
    }
    let all = UploadQuery {
        prefix: String::new(),
        delimiter: None,
        key_marker: None,
        upload_marker: None,
        limit: 1000,
    };
    loop {
        let page = objects.upload_list(bucket.id, &all).await?;
        if page.entries.is_empty() {
            return Ok(());
        }
        for upload in page.entries {
            match objects.upload_abort(bucket.id, &upload.key, upload.id).await {
                Ok(()) | Err(StoreError::NoSuchUpload) => {}
                Err(error) => return Err(error),
            }
        }
    }
}
