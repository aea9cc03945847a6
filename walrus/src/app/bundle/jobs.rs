//! Images that are being made of bundles, while somebody asks for them.
//!
//! ```text
//!   asked ──► running ──► over ──► told, and forgotten
//!               │          └─────► nobody asks any more: forgotten
//!               └── nobody asks any more: ended
//! ```
//!
//! Nothing of it is kept on disk. Who wants an image asks until it is told, and so starts it anew after a restart
//! or when the answer was lost; what had been made is then found again (`cache`).

use super::parts::Progress;
use karri_proto::internal::ApiError;
use karri_proto::internal::blobs::ImportedBlob;
use karri_proto::internal::bundles::{BundleProgress, BundleToMake};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// More wait until one of these is told; how many are computed at once the importer says.
const JOBS_MAX: usize = 64;
/// A job that nobody has asked about for so long is nobody's.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 5000 });

type Outcome = Result<ImportedBlob, ApiError>;

#[derive(Debug)]
struct Job {
    outcome: watch::Receiver<Option<Outcome>>,
    progress: Arc<Counters>,
    asked: Instant,
}

#[derive(Debug, Default)]
struct Counters {
    done: AtomicU64,
    all: AtomicU64,
}

#[derive(Debug, Clone, Default)]
pub struct Jobs(Arc<Mutex<HashMap<BundleToMake, Job>>>);

impl Jobs {
    fn lock(&self) -> MutexGuard<'_, HashMap<BundleToMake, Job>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far it is, or what came of it. Waits `wait` for that. `start` is called when nobody has asked yet.
    pub async fn ask<F>(
        &self,
        bundle: &BundleToMake,
        wait: Duration,
        start: impl FnOnce(Progress) -> F,
    ) -> Result<BundleProgress, ApiError>
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let (mut outcome, progress) = self.job(bundle, start)?;
        let over = tokio::time::timeout(wait, outcome.wait_for(Option::is_some)).await;
        let told = match over {
            Ok(Ok(outcome)) => (*outcome).clone(),
            Ok(Err(_)) => Some(Err(ApiError::unreachable("the image is no longer being made"))),
            Err(_) => None,
        };
        let Some(told) = told else {
            let [done, all] = [&progress.done, &progress.all].map(|count| count.load(Ordering::Relaxed));
            return Ok(BundleProgress::Making { done, all });
        };
        self.lock().remove(bundle);
        told.map(BundleProgress::Made)
    }

    fn job<F>(
        &self,
        bundle: &BundleToMake,
        start: impl FnOnce(Progress) -> F,
    ) -> Result<(watch::Receiver<Option<Outcome>>, Arc<Counters>), ApiError>
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let mut jobs = self.lock();
        if let Some(job) = jobs.get_mut(bundle) {
            job.asked = Instant::now();
            return Ok((job.outcome.clone(), job.progress.clone()));
        }
        jobs.retain(|_, job| job.asked.elapsed() < FORGOTTEN_AFTER);
        if jobs.len() >= JOBS_MAX {
            return Err(ApiError::unreachable("too many images are being made"));
        }
        let (tell, outcome) = watch::channel(None);
        let progress = Arc::<Counters>::default();
        let job = Job { outcome: outcome.clone(), progress: progress.clone(), asked: Instant::now() };
        jobs.insert(bundle.clone(), job);
        let counters = progress.clone();
        let work = start(Arc::new(move |done, all| {
            counters.done.store(done, Ordering::Relaxed);
            counters.all.store(all, Ordering::Relaxed);
        }));
        let (jobs, bundle) = (self.clone(), bundle.clone());
        tokio::spawn(async move {
            tokio::select! {
                made = work => drop(tell.send_replace(Some(made))),
                () = jobs.nobody_asks(&bundle) => {}
            }
        });
        Ok((outcome, progress))
    }

    /// Ends when the job is nobody's, and forgets it.
    async fn nobody_asks(&self, bundle: &BundleToMake) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let mut jobs = self.lock();
            if jobs.get(bundle).is_none_or(|job| job.asked.elapsed() >= FORGOTTEN_AFTER) {
                jobs.remove(bundle);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_millis(20);

    fn bundle() -> BundleToMake {
        let [bucket, key, etag, account] = ["b", "k", "e", "1"].map(str::to_owned);
        BundleToMake { bucket, key, etag, account }
    }

    #[tokio::test]
    async fn who_asks_again_hears_of_the_one_job_and_then_what_came_of_it() {
        let jobs = Jobs::default();
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let bundle = bundle();
        let first = jobs.ask(&bundle, WAIT, |progress| async move {
            progress(3, 9);
            let _ = gone.await;
            Err(ApiError::invalid("not an image"))
        });
        assert_eq!(first.await, Ok(BundleProgress::Making { done: 3, all: 9 }));
        let never = |_: Progress| async { Err(ApiError::unreachable("asked twice")) };
        assert_eq!(jobs.ask(&bundle, WAIT, never).await, Ok(BundleProgress::Making { done: 3, all: 9 }));
        go.send(()).unwrap();
        let told = jobs.ask(&bundle, Duration::from_secs(20), never).await;
        assert_eq!(told, Err(ApiError::invalid("not an image")));
        assert_eq!(jobs.lock().len(), 0);
    }

    #[tokio::test]
    async fn what_nobody_asks_about_is_ended() {
        let jobs = Jobs::default();
        let (held, ended) = tokio::sync::oneshot::channel::<()>();
        let bundle = bundle();
        let asked = jobs.ask(&bundle, WAIT, |_| async move {
            let _held = held;
            std::future::pending().await
        });
        assert_eq!(asked.await, Ok(BundleProgress::Making { done: 0, all: 0 }));
        jobs.lock().values_mut().for_each(|job| job.asked = job.asked.checked_sub(FORGOTTEN_AFTER).unwrap());
        let ended = tokio::time::timeout(Duration::from_secs(20), ended).await.expect("it goes on");
        assert!(ended.is_err() && jobs.lock().is_empty(), "its work is dropped, and it is forgotten");
    }
}
