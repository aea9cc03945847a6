//! Access control lists: who has which permission on a bucket or an object.
//!
//! Must not: know accounts; grantees are canonical ids, looked up by the caller.

use karri_proto::aws::s3::{S3Code, S3Fault};
use serde::{Deserialize, Serialize};

pub const ALL_USERS: &str = "http://acs.amazonaws.com/groups/global/AllUsers";
pub const AUTHENTICATED_USERS: &str = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers";
pub const LOG_DELIVERY: &str = "http://acs.amazonaws.com/groups/s3/LogDelivery";
/// As AWS has it.
pub const GRANTS_MAX: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Permission {
    FullControl,
    Read,
    Write,
    ReadAcp,
    WriteAcp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Grantee {
    /// An account, by its canonical id.
    Account(String),
    AllUsers,
    AuthenticatedUsers,
    LogDelivery,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub grantee: Grantee,
    pub permission: Permission,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Acl {
    pub grants: Vec<Grant>,
}

impl Permission {
    pub fn as_str(self) -> &'static str {
        match self {
            Permission::FullControl => "FULL_CONTROL",
            Permission::Read => "READ",
            Permission::Write => "WRITE",
            Permission::ReadAcp => "READ_ACP",
            Permission::WriteAcp => "WRITE_ACP",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        use Permission::{FullControl, Read, ReadAcp, Write, WriteAcp};
        [FullControl, Read, Write, ReadAcp, WriteAcp].into_iter().find(|one| one.as_str() == text)
    }
}

impl Grantee {
    pub fn of_uri(uri: &str) -> Option<Self> {
        match uri {
            ALL_USERS => Some(Grantee::AllUsers),
            AUTHENTICATED_USERS => Some(Grantee::AuthenticatedUsers),
            LOG_DELIVERY => Some(Grantee::LogDelivery),
            _ => None,
        }
    }

    pub fn uri(&self) -> Option<&'static str> {
        match self {
            Grantee::Account(_) => None,
            Grantee::AllUsers => Some(ALL_USERS),
            Grantee::AuthenticatedUsers => Some(AUTHENTICATED_USERS),
            Grantee::LogDelivery => Some(LOG_DELIVERY),
        }
    }

    fn is_public(&self) -> bool {
        matches!(self, Grantee::AllUsers | Grantee::AuthenticatedUsers)
    }

    fn includes(&self, who: Option<&str>) -> bool {
        match self {
            Grantee::Account(id) => who == Some(id),
            Grantee::AllUsers => true,
            Grantee::AuthenticatedUsers => who.is_some(),
            Grantee::LogDelivery => false,
        }
    }
}

impl Acl {
    pub fn private(owner: &str) -> Self {
        Self::default().and(Grantee::Account(owner.to_owned()), Permission::FullControl)
    }

    fn and(mut self, grantee: Grantee, permission: Permission) -> Self {
        self.grants.push(Grant { grantee, permission });
        self
    }

    /// One of the lists that have a name. Nothing: no such name.
    pub fn canned(name: &str, owner: &str, bucket_owner: &str) -> Option<Self> {
        let private = Self::private(owner);
        let bucket_owner = || Grantee::Account(bucket_owner.to_owned());
        let strangers = *bucket_owner().account_id() != *owner;
        Some(match name {
            "private" | "aws-exec-read" => private,
            "public-read" => private.and(Grantee::AllUsers, Permission::Read),
            "public-read-write" => {
                private.and(Grantee::AllUsers, Permission::Read).and(Grantee::AllUsers, Permission::Write)
            }
            "authenticated-read" => private.and(Grantee::AuthenticatedUsers, Permission::Read),
            "bucket-owner-read" if strangers => private.and(bucket_owner(), Permission::Read),
            "bucket-owner-full-control" if strangers => private.and(bucket_owner(), Permission::FullControl),
            "bucket-owner-read" | "bucket-owner-full-control" => private,
            "log-delivery-write" => private
                .and(Grantee::LogDelivery, Permission::Write)
                .and(Grantee::LogDelivery, Permission::ReadAcp),
            _ => return None,
        })
    }

    /// Whether `who` (nobody: an anonymous requester) has that permission.
    pub fn permits(&self, who: Option<&str>, permission: Permission, ignore_public: bool) -> bool {
        self.grants.iter().any(|grant| {
            grant.grantee.includes(who)
                && !(ignore_public && grant.grantee.is_public())
                && (grant.permission == permission || grant.permission == Permission::FullControl)
        })
    }

    /// Whether the group that delivers access logs has that permission.
    pub fn lets_logs_in(&self, permission: Permission) -> bool {
        self.grants.iter().any(|grant| {
            grant.grantee == Grantee::LogDelivery
                && (grant.permission == permission || grant.permission == Permission::FullControl)
        })
    }

    pub fn is_public(&self) -> bool {
        self.grants.iter().any(|grant| grant.grantee.is_public())
    }

    /// Nothing but what the owner has anyway: all that a bucket without lists still takes.
    pub fn is_only(&self, owner: &str) -> bool {
        let full = |grant: &Grant| {
            grant.permission == Permission::FullControl && *grant.grantee.account_id() == *owner
        };
        !self.grants.is_empty() && self.grants.iter().all(full)
    }

    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    pub fn from_text(text: &str) -> Result<Self, S3Fault> {
        serde_json::from_str(text).map_err(|error| S3Fault::internal(format!("a stored ACL: {error}")))
    }
}

impl Grantee {
    fn account_id(&self) -> &str {
        match self {
            Grantee::Account(id) => id,
            Grantee::AllUsers | Grantee::AuthenticatedUsers | Grantee::LogDelivery => "",
        }
    }
}

/// How a header names a grantee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    Id(String),
    Uri(String),
    Email(String),
}

/// `id="…", uri="…", emailAddress="…"`
///
/// # Errors
/// `InvalidArgument`
pub fn grantees(header: &'static str, text: &str) -> Result<Vec<Named>, S3Fault> {
    let wrong = || S3Fault::invalid_argument(header, text, "Argument format not recognized");
    let one = |part: &str| {
        let (kind, value) = part.split_once('=')?;
        let value = value.trim().trim_matches('"').to_owned();
        match kind.trim() {
            "id" => Some(Named::Id(value)),
            "uri" => Some(Named::Uri(value)),
            kind if kind.eq_ignore_ascii_case("emailaddress") => Some(Named::Email(value)),
            _ => None,
        }
    };
    text.split(',').map(|part| one(part).ok_or_else(wrong)).collect()
}

/// # Errors
/// `InvalidArgument`
pub fn group(uri: &str) -> Result<Grantee, S3Fault> {
    Grantee::of_uri(uri).ok_or_else(|| S3Fault::invalid_argument("uri", uri, "Invalid group uri"))
}

/// # Errors
/// `InvalidRequest`
pub fn check_count(acl: &Acl) -> Result<(), S3Fault> {
    if acl.grants.len() <= GRANTS_MAX {
        return Ok(());
    }
    Err(S3Fault::saying(S3Code::InvalidRequest, "The ACL has more grants than the maximum of 100"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canned_lists_grant_what_their_names_say() {
        let check = |name: &str, who: Option<&str>, permission, expected: bool| {
            let acl = Acl::canned(name, "me", "boss").unwrap();
            assert_eq!(acl.permits(who, permission, false), expected, "{name} {who:?}");
        };
        check("private", Some("me"), Permission::WriteAcp, true);
        check("private", Some("you"), Permission::Read, false);
        check("public-read", None, Permission::Read, true);
        check("public-read", None, Permission::Write, false);
        check("public-read-write", None, Permission::Write, true);
        check("authenticated-read", None, Permission::Read, false);
        check("authenticated-read", Some("you"), Permission::Read, true);
        check("bucket-owner-read", Some("boss"), Permission::Read, true);
        check("bucket-owner-full-control", Some("boss"), Permission::ReadAcp, true);
        assert!(Acl::canned("public", "me", "me").is_none());
        assert!(!Acl::canned("public-read", "me", "me").unwrap().permits(None, Permission::Read, true));
    }

    #[test]
    fn a_header_names_grantees() {
        let read = grantees("x-amz-grant-read", r#"id=1, uri="u" , emailAddress="a@b""#).unwrap();
        assert_eq!(read, [Named::Id("1".into()), Named::Uri("u".into()), Named::Email("a@b".into())]);
        for bad in ["", "x", "name=1", "id=1,,"] {
            assert!(grantees("x-amz-grant-read", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_list_is_kept_as_text() {
        let acl = Acl::canned("log-delivery-write", "me", "me").unwrap();
        assert_eq!(Acl::from_text(&acl.to_text()).unwrap(), acl);
        assert!(Acl::from_text("x").is_err());
        assert!(!acl.is_only("me") && Acl::private("me").is_only("me"));
    }
}
