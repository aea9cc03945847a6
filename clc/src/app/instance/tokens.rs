//! The client tokens of launches, so that a new one need not be looked up in the database.
//!
//! Only where nobody else launches on the same database: SQLite.

use super::model::Instance;
use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
pub struct Tokens {
    /// With their accounts.
    used: Mutex<HashSet<(String, String)>>,
}

impl Tokens {
    fn used(&self) -> MutexGuard<'_, HashSet<(String, String)>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is_used(&self, account: &str, token: &str) -> bool {
        self.used().contains(&(account.to_owned(), token.to_owned()))
    }

    pub fn remember(&self, tokens: Vec<(String, String)>) {
        self.used().extend(tokens);
    }

    pub fn remember_launch(&self, instance: &Instance) {
        if let Some(token) = &instance.client_token {
            self.used().insert((instance.account.clone(), token.clone()));
        }
    }

    pub fn forget(&self, tokens: &[(String, String)]) {
        let mut used = self.used();
        for token in tokens {
            used.remove(token);
        }
    }
}
