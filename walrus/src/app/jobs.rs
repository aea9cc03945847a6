//! What is being made for somebody: images of objects, objects of images.
//!
//! ```text
//!   asked ──► running ──► over ──► told, and forgotten
//!               │          └─────► nobody asks any more: forgotten
//!               └── nobody asks any more, or somebody gives it up: ended
//! ```
//!
//! Nothing of it is kept on disk. Who wants something asks until it is told, and so starts it anew after a restart
//! or when the answer was lost; what had been made is then found again, or made once more.

use super::bundle::Progress;
use karri_proto::internal::ApiError;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// More wait until one of these is told; how many are computed at once the importer says.
const JOBS_MAX: usize = 64;
/// A job that nobody has asked about for so long is nobody's.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 5000 });

type Outcome<T> = Result<T, ApiError>;

/// What is known of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told<T> {
    Working { done: u64, all: u64 },
    Over(T),
}

#[derive(Debug)]
struct Job<T> {
    outcome: watch::Receiver<Option<Outcome<T>>>,
    progress: Arc<Counters>,
    asked: Instant,
    work: AbortHandle,
}

/// What is seen of a job from outside.
type Watched<T> = (watch::Receiver<Option<Outcome<T>>>, Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    done: AtomicU64,
    all: AtomicU64,
}

/// `K` says what is made, `T` is what came of it.
#[derive(Debug)]
pub struct Jobs<K, T>(Arc<Mutex<HashMap<K, Job<T>>>>);

impl<K, T> Default for Jobs<K, T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K, T> Clone for Jobs<K, T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, T> Jobs<K, T>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    T: Clone + Send + Sync + 'static,
{
    fn lock(&self) -> MutexGuard<'_, HashMap<K, Job<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far it is, or what came of it. Waits `wait` for that. `start` is called when nobody has asked yet.
    pub async fn ask<F>(
        &self,
        key: &K,
        wait: Duration,
        start: impl FnOnce(Progress) -> F,
    ) -> Result<Told<T>, ApiError>
    where
        F: Future<Output = Outcome<T>> + Send + 'static,
    {
        let (mut outcome, progress) = self.job(key, start)?;
        let over = tokio::time::timeout(wait, outcome.wait_for(Option::is_some)).await;
        let told = match over {
            Ok(Ok(outcome)) => (*outcome).clone(),
            Ok(Err(_)) => Some(Err(ApiError::unreachable("it is no longer being made"))),
            Err(_) => None,
        };
        let Some(told) = told else {
            let [done, all] = [&progress.done, &progress.all].map(|count| count.load(Ordering::Relaxed));
            return Ok(Told::Working { done, all });
        };
        self.lock().remove(key);
        told.map(Told::Over)
    }

    /// Ends what is under way.
    pub fn abandon(&self, key: &K) {
        if let Some(job) = self.lock().remove(key) {
            job.work.abort();
        }
    }

    fn job<F>(&self, key: &K, start: impl FnOnce(Progress) -> F) -> Result<Watched<T>, ApiError>
    where
        F: Future<Output = Outcome<T>> + Send + 'static,
    {
        let mut jobs = self.lock();
        if let Some(job) = jobs.get_mut(key) {
            job.asked = Instant::now();
            return Ok((job.outcome.clone(), job.progress.clone()));
        }
        jobs.retain(|_, job| job.asked.elapsed() < FORGOTTEN_AFTER);
        if jobs.len() >= JOBS_MAX {
            return Err(ApiError::unreachable("too many images are being made"));
        }
        let (tell, outcome) = watch::channel(None);
        let progress = Arc::<Counters>::default();
        let counters = progress.clone();
        let work = start(Arc::new(move |done, all| {
            counters.done.store(done, Ordering::Relaxed);
            counters.all.store(all, Ordering::Relaxed);
        }));
        let (own, asked) = (self.clone(), key.clone());
        let task = tokio::spawn(async move {
            tokio::select! {
                made = work => drop(tell.send_replace(Some(made))),
                () = own.nobody_asks(&asked) => {}
            }
        });
        let (told, counters) = (outcome.clone(), progress.clone());
        let job = Job { outcome, progress: counters, asked: Instant::now(), work: task.abort_handle() };
        jobs.insert(key.clone(), job);
        Ok((told, progress))
    }

    /// Ends when the job is nobody's, and forgets it.
    async fn nobody_asks(&self, key: &K) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let mut jobs = self.lock();
            if jobs.get(key).is_none_or(|job| job.asked.elapsed() >= FORGOTTEN_AFTER) {
                jobs.remove(key);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    const WAIT: Duration = Duration::from_millis(20);
    const PATIENCE: Duration = Duration::from_secs(20);
    const KEY: &str = "image";

    /// A job without an end; what is returned breaks off when it is ended.
    async fn endless(jobs: &Jobs<&'static str, ()>) -> oneshot::Receiver<()> {
        let (held, ended) = oneshot::channel();
        let asked = jobs.ask(&KEY, WAIT, |_| async move {
            let _held = held;
            std::future::pending().await
        });
        assert_eq!(asked.await, Ok(Told::Working { done: 0, all: 0 }));
        ended
    }

    async fn ends(ended: oneshot::Receiver<()>) {
        let ended = tokio::time::timeout(PATIENCE, ended).await.expect("it goes on");
        assert!(ended.is_err());
    }

    #[tokio::test]
    async fn who_asks_again_hears_of_the_one_job_and_then_what_came_of_it() {
        let jobs = Jobs::<&str, ()>::default();
        let (go, gone) = oneshot::channel::<()>();
        let first = jobs.ask(&KEY, WAIT, |progress| async move {
            progress(3, 9);
            let _ = gone.await;
            Err(ApiError::invalid("not an image"))
        });
        assert_eq!(first.await, Ok(Told::Working { done: 3, all: 9 }));
        let never = |_: Progress| async { Err(ApiError::unreachable("asked twice")) };
        assert_eq!(jobs.ask(&KEY, WAIT, never).await, Ok(Told::Working { done: 3, all: 9 }));
        go.send(()).unwrap();
        let told = jobs.ask(&KEY, PATIENCE, never).await;
        assert_eq!(told, Err(ApiError::invalid("not an image")));
        assert_eq!(jobs.lock().len(), 0);
    }

    #[tokio::test]
    async fn what_nobody_asks_about_is_ended() {
        let jobs = Jobs::default();
        let ended = endless(&jobs).await;
        jobs.lock().values_mut().for_each(|job| job.asked = job.asked.checked_sub(FORGOTTEN_AFTER).unwrap());
        ends(ended).await;
        assert!(jobs.lock().is_empty());
    }

    #[tokio::test]
    async fn what_is_given_up_is_ended_and_can_be_asked_for_anew() {
        let jobs = Jobs::default();
        let ended = endless(&jobs).await;
        jobs.abandon(&KEY);
        jobs.abandon(&KEY);
        ends(ended).await;
        assert_eq!(jobs.ask(&KEY, PATIENCE, |_| async { Ok(()) }).await, Ok(Told::Over(())));
    }
}
