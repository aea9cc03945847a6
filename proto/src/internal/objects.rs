//! The store of objects as its operator sees it: a copy of it, made while it serves.
//!
//! A copy takes as long as it takes, so it is ordered and then asked about; an order that is repeated while it
//! is carried out is the same order. The server side lives in walrus.

use super::{ApiError, Caller};
use crate::runtime::client::InternalClient;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// `PUT`, body: a [`BackupOrder`]; `GET`: answered when there is news, or after [`BACKUP_NEWS_WITHIN`]. The
/// answer to both is a [`BackupStatus`].
pub const BACKUP_PATH: &str = "/v1/objects/backup";
pub const BACKUP_NEWS_WITHIN: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupOrder {
    /// Absolute, on the machine of the store; empty or not there.
    pub directory: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BackupState {
    #[default]
    Running,
    Done,
    Failed,
}

/// How far a copy is, and at its end what it holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupProgress {
    pub database_bytes: u64,
    pub blobs: u64,
    pub blob_bytes: u64,
    /// Known when the database is copied; 0 before.
    pub blobs_total: u64,
    pub blob_bytes_total: u64,
    /// Of objects that were damaged before.
    pub blobs_missing: u64,
}

/// How far the newest backup of this run of the store is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupStatus {
    pub directory: String,
    pub state: BackupState,
    #[serde(flatten)]
    pub copied: BackupProgress,
    /// Why it failed.
    pub error: Option<String>,
}

impl InternalClient {
    pub async fn backup_begin(&self, caller: &Caller, order: &BackupOrder) -> Result<BackupStatus, ApiError> {
        self.put(BACKUP_PATH, &caller.request_id, order).await
    }

    pub async fn backup_news(&self, caller: &Caller) -> Result<BackupStatus, ApiError> {
        self.get_waiting(BACKUP_PATH, &caller.request_id, BACKUP_NEWS_WITHIN).await
    }
}
