//! ImportImage: what is checked, and what becomes of the disk.
//!
//! The disk is an object that the caller may read. It is looked at while the request is answered, so that what cannot
//! be imported at all is refused at once; the rest is a task.

use super::bundle::{self, BundleSource, ObjectPath, is_bucket, is_key};
use super::register::Owner;
use super::task::ImageTask;
use super::{Image, ImageDefinition, ImageKind, ImageState, ROOT_DEVICE_DEFAULT, RootDisk};
use crate::app::text::is_plain;
use karri_proto::fault::{Fault, FaultCode, shown};
use karri_proto::ids::MachineImageId;
use karri_proto::instance::{BlobRef, Firmware};
use karri_proto::internal::bundles::{BundleService, DiskFacts, Inspected, SourceKind};
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::{ApiError, Caller};
use serde::{Deserialize, Serialize};

const DESCRIPTION_CHARS_MAX: usize = 255;
/// EC2's words for formats, and what the image store calls them.
const FORMATS: [(&str, &str); 5] =
    [("RAW", "raw"), ("VMDK", "vmdk"), ("VHD", "vhd"), ("VHDX", "vhdx"), ("QCOW2", "qcow2")];

/// An import as its owner describes it.
#[derive(Debug, Clone, Default)]
pub struct ImportDraft {
    pub architecture: Option<String>,
    pub boot_mode: Option<String>,
    pub description: Option<String>,
    pub platform: Option<String>,
    pub license_type: Option<String>,
    pub disks: Vec<DiskContainer>,
}

#[derive(Debug, Clone, Default)]
pub struct DiskContainer {
    pub description: Option<String>,
    pub device_name: Option<String>,
    pub format: Option<String>,
    pub url: Option<String>,
    pub bucket: Option<String>,
    pub key: Option<String>,
}

/// What is imported, as it was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportWork {
    pub source: BundleSource,
    /// As the object was found to be.
    pub format: String,
    /// As given; without one, the object was named by bucket and key.
    pub url: Option<String>,
    /// Of the object.
    pub object_bytes: u64,
    pub disk_description: Option<String>,
    pub device_name: String,
    pub architecture: String,
    pub boot_mode: Option<String>,
    pub description: Option<String>,
    pub platform: String,
    pub license_type: Option<String>,
    /// Everyone's, as what its owner registers.
    #[serde(default)]
    pub public: bool,
    /// The image, once it is there.
    pub image_id: Option<String>,
}

/// The import that the draft describes, if the caller may read the disk and it is one.
pub async fn check(
    bundles: &dyn BundleService,
    caller: &Caller,
    owner: Owner<'_>,
    draft: ImportDraft,
) -> Result<ImportWork, Fault> {
    let architecture = check_words(&draft)?;
    let [disk] = &draft.disks[..] else { return Err(not_one_disk(draft.disks.len())) };
    let (path, facts) = inspect(bundles, caller, owner, disk).await?;
    Ok(ImportWork {
        source: path.source(SourceKind::Disk, facts.etag, facts.virtual_bytes),
        format: facts.format,
        url: disk.url.clone(),
        object_bytes: facts.bytes,
        disk_description: disk.description.clone(),
        device_name: disk.device_name.clone().unwrap_or_else(|| ROOT_DEVICE_DEFAULT.to_owned()),
        architecture,
        boot_mode: draft.boot_mode,
        description: draft.description,
        platform: draft.platform.unwrap_or_else(|| "Linux".to_owned()),
        license_type: draft.license_type,
        public: owner.administrator,
        image_id: None,
    })
}

/// The disk, looked at where it is said to be.
pub(super) async fn inspect(
    bundles: &dyn BundleService,
    caller: &Caller,
    owner: Owner<'_>,
    disk: &DiskContainer,
) -> Result<(ObjectPath, DiskFacts), Fault> {
    check_disk(disk)?;
    let path = path(disk)?;
    let found = bundle::ask(bundles, caller, owner, &path).await;
    let facts = disk_facts(found.map_err(|error| refused(&path, error, &caller.request_id))?, &path)?;
    check_format(disk.format.as_deref(), &facts)?;
    Ok((path, facts))
}

fn check_words(draft: &ImportDraft) -> Result<String, Fault> {
    let one_of = |name: &str, value: &Option<String>, possible: &[&str]| match value.as_deref() {
        Some(text) if !possible.contains(&text) => {
            let (shown, possible) = (shown(text), possible.join(", "));
            Err(Fault::invalid_parameter(format!(
                "Value ({shown}) for parameter {name} is invalid. Expecting one of: {possible}."
            )))
        }
        _ => Ok(()),
    };
    one_of("platform", &draft.platform, &["Linux", "Windows"])?;
    one_of("licenseType", &draft.license_type, &["AWS", "BYOL"])?;
    if draft.architecture.as_deref() == Some("arm64") {
        let sentence = "Machines of architecture arm64 are not to be had in this cloud";
        return Err(Fault::new(FaultCode::Unsupported, sentence));
    }
    one_of("architecture", &draft.architecture, &["i386", "x86_64"])?;
    check_text("description", draft.description.as_deref())?;
    Ok(draft.architecture.clone().unwrap_or_else(|| "x86_64".to_owned()))
}

pub(super) fn check_text(name: &str, text: Option<&str>) -> Result<(), Fault> {
    match text {
        Some(text) if text.chars().count() > DESCRIPTION_CHARS_MAX => Err(Fault::invalid_parameter(format!(
            "The parameter {name} must be at most {DESCRIPTION_CHARS_MAX} characters long"
        ))),
        Some(text) if !is_plain(text) => {
            Err(Fault::invalid_parameter(format!("The parameter {name} must not contain control characters")))
        }
        _ => Ok(()),
    }
}

fn not_one_disk(count: usize) -> Fault {
    if count == 0 {
        let sentence = "The request must contain the parameter diskContainers";
        return Fault::new(FaultCode::MissingParameter, sentence);
    }
    Fault::new(FaultCode::Unsupported, "Instances have one disk: specify one disk container")
}

fn check_disk(disk: &DiskContainer) -> Result<(), Fault> {
    check_text("diskContainer.description", disk.description.as_deref())?;
    super::register::check_device_name(disk.device_name.as_deref())
}

/// Where the disk is said to be.
fn path(disk: &DiskContainer) -> Result<ObjectPath, Fault> {
    let given = (disk.url.as_deref(), disk.bucket.as_deref(), disk.key.as_deref());
    match given {
        (Some(url), None, None) => {
            let parsed = url.strip_prefix("s3://").filter(|rest| !rest.starts_with('/'));
            parsed.and_then(ObjectPath::parse).ok_or_else(|| {
                let shown = shown(url);
                Fault::invalid_parameter(format!(
                    "Value ({shown}) for parameter diskContainer.url is invalid. Expecting s3://BUCKET/KEY."
                ))
            })
        }
        (None, Some(bucket), Some(key)) if is_bucket(bucket) && is_key(key) => {
            Ok(ObjectPath { bucket: bucket.to_owned(), key: key.to_owned() })
        }
        (None, Some(bucket), Some(_)) => {
            let (name, value) =
                if is_bucket(bucket) { ("S3Key", disk.key.as_deref()) } else { ("S3Bucket", Some(bucket)) };
            let shown = shown(value.unwrap_or_default());
            Err(Fault::invalid_parameter(format!(
                "Value ({shown}) for parameter diskContainer.userBucket.{name} is invalid."
            )))
        }
        (Some(_), _, _) => Err(Fault::new(
            FaultCode::InvalidParameterCombination,
            "A disk container has either a Url or a UserBucket, not both",
        )),
        (None, _, _) => Err(Fault::new(
            FaultCode::MissingParameter,
            "A disk container must have a Url, or a UserBucket with S3Bucket and S3Key",
        )),
    }
}

fn disk_facts(found: Inspected, path: &ObjectPath) -> Result<DiskFacts, Fault> {
    match found {
        Inspected::Disk(facts) => Ok(facts),
        Inspected::Bundle(_) => Err(Fault::invalid_parameter(format!(
            "The object {} is the manifest of a bundle: it is registered with RegisterImage",
            path.url()
        ))),
    }
}

/// A format that is given must be the one that was found.
fn check_format(given: Option<&str>, facts: &DiskFacts) -> Result<(), Fault> {
    let Some(given) = given else { return Ok(()) };
    let named = FORMATS.iter().find(|(name, _)| name.eq_ignore_ascii_case(given));
    match named {
        Some((_, format)) if *format == facts.format => Ok(()),
        Some(_) => Err(Fault::invalid_parameter(format!(
            "Value ({given}) for parameter diskContainer.format is invalid. The disk image is of the format {}.",
            facts.format
        ))),
        None => {
            let shown = shown(given);
            Err(Fault::invalid_parameter(format!(
                "Value ({shown}) for parameter diskContainer.format is invalid. Expecting one of: RAW, VMDK, VHD, \
                 VHDX, QCOW2."
            )))
        }
    }
}

/// In AWS's words.
fn refused(path: &ObjectPath, error: ApiError, request_id: &str) -> Fault {
    match error.kind {
        ApiErrorKind::Forbidden => {
            let (bucket, key) = (&path.bucket, &path.key);
            let sentence = format!("User does not have access to the S3 object.({bucket}/{key})");
            Fault::new(FaultCode::InvalidParameter, sentence)
        }
        ApiErrorKind::NotFound => {
            let sentence = format!("Invalid S3 source location: there is no object {}", path.url());
            Fault::new(FaultCode::InvalidParameter, sentence)
        }
        ApiErrorKind::Invalid => {
            let sentence = format!("Disk validation failed: {}", error.message);
            Fault::new(FaultCode::InvalidParameter, sentence)
        }
        ApiErrorKind::Conflict | ApiErrorKind::Full | ApiErrorKind::Unreachable | ApiErrorKind::Internal => {
            bundle::unanswered(&error, request_id)
        }
    }
}

impl ImportWork {
    /// The image that was made, of its task's name, as EC2 has it.
    pub fn image(&self, task: &ImageTask, blob: BlobRef, now_ms: i64) -> Image {
        let uefi = self.boot_mode.as_deref().is_some_and(|mode| mode.starts_with("uefi"));
        let definition = ImageDefinition {
            blob: Some(blob),
            bundle: Some(self.source.clone()),
            snapshot_id: None,
            failure: None,
            architecture: self.architecture.clone(),
            firmware: if uefi { Firmware::Uefi } else { Firmware::Bios },
            root_device_name: self.device_name.clone(),
            kernel_id: None,
            ramdisk_id: None,
            description: self.description.clone(),
            location: format!("{}/{}", self.source.bucket, self.source.key),
            boot_mode: self.boot_mode.clone(),
            virtualization_type: "hvm".to_owned(),
            ena_support: false,
            sriov_net_support: None,
            imds_support: None,
            root: RootDisk::default(),
        };
        Image {
            id: MachineImageId::random(&mut rand::thread_rng()).into(),
            account: task.account.clone(),
            name: task.id.clone(),
            state: ImageState::Available,
            public: self.public,
            kind: ImageKind::Machine,
            definition,
            created_ms: now_ms,
            request_id: task.request_id.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(url: Option<&str>, bucket: Option<&str>, key: Option<&str>) -> DiskContainer {
        let [url, bucket, key] = [url, bucket, key].map(|text| text.map(str::to_owned));
        DiskContainer { url, bucket, key, ..DiskContainer::default() }
    }

    #[test]
    fn a_disk_is_named_by_url_or_by_bucket_and_key() {
        for disk in
            [disk(Some("s3://bucket/a/disk.img"), None, None), disk(None, Some("bucket"), Some("a/disk.img"))]
        {
            let path = path(&disk).unwrap();
            assert_eq!((path.bucket.as_str(), path.key.as_str()), ("bucket", "a/disk.img"));
        }
        for (disk, code, words) in [
            (disk(None, None, None), "MissingParameter", "Url"),
            (disk(None, Some("bucket"), None), "MissingParameter", "S3Key"),
            (disk(Some("s3://bucket/k"), Some("bucket"), Some("k")), "InvalidParameterCombination", "both"),
            (disk(Some("https://host/bucket/k"), None, None), "InvalidParameterValue", "diskContainer.url"),
            (disk(Some("s3:///bucket/k"), None, None), "InvalidParameterValue", "diskContainer.url"),
            (disk(None, Some("b c"), Some("k")), "InvalidParameterValue", "userBucket.S3Bucket"),
            (disk(None, Some("bucket"), Some("a\nb")), "InvalidParameterValue", "userBucket.S3Key"),
        ] {
            let fault = path(&disk).unwrap_err();
            assert_eq!(fault.code(), code, "{disk:?}");
            assert!(fault.message().contains(words), "{}", fault.message());
        }
    }

    #[test]
    fn a_format_that_is_given_must_be_the_one_that_was_found() {
        let [etag, format] = ["e", "vmdk"].map(str::to_owned);
        let facts = DiskFacts { etag, format, bytes: 1, virtual_bytes: 1 };
        assert!([None, Some("VMDK"), Some("vmdk")].iter().all(|given| check_format(*given, &facts).is_ok()));
        for given in ["RAW", "OVA", ""] {
            let fault = check_format(Some(given), &facts).unwrap_err();
            assert!(fault.message().contains("diskContainer.format"), "{given}");
        }
    }
}
