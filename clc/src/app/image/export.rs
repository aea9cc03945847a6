//! ExportImage: what is checked, and where the image goes.

use super::bundle::{is_bucket, is_key, unanswered};
use super::{Image, ImageKind, not_found};
use karri_proto::fault::{Fault, FaultCode, shown};
use karri_proto::instance::Digest;
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::exports::{ExportFormat, ExportService, ExportTarget, ImageToExport};
use karri_proto::internal::{ApiError, Caller};
use serde::{Deserialize, Serialize};

/// What is exported, as it was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportWork {
    pub image_id: String,
    pub digest: Digest,
    pub format: ExportFormat,
    pub target: ExportTarget,
    /// What the object's key begins with, as given.
    pub prefix: Option<String>,
    pub description: Option<String>,
}

impl ExportWork {
    pub fn to_export(&self) -> ImageToExport {
        ImageToExport { digest: self.digest.clone(), format: self.format, target: self.target.clone() }
    }
}

/// EC2's word for a format; the model has checked that it is one.
pub fn format_of(text: &str) -> ExportFormat {
    match text {
        "VMDK" => ExportFormat::Vmdk,
        "VHD" => ExportFormat::Vhd,
        _ => ExportFormat::Raw,
    }
}

pub fn format_text(format: ExportFormat) -> &'static str {
    match format {
        ExportFormat::Raw => "RAW",
        ExportFormat::Vmdk => "VMDK",
        ExportFormat::Vhd => "VHD",
    }
}

/// `PREFIXexport-ami-….vmdk`
///
/// # Errors
/// `InvalidParameterValue`: no object can be of that name.
pub fn key(bucket: &str, prefix: Option<&str>, task_id: &str, format: ExportFormat) -> Result<String, Fault> {
    let ending = format_text(format).to_ascii_lowercase();
    let key = format!("{}{task_id}.{ending}", prefix.unwrap_or_default());
    let wrong = |name: &str, value: &str| {
        let shown = shown(value);
        Fault::invalid_parameter(format!("Value ({shown}) for parameter s3ExportLocation.{name} is invalid."))
    };
    if !is_bucket(bucket) {
        return Err(wrong("s3Bucket", bucket));
    }
    if is_key(&key) { Ok(key) } else { Err(wrong("s3Prefix", prefix.unwrap_or_default())) }
}

/// The blob of an image that an account may take out: one of its own, as on EC2.
pub fn blob(image: Option<&Image>, id: &str, account: &str, administrator: bool) -> Result<Digest, Fault> {
    let image = image.filter(|image| image.is_registered() && image.is_visible_to(account, administrator));
    let image = image.ok_or_else(|| not_found(&[id]))?;
    if image.account != account && !administrator {
        let sentence = format!("You do not have permission to export the image {id}");
        return Err(Fault::new(FaultCode::AuthFailure, sentence));
    }
    if image.kind != ImageKind::Machine {
        let sentence = format!("The image {id} is a kernel or ramdisk: machine images can be exported");
        return Err(Fault::new(FaultCode::UnsupportedOperation, sentence));
    }
    let blob = image.bootable().ok_or_else(|| {
        let sentence = format!("The image ID '{id}' is not available");
        Fault::new(FaultCode::InvalidAmiIdUnavailable, sentence)
    })?;
    Ok(blob.digest.clone())
}

/// Whether the caller may write the object.
pub async fn inspect(
    exports: &dyn ExportService,
    caller: &Caller,
    target: &ExportTarget,
) -> Result<(), Fault> {
    let inspected = exports.export_inspect(caller, target).await;
    inspected.map_err(|error| refused(target, error, &caller.request_id))
}

fn refused(target: &ExportTarget, error: ApiError, request_id: &str) -> Fault {
    let ExportTarget { bucket, key, .. } = target;
    let sentence = match error.kind {
        ApiErrorKind::Forbidden => format!("User does not have access to the S3 object.({bucket}/{key})"),
        ApiErrorKind::NotFound => format!("Invalid S3 export location: there is no bucket {bucket}"),
        ApiErrorKind::Invalid => format!("Invalid S3 export location: {}", error.message),
        ApiErrorKind::Conflict | ApiErrorKind::Full | ApiErrorKind::Unreachable | ApiErrorKind::Internal => {
            return unanswered(&error, request_id);
        }
    };
    Fault::new(FaultCode::InvalidParameter, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_is_named_after_its_task() {
        let id = "export-ami-0123456789abcdef0";
        assert_eq!(key("bucket", Some("a/"), id, ExportFormat::Vmdk).unwrap(), format!("a/{id}.vmdk"));
        assert_eq!(key("bucket", None, id, ExportFormat::Raw).unwrap(), format!("{id}.raw"));
        for (bucket, prefix, name) in [("b", None, "s3Bucket"), ("bucket", Some("a\nb"), "s3Prefix")] {
            let fault = key(bucket, prefix, id, ExportFormat::Vhd).unwrap_err();
            assert!(fault.message().contains(name), "{}", fault.message());
        }
    }

    #[test]
    fn formats_are_told_as_they_are_asked_for() {
        for text in ["RAW", "VMDK", "VHD"] {
            assert_eq!(format_text(format_of(text)), text);
        }
    }
}
