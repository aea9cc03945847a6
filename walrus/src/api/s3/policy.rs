//! Bucket policies, the block of public access, and who owns objects.

use super::acl::{account, has_user};
use super::authorise::{self, Grant};
use super::cx::Cx;
use super::fault::About;
use super::settings::{self, of, set};
use crate::drive::signers::{AccountName, canonical_id};
use karri_proto::aws::s3::{
    DeleteBucketOwnershipControlsRequest, DeleteBucketPolicyRequest, DeletePublicAccessBlockRequest,
    GetBucketOwnershipControlsOutput, GetBucketOwnershipControlsRequest, GetBucketPolicyOutput,
    GetBucketPolicyRequest, GetBucketPolicyStatusOutput, GetBucketPolicyStatusRequest,
    GetPublicAccessBlockOutput, GetPublicAccessBlockRequest, OwnershipControls, OwnershipControlsRule,
    PolicyStatus, PublicAccessBlockConfiguration, PutBucketOwnershipControlsRequest, PutBucketPolicyRequest,
    PutPublicAccessBlockRequest, S3Code, S3Fault,
};
use karri_proto::policy::PrincipalName;
use karri_proto::policy::s3::{BucketPolicyFault, bucket_policy, is_public};

const POLICY_BYTES_MAX: usize = 20 << 10;
const ROOT: &str = "PublicAccessBlockConfiguration";

fn malformed(fault: &BucketPolicyFault) -> S3Fault {
    let (_, _, sentence) = fault.s3();
    S3Fault::saying(S3Code::MalformedPolicy, sentence)
}

/// A user that a policy names is there. Of roles and federated users nothing is known: those come as they are let in.
async fn is_there(cx: &Cx, principal: &PrincipalName) -> Result<bool, S3Fault> {
    let PrincipalName::Arn(arn) = principal else { return Ok(true) };
    let Some((account, user)) = arn.strip_prefix("arn:aws:iam::").and_then(|rest| rest.split_once(":user/"))
    else {
        return Ok(true);
    };
    has_user(cx, account, user).await
}

pub async fn put_bucket_policy(cx: Cx, request: PutBucketPolicyRequest) -> Result<(), S3Fault> {
    let (name, expected) = (&request.bucket, request.expected_bucket_owner.as_deref());
    let bucket = authorise::bucket_for(&cx, name, expected, "s3:PutBucketPolicy", Grant::Nobody).await?;
    if request.policy.len() > POLICY_BYTES_MAX {
        let text = "Normalized policy document exceeds the maximum allowed size of 20480 bytes.";
        return Err(S3Fault::saying(S3Code::MalformedPolicy, text));
    }
    let policy = bucket_policy(&request.policy, name).map_err(|fault| malformed(&fault))?;
    for principal in policy.principals() {
        let named = match principal {
            PrincipalName::Account(id) => AccountName::Id(id.clone()),
            PrincipalName::Arn(arn) => AccountName::Id(arn.split(':').nth(4).unwrap_or_default().to_owned()),
            PrincipalName::Canonical(id) => AccountName::Canonical(id.clone()),
            PrincipalName::Anyone | PrincipalName::Service(_) | PrincipalName::Federated(_) => continue,
        };
        if account(&cx, &named).await?.is_none() || !is_there(&cx, principal).await? {
            return Err(malformed(&BucketPolicyFault::principal()));
        }
    }
    let block = settings::public_access_block(&bucket)?;
    if block.is_some_and(|block| block.block_public_policy == Some(true)) && is_public(&policy) {
        return Err(S3Fault::new(S3Code::AccessDenied));
    }
    let locks_out = request.confirm_remove_self_bucket_access == Some(true);
    let changes = vec![
        (settings::POLICY_LOCKS_OUT.to_owned(), locks_out.then(|| "true".to_owned())),
        (settings::POLICY.to_owned(), Some(request.policy)),
    ];
    // Both or none: the flag of one policy is not another's.
    let kept = cx.s3.objects.bucket_settings_change(bucket.id, changes).await;
    kept.map(drop).map_err(|e| About::bucket(name).fault(e))
}

pub async fn get_bucket_policy(
    cx: Cx,
    request: GetBucketPolicyRequest,
) -> Result<GetBucketPolicyOutput, S3Fault> {
    let (name, expected) = (&request.bucket, request.expected_bucket_owner.as_deref());
    let bucket = authorise::bucket_for(&cx, name, expected, "s3:GetBucketPolicy", Grant::Nobody).await?;
    let policy = set(bucket.setting(settings::POLICY), S3Code::NoSuchBucketPolicy, name)?;
    Ok(GetBucketPolicyOutput { policy: policy.to_string() })
}

pub async fn delete_bucket_policy(cx: Cx, request: DeleteBucketPolicyRequest) -> Result<(), S3Fault> {
    let (name, expected) = (&request.bucket, request.expected_bucket_owner.as_deref());
    let bucket = authorise::bucket_for(&cx, name, expected, "s3:DeleteBucketPolicy", Grant::Nobody).await?;
    settings::drop_kind(&cx, &bucket, settings::POLICY).await?;
    settings::drop_kind(&cx, &bucket, settings::POLICY_LOCKS_OUT).await
}

pub async fn get_bucket_policy_status(
    cx: Cx,
    request: GetBucketPolicyStatusRequest,
) -> Result<GetBucketPolicyStatusOutput, S3Fault> {
    let (name, expected) = (&request.bucket, request.expected_bucket_owner.as_deref());
    let action = "s3:GetBucketPolicyStatus";
    let bucket = authorise::bucket_for(&cx, name, expected, action, Grant::Nobody).await?;
    let policy = set(settings::policy(&bucket)?, S3Code::NoSuchBucketPolicy, name)?;
    Ok(GetBucketPolicyStatusOutput { policy_status: PolicyStatus { is_public: Some(is_public(&policy)) } })
}

pub async fn put_public_access_block(cx: Cx, request: PutPublicAccessBlockRequest) -> Result<(), S3Fault> {
    let asked = request.public_access_block_configuration;
    let known = |given: Option<bool>| Some(given.unwrap_or(false));
    let output = GetPublicAccessBlockOutput {
        public_access_block_configuration: PublicAccessBlockConfiguration {
            block_public_acls: known(asked.block_public_acls),
            block_public_policy: known(asked.block_public_policy),
            ignore_public_acls: known(asked.ignore_public_acls),
            restrict_public_buckets: known(asked.restrict_public_buckets),
        },
    };
    let of = of!(request, settings::PUBLIC_ACCESS_BLOCK);
    settings::put(&cx, of, "s3:PutBucketPublicAccessBlock", &output).await
}

pub async fn get_public_access_block(
    cx: Cx,
    request: GetPublicAccessBlockRequest,
) -> Result<GetPublicAccessBlockOutput, S3Fault> {
    let of = of!(request, settings::PUBLIC_ACCESS_BLOCK);
    let found: Option<std::sync::Arc<PublicAccessBlockConfiguration>> =
        settings::fetch(&cx, of, "s3:GetBucketPublicAccessBlock", ROOT).await?;
    let found = set(found, S3Code::NoSuchPublicAccessBlockConfiguration, of.bucket)?;
    Ok(GetPublicAccessBlockOutput { public_access_block_configuration: (*found).clone() })
}

pub async fn delete_public_access_block(
    cx: Cx,
    request: DeletePublicAccessBlockRequest,
) -> Result<(), S3Fault> {
    let of = of!(request, settings::PUBLIC_ACCESS_BLOCK);
    settings::delete(&cx, of, "s3:PutBucketPublicAccessBlock").await
}

pub async fn put_bucket_ownership_controls(
    cx: Cx,
    request: PutBucketOwnershipControlsRequest,
) -> Result<(), S3Fault> {
    let (name, expected) = (&request.bucket, request.expected_bucket_owner.as_deref());
    let action = "s3:PutBucketOwnershipControls";
    let bucket = authorise::bucket_for(&cx, name, expected, action, Grant::Nobody).await?;
    let [OwnershipControlsRule { object_ownership }] = request.ownership_controls.rules.as_slice() else {
        return Err(S3Fault::new(S3Code::MalformedXml));
    };
    let acl = settings::acl(&bucket)?;
    let shared = acl.is_some_and(|acl| !acl.is_only(&canonical_id(&bucket.owner)));
    if object_ownership == settings::ENFORCED && shared {
        return Err(S3Fault::new(S3Code::InvalidBucketAclWithObjectOwnership));
    }
    settings::keep(&cx, &bucket, settings::OWNERSHIP, object_ownership.clone()).await
}

pub async fn get_bucket_ownership_controls(
    cx: Cx,
    request: GetBucketOwnershipControlsRequest,
) -> Result<GetBucketOwnershipControlsOutput, S3Fault> {
    let (name, expected) = (&request.bucket, request.expected_bucket_owner.as_deref());
    let action = "s3:GetBucketOwnershipControls";
    let bucket = authorise::bucket_for(&cx, name, expected, action, Grant::Nobody).await?;
    let kept = set(bucket.setting(settings::OWNERSHIP), S3Code::OwnershipControlsNotFound, name)?;
    let rule = OwnershipControlsRule { object_ownership: kept.to_string() };
    Ok(GetBucketOwnershipControlsOutput { ownership_controls: OwnershipControls { rules: vec![rule] } })
}

pub async fn delete_bucket_ownership_controls(
    cx: Cx,
    request: DeleteBucketOwnershipControlsRequest,
) -> Result<(), S3Fault> {
    settings::delete(&cx, of!(request, settings::OWNERSHIP), "s3:PutBucketOwnershipControls").await
}
