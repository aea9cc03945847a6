//! No network at all: for simulated nodes, and for tests that look at what was wanted.

use super::{DriveError, Driver, Host, Wanted};
use async_trait::async_trait;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Debug, Clone, Default)]
pub struct Simulated {
    applied: Arc<Mutex<Wanted>>,
    failing: Arc<AtomicBool>,
}

impl Simulated {
    /// From now on nothing can be applied, or all can again.
    pub fn fail(&self, failing: bool) {
        self.failing.store(failing, Ordering::Relaxed);
    }

    pub fn hosts(&self) -> Vec<Host> {
        self.wanted().hosts
    }

    /// As if nothing had been applied yet.
    pub fn forget(&self) {
        *self.applied.lock().unwrap_or_else(PoisonError::into_inner) = Wanted::default();
    }

    pub fn wanted(&self) -> Wanted {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Driver for Simulated {
    async fn apply(&mut self, wanted: &Wanted) -> Result<(), DriveError> {
        if self.failing.load(Ordering::Relaxed) {
            return Err(DriveError::new("bridge", "told to fail"));
        }
        let mut applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        if *applied != *wanted {
            *applied = wanted.clone();
        }
        Ok(())
    }
}
