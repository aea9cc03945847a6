//! Pages: MaxResults and NextToken, for every action that has them.
//!
//! A token names the last item of the page before, bound to the action and its filters. It is not
//! secret and grants nothing: it only says where to go on in what the caller may see anyhow. Opaque to
//! clients all the same; one that was changed, or belongs to another question, is refused.

use super::query::range;
use super::{Action, WireFault};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// What EC2 allows for MaxResults where its model does not say otherwise.
pub const MAX_RESULTS_MIN: i64 = 5;
pub const MAX_RESULTS_MAX: i64 = 1000;

const CHECK_BYTES: usize = 12;

/// Which part of a listing was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Only items whose key is greater than this.
    pub after: Option<String>,
    /// At most so many; no bound when the client gave none.
    pub limit: Option<usize>,
    question: Vec<u8>,
}

impl Page {
    pub fn of<A: Action>(request: &A) -> Result<Page, WireFault> {
        let limit = match request.max_results() {
            None => None,
            Some(count) => {
                range("MaxResults", count.into(), A::MAX_RESULTS_MIN, MAX_RESULTS_MAX)?;
                usize::try_from(count).ok()
            }
        };
        let question = question(request);
        // An empty token is what a client sends that has none yet.
        let token = request.next_token().filter(|token| !token.is_empty());
        let after = token.map(|token| open(token, &question)).transpose()?;
        Ok(Page { after, limit, question })
    }

    /// Cuts a listing that is sorted by `key` and holds all that follows `after` (or at least one item
    /// more than `limit`): this page, and the token of the next if there is one.
    pub fn cut<T>(&self, mut items: Vec<T>, key: impl Fn(&T) -> &str) -> (Vec<T>, Option<String>) {
        if let Some(after) = &self.after {
            items.retain(|item| key(item) > after.as_str());
        }
        let Some(limit) = self.limit.filter(|limit| items.len() > *limit) else { return (items, None) };
        items.truncate(limit);
        let token = items.last().map(|last| seal(key(last), &self.question));
        (items, token)
    }
}

/// What a token is bound to.
fn question<A: Action>(request: &A) -> Vec<u8> {
    let mut hash = Sha256::new();
    let mut part = |text: &str| {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    };
    part(A::SERVICE.name());
    part(A::NAME);
    for filter in request.filters() {
        part(&filter.name);
        filter.values.iter().for_each(|value| part(value));
        part("");
    }
    hash.finalize().to_vec()
}

fn seal(key: &str, question: &[u8]) -> String {
    let mut bytes = check(key, question).to_vec();
    bytes.extend_from_slice(key.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

fn open(token: &str, question: &[u8]) -> Result<String, WireFault> {
    let fault = || WireFault::invalid("NextToken", token, "The token is invalid.");
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| fault())?;
    let (sum, key) = bytes.split_at_checked(CHECK_BYTES).ok_or_else(fault)?;
    let key = std::str::from_utf8(key).map_err(|_| fault())?;
    if sum == check(key, question) { Ok(key.to_string()) } else { Err(fault()) }
}

fn check(key: &str, question: &[u8]) -> [u8; CHECK_BYTES] {
    let digest = Sha256::new().chain_update(question).chain_update(key).finalize();
    let mut sum = [0; CHECK_BYTES];
    sum.copy_from_slice(&digest[..CHECK_BYTES]);
    sum
}

#[cfg(test)]
mod tests;
