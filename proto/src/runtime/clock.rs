//! The time of day for what is counted from one moment to another: it never goes back while the process lives,
//! and never jumps, whatever happens to the system's clock.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    started_unix_ms: i64,
}

impl Clock {
    pub fn start() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), started_unix_ms: i64::try_from(unix.as_millis()).unwrap_or_default() }
    }

    /// One for the whole process.
    pub fn of_process() -> Self {
        static CLOCK: OnceLock<Clock> = OnceLock::new();
        *CLOCK.get_or_init(Self::start)
    }

    pub fn now_ms(&self) -> i64 {
        self.started_unix_ms + i64::try_from(self.started.elapsed().as_millis()).unwrap_or_default()
    }
}
