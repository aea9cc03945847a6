//! No network at all: for simulated nodes, and for tests that look at what was wanted.

use super::{DriveError, Driver, Eyes, Host, Wanted};
use async_trait::async_trait;
use karri_proto::internal::kernel::KernelLook;
use karri_proto::network::Subnet;
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

    fn eyes(&self) -> Arc<dyn Eyes> {
        Arc::new(self.clone())
    }
}

/// Rules are there once they were applied, and have counted nothing.
#[async_trait]
impl Eyes for Simulated {
    async fn look(&self, wanted: &Wanted, subnet: &Subnet) -> Result<KernelLook, DriveError> {
        if self.failing.load(Ordering::Relaxed) {
            return Err(DriveError::new("iptables-save", "told to fail"));
        }
        let mut look = KernelLook::default();
        let of = |of: &Wanted| of.routers.get(&subnet.vpc).map(|router| router.tables.clone());
        let (found, wanted) = (of(&self.wanted()), of(wanted));
        let mut table = "";
        for line in found.iter().flat_map(|text| text.lines()) {
            if let Some(name) = line.strip_prefix('*') {
                table = name;
            } else if let Some((chain, rule)) = line.strip_prefix("-A ").and_then(|line| line.split_once(' '))
            {
                look.line(format!("simulated: iptables {table} {chain}"), rule, Some(0));
            }
        }
        if found != wanted {
            look.differs("the rules are not those that are wanted");
        }
        Ok(look)
    }
}
