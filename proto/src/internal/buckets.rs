//! Whose buckets there are at Walrus: what the cloud controller asks before it deletes an account.
//!
//! The server side lives in walrus, which owns buckets and objects.

use super::{ApiError, Caller};
use crate::runtime::client::InternalClient;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `GET`: the answer is [`AccountBuckets`].
pub const ACCOUNT_BUCKETS_PATH: &str = "/v1/accounts/{account}/buckets";
/// So many are told by name.
pub const NAMED_MAX: usize = 5;

/// The buckets that an account owns, in the order of names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountBuckets {
    pub names: Vec<String>,
    /// There are more than are named.
    pub more: bool,
}

impl InternalClient {
    pub async fn account_buckets(&self, caller: &Caller, account: &str) -> Result<AccountBuckets, ApiError> {
        self.get(&self.path(&["v1", "accounts", account, "buckets"]), &caller.request_id).await
    }
}
