//! The client tokens of launches, so that a new one need not be looked up in the database.
//!
//! Only where nobody else launches on the same database: SQLite.
//!
//! An account has `limits.client_tokens_per_account` of them at most, wherever they are kept: each is a row until a
//! day after the last of its instances is gone. A launch with one more is refused. Forgetting the oldest instead
//! would launch again, silently, for a client that still repeats itself, which is what it sends a token against.

use super::model::Instance;
use karri_proto::fault::{Fault, FaultCode};
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
pub struct Tokens {
    /// By account.
    used: Mutex<HashMap<String, HashSet<String>>>,
}

impl Tokens {
    fn used(&self) -> MutexGuard<'_, HashMap<String, HashSet<String>>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is_used(&self, account: &str, token: &str) -> bool {
        self.used().get(account).is_some_and(|tokens| tokens.contains(token))
    }

    pub fn count_of_account(&self, account: &str) -> usize {
        self.used().get(account).map_or(0, HashSet::len)
    }

    pub fn remember(&self, tokens: Vec<(String, String)>) {
        let mut used = self.used();
        for (account, token) in tokens {
            used.entry(account).or_default().insert(token);
        }
    }

    pub fn remember_launch(&self, instance: &Instance) {
        if let Some(token) = &instance.client_token {
            self.used().entry(instance.account.clone()).or_default().insert(token.clone());
        }
    }

    pub fn forget(&self, tokens: &[(String, String)]) {
        let mut used = self.used();
        for (account, token) in tokens {
            let Some(known) = used.get_mut(account) else { continue };
            known.remove(token);
            if known.is_empty() {
                used.remove(account);
            }
        }
    }
}

pub fn too_many(limit: usize) -> Fault {
    let sentence = format!(
        "The account has {limit} client tokens in use, as many as are remembered. A client token is free again a day \
         after the last of its instances is gone. Launch without a client token, or try again later."
    );
    Fault::new(FaultCode::ResourceLimitExceeded, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_counted_by_account() {
        let tokens = Tokens::default();
        let pair = |account: &str, token: &str| (account.to_owned(), token.to_owned());
        tokens.remember(vec![pair("a", "1"), pair("a", "2"), pair("a", "2"), pair("b", "1")]);
        assert_eq!(["a", "b", "c"].map(|account| tokens.count_of_account(account)), [2, 1, 0]);
        assert!(tokens.is_used("a", "2") && !tokens.is_used("b", "2"));
        tokens.forget(&[pair("a", "2"), pair("b", "1"), pair("c", "1")]);
        assert_eq!(["a", "b"].map(|account| tokens.count_of_account(account)), [1, 0]);
        assert!(!tokens.used().contains_key("b"), "nothing is left of an account without tokens");
    }
}
