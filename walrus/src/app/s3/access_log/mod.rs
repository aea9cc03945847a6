//! Server access logs: what a line of one says, what the objects are called that they are delivered as, and
//! whether they may be delivered.
//!
//! Must not: read the clock, or know who waits for delivery.

mod line;
mod operation;

pub use line::Record;
pub use operation::operation;

use super::acl::Permission;
use super::bucket_settings as settings;
use crate::store::objects::Bucket;
use karri_proto::aws::s3::{LoggingEnabled, S3Fault};
use karri_proto::internal::signers::canonical_id;
use karri_proto::policy::{Access, RequestContext, Requester, ResourceSide, Why, decide};
use std::sync::Arc;
use time::OffsetDateTime;
use time::macros::format_description;

/// Who delivers, as policies name it.
const SERVICE: &str = "logging.s3.amazonaws.com";

/// The bucket whose requests are logged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Source {
    pub bucket: Arc<str>,
    pub owner: Arc<str>,
    pub region: Arc<str>,
}

impl Source {
    pub fn of(bucket: &Bucket) -> Self {
        Self { bucket: bucket.name.clone(), owner: bucket.owner.clone(), region: bucket.region.clone() }
    }
}

/// The start of the keys that lines of this source are delivered under, and whether the rest tells days apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    pub bucket: Arc<str>,
    pub prefix: String,
    pub by_day: bool,
}

impl Place {
    pub fn of(source: &Source, enabled: &LoggingEnabled) -> Self {
        let format = enabled.target_object_key_format.as_ref();
        let by_day = format.is_some_and(|format| format.partitioned_prefix.is_some());
        let Source { bucket, owner, region, .. } = source;
        let prefix = match by_day {
            true => format!("{}{owner}/{region}/{bucket}/", enabled.target_prefix),
            false => enabled.target_prefix.clone(),
        };
        Self { bucket: enabled.target_bucket.as_str().into(), prefix, by_day }
    }

    /// `unique` tells objects of the same second apart.
    pub fn key(&self, now: OffsetDateTime, unique: u64) -> String {
        let day = format_description!("[year]/[month]/[day]/");
        let time = format_description!("[year]-[month]-[day]-[hour]-[minute]-[second]");
        let day = if self.by_day { now.format(day).unwrap_or_default() } else { String::new() };
        format!("{}{day}{}-{unique:016X}", self.prefix, now.format(time).unwrap_or_default())
    }
}

/// Whether the log delivery may write what is logged of `source` into `target`: by the target's policy, or by its
/// list of access control. A policy may name the place without what follows, and the account
/// by its canonical id.
pub fn may_deliver(target: &Bucket, source: &Source, place: &Place, key: &str) -> Result<bool, S3Fault> {
    let policy = settings::policy(target)?;
    let listed = match settings::acl(target)? {
        Some(acl) if !settings::is_owner_enforced(target) => acl.lets_logs_in(Permission::Write),
        _ => false,
    };
    let side = ResourceSide {
        owner: &target.owner,
        policy: policy.as_deref(),
        policy_owner: &target.owner,
        acl_grants: listed,
        restricted: false,
    };
    let asked = |key: &str| {
        let context = RequestContext::new(SERVICE, "s3:PutObject")
            .resource(format!("arn:aws:s3:::{}/{key}", target.name))
            .key("aws:SourceArn", format!("arn:aws:s3:::{}", source.bucket))
            .key("aws:SourceAccount", &*source.owner)
            .key("aws:SourceAccount", canonical_id(&source.owner));
        decide(&Requester::Service, &side, &context)
    };
    Ok(match asked(key) {
        Access::Refused(Why::ResourceDenies) => false,
        Access::Refused(_) => asked(&place.prefix).is_granted(),
        Access::Granted => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use karri_proto::aws::s3::{PartitionedPrefix, TargetObjectKeyFormat};
    use time::macros::datetime;

    #[test]
    fn keys_tell_the_time_and_where_asked_the_source() {
        let source = Source { bucket: "src".into(), owner: "111111111111".into(), region: "r-1".into() };
        let mut enabled = LoggingEnabled {
            target_bucket: "logs".into(),
            target_prefix: "l/".into(),
            ..LoggingEnabled::default()
        };
        let at = datetime!(2026-01-02 03:04:05 UTC);
        let key = |enabled: &LoggingEnabled| Place::of(&source, enabled).key(at, 0xab);
        assert_eq!(key(&enabled), "l/2026-01-02-03-04-05-00000000000000AB");
        enabled.target_object_key_format = Some(TargetObjectKeyFormat {
            partitioned_prefix: Some(PartitionedPrefix::default()),
            ..TargetObjectKeyFormat::default()
        });
        let expected = "l/111111111111/r-1/src/2026/01/02/2026-01-02-03-04-05-00000000000000AB";
        assert_eq!(key(&enabled), expected);
    }
}
