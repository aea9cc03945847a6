//! ImportSnapshot: what is checked, and what becomes of the disk.
//!
//! As ImportImage has it, but for what makes a disk an image: that is said when one is registered on the snapshot.

use super::bundle::BundleSource;
use super::import::{DiskContainer, check_text, inspect};
use super::register::Owner;
use crate::app::snapshot::{Snapshot, SnapshotDefinition};
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::SnapshotId;
use karri_proto::instance::BlobRef;
use karri_proto::internal::Caller;
use karri_proto::internal::bundles::{BundleService, SourceKind};
use serde::{Deserialize, Serialize};

/// What is imported, as it was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotWork {
    pub source: BundleSource,
    /// As the object was found to be.
    pub format: String,
    /// As given; without one, the object was named by bucket and key.
    pub url: Option<String>,
    /// Of the object.
    pub object_bytes: u64,
    pub disk_description: Option<String>,
    pub description: Option<String>,
    /// The snapshot, once it is there.
    pub snapshot_id: Option<String>,
}

/// The import of that disk, if the caller may read it and it is one.
pub async fn check(
    bundles: &dyn BundleService,
    caller: &Caller,
    owner: Owner<'_>,
    description: Option<String>,
    disk: Option<DiskContainer>,
) -> Result<SnapshotWork, Fault> {
    check_text("description", description.as_deref())?;
    let missing =
        || Fault::new(FaultCode::MissingParameter, "The request must contain the parameter diskContainer");
    let disk = disk.ok_or_else(missing)?;
    let (path, facts) = inspect(bundles, caller, owner, &disk).await?;
    Ok(SnapshotWork {
        source: path.source(SourceKind::Disk, facts.etag, facts.virtual_bytes),
        format: facts.format,
        url: disk.url,
        object_bytes: facts.bytes,
        disk_description: disk.description,
        description,
        snapshot_id: None,
    })
}

impl SnapshotWork {
    /// The snapshot that was made.
    pub fn snapshot(&self, task_id: &str, owner: &str, blob: BlobRef, now_ms: i64) -> Snapshot {
        let said = self.description.as_ref().or(self.disk_description.as_ref()).cloned();
        let description = said.unwrap_or_else(|| format!("Created by ImportSnapshot for {task_id}"));
        Snapshot {
            id: SnapshotId::random(&mut rand::thread_rng()).into(),
            account: owner.to_owned(),
            definition: SnapshotDefinition { blob, description },
            created_ms: now_ms,
        }
    }
}
