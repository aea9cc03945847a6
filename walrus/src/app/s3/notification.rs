//! Event notifications: what a bucket's configuration may say, whom it has told of a change, and in which words.
//!
//! Topics, queues and functions are one thing here: a webhook of the operator's, which the last part of the ARN
//! names.
//!
//! Must not: send anything.

use super::bucket_settings as settings;
use crate::store::objects::{Happened, NewEvent, Tell, What};
use karri_proto::aws::s3::{NotificationConfiguration, NotificationConfigurationFilter, S3Code, S3Fault};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use std::sync::Arc;
use time::OffsetDateTime;
use time::macros::format_description;

const CONFIGURATIONS_MAX: usize = 100;
const ID_CHARS_MAX: usize = 255;
const CREATED: &str = "s3:ObjectCreated:";
const REMOVED: &str = "s3:ObjectRemoved:";
/// Those that are told of.
const EVENTS: [&str; 8] = [
    "s3:ObjectCreated:*",
    "s3:ObjectCreated:Put",
    "s3:ObjectCreated:Post",
    "s3:ObjectCreated:Copy",
    "s3:ObjectCreated:CompleteMultipartUpload",
    "s3:ObjectRemoved:*",
    "s3:ObjectRemoved:Delete",
    "s3:ObjectRemoved:DeleteMarkerCreated",
];
/// Those that S3 has and nobody is told of here.
const OTHERS: [&str; 8] = [
    "s3:ReducedRedundancyLostObject",
    "s3:Replication:",
    "s3:ObjectRestore:",
    "s3:ObjectTagging:",
    "s3:ObjectAcl:",
    "s3:LifecycleExpiration:",
    "s3:LifecycleTransition",
    "s3:IntelligentTiering",
];
/// As a form encodes a key, which is how S3 does.
const KEY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'*');

/// One configuration of a bucket's, of whichever kind.
struct One<'a> {
    id: &'a mut Option<String>,
    arn: &'a str,
    events: &'a [String],
    filter: Option<&'a NotificationConfigurationFilter>,
}

fn all(configuration: &mut NotificationConfiguration) -> Vec<One<'_>> {
    let mut all = Vec::new();
    for one in &mut configuration.topic_configurations {
        let (id, arn) = (&mut one.id, one.topic_arn.as_str());
        all.push(One { id, arn, events: &one.events, filter: one.filter.as_ref() });
    }
    for one in &mut configuration.queue_configurations {
        let (id, arn) = (&mut one.id, one.queue_arn.as_str());
        all.push(One { id, arn, events: &one.events, filter: one.filter.as_ref() });
    }
    for one in &mut configuration.lambda_function_configurations {
        let (id, arn) = (&mut one.id, one.lambda_function_arn.as_str());
        all.push(One { id, arn, events: &one.events, filter: one.filter.as_ref() });
    }
    all
}

/// The webhook that an ARN names.
pub fn hook_of(arn: &str) -> Option<&str> {
    let parts: Vec<&str> = arn.split(':').collect();
    let known = matches!(parts.as_slice(), ["arn", _, "sns" | "sqs" | "lambda", _, _, ..]);
    parts.last().copied().filter(|name| known && parts.len() >= 6 && !name.is_empty())
}

/// Gives every configuration an id; `name` makes one. Answers the webhooks that are named.
///
/// # Errors
/// `InvalidArgument`, `NotImplemented`
pub fn checked(
    mut configuration: NotificationConfiguration,
    is_hook: impl Fn(&str) -> bool,
    mut name: impl FnMut() -> String,
) -> Result<(NotificationConfiguration, Vec<String>), S3Fault> {
    if configuration.event_bridge_configuration.is_some() {
        return Err(S3Fault::not_implemented("EventBridgeConfiguration"));
    }
    let mut hooks: Vec<String> = Vec::new();
    {
        let mut all = all(&mut configuration);
        if all.len() > CONFIGURATIONS_MAX {
            return Err(invalid("The number of notification configurations exceeds the limit."));
        }
        for one in &mut all {
            let id = one.id.get_or_insert_with(&mut name);
            if id.chars().count() > ID_CHARS_MAX {
                return Err(invalid("The Id of a notification configuration has up to 255 characters."));
            }
            check_events(one.events)?;
            Filter::checked(one.filter)?;
            let hook = hook_of(one.arn).filter(|hook| is_hook(hook));
            let hook = hook.ok_or_else(|| {
                let text = "Unable to validate the following destination configurations";
                S3Fault::invalid_argument(one.arn, "The destination does not exist", text)
            })?;
            if !hooks.iter().any(|known| known == hook) {
                hooks.push(hook.to_owned());
            }
        }
        check_overlaps(&all)?;
    }
    Ok((configuration, hooks))
}

fn invalid(text: impl Into<std::borrow::Cow<'static, str>>) -> S3Fault {
    S3Fault::saying(S3Code::InvalidArgument, text)
}

fn check_events(events: &[String]) -> Result<(), S3Fault> {
    if events.is_empty() {
        return Err(S3Fault::new(S3Code::MalformedXml));
    }
    for event in events {
        if OTHERS.iter().any(|other| event.starts_with(other)) {
            return Err(S3Fault::not_implemented(event));
        }
        if !EVENTS.contains(&event.as_str()) {
            let text = format!("The event '{event}' is not supported for notifications");
            return Err(S3Fault::invalid_argument("Event", event, text));
        }
    }
    Ok(())
}

/// Two configurations must not both be meant by one change.
fn check_overlaps(all: &[One<'_>]) -> Result<(), S3Fault> {
    for (at, one) in all.iter().enumerate() {
        for other in &all[at + 1..] {
            let (filter, theirs) = (Filter::of(one.filter), Filter::of(other.filter));
            let both = |event: &&String| other.events.iter().any(|theirs| overlap(event, theirs));
            if let Some(event) = one.events.iter().find(both)
                && filter.overlaps(&theirs)
            {
                let text = format!(
                    "Configurations overlap. Configurations on the same bucket cannot share a common event \
                     type. : {event}"
                );
                return Err(invalid(text));
            }
        }
    }
    Ok(())
}

fn overlap(one: &str, other: &str) -> bool {
    means(one, other) || means(other, one)
}

/// `event` may end in a star.
fn means(event: &str, name: &str) -> bool {
    event.strip_suffix('*').map_or(event == name, |start| name.starts_with(start))
}

/// Which keys are meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Filter<'a> {
    prefix: &'a str,
    suffix: &'a str,
}

impl<'a> Filter<'a> {
    fn of(filter: Option<&'a NotificationConfigurationFilter>) -> Self {
        let mut found = Self::default();
        let rules = filter.and_then(|filter| filter.key.as_ref()).map(|key| key.filter_rules.as_slice());
        for rule in rules.unwrap_or_default() {
            let value = rule.value.as_deref().unwrap_or_default();
            match rule.name.as_deref() {
                Some("prefix") => found.prefix = value,
                _ => found.suffix = value,
            }
        }
        found
    }

    fn checked(filter: Option<&NotificationConfigurationFilter>) -> Result<(), S3Fault> {
        let rules = filter.and_then(|filter| filter.key.as_ref()).map(|key| key.filter_rules.as_slice());
        let rules = rules.unwrap_or_default();
        for kind in ["prefix", "suffix"] {
            if rules.iter().filter(|rule| rule.name.as_deref() == Some(kind)).count() > 1 {
                return Err(invalid(format!("Cannot specify more than one {kind} rule in a filter.")));
            }
        }
        let nameless = rules.iter().any(|rule| rule.name.is_none());
        if nameless {
            return Err(invalid("filter rule name must be either prefix or suffix"));
        }
        Ok(())
    }

    fn matches(&self, key: &str) -> bool {
        key.starts_with(self.prefix) && key.ends_with(self.suffix)
    }

    fn overlaps(&self, other: &Filter<'_>) -> bool {
        let starts = self.prefix.starts_with(other.prefix) || other.prefix.starts_with(self.prefix);
        let ends = self.suffix.ends_with(other.suffix) || other.suffix.ends_with(self.suffix);
        starts && ends
    }
}

/// How an object came to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    Put,
    Post,
    Copy,
    CompleteMultipartUpload,
}

impl Created {
    fn as_str(self) -> &'static str {
        match self {
            Created::Put => "Put",
            Created::Post => "Post",
            Created::Copy => "Copy",
            Created::CompleteMultipartUpload => "CompleteMultipartUpload",
        }
    }
}

/// The request that changes something, as events tell of it.
#[derive(Debug, Clone)]
pub struct Cause {
    pub region: String,
    /// `AWS:AIDA…`
    pub principal: String,
    pub peer: String,
    pub request_id: String,
    pub host_id: String,
    /// None: it deletes.
    pub created: Option<Created>,
}

/// For a bucket that has a configuration now; what it is then is looked at in the transaction.
pub fn tell(cause: Cause) -> Tell {
    Arc::new(move |happened| events(&cause, happened))
}

fn events(cause: &Cause, happened: &Happened<'_>) -> Vec<NewEvent> {
    // One that is kept was checked.
    let Ok(Some(configuration)) = settings::notification(happened.bucket) else { return Vec::new() };
    let name = event_name(cause, happened);
    let mut configuration = (*configuration).clone();
    let meant = all(&mut configuration).into_iter().filter(|one| {
        one.events.iter().any(|event| means(event, &name)) && Filter::of(one.filter).matches(happened.key)
    });
    let told = meant.filter_map(|one| {
        let body = record(cause, happened, &name, one.id.as_deref().unwrap_or_default());
        Some(NewEvent { target: hook_of(one.arn)?.to_owned(), body })
    });
    told.collect()
}

fn event_name(cause: &Cause, happened: &Happened<'_>) -> String {
    match happened.what {
        What::Created(_) => format!("{CREATED}{}", cause.created.unwrap_or(Created::Put).as_str()),
        What::MarkerMade(_) => format!("{REMOVED}DeleteMarkerCreated"),
        What::Removed(_) => format!("{REMOVED}Delete"),
    }
}

fn record(cause: &Cause, happened: &Happened<'_>, name: &str, configuration: &str) -> String {
    let encoded = utf8_percent_encode(happened.key, KEY).to_string().replace("%20", "+");
    let mut object = json!({ "key": encoded, "sequencer": format!("{:016X}", happened.seq) });
    let (version, created) = match &happened.what {
        What::Created(created) => (Some(created.version), Some(created)),
        What::MarkerMade(version) => (Some(*version), None),
        What::Removed(version) => (*version, None),
    };
    if let Some(created) = created {
        object["size"] = json!(created.size);
        object["eTag"] = json!(created.etag.to_string());
    }
    if let Some(version) = version.map(|version| version.to_string()).filter(|version| version != "null") {
        object["versionId"] = json!(version);
    }
    let bucket = happened.bucket;
    let record = json!({
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": cause.region,
        "eventTime": time_text(happened.at),
        "eventName": name.trim_start_matches("s3:"),
        "userIdentity": { "principalId": cause.principal },
        "requestParameters": { "sourceIPAddress": cause.peer },
        "responseElements": { "x-amz-request-id": cause.request_id, "x-amz-id-2": cause.host_id },
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": configuration,
            "bucket": {
                "name": &*bucket.name,
                "ownerIdentity": { "principalId": &*bucket.owner },
                "arn": format!("arn:aws:s3:::{}", bucket.name),
            },
            "object": object,
        },
    });
    json!({ "Records": [record] }).to_string()
}

/// What a webhook gets when a configuration names it.
pub fn test_event(bucket: &str, cause: &Cause, at: i64) -> String {
    json!({
        "Service": "Amazon S3",
        "Event": "s3:TestEvent",
        "Time": time_text(at),
        "Bucket": bucket,
        "RequestId": cause.request_id,
        "HostId": cause.host_id,
    })
    .to_string()
}

fn time_text(ms: i64) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    at.ok().and_then(|at| at.format(format).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
