//! Snapshots: disks in the image store that are no images yet, and that images are registered on.
//!
//! ```text
//!   ImportSnapshot ──► its task ──► completed ──► deleted     unless an image is registered on it
//! ```
//!
//! A snapshot is there once its task is completed: it has no states of its own. What it holds never changes.

use karri_proto::fault::{Fault, FaultCode, shown_list};
use karri_proto::instance::BlobRef;
use serde::{Deserialize, Serialize};

const GIB: u64 = 1 << 30;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// `snap-…`
    pub id: String,
    pub account: String,
    pub definition: SnapshotDefinition,
    pub created_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotDefinition {
    pub blob: BlobRef,
    pub description: String,
}

impl Snapshot {
    /// Of the least volume that holds it.
    pub fn gib(&self) -> u64 {
        self.definition.blob.virtual_bytes.div_ceil(GIB).max(1)
    }

    /// Nobody else's is to be seen.
    pub fn is_visible_to(&self, account: &str, administrator: bool) -> bool {
        administrator || self.account == account
    }
}

/// EC2's answer for a snapshot that is not there, or not for this account.
pub fn not_found(ids: &[&str]) -> Fault {
    let sentence = match ids {
        [id] => format!("The snapshot '{id}' does not exist."),
        ids => format!("The snapshots '{}' do not exist.", shown_list(ids)),
    };
    Fault::new(FaultCode::InvalidSnapshotNotFound, sentence)
}

/// It is what an image's instances start from.
pub fn in_use(id: &str, image_id: &str) -> Fault {
    let sentence = format!("The snapshot {id} is currently in use by {image_id}");
    Fault::new(FaultCode::InvalidSnapshotInUse, sentence)
}
