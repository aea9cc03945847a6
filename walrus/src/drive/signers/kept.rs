//! A bounded memory of what the cloud controller said, and of what it does not know.
//!
//! ```text
//!   remembered, of the version that is current       answered at once
//!   not there, and asked for lately                  answered at once: a new key is heard of soon enough
//!   anything else                                    asked for, once for all who wait
//!   … and the controller does not answer             what was remembered, else an error
//! ```

use super::AuthFault;
use super::pulse::Pulse;
use karri_proto::internal::ApiError;
use karri_proto::internal::signers::Told;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};

/// Of each kind, known and unknown. A full memory is emptied, each by itself: who asks for what nobody has
/// does not push out what is in use.
const ROWS_MAX: usize = 20_000;
/// What is not there is asked for again after that: a change is heard a moment after it was made.
const ABSENT_FOR: Duration = Duration::from_millis(250);
/// Questions about what is not known to be there, at once; and how long each of them holds back the next when
/// the answer is no. Together a bound on what a flood of made-up keys costs the cloud controller.
const STRANGERS_AT_ONCE: usize = 8;
const STRANGER_PAUSE: Duration = Duration::from_millis(10);
const ASKED_WITHIN: Duration = Duration::from_secs(15);

type Found<V> = Option<Arc<V>>;
type Outcome<V> = Result<Found<V>, AuthFault>;
type Flights<V> = HashMap<String, watch::Receiver<Option<Outcome<V>>>>;

#[derive(Debug)]
struct Row<V> {
    version: i64,
    value: Arc<V>,
}

#[derive(Debug)]
pub(super) struct Kept<V> {
    present: RwLock<HashMap<String, Row<V>>>,
    absent: Mutex<HashMap<String, (i64, Instant)>>,
    flights: Mutex<Flights<V>>,
    strangers: Semaphore,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<V: Send + Sync + 'static> Kept<V> {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            present: RwLock::default(),
            absent: Mutex::default(),
            flights: Mutex::default(),
            strangers: Semaphore::new(STRANGERS_AT_ONCE),
        })
    }

    /// What is known of `key`, or what `ask` says.
    pub(super) async fn get<F>(
        self: &Arc<Self>,
        key: &str,
        pulse: &Arc<Pulse>,
        ask: impl FnOnce() -> F,
    ) -> Outcome<V>
    where
        F: Future<Output = Result<Told<V>, ApiError>> + Send + 'static,
    {
        let believed = pulse.is_believed();
        let (kept, current) = self.remembered(key, pulse.version());
        match kept {
            Some(value) if believed && current => return Ok(Some(value)),
            None if believed && self.is_absent(key, pulse.version()) => return Ok(None),
            _ => {}
        }
        let old = kept.filter(|_| believed);
        if pulse.is_away() {
            let away = || AuthFault::Unavailable("the cloud controller does not answer".to_owned());
            return old.map(Some).ok_or_else(away);
        }
        match (self.ask_once(key, ask).await, old) {
            (Err(_), Some(old)) => Ok(Some(old)),
            (outcome, _) => outcome,
        }
    }

    /// What is remembered, and whether it is of `version`.
    fn remembered(&self, key: &str, version: i64) -> (Found<V>, bool) {
        let present = self.present.read().unwrap_or_else(PoisonError::into_inner);
        present.get(key).map_or((None, false), |row| (Some(row.value.clone()), row.version == version))
    }

    fn is_absent(&self, key: &str, version: i64) -> bool {
        let absent = lock(&self.absent);
        absent.get(key).is_some_and(|(of, asked)| *of == version && asked.elapsed() < ABSENT_FOR)
    }

    /// One question for all who ask at the same time. It is a task of its own: who goes away does not take the
    /// answer from the others.
    async fn ask_once<F>(self: &Arc<Self>, key: &str, ask: impl FnOnce() -> F) -> Outcome<V>
    where
        F: Future<Output = Result<Told<V>, ApiError>> + Send + 'static,
    {
        let mut flight = {
            let mut flights = lock(&self.flights);
            match flights.get(key) {
                Some(flight) => flight.clone(),
                None => {
                    let (tell, flight) = watch::channel(None);
                    flights.insert(key.to_owned(), flight.clone());
                    tokio::spawn(self.clone().fly(key.to_owned(), ask(), tell));
                    flight
                }
            }
        };
        let outcome = flight.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        outcome.unwrap_or_else(|| {
            lock(&self.flights).remove(key); // its task is gone
            Err(AuthFault::Unavailable("the question was lost".to_owned()))
        })
    }

    async fn fly<F>(self: Arc<Self>, key: String, asked: F, tell: watch::Sender<Option<Outcome<V>>>)
    where
        F: Future<Output = Result<Told<V>, ApiError>> + Send + 'static,
    {
        let known = self.present.read().unwrap_or_else(PoisonError::into_inner).contains_key(&key);
        let asked = async {
            let turn = if known { None } else { self.strangers.acquire().await.ok() };
            (asked.await, turn)
        };
        let (outcome, turn) = match tokio::time::timeout(ASKED_WITHIN, asked).await {
            Ok((Ok(told), turn)) => (Ok(self.keep(&key, told)), turn),
            Ok((Err(error), turn)) => (Err(AuthFault::Unavailable(error.to_string())), turn),
            Err(_) => (Err(AuthFault::Unavailable("the cloud controller is too slow".to_owned())), None),
        };
        let nobody = matches!(outcome, Ok(None));
        lock(&self.flights).remove(&key);
        tell.send_replace(Some(outcome));
        if turn.is_some() && nobody {
            tokio::time::sleep(STRANGER_PAUSE).await; // the turn is held: see STRANGERS_AT_ONCE
        }
    }

    fn keep(&self, key: &str, told: Told<V>) -> Found<V> {
        let mut present = self.present.write().unwrap_or_else(PoisonError::into_inner);
        let mut absent = lock(&self.absent);
        let Some(value) = told.found.map(Arc::new) else {
            present.remove(key);
            make_room(&mut absent);
            absent.insert(key.to_owned(), (told.version, Instant::now()));
            return None;
        };
        absent.remove(key);
        make_room(&mut present);
        present.insert(key.to_owned(), Row { version: told.version, value: value.clone() });
        Some(value)
    }
}

fn make_room<R>(rows: &mut HashMap<String, R>) {
    if rows.len() >= ROWS_MAX {
        rows.clear();
    }
}
