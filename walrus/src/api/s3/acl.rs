//! Lists of access control: what requests ask for, and the four operations on them.

use super::authorise::{self, Grant as Need};
use super::cx::Cx;
use super::fault::About;
use super::object_get::{self, Actions};
use super::settings;
use crate::app::s3::acl::{Acl, Grant, Grantee, Named, Permission, check_count, grantees, group};
use crate::drive::signers::{AccountFacts, AccountName, AuthFault};
use crate::store::objects::{Bucket, Object};
use karri_proto::aws::s3::{
    self, AccessControlPolicy, GetBucketAclOutput, GetBucketAclRequest, GetObjectAclOutput,
    GetObjectAclRequest, Owner, PutBucketAclRequest, PutObjectAclOutput, PutObjectAclRequest, S3Code,
    S3Fault,
};
use std::collections::HashMap;
use std::sync::Arc;

/// The `x-amz-grant-…` headers.
#[derive(Debug, Clone, Copy, Default)]
pub struct GrantHeaders<'a> {
    pub full_control: Option<&'a str>,
    pub read: Option<&'a str>,
    pub read_acp: Option<&'a str>,
    pub write: Option<&'a str>,
    pub write_acp: Option<&'a str>,
}

impl<'a> GrantHeaders<'a> {
    fn given(&self) -> impl Iterator<Item = (Permission, &'static str, &'a str)> {
        [
            (Permission::Read, "x-amz-grant-read", self.read),
            (Permission::Write, "x-amz-grant-write", self.write),
            (Permission::ReadAcp, "x-amz-grant-read-acp", self.read_acp),
            (Permission::WriteAcp, "x-amz-grant-write-acp", self.write_acp),
            (Permission::FullControl, "x-amz-grant-full-control", self.full_control),
        ]
        .into_iter()
        .filter_map(|(permission, name, text)| Some((permission, name, text?)))
    }
}

/// The list that headers ask for; nothing if they say nothing.
pub async fn asked(
    cx: &Cx,
    canned: Option<&str>,
    headers: &GrantHeaders<'_>,
    owner: &str,
    bucket_owner: &str,
) -> Result<Option<Acl>, S3Fault> {
    let mut acl = Acl::default();
    for (permission, name, text) in headers.given() {
        for named in grantees(name, text)? {
            let grantee = grantee(cx, named).await?;
            acl.grants.push(Grant { grantee, permission });
        }
    }
    match (canned, acl.grants.is_empty()) {
        (Some(_), false) => {
            let text = "Specifying both Canned ACLs and Header Grants is not allowed";
            Err(S3Fault::saying(S3Code::InvalidRequest, text))
        }
        (Some(name), true) => {
            let acl = Acl::canned(name, owner, bucket_owner);
            acl.map(Some).ok_or_else(|| S3Fault::invalid_argument("x-amz-acl", name, ""))
        }
        (None, false) => {
            check_count(&acl)?;
            Ok(Some(acl))
        }
        (None, true) => Ok(None),
    }
}

pub async fn grantee(cx: &Cx, named: Named) -> Result<Grantee, S3Fault> {
    match named {
        Named::Uri(uri) => group(&uri),
        Named::Id(id) => match account(cx, &AccountName::Canonical(id.clone())).await? {
            Some(account) => Ok(Grantee::Account(account.canonical_id.clone())),
            None => Err(S3Fault::invalid_argument("CanonicalUser/ID", &id, "Invalid id")),
        },
        Named::Email(email) => match account(cx, &AccountName::Email(email.clone())).await? {
            Some(account) => Ok(Grantee::Account(account.canonical_id.clone())),
            None => Err(S3Fault::new(S3Code::UnresolvableGrantByEmailAddress)),
        },
    }
}

pub async fn account(cx: &Cx, name: &AccountName) -> Result<Option<Arc<AccountFacts>>, S3Fault> {
    cx.s3.authenticator.account(name).await.map_err(not_looked_up)
}

pub async fn has_user(cx: &Cx, account: &str, user: &str) -> Result<bool, S3Fault> {
    cx.s3.authenticator.has_user(account, user).await.map_err(not_looked_up)
}

fn not_looked_up(fault: AuthFault) -> S3Fault {
    match fault {
        AuthFault::Unavailable(why) => S3Fault::new(S3Code::ServiceUnavailable).because(why),
        AuthFault::UnknownKey | AuthFault::BadToken | AuthFault::ExpiredToken => {
            S3Fault::internal("an account cannot be looked up")
        }
    }
}

pub fn owner_of(account: &AccountFacts) -> Owner {
    Owner { display_name: Some(account.name.clone()), id: Some(account.canonical_id.clone()) }
}

/// An account as lists show it; one that is gone has its id still.
pub async fn owner(cx: &Cx, account_id: &str) -> Result<Owner, S3Fault> {
    if let Some(signer) = cx.signer()
        && *signer.who.account.id == *account_id
    {
        return Ok(owner_of(&signer.who.account));
    }
    let found = account(cx, &AccountName::Id(account_id.to_owned())).await?;
    Ok(found.map_or_else(
        || Owner { display_name: None, id: Some(canonical(account_id)) },
        |account| owner_of(&account),
    ))
}

pub async fn owners(
    cx: &Cx,
    accounts: impl Iterator<Item = &Arc<str>>,
) -> Result<HashMap<Arc<str>, Owner>, S3Fault> {
    let mut known: HashMap<Arc<str>, Owner> = HashMap::new();
    for id in accounts {
        if !known.contains_key(id) {
            known.insert(id.clone(), owner(cx, id).await?);
        }
    }
    Ok(known)
}

fn canonical(account: &str) -> String {
    crate::drive::signers::canonical_id(account)
}

/// The list of an object to be; nothing: its owner's alone.
pub async fn of_upload(
    cx: &Cx,
    bucket: &Bucket,
    canned: Option<&str>,
    headers: &GrantHeaders<'_>,
) -> Result<Option<String>, S3Fault> {
    if canned.is_none() && headers.given().next().is_none() {
        return Ok(None);
    }
    let bucket_owner = canonical(&bucket.owner);
    let owner = cx.canonical().unwrap_or(&bucket_owner);
    let headers = &GrantHeaders { write: cx.header("x-amz-grant-write"), ..*headers };
    let list = asked(cx, canned, headers, owner, &bucket_owner).await?;
    let Some(list) = list else { return Ok(None) };
    if settings::is_owner_enforced(bucket) {
        return enforced(canned, &list, &bucket_owner).map(|()| None);
    }
    check_public(bucket, &list)?;
    if settings::is_owner_preferred(bucket)
        && canned == Some("bucket-owner-full-control")
        && *owner != bucket_owner
    {
        return Ok(None);
    }
    Ok(Some(list.to_text()))
}

/// Where the bucket's owner owns everything, only what it has anyway may be said.
///
/// # Errors
/// `AccessControlListNotSupported`
fn enforced(canned: Option<&str>, list: &Acl, bucket_owner: &str) -> Result<(), S3Fault> {
    let harmless = match canned {
        Some(name) => name == "bucket-owner-full-control",
        None => list.is_only(bucket_owner),
    };
    if harmless { Ok(()) } else { Err(S3Fault::new(S3Code::AccessControlListNotSupported)) }
}

/// # Errors
/// `AccessDenied`: the bucket takes no public lists.
fn check_public(bucket: &Bucket, list: &Acl) -> Result<(), S3Fault> {
    let block = settings::public_access_block(bucket)?;
    let blocked = block.is_some_and(|block| block.block_public_acls == Some(true));
    if blocked && list.is_public() { Err(S3Fault::new(S3Code::AccessDenied)) } else { Ok(()) }
}

/// Whom a document means; nothing if it does not say.
pub fn named(grantee: s3::Grantee) -> Option<Named> {
    match (grantee.id, grantee.uri, grantee.email_address) {
        (Some(id), ..) => Some(Named::Id(id)),
        (_, Some(uri), _) => Some(Named::Uri(uri)),
        (.., Some(email)) => Some(Named::Email(email)),
        (None, None, None) => None,
    }
}

async fn from_document(cx: &Cx, document: AccessControlPolicy, owner: &str) -> Result<Acl, S3Fault> {
    let malformed = || S3Fault::new(S3Code::MalformedAcl);
    let said = document.owner.and_then(|owner| owner.id).ok_or_else(malformed)?;
    if said != *owner {
        return Err(S3Fault::new(S3Code::AccessDenied));
    }
    let mut acl = Acl::default();
    for grant in document.grants {
        let permission = grant.permission.as_deref().and_then(Permission::parse).ok_or_else(malformed)?;
        let named = grant.grantee.and_then(named).ok_or_else(malformed)?;
        acl.grants.push(Grant { grantee: grantee(cx, named).await?, permission });
    }
    check_count(&acl)?;
    Ok(acl)
}

/// The one list that a request brings, in one of three ways.
async fn brought(
    cx: &Cx,
    canned: Option<&str>,
    headers: &GrantHeaders<'_>,
    document: Option<AccessControlPolicy>,
    owner: &str,
    bucket_owner: &str,
) -> Result<Acl, S3Fault> {
    let by_headers = asked(cx, canned, headers, owner, bucket_owner).await?;
    match (by_headers, document) {
        (Some(_), Some(_)) => Err(S3Fault::new(S3Code::UnexpectedContent)),
        (Some(acl), None) => Ok(acl),
        (None, Some(document)) => from_document(cx, document, owner).await,
        (None, None) => {
            Err(S3Fault::saying(S3Code::MissingSecurityHeader, "Your request was missing a required header")
                .with("MissingHeaderName", "x-amz-acl"))
        }
    }
}

async fn shown(cx: &Cx, acl: &Acl) -> Result<Vec<s3::Grant>, S3Fault> {
    let mut grants = Vec::with_capacity(acl.grants.len());
    // Groups first: they have no name to be sorted by.
    let (accounts, groups): (Vec<_>, Vec<_>) =
        acl.grants.iter().partition(|grant| matches!(grant.grantee, Grantee::Account(_)));
    for grant in groups.into_iter().chain(accounts) {
        let grantee = shown_grantee(cx, &grant.grantee).await?;
        let permission = Some(grant.permission.as_str().to_owned());
        grants.push(s3::Grant { grantee: Some(grantee), permission });
    }
    Ok(grants)
}

pub async fn shown_grantee(cx: &Cx, grantee: &Grantee) -> Result<s3::Grantee, S3Fault> {
    Ok(match grantee {
        Grantee::Account(id) => {
            let known = account(cx, &AccountName::Canonical(id.clone())).await?;
            s3::Grantee {
                r#type: "CanonicalUser".to_owned(),
                display_name: known.map(|account| account.name.clone()),
                id: Some(id.clone()),
                ..s3::Grantee::default()
            }
        }
        group => s3::Grantee {
            r#type: "Group".to_owned(),
            uri: group.uri().map(str::to_owned),
            ..s3::Grantee::default()
        },
    })
}

pub async fn get_bucket_acl(cx: Cx, request: GetBucketAclRequest) -> Result<GetBucketAclOutput, S3Fault> {
    let (name, expected) = (&request.bucket, request.expected_bucket_owner.as_deref());
    let need = Need::Bucket(Permission::ReadAcp);
    let bucket = authorise::bucket_for(&cx, name, expected, "s3:GetBucketAcl", need).await?;
    let acl = bucket_acl(&bucket)?;
    Ok(GetBucketAclOutput { grants: shown(&cx, &acl).await?, owner: Some(owner(&cx, &bucket.owner).await?) })
}

fn bucket_acl(bucket: &Bucket) -> Result<Acl, S3Fault> {
    let private = || Acl::private(&canonical(&bucket.owner));
    if settings::is_owner_enforced(bucket) {
        return Ok(private());
    }
    Ok(settings::acl(bucket)?.map_or_else(private, |acl| (*acl).clone()))
}

pub async fn put_bucket_acl(cx: Cx, request: PutBucketAclRequest) -> Result<(), S3Fault> {
    let (name, expected) = (&request.bucket, request.expected_bucket_owner.as_deref());
    let need = Need::Bucket(Permission::WriteAcp);
    let bucket = authorise::bucket_for(&cx, name, expected, "s3:PutBucketAcl", need).await?;
    let headers = GrantHeaders {
        full_control: request.grant_full_control.as_deref(),
        read: request.grant_read.as_deref(),
        read_acp: request.grant_read_acp.as_deref(),
        write: request.grant_write.as_deref(),
        write_acp: request.grant_write_acp.as_deref(),
    };
    let me = canonical(&bucket.owner);
    let canned = request.acl.as_deref();
    let acl = brought(&cx, canned, &headers, request.access_control_policy, &me, &me).await?;
    if settings::is_owner_enforced(&bucket) {
        return enforced(canned, &acl, &me);
    }
    check_public(&bucket, &acl)?;
    let kept = cx.s3.objects.bucket_setting_put(bucket.id, settings::ACL, acl.to_text()).await;
    kept.map(drop).map_err(|e| About::bucket(name).fault(e))
}

const READ_ACL: Actions = Actions {
    current: "s3:GetObjectAcl",
    version: "s3:GetObjectVersionAcl",
    grant: Need::Object(Permission::ReadAcp),
};

const WRITE_ACL: Actions = Actions {
    current: "s3:PutObjectAcl",
    version: "s3:PutObjectVersionAcl",
    grant: Need::Object(Permission::WriteAcp),
};

fn object_owner<'a>(bucket: &'a Bucket, object: &'a Object) -> &'a str {
    if settings::is_owner_enforced(bucket) { &bucket.owner } else { &object.owner }
}

pub async fn get_object_acl(cx: Cx, request: GetObjectAclRequest) -> Result<GetObjectAclOutput, S3Fault> {
    let bucket = authorise::bucket(&cx, &request.bucket, request.expected_bucket_owner.as_deref()).await?;
    let found = object_get::find(&cx, bucket, &request.key, request.version_id.as_deref(), READ_ACL).await?;
    let owner_id = object_owner(&found.bucket, &found.object);
    let acl = match &found.object.facts.acl {
        Some(text) if !settings::is_owner_enforced(&found.bucket) => Acl::from_text(text)?,
        _ => Acl::private(&canonical(owner_id)),
    };
    Ok(GetObjectAclOutput {
        grants: shown(&cx, &acl).await?,
        owner: Some(owner(&cx, owner_id).await?),
        request_charged: None,
    })
}

pub async fn put_object_acl(cx: Cx, request: PutObjectAclRequest) -> Result<PutObjectAclOutput, S3Fault> {
    let bucket = authorise::bucket(&cx, &request.bucket, request.expected_bucket_owner.as_deref()).await?;
    let version = request.version_id.as_deref();
    let found = object_get::find(&cx, bucket, &request.key, version, WRITE_ACL).await?;
    let headers = GrantHeaders {
        full_control: request.grant_full_control.as_deref(),
        read: request.grant_read.as_deref(),
        read_acp: request.grant_read_acp.as_deref(),
        write: request.grant_write.as_deref(),
        write_acp: request.grant_write_acp.as_deref(),
    };
    let bucket = &found.bucket;
    let (me, bucket_owner) = (canonical(object_owner(bucket, &found.object)), canonical(&bucket.owner));
    let canned = request.acl.as_deref();
    let acl = brought(&cx, canned, &headers, request.access_control_policy, &me, &bucket_owner).await?;
    if settings::is_owner_enforced(bucket) {
        return enforced(canned, &acl, &me).map(|()| PutObjectAclOutput::default());
    }
    check_public(bucket, &acl)?;
    let text = acl.to_text();
    let change = Arc::new(move |_: &Object, facts: &mut crate::store::objects::Facts| {
        facts.acl = Some(text.clone());
        Ok(())
    });
    let version = object_get::parse_version(version)?;
    let about = About::key(&bucket.name, &request.key);
    cx.s3
        .objects
        .object_update(bucket.id, &request.key, version, change)
        .await
        .map_err(|e| about.fault(e))?;
    Ok(PutObjectAclOutput::default())
}
