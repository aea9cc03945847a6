//! Why an image was not taken, and how that is told: to whoever sent it, and as a metric.

use crate::app::Refusal;
use crate::app::bundle::BundleError;
use crate::drive::qemu_img::ToolError;
use karri_proto::internal::ApiError;
use std::io;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error("the image is larger than {0} bytes, the most that can be imported (blobs.import_max_gib)")]
    TooLarge(u64),
    #[error("the image store is full ({0})")]
    Full(String),
    #[error("too many imports are under way")]
    Busy,
    #[error("the upload stood still for {0:?}")]
    Stalled(Duration),
    #[error("the upload broke off: {0}")]
    Broken(String),
    #[error(transparent)]
    Tool(ToolError),
    #[error("image store: {0}")]
    Io(io::Error),
    #[error("the image store is stopping")]
    Stopping,
}

impl From<io::Error> for ImportError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                ImportError::Full(error.to_string())
            }
            _ => ImportError::Io(error),
        }
    }
}

impl From<ToolError> for ImportError {
    fn from(error: ToolError) -> Self {
        match error {
            ToolError::NoSpace => ImportError::Full(error.to_string()),
            ToolError::TooLarge(bytes) => ImportError::TooLarge(bytes),
            ToolError::Damaged(_) | ToolError::Slow(_) | ToolError::Missing(_) => ImportError::Tool(error),
        }
    }
}

impl From<ImportError> for ApiError {
    fn from(error: ImportError) -> Self {
        match &error {
            ImportError::Bundle(BundleError::Abandoned) => ApiError::unreachable(error),
            ImportError::Refused(_)
            | ImportError::Bundle(_)
            | ImportError::TooLarge(_)
            | ImportError::Stalled(_)
            | ImportError::Broken(_)
            | ImportError::Tool(ToolError::Damaged(_) | ToolError::Slow(_)) => {
                ApiError::invalid(error.to_string())
            }
            ImportError::Full(_) => ApiError::full(error.to_string()),
            ImportError::Busy | ImportError::Stopping => ApiError::unreachable(error),
            ImportError::Tool(_) | ImportError::Io(_) => ApiError::internal(error),
        }
    }
}

impl ImportError {
    /// The label of the metric.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            ImportError::Bundle(BundleError::Abandoned) => "stopped",
            ImportError::Refused(_) | ImportError::TooLarge(_) | ImportError::Bundle(_) => "refused",
            ImportError::Tool(ToolError::Damaged(_) | ToolError::Slow(_)) => "refused",
            ImportError::Full(_) => "full",
            ImportError::Busy => "busy",
            ImportError::Stalled(_) | ImportError::Broken(_) => "broken",
            ImportError::Tool(_) | ImportError::Io(_) => "failed",
            ImportError::Stopping => "stopped",
        }
    }
}
