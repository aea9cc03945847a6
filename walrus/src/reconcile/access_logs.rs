//! Lines of access logs that wait for delivery, and the loop that delivers them as objects.
//!
//! They wait in memory: S3 promises its best and no more. What waits is delivered before a clean stop; a crash loses
//! it.

use crate::app::s3::access_log::{Place, Source, may_deliver};
use crate::app::s3::checksum;
use crate::app::s3::encryption::{Wanted, default_wanted};
use crate::store::objects::{Bucket, ETag, Facts, ObjectPut, Objects, StoreError};
use karri_proto::aws::s3::S3Fault;
use karri_proto::checksum::{Algorithm, Hasher, Kind};
use karri_proto::runtime::metrics::Metrics;
use karri_proto::runtime::server::Shutdown;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio::time::Instant;

/// A log that has grown so long is delivered before its time.
const LOG_BYTES_MAX: usize = 1 << 20;
/// Of all that wait; further lines are lost.
const WAITING_BYTES_MAX: usize = 32 << 20;

/// What is logged together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Log {
    pub source: Source,
    pub place: Place,
    /// The list of access control that the objects get besides their owner's.
    pub acl: Option<String>,
}

#[derive(Debug)]
struct Waiting {
    lines: String,
    due: Instant,
}

#[derive(Debug, Default)]
struct All {
    logs: HashMap<Log, Waiting>,
    bytes: usize,
}

#[derive(Debug)]
pub struct AccessLogs {
    waiting: Mutex<All>,
    news: Notify,
    /// From the first line to the delivery.
    delay: Duration,
    metrics: Arc<Metrics>,
}

impl AccessLogs {
    pub fn new(delay: Duration, metrics: Arc<Metrics>) -> Self {
        Self { waiting: Mutex::default(), news: Notify::new(), delay, metrics }
    }

    pub fn add(&self, log: Log, line: &str) {
        let mut waiting = self.lock();
        if waiting.bytes + line.len() > WAITING_BYTES_MAX {
            self.metrics.count("karri_walrus_access_log_lines_lost_total", &[]);
            return;
        }
        waiting.bytes += line.len();
        let due = Instant::now() + self.delay;
        let one = waiting.logs.entry(log).or_insert_with(|| Waiting { lines: String::new(), due });
        let is_first = one.lines.is_empty();
        one.lines.push_str(line);
        let is_full = one.lines.len() >= LOG_BYTES_MAX;
        if is_full {
            one.due = Instant::now();
        }
        if is_first || is_full {
            self.news.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something is to be delivered.
    async fn due(&self) {
        loop {
            let next = self.lock().logs.values().map(|one| one.due).min();
            match next {
                None => self.news.notified().await,
                Some(at) if at <= Instant::now() => return,
                Some(at) => {
                    let _ = tokio::time::timeout_at(at, self.news.notified()).await;
                }
            }
        }
    }

    fn take(&self, until: Option<Instant>) -> Vec<(Log, String)> {
        let due = |one: &Waiting| until.is_none_or(|until| one.due <= until);
        let mut waiting = self.lock();
        let taken = waiting.logs.extract_if(|_, one| due(one)).map(|(log, one)| (log, one.lines));
        let taken: Vec<(Log, String)> = taken.collect();
        waiting.bytes -= taken.iter().map(|(_, lines)| lines.len()).sum::<usize>();
        taken
    }

    /// Delivers what waits until then; nothing: all.
    pub async fn deliver(&self, objects: &Objects, until: Option<Instant>) {
        for (log, lines) in self.take(until) {
            match deliver(objects, &log, &lines).await {
                Ok(true) => self.metrics.count("karri_walrus_access_logs_total", &[]),
                Ok(false) => {
                    tracing::info!(source = %log.source.bucket, target = %log.place.bucket, "an access log may not be delivered");
                    self.metrics.count("karri_walrus_access_logs_refused_total", &[]);
                }
                Err(error) => {
                    tracing::warn!(source = %log.source.bucket, %error, "an access log is delivered later");
                    self.put_back(log, &lines);
                }
            }
        }
    }

    /// What could not be delivered waits once more, however long it is: a store that is ill is not asked all the time.
    fn put_back(&self, log: Log, lines: &str) {
        self.add(log.clone(), lines);
        if let Some(one) = self.lock().logs.get_mut(&log) {
            one.due = Instant::now() + self.delay;
        }
    }
}

/// Until the controller stops.
pub async fn run(logs: Arc<AccessLogs>, objects: Objects, mut shutdown: Shutdown) {
    while !shutdown.is_stopping() {
        tokio::select! {
            () = logs.due() => logs.deliver(&objects, Some(Instant::now())).await,
            () = shutdown.wait() => {}
        }
    }
    logs.deliver(&objects, None).await;
}

/// Whether it may be delivered; then it is.
async fn deliver(objects: &Objects, log: &Log, lines: &str) -> Result<bool, StoreError> {
    let target = match objects.bucket_fetch(&log.place.bucket).await {
        Ok(target) if *target.owner == *log.source.owner => target,
        Ok(_) | Err(StoreError::NoSuchBucket) => return Ok(false),
        Err(error) => return Err(error),
    };
    let key = log.place.key(OffsetDateTime::now_utc(), rand::random());
    if key.len() > crate::app::s3::address::KEY_BYTES_MAX {
        return Ok(false);
    }
    let wanted = match allowed(&target, log, &key) {
        Ok(Some(wanted)) => wanted,
        Ok(None) => return Ok(false),
        Err(fault) => {
            tracing::error!(bucket = %target.name, cause = fault.cause(), "a bucket's settings are unreadable");
            return Ok(false);
        }
    };
    let mut writer = objects.begin_write(Some(lines.len() as u64), wanted.seal_with())?;
    writer.write(lines.as_bytes()).await?;
    let content = writer.finish().await?;
    let crc = checksum::to_store(&Hasher::digest(checksum::DEFAULT, lines.as_bytes()), Kind::FullObject);
    let facts = Facts {
        content_type: Some("text/plain".to_owned()),
        sse: wanted.sse().map(|sse| sse.to_text()),
        key_name: wanted.key_name().map(str::to_owned),
        acl: log.acl.clone(),
        checksums: crc.into_iter().collect(),
        ..Facts::default()
    };
    let md5 = Hasher::digest(Algorithm::Md5, lines.as_bytes());
    let put = ObjectPut {
        bucket: target.id,
        key: key.into(),
        owner: target.owner.clone(),
        etag: ETag { md5: md5.digest().try_into().unwrap_or_default(), parts: 0 },
        content,
        facts,
        check: None,
        tell: None,
    };
    match objects.object_put(put).await {
        Ok(_) => Ok(true),
        Err(StoreError::NoSuchBucket) => Ok(false),
        Err(error) => Err(error),
    }
}

/// How the log is to be written, if it may be.
fn allowed(target: &Bucket, log: &Log, key: &str) -> Result<Option<Wanted>, S3Fault> {
    let may = may_deliver(target, &log.source, &log.place, key)?;
    may.then(|| default_wanted(target)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_is_due_at_once_and_one_that_was_not_taken_is_not() {
        let logs = AccessLogs::new(Duration::from_secs(3600), Arc::default());
        let text: Arc<str> = "b".into();
        let source = Source { bucket: text.clone(), owner: text.clone(), region: text.clone() };
        let place = Place { bucket: text, prefix: String::new(), by_day: false };
        logs.add(Log { source, place, acl: None }, &"x".repeat(LOG_BYTES_MAX));
        let (log, lines) = logs.take(Some(Instant::now())).pop().unwrap();
        logs.put_back(log, &lines);
        assert_eq!(logs.take(Some(Instant::now())).len(), 0);
        assert_eq!(logs.take(None).pop().unwrap().1, lines);
    }
}
