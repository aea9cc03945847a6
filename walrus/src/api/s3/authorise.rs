//! May they: the requester's policies, the bucket's policy and the lists of access control together.
//!
//! The common case costs nothing: a user who may do everything in the account, at a bucket of the account
//! that has no policy.

use super::cx::{Cx, Request};
use super::fault::About;
use super::settings;
use crate::app::s3::acl::{Acl, Permission};
use crate::drive::signers::Signer;
use crate::store::objects::{Bucket, Object};
use karri_proto::aws::rest::scalar::http_date;
use karri_proto::aws::s3::{PublicAccessBlockConfiguration, S3Code, S3Fault};
use karri_proto::policy::{Access, Policy, RequestContext, Requester, ResourceSide, decide, s3::is_public};
use karri_proto::sign::Scheme;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use time::format_description::well_known::Rfc3339;

/// What an action needs where a list of access control, and not a policy, gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// No list gives it.
    Nobody,
    Bucket(Permission),
    Object(Permission),
}

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub struct Act<'a> {
    /// `s3:GetObject`
    pub action: &'static str,
    pub grant: Grant,
    pub key: Option<&'a str>,
    /// What is there already, for actions on it.
    pub object: Option<&'a Object>,
    /// The version that it is done to, where that is named.
    pub version: Option<&'a str>,
    /// More of the policy's context.
    pub keys: &'a [(&'a str, String)],
}

impl<'a> Act<'a> {
    pub fn on_bucket(action: &'static str, grant: Grant) -> Self {
        Self { action, grant, key: None, object: None, version: None, keys: &[] }
    }

    pub fn on_key(action: &'static str, grant: Grant, key: &'a str) -> Self {
        Self { action, grant, key: Some(key), object: None, version: None, keys: &[] }
    }

    pub fn at(self, object: &'a Object) -> Self {
        Self { object: Some(object), ..self }
    }

    pub fn of_version(self, version: Option<&'a str>) -> Self {
        Self { version, ..self }
    }

    pub fn with(self, keys: &'a [(&'a str, String)]) -> Self {
        Self { keys, ..self }
    }
}

/// The bucket, if it is there and whose the request expects.
pub async fn bucket(cx: &Cx, name: &str, expected_owner: Option<&str>) -> Result<Arc<Bucket>, S3Fault> {
    let bucket = cx.s3.objects.bucket_fetch(name).await.map_err(|e| About::bucket(name).fault(e))?;
    if let Some(expected) = expected_owner
        && *expected != *bucket.owner
    {
        return Err(S3Fault::new(S3Code::AccessDenied));
    }
    Ok(bucket)
}

/// The bucket, if the requester may do that with it.
pub async fn bucket_for(
    cx: &Cx,
    name: &str,
    expected_owner: Option<&str>,
    action: &'static str,
    grant: Grant,
) -> Result<Arc<Bucket>, S3Fault> {
    let bucket = bucket(cx, name, expected_owner).await?;
    allow(cx, &bucket, Act::on_bucket(action, grant))?;
    Ok(bucket)
}

/// What is wrong with the head of a write is told to those who may write: S3 asks the policies first, and a
/// policy may be about the very header that is wrong.
pub async fn unless_denied(cx: &Cx, fault: S3Fault) -> S3Fault {
    let address = &cx.address;
    let (Some(name), Some(key)) = (&address.bucket, &address.key) else { return fault };
    let Ok(bucket) = bucket(cx, name, None).await else { return fault };
    let write = Act::on_key("s3:PutObject", Grant::Bucket(Permission::Write), key);
    allow(cx, &bucket, write).err().unwrap_or(fault)
}

/// # Errors
/// `AccessDenied`, with AWS's sentence.
pub fn allow(cx: &Request, bucket: &Bucket, act: Act<'_>) -> Result<(), S3Fault> {
    if is_plain(cx, bucket, act.object) {
        return Ok(());
    }
    judge(cx, bucket, act)
}

/// Who may do everything needs no judge where nothing can deny it.
fn is_plain(cx: &Request, bucket: &Bucket, object: Option<&Object>) -> bool {
    let Some(signer) = cx.signer() else { return false };
    let account = signer.who.account.id.as_str();
    signer.who.root
        && *account == *bucket.owner
        && object.is_none_or(|object| *object.owner == *account || settings::is_owner_enforced(bucket))
        && bucket.setting(settings::POLICY).is_none()
}

fn judge(cx: &Request, bucket: &Bucket, act: Act<'_>) -> Result<(), S3Fault> {
    let policy = settings::policy(bucket)?;
    let block = settings::public_access_block(bucket)?;
    let enforced = settings::is_owner_enforced(bucket);
    let owner = match (act.object, act.grant) {
        (Some(object), Grant::Object(_)) if !enforced => &object.owner,
        _ => &bucket.owner,
    };
    let restricted = block.as_ref().is_some_and(|block| block.restrict_public_buckets == Some(true))
        && policy.as_ref().is_some_and(|policy| is_public(policy));
    let side = ResourceSide {
        owner,
        policy: policy.as_deref(),
        policy_owner: &bucket.owner,
        acl_grants: !enforced && grants(cx, bucket, &act, block.as_deref())?,
        restricted,
    };
    let resource = match act.key {
        Some(key) => format!("arn:aws:s3:::{}/{key}", bucket.name),
        None => format!("arn:aws:s3:::{}", bucket.name),
    };
    let context = context(cx, &act, resource).key("s3:ResourceAccount", &*bucket.owner);
    let requester = requester(cx, bucket);
    match decide(&requester, &side, &context) {
        Access::Granted => {
            let unlisted = ResourceSide { acl_grants: false, ..side };
            if side.acl_grants && !decide(&requester, &unlisted, &context).is_granted() {
                cx.notes.by_acl.store(true, Ordering::Relaxed);
            }
            charge(cx, bucket)
        }
        Access::Refused(why) => Err(S3Fault::saying(S3Code::AccessDenied, why.sentence(&context))),
    }
}

/// Where the requester pays, others than the owner must say that they will, and who they are.
fn charge(cx: &Request, bucket: &Bucket) -> Result<(), S3Fault> {
    let payment = settings::payment(bucket)?;
    let others_pay = payment.is_some_and(|payment| payment.payer == "Requester");
    if !others_pay || cx.account() == Some(&*bucket.owner) {
        return Ok(());
    }
    if cx.signer().is_none() || cx.header("x-amz-request-payer") != Some("requester") {
        return Err(S3Fault::new(S3Code::AccessDenied));
    }
    cx.left.charge();
    Ok(())
}

fn requester<'a>(cx: &'a Request, bucket: &Bucket) -> Requester<'a> {
    let Some(signer) = cx.signer() else { return Requester::Anonymous };
    let mut requester = signer.requester();
    if let Requester::User { root, .. } = &mut requester {
        *root &= bucket.setting(settings::POLICY_LOCKS_OUT).is_none();
    }
    requester
}

/// Whether a list gives the requester what the action needs.
fn grants(
    cx: &Request,
    bucket: &Bucket,
    act: &Act<'_>,
    block: Option<&PublicAccessBlockConfiguration>,
) -> Result<bool, S3Fault> {
    let ignore_public = block.is_some_and(|block| block.ignore_public_acls == Some(true));
    Ok(match (act.grant, act.object) {
        (Grant::Nobody, _) | (Grant::Object(_), None) => false,
        (Grant::Bucket(permission), _) => {
            settings::acl(bucket)?.is_some_and(|acl| acl.permits(cx.canonical(), permission, ignore_public))
        }
        (Grant::Object(permission), Some(object)) => match &object.facts.acl {
            Some(text) => Acl::from_text(text)?.permits(cx.canonical(), permission, ignore_public),
            None => false,
        },
    })
}

/// The request as policies see it.
fn context(cx: &Request, act: &Act<'_>, resource: String) -> RequestContext {
    let arn = cx.signer().map(|signer| signer.who.arn.as_str()).unwrap_or_default();
    let mut context = RequestContext::new(arn, act.action)
        .canonical(cx.canonical().unwrap_or_default())
        .resource(resource)
        .key("aws:SecureTransport", "false")
        .key("aws:CurrentTime", cx.now.format(&Rfc3339).unwrap_or_else(|_| http_date(cx.now)))
        .key("aws:EpochTime", cx.now.unix_timestamp().to_string());
    if let Some(peer) = cx.peer {
        context = context.key("aws:SourceIp", peer.to_string());
    }
    if let Some(signer) = cx.signer() {
        context = credentials(signer, context);
    }
    context = signature_keys(cx, context);
    context = HEADERS.iter().fold(context, |context, (key, header)| match cx.header(header) {
        Some(value) => context.key(key, value),
        None => context,
    });
    context = parameters(cx, act, context);
    if let Some(version) = act.version {
        context = context.key("s3:VersionId", version);
    }
    for (key, value) in act.object.iter().flat_map(|object| &object.facts.tags) {
        context = context.key(&format!("s3:ExistingObjectTag/{key}"), value);
    }
    act.keys.iter().fold(context, |context, (key, value)| context.key(key, value))
}

/// Who asks, and with what kind of credentials.
fn credentials(signer: &Signer, context: RequestContext) -> RequestContext {
    let who = &signer.who;
    let context = context
        .key("aws:userid", &who.user_id)
        .key("aws:PrincipalArn", &who.arn)
        .key("aws:PrincipalAccount", &who.account.id);
    let context = match signer.is_federated() {
        true => context.sponsor(signer.user_arn()).key("aws:PrincipalType", "FederatedUser"),
        false => context.key("aws:PrincipalType", "User").key("aws:username", &who.user),
    };
    let Some(session) = &signer.session else { return context };
    let issued = session.issued.format(&Rfc3339).unwrap_or_default();
    context.key("aws:TokenIssueTime", issued).key("aws:MultiFactorAuthPresent", "false")
}

fn signature_keys(cx: &Request, context: RequestContext) -> RequestContext {
    let (kind, version) = match cx.scheme {
        None => return context,
        Some(Scheme::V4Header) => ("REST-HEADER", "AWS4-HMAC-SHA256"),
        Some(Scheme::V4Presigned) => ("REST-QUERY-STRING", "AWS4-HMAC-SHA256"),
        Some(Scheme::V4Form) => ("POST", "AWS4-HMAC-SHA256"),
        Some(Scheme::V2Header) => ("REST-HEADER", "AWS"),
        Some(Scheme::V2Presigned | Scheme::V2Query) => ("REST-QUERY-STRING", "AWS"),
        Some(Scheme::V2Form) => ("POST", "AWS"),
    };
    context.key("s3:authType", kind).key("s3:signatureversion", version)
}

/// Parameters of lists that policies know, but for what is asked in their place.
fn parameters(cx: &Request, act: &Act<'_>, context: RequestContext) -> RequestContext {
    let Ok(query) = cx.query() else { return context };
    let keys = [("s3:prefix", "prefix"), ("s3:delimiter", "delimiter"), ("s3:max-keys", "max-keys")];
    let asked = |key: &str| act.keys.iter().any(|(name, _)| *name == key);
    keys.into_iter().filter(|(key, _)| !asked(key)).fold(context, |context, (key, name)| {
        match query.get(name) {
            Some(value) => context.key(key, value),
            None => context,
        }
    })
}

/// Headers that policies know, under their names there.
const HEADERS: [(&str, &str); 22] = [
    ("aws:UserAgent", "user-agent"),
    ("aws:Referer", "referer"),
    ("s3:x-amz-content-sha256", "x-amz-content-sha256"),
    ("s3:x-amz-acl", "x-amz-acl"),
    ("s3:x-amz-grant-read", "x-amz-grant-read"),
    ("s3:x-amz-grant-write", "x-amz-grant-write"),
    ("s3:x-amz-grant-read-acp", "x-amz-grant-read-acp"),
    ("s3:x-amz-grant-write-acp", "x-amz-grant-write-acp"),
    ("s3:x-amz-grant-full-control", "x-amz-grant-full-control"),
    ("s3:x-amz-copy-source", "x-amz-copy-source"),
    ("s3:x-amz-metadata-directive", "x-amz-metadata-directive"),
    ("s3:x-amz-server-side-encryption", "x-amz-server-side-encryption"),
    ("s3:x-amz-server-side-encryption-aws-kms-key-id", "x-amz-server-side-encryption-aws-kms-key-id"),
    ("s3:x-amz-server-side-encryption-customer-algorithm", "x-amz-server-side-encryption-customer-algorithm"),
    ("s3:x-amz-storage-class", "x-amz-storage-class"),
    ("s3:x-amz-website-redirect-location", "x-amz-website-redirect-location"),
    ("s3:object-lock-mode", "x-amz-object-lock-mode"),
    ("s3:object-lock-retain-until-date", "x-amz-object-lock-retain-until-date"),
    ("s3:object-lock-legal-hold", "x-amz-object-lock-legal-hold"),
    ("s3:x-amz-object-ownership", "x-amz-object-ownership"),
    ("s3:if-match", "if-match"),
    ("s3:if-none-match", "if-none-match"),
];

/// What nobody but the service is asked for: ListBuckets, CreateBucket.
pub fn allow_service(cx: &Request, action: &'static str, resource: &str) -> Result<(), S3Fault> {
    let Some(signer) = cx.signer() else { return Err(S3Fault::new(S3Code::AccessDenied)) };
    if signer.who.root {
        return Ok(());
    }
    let owner = &signer.who.account.id;
    let own: Option<&Policy> = None;
    let side = ResourceSide { owner, policy: own, policy_owner: owner, acl_grants: false, restricted: false };
    let context = context(cx, &Act::on_bucket(action, Grant::Nobody), resource.to_owned());
    match decide(&signer.requester(), &side, &context) {
        Access::Granted => Ok(()),
        Access::Refused(why) => Err(S3Fault::saying(S3Code::AccessDenied, why.sentence(&context))),
    }
}
