//! Carries out buckets' lifecycle rules, by the same operations that requests use.
//!
//! A round re-reads every bucket that has rules and remembers nothing: one that is cut short, or fails at a
//! bucket, is made good by the next. A version is deleted only if, in the transaction that deletes it, it still is what
//! the rule was judged on, and no lock holds it.

use crate::app::s3::expiry::{self, Calendar, Verdict};
use crate::app::s3::lock;
use crate::store::objects::{
    Bucket, BucketQuery, Check, Existing, ObjectDelete, Objects, Refusal, ScanPlace, Scanned, StoreError,
    UnixMs,
};
use karri_proto::aws::s3::BucketLifecycleConfiguration;
use karri_proto::runtime::server::Shutdown;
use std::sync::Arc;
use std::time::Duration;

const BUCKETS_AT_ONCE: usize = 100;
/// Versions, or uploads; deletions of one transaction.
const SCANNED_AT_ONCE: usize = 500;
const PAUSE_MIN: Duration = Duration::from_secs(1);
const ROUNDS_A_DAY: u64 = 24;

/// What a round has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Round {
    /// Keys that a delete marker hides now, or that are gone.
    pub expired: u64,
    /// Old versions and delete markers.
    pub versions: u64,
    pub uploads: u64,
    /// Buckets that the round broke off in.
    pub failed: u64,
}

/// The version is no longer what the rule was judged on.
#[derive(Debug, thiserror::Error)]
#[error("it has changed")]
struct Changed;

/// Until the controller stops.
pub async fn run(objects: Objects, calendar: Calendar, clock: fn() -> UnixMs, mut shutdown: Shutdown) {
    let day = Duration::from_millis(calendar.day_ms().unsigned_abs());
    let pause = (day / u32::try_from(ROUNDS_A_DAY).unwrap_or(1)).max(PAUSE_MIN);
    loop {
        let paused = async {
            tokio::time::sleep(pause).await;
            round(&objects, calendar, clock()).await
        };
        let done = tokio::select! {
            done = paused => done,
            () = shutdown.wait() => return,
        };
        match done {
            Ok(Round { expired: 0, versions: 0, uploads: 0, .. }) => {}
            Ok(Round { expired, versions, uploads, .. }) => {
                tracing::info!(expired, versions, uploads, "lifecycle rules were carried out");
            }
            Err(error) => tracing::warn!(%error, "lifecycle rules are carried out later"),
        }
    }
}

/// Goes once through all buckets.
pub async fn round(objects: &Objects, calendar: Calendar, now: UnixMs) -> Result<Round, StoreError> {
    let mut done = Round::default();
    let mut query = BucketQuery { limit: BUCKETS_AT_ONCE, ..BucketQuery::default() };
    loop {
        let page = objects.bucket_list(&query).await?;
        for bucket in &page.buckets {
            let rules = match expiry::rules(bucket) {
                Ok(Some(rules)) => rules,
                Ok(None) => continue,
                Err(fault) => {
                    done.failed += 1;
                    tracing::error!(bucket = %bucket.name, cause = fault.cause(), "lifecycle rules are unreadable");
                    continue;
                }
            };
            let work = Work { objects, bucket, rules: &rules, calendar, now };
            match work.run(&mut done).await {
                Ok(()) | Err(StoreError::NoSuchBucket) => {}
                Err(StoreError::Closed) => return Err(StoreError::Closed),
                Err(error) => {
                    done.failed += 1;
                    tracing::warn!(bucket = %bucket.name, %error, "lifecycle rules are carried out later");
                }
            }
        }
        query.after = page.next;
        if query.after.is_none() {
            return Ok(done);
        }
    }
}

struct Work<'a> {
    objects: &'a Objects,
    bucket: &'a Arc<Bucket>,
    rules: &'a BucketLifecycleConfiguration,
    calendar: Calendar,
    now: UnixMs,
}

impl Work<'_> {
    async fn run(&self, done: &mut Round) -> Result<(), StoreError> {
        if expiry::enabled(self.rules).next().is_none() {
            return Ok(());
        }
        let prefix = expiry::common_prefix(self.rules);
        self.versions(&prefix, done).await?;
        self.uploads(&prefix, done).await
    }

    async fn versions(&self, prefix: &str, done: &mut Round) -> Result<(), StoreError> {
        let mut place = ScanPlace::default();
        loop {
            let id = self.bucket.id;
            let scanned = self.objects.version_scan(id, prefix, &mut place, SCANNED_AT_ONCE).await?;
            if scanned.is_empty() {
                return Ok(());
            }
            let judged: Vec<(Verdict, ObjectDelete)> =
                scanned.iter().filter_map(|one| self.judge(one)).collect();
            if judged.is_empty() {
                continue;
            }
            let (verdicts, deletes): (Vec<_>, Vec<_>) = judged.into_iter().unzip();
            for (verdict, answer) in verdicts.into_iter().zip(self.objects.objects_delete(id, deletes).await?)
            {
                match (answer, verdict) {
                    (Ok(deleted), _) if !deleted.existed => {}
                    (Ok(_), Verdict::DeleteKey) => done.expired += 1,
                    (Ok(_), Verdict::DeleteVersion) => done.versions += 1,
                    // It has changed, or is locked: not now.
                    (
                        Err(
                            StoreError::Refused(_) | StoreError::NoSuchKey { .. } | StoreError::NoSuchVersion,
                        ),
                        _,
                    ) => {}
                    (Err(error), _) => return Err(error),
                }
            }
        }
    }

    fn judge(&self, scanned: &Scanned) -> Option<(Verdict, ObjectDelete)> {
        let verdict = expiry::verdict(self.rules, scanned, self.now, self.calendar)?;
        let entry = &scanned.version.entry;
        let delete = ObjectDelete {
            key: entry.key.clone(),
            version: (verdict == Verdict::DeleteVersion).then_some(entry.version),
            owner: self.bucket.owner.clone(),
            check: Some(check(scanned, verdict, self.now)),
            tell: None,
        };
        Some((verdict, delete))
    }

    async fn uploads(&self, prefix: &str, done: &mut Round) -> Result<(), StoreError> {
        let (id, mut after) = (self.bucket.id, None);
        loop {
            let page =
                self.objects.upload_scan(id, prefix, self.now, after.as_ref(), SCANNED_AT_ONCE).await?;
            for upload in &page {
                if !expiry::ends_upload(self.rules, upload, self.now, self.calendar) {
                    continue;
                }
                match self.objects.upload_abort(id, &upload.key, upload.id).await {
                    Ok(()) => done.uploads += 1,
                    Err(StoreError::NoSuchUpload) => {}
                    Err(error) => return Err(error),
                }
            }
            after = page.into_iter().last();
            if after.is_none() {
                return Ok(());
            }
        }
    }
}

/// That the version still is what the rule was judged on.
fn check(scanned: &Scanned, verdict: Verdict, now: UnixMs) -> Check {
    let (seq, latest) = (scanned.seq, scanned.version.is_latest);
    Arc::new(move |existing: &Existing<'_>| {
        let current = existing.current.map(|object| object.seq);
        let target = existing.target.filter(|target| target.seq == seq);
        match (verdict, target) {
            (Verdict::DeleteKey, _) if current == Some(seq) => Ok(()),
            // A marker is never the current version, and stays when a newer version has come.
            (Verdict::DeleteVersion, Some(target))
                if current != Some(seq) && !(latest && current.is_some()) =>
            {
                lock::check_delete(&target.facts, now, false).map_err(Refusal::new)
            }
            _ => Err(Refusal::new(Changed)),
        }
    })
}
