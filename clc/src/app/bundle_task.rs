//! Bundle tasks: the root disk of an instance becomes an image bundle in a bucket.
//!
//! ```text
//!   pending ──► waiting-for-shutdown ──► bundling ──► storing ──► complete
//!      │  its node is told   │  the disk is copied  │  it is written  ▲
//!      └────────────────────┴──────────────────────┴──► cancelling ─┤ too late
//!                 (whatever goes wrong: failed)                │    │
//!                                                              └──► failed
//! ```
//!
//! The instance's node sees to the guest: it takes it off, copies its disk and starts it again, whatever becomes of the
//! task. `working` carries tasks on.

mod working;

use karri_proto::fault::{Fault, FaultCode, shown};
use karri_proto::ids::{BundleTaskId, InstanceId};
use karri_proto::instance::Digest;
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::instance_bundles::{BundleTarget, BundledMachine, InstanceBundle};
use karri_proto::internal::{ApiError, Caller};
use serde::{Deserialize, Serialize};

use super::image::bundle::{is_bucket, is_key, unanswered};
use super::instance::{Instance, State};

/// Of the last piece of a prefix, which parts are named after.
const NAME_BYTES_MAX: usize = 200;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleTask {
    pub id: BundleTaskId,
    pub account: String,
    pub instance_id: InstanceId,
    pub state: BundleState,
    pub progress_percent: u8,
    pub work: BundleWork,
    /// The copy of the disk, once it is in the image store.
    pub digest: Option<Digest>,
    pub error: Option<BundleError>,
    pub started_ms: i64,
    pub updated_ms: i64,
    pub ended_ms: Option<i64>,
    /// The request that asked for it.
    pub request_id: String,
}

/// What is to be written, and where, as it was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleWork {
    pub target: BundleTarget,
    pub machine: BundledMachine,
}

/// Why nothing came of it, as EC2 tells it: a code such as `Client.S3Error`, and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleError {
    pub code: String,
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BundleState {
    Pending,
    WaitingForShutdown,
    Bundling,
    Storing,
    Cancelling,
    Complete,
    Failed,
}

impl BundleState {
    const ALL: [Self; 7] = [
        Self::Pending,
        Self::WaitingForShutdown,
        Self::Bundling,
        Self::Storing,
        Self::Cancelling,
        Self::Complete,
        Self::Failed,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            BundleState::Pending => "pending",
            BundleState::WaitingForShutdown => "waiting-for-shutdown",
            BundleState::Bundling => "bundling",
            BundleState::Storing => "storing",
            BundleState::Cancelling => "cancelling",
            BundleState::Complete => "complete",
            BundleState::Failed => "failed",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    pub fn is_over(self) -> bool {
        matches!(self, Self::Complete | Self::Failed)
    }
}

impl BundleError {
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }

    pub fn cancelled() -> Self {
        Self::new("Client.Cancelled", "The bundle task was cancelled by its user")
    }
}

impl BundleTask {
    /// The same in another state.
    #[must_use]
    pub fn moved(&self, state: BundleState, now_ms: i64) -> Self {
        let ended_ms = state.is_over().then_some(now_ms);
        let progress_percent = if state == BundleState::Complete { 100 } else { self.progress_percent };
        Self { state, progress_percent, updated_ms: now_ms, ended_ms, ..self.clone() }
    }

    /// The bundle of a disk that is in the image store.
    pub fn bundle(&self, digest: &Digest) -> InstanceBundle {
        InstanceBundle {
            task: self.id.clone(),
            account: self.account.clone(),
            digest: digest.clone(),
            machine: self.work.machine.clone(),
            target: self.work.target.clone(),
        }
    }
}

/// What the manifest will say of an instance that may be bundled.
///
/// # Errors
/// `IncorrectInstanceState`
pub fn machine(instance: &Instance) -> Result<BundledMachine, Fault> {
    match instance.state {
        State::Running | State::Stopped => {}
        State::Pending | State::Stopping | State::ShuttingDown | State::Terminated => {
            let (id, state) = (&instance.id, instance.state.as_str());
            let sentence =
                format!("The instance '{id}' is not in a state from which it can be bundled. ({state})");
            return Err(Fault::new(FaultCode::IncorrectInstanceState, sentence));
        }
    }
    let spec = &instance.spec;
    Ok(BundledMachine {
        architecture: spec.architecture.clone(),
        kernel_id: spec.kernel_id.clone(),
        ramdisk_id: spec.ramdisk_id.clone(),
        root_device: spec.root_device_name.clone(),
    })
}

/// The manifest's key for a prefix.
///
/// # Errors
/// `InvalidParameterValue`: no bundle can lie there.
pub fn manifest_key(bucket: &str, prefix: &str) -> Result<String, Fault> {
    let wrong = |name: &str, value: &str| {
        let shown = shown(value);
        Fault::invalid_parameter(format!("Value ({shown}) for parameter Storage.S3.{name} is invalid."))
    };
    if !is_bucket(bucket) {
        return Err(wrong("Bucket", bucket));
    }
    let name = prefix.rsplit('/').next().unwrap_or_default();
    let is_name = (1..=NAME_BYTES_MAX).contains(&name.len()) && name.trim() == name && !name.contains('\\');
    let key = format!("{prefix}.manifest.xml");
    if is_name && is_key(&key) { Ok(key) } else { Err(wrong("Prefix", prefix)) }
}

pub fn in_progress(instance_id: &InstanceId) -> Fault {
    let sentence = format!("The instance '{instance_id}' already has a bundling task in progress");
    Fault::new(FaultCode::BundlingInProgress, sentence)
}

/// What is to be said where the image store refuses a place.
pub fn refused(target: &BundleTarget, error: &ApiError, caller: &Caller) -> Fault {
    let (bucket, prefix) = (&target.manifest.bucket, &target.prefix);
    let sentence = match error.kind {
        ApiErrorKind::Forbidden => {
            format!("The bundle cannot be written to {bucket}/{prefix}: {}", error.message)
        }
        ApiErrorKind::NotFound => format!("The bucket {bucket} does not exist"),
        ApiErrorKind::Invalid => format!("The storage location is not valid: {}", error.message),
        ApiErrorKind::Conflict | ApiErrorKind::Full | ApiErrorKind::Unreachable | ApiErrorKind::Internal => {
            return unanswered(error, &caller.request_id);
        }
    };
    Fault::invalid_parameter(sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_lie_where_every_bundler_puts_them() {
        assert_eq!(manifest_key("bucket", "a/b/my disk").unwrap(), "a/b/my disk.manifest.xml");
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        for (bucket, prefix, name) in [
            ("b", "disk", "Bucket"),
            ("bucket", "", "Prefix"),
            ("bucket", "a/", "Prefix"),
            ("bucket", " disk", "Prefix"),
            ("bucket", "a\\b", "Prefix"),
            ("bucket", "a\nb", "Prefix"),
            ("bucket", &long, "Prefix"),
        ] {
            let fault = manifest_key(bucket, prefix).unwrap_err();
            assert!(fault.message().contains(name), "{}", fault.message());
        }
    }

    #[test]
    fn states_are_told_as_ec2_tells_them() {
        for state in BundleState::ALL {
            assert_eq!(BundleState::parse(state.as_str()), Some(state));
        }
    }
}
