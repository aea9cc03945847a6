//! How far what is remembered can be trusted: which version the cloud controller was at, and when it was last
//! heard. A controller that is away stops changes, not what runs, but not for ever.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// No version that a controller has.
pub(super) const NEVER: i64 = -1;

#[derive(Debug)]
pub(super) struct Pulse {
    version: AtomicI64,
    start: Instant,
    /// Since `start`.
    heard_at_ms: AtomicU64,
    away: AtomicBool,
    /// Nothing is believed that was heard longer ago.
    silence_max: Duration,
}

impl Pulse {
    pub(super) fn new(silence_max: Duration) -> Self {
        Self {
            version: AtomicI64::new(NEVER),
            start: Instant::now(),
            heard_at_ms: AtomicU64::new(0),
            away: AtomicBool::new(false),
            silence_max,
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn heard(&self, version: i64) {
        self.heard_at_ms.store(self.now_ms(), Ordering::Relaxed);
        self.version.store(version, Ordering::Release);
        self.away.store(false, Ordering::Relaxed);
    }

    pub(super) fn is_silent(&self) {
        self.away.store(true, Ordering::Relaxed);
    }

    pub(super) fn version(&self) -> i64 {
        self.version.load(Ordering::Acquire)
    }

    /// It did not answer when it was last asked: another question would only wait.
    pub(super) fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    pub(super) fn is_believed(&self) -> bool {
        let silent_ms = self.now_ms().saturating_sub(self.heard_at_ms.load(Ordering::Relaxed));
        Duration::from_millis(silent_ms) <= self.silence_max
    }
}
