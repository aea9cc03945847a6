//! Registering an image: what is checked, and in which order.

use super::bundle::{self, BundleSource, ObjectPath};
use super::{Image, ImageDefinition, ImageKind, ImageState, ROOT_DEVICE_DEFAULT, RootDisk, not_found};
use crate::app::snapshot::{self, Snapshot};
use crate::app::tag::Tags;
use crate::app::text::is_plain;
use crate::drive::blobs::Blobs;
use crate::store::Store;
use karri_proto::fault::{Fault, FaultCode, shown};
use karri_proto::ids::{KernelImageId, RamdiskImageId, SnapshotId};
use karri_proto::instance::{BlobRef, Digest, Firmware};
use karri_proto::internal::Caller;
use karri_proto::internal::blobs::{BlobFacts, Content};
use karri_proto::internal::bundles::{BundleService, Inspected, SourceKind};
use karri_proto::internal::signers::SecretText;
use std::net::IpAddr;

const KERNEL_PREFIX: &str = "karri-kernel/";
const RAMDISK_PREFIX: &str = "karri-ramdisk/";
const NAME_CHARS: std::ops::RangeInclusive<usize> = 3..=128;
const DESCRIPTION_CHARS_MAX: usize = 255;
/// 64 TiB, the largest volume that EC2 has.
const DISK_GIB_MAX: u64 = 64 << 10;

/// An image as its owner describes it.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    pub name: String,
    pub location: Option<String>,
    pub description: Option<String>,
    pub architecture: Option<String>,
    pub kernel_id: Option<String>,
    pub ramdisk_id: Option<String>,
    pub boot_mode: Option<String>,
    pub virtualization_type: Option<String>,
    pub root_device_name: Option<String>,
    pub ena_support: bool,
    pub sriov_net_support: Option<String>,
    pub imds_support: Option<String>,
    pub disks: Vec<DiskDraft>,
    pub tags: Tags,
}

#[derive(Debug, Clone, Default)]
pub struct DiskDraft {
    pub device_name: Option<String>,
    pub snapshot_id: Option<String>,
    pub gib: Option<i32>,
    pub volume_type: Option<String>,
}

/// Who registers.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    pub account: &'a str,
    /// Its images are everyone's.
    pub administrator: bool,
    /// Whose right to read an object counts.
    pub access_key_id: &'a str,
    pub session_token: Option<&'a SecretText>,
    pub address: Option<IpAddr>,
}

/// Where images come from.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    pub blobs: &'a dyn Blobs,
    pub bundles: &'a dyn BundleService,
}

/// What a request's location says.
#[derive(Debug, PartialEq)]
enum Location {
    /// Of the root disk.
    Snapshot(SnapshotId),
    Blob(ImageKind, Digest),
    Object(ObjectPath),
}

/// What the image will be of.
enum Source {
    Blob(BlobRef),
    Bundle(BundleSource),
    Snapshot(Snapshot),
}

/// The image that the draft describes, if it may be registered.
pub async fn check(
    store: &Store,
    sources: Sources<'_>,
    caller: &Caller,
    owner: Owner<'_>,
    draft: &Draft,
    now_ms: i64,
) -> Result<Image, Fault> {
    check_name(&draft.name)?;
    check_description(draft.description.as_deref())?;
    let (kind, state, definition) = match parse_source(draft)? {
        Location::Snapshot(id) => {
            let kind = ImageKind::Machine;
            check_boot(draft, kind)?;
            check_ids(store, owner, draft).await?;
            let snapshot = store.snapshot_fetch(id.as_str()).await?;
            let visible = |one: &Snapshot| one.is_visible_to(owner.account, owner.administrator);
            let snapshot = snapshot.filter(visible).ok_or_else(|| id.not_found())?;
            let mut definition = define(draft, kind, Source::Snapshot(snapshot))?;
            definition.location = format!("{}/{}", owner.account, draft.name); // as EC2 has it
            (kind, ImageState::Available, definition)
        }
        Location::Blob(kind, digest) => {
            check_boot(draft, kind)?;
            check_ids(store, owner, draft).await?;
            let blob = blob(sources.blobs, caller, kind, &digest).await?;
            (kind, ImageState::Available, define(draft, kind, Source::Blob(blob))?)
        }
        Location::Object(path) => {
            let (kind, draft, source) = match bundle::inspect(sources.bundles, caller, owner, &path).await? {
                Inspected::Bundle(facts) => {
                    let (kind, draft) = (bundle::kind_of(&facts), bundle::completed(draft, &facts));
                    (kind, draft, path.source(SourceKind::Bundle, facts.etag, facts.bytes))
                }
                Inspected::Disk(facts) => {
                    let source = path.source(SourceKind::Disk, facts.etag, facts.virtual_bytes);
                    (ImageKind::Machine, draft.clone(), source)
                }
            };
            check_boot(&draft, kind)?;
            check_ids(store, owner, &draft).await?;
            (kind, ImageState::Pending, define(&draft, kind, Source::Bundle(source))?)
        }
    };
    let image = Image {
        id: kind.new_id(),
        account: owner.account.to_owned(),
        name: draft.name.clone(),
        state,
        public: owner.administrator,
        kind,
        definition,
        created_ms: now_ms,
        request_id: caller.request_id.clone(),
    };
    match store.image_fetch_by_name(&image.account, &image.name).await? {
        Some(earlier) => Err(duplicate(&image.name, &earlier.id)),
        None => Ok(image),
    }
}

async fn blob(
    blobs: &dyn Blobs,
    caller: &Caller,
    kind: ImageKind,
    digest: &Digest,
) -> Result<BlobRef, Fault> {
    let info = blobs.blob_info(caller, digest).await.map_err(|error| {
        tracing::warn!(request_id = caller.request_id, %error, "the image store does not answer");
        Fault::new(FaultCode::Unavailable, "The image store does not answer. Try again later.")
    })?;
    let missing = || Fault::new(FaultCode::InvalidManifest, format!("There is no image blob {digest}"));
    let facts = info.ok_or_else(missing)?;
    check_content(kind, &facts)?;
    Ok(facts.blob)
}

/// Writes what was checked. The name may have been taken since, and the blob let go.
pub async fn register(
    store: &Store,
    blobs: &dyn Blobs,
    caller: &Caller,
    image: &Image,
    tags: &Tags,
) -> Result<(), Fault> {
    let lost = |blob: &BlobRef| {
        Fault::new(FaultCode::InvalidManifest, format!("There is no image blob {}", blob.digest))
    };
    let blob = image.definition.blob.as_ref();
    match store.image_insert(image, tags).await {
        Ok(true) => {}
        Ok(false) => {
            let gone = image.definition.snapshot_id.as_ref().map(|id| snapshot::not_found(&[id]));
            let lost = || blob.map_or_else(|| Fault::internal("no blob to let go"), lost);
            return Err(gone.unwrap_or_else(lost));
        }
        Err(error) if error.is_unique_violation() => {
            let earlier = store.image_fetch_by_name(&image.account, &image.name).await?;
            return Err(duplicate(&image.name, &earlier.map(|image| image.id).unwrap_or_default()));
        }
        Err(error) => return Err(error.into()),
    }
    // It may have been let go between the look at it and the insert; from the insert on it stays.
    let Some(blob) = blob else { return Ok(()) };
    match self::blob(blobs, caller, image.kind, &blob.digest).await {
        Ok(_) => Ok(()),
        Err(fault) => {
            store.image_deregister(&image.id).await?;
            Err(fault)
        }
    }
}

fn duplicate(name: &str, id: &str) -> Fault {
    let sentence = format!("AMI name {name} is already in use by AMI {id}");
    Fault::new(FaultCode::InvalidAmiNameDuplicate, sentence)
}

fn check_name(name: &str) -> Result<(), Fault> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || " ()[]./-'@_".contains(c);
    if NAME_CHARS.contains(&name.chars().count()) && name.chars().all(allowed) {
        return Ok(());
    }
    let sentence = "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, \
                    '(', ')', '.', '-', '/' and '_'";
    Err(Fault::new(FaultCode::InvalidAmiNameMalformed, sentence))
}

fn check_description(description: Option<&str>) -> Result<(), Fault> {
    match description {
        Some(text) if text.chars().count() > DESCRIPTION_CHARS_MAX => {
            let sentence =
                format!("Image descriptions must be less than {} characters long", DESCRIPTION_CHARS_MAX + 1);
            Err(Fault::invalid_parameter(sentence))
        }
        Some(text) if !is_plain(text) => {
            Err(Fault::invalid_parameter("Image descriptions must not contain control characters"))
        }
        _ => Ok(()),
    }
}

/// A snapshot for the root device says it all.
fn parse_source(draft: &Draft) -> Result<Location, Fault> {
    let snapshot = draft.disks.first().and_then(|disk| disk.snapshot_id.as_deref());
    match (snapshot, draft.location.as_deref()) {
        (Some(id), None) => Ok(Location::Snapshot(id.parse()?)),
        (Some(_), Some(_)) => {
            let sentence = "The parameter ImageLocation cannot be used with a snapshot of the root device";
            Err(Fault::new(FaultCode::InvalidParameterCombination, sentence))
        }
        (None, location) => parse_location(location),
    }
}

fn parse_location(location: Option<&str>) -> Result<Location, Fault> {
    let sentence = "The request must contain the parameter ImageLocation";
    let text = location.ok_or_else(|| Fault::new(FaultCode::MissingParameter, sentence))?;
    let (kind, digest) = if let Some(digest) = text.strip_prefix(KERNEL_PREFIX) {
        (ImageKind::Kernel, digest)
    } else if let Some(digest) = text.strip_prefix(RAMDISK_PREFIX) {
        (ImageKind::Ramdisk, digest)
    } else {
        (ImageKind::Machine, text)
    };
    if let Ok(digest) = digest.parse::<Digest>() {
        return Ok(Location::Blob(kind, digest));
    }
    // The names of our own are no buckets'.
    let manifest = ObjectPath::parse(text).filter(|_| kind == ImageKind::Machine);
    manifest.map(Location::Object).ok_or_else(|| {
        let shown: String = text.chars().take(128).collect();
        Fault::invalid_parameter(format!(
            "Value ({shown}) for parameter imageLocation is invalid. Expecting the bucket and key of a disk \
             image or of a bundle's manifest, or the digest of an imported blob: sha256: and 64 lower-case hex digits."
        ))
    })
}

fn check_boot(draft: &Draft, kind: ImageKind) -> Result<(), Fault> {
    let combination =
        |sentence: &'static str| Err(Fault::new(FaultCode::InvalidParameterCombination, sentence));
    let boots_itself = draft.kernel_id.is_none();
    if kind != ImageKind::Machine && (!boots_itself || draft.ramdisk_id.is_some() || !draft.disks.is_empty())
    {
        return combination("A kernel or ramdisk has no kernel, ramdisk or disks of its own");
    }
    if boots_itself && draft.ramdisk_id.is_some() {
        return combination("A ramdisk takes a kernel that loads it: specify KernelId too");
    }
    let mode = draft.boot_mode.as_deref();
    if !boots_itself && mode.is_some_and(|mode| mode != "legacy-bios") {
        return combination("An image with a kernel has no boot mode: its kernel is started directly");
    }
    match draft.architecture.as_deref() {
        None | Some("i386" | "x86_64") => {}
        Some(other) => {
            let sentence = format!("Machines of architecture {other} are not to be had in this cloud");
            return Err(Fault::new(FaultCode::Unsupported, sentence));
        }
    }
    match draft.virtualization_type.as_deref() {
        None | Some("hvm" | "paravirtual") => {}
        Some(other) => {
            let shown = shown(other);
            let sentence = format!(
                "Value ({shown}) for parameter virtualizationType is invalid. Expecting hvm or paravirtual."
            );
            return Err(Fault::invalid_parameter(sentence));
        }
    }
    if draft.sriov_net_support.as_deref().is_some_and(|mode| mode != "simple") {
        let sentence = "The only value for parameter sriovNetSupport is simple";
        return Err(Fault::invalid_parameter(sentence));
    }
    check_device_name(draft.root_device_name.as_deref())
}

pub(super) fn check_device_name(name: Option<&str>) -> Result<(), Fault> {
    let Some(name) = name else { return Ok(()) };
    let short = name.strip_prefix("/dev/").unwrap_or(name);
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    if (2..=16).contains(&short.len()) && short.bytes().all(plain) {
        return Ok(());
    }
    let shown = shown(name);
    let sentence = format!(
        "Value ({shown}) for parameter rootDeviceName is invalid. Expecting a name such as /dev/sda1."
    );
    Err(Fault::invalid_parameter(sentence))
}

/// Kernel and ramdisk must be that, and be there for the owner.
async fn check_ids(store: &Store, owner: Owner<'_>, draft: &Draft) -> Result<(), Fault> {
    if let Some(id) = &draft.kernel_id {
        id.parse::<KernelImageId>()?;
        check_part(store, owner, id).await?;
    }
    if let Some(id) = &draft.ramdisk_id {
        id.parse::<RamdiskImageId>()?;
        check_part(store, owner, id).await?;
    }
    Ok(())
}

async fn check_part(store: &Store, owner: Owner<'_>, id: &str) -> Result<(), Fault> {
    let image = store.image_fetch(id).await?;
    let usable =
        |image: &Image| image.bootable().is_some() && image.is_visible_to(owner.account, owner.administrator);
    if image.as_ref().is_some_and(usable) { Ok(()) } else { Err(not_found(&[id])) }
}

/// An image is what it says. A machine's disk may be anything that is not plainly something else: an empty
/// one carries no mark.
pub(super) fn check_content(kind: ImageKind, facts: &BlobFacts) -> Result<(), Fault> {
    let suits = match kind {
        ImageKind::Machine => {
            matches!(facts.content, Content::Disk | Content::FileSystem | Content::Unknown)
        }
        ImageKind::Kernel => facts.content == Content::Kernel,
        ImageKind::Ramdisk => facts.content == Content::Ramdisk,
    };
    if suits {
        return Ok(());
    }
    let (digest, found) = (&facts.blob.digest, facts.content.phrase());
    let expected = match kind {
        ImageKind::Machine => "a disk",
        ImageKind::Kernel => "a kernel",
        ImageKind::Ramdisk => "a ramdisk",
    };
    let sentence = format!("The blob {digest} is {found}, not {expected}");
    Err(Fault::new(FaultCode::InvalidManifest, sentence))
}

fn define(draft: &Draft, kind: ImageKind, source: Source) -> Result<ImageDefinition, Fault> {
    let uefi = draft.boot_mode.as_deref().is_some_and(|mode| mode.starts_with("uefi"));
    let paravirtual = draft.kernel_id.is_some() || kind != ImageKind::Machine;
    let presumed = if paravirtual { "paravirtual" } else { "hvm" };
    let root_device_name = draft.root_device_name.as_deref().unwrap_or(ROOT_DEVICE_DEFAULT);
    let (blob, bundle, snapshot_id) = match source {
        Source::Blob(blob) => (Some(blob), None, None),
        Source::Bundle(bundle) => (None, Some(bundle), None),
        Source::Snapshot(snapshot) => (Some(snapshot.definition.blob), None, Some(snapshot.id)),
    };
    let mut definition = ImageDefinition {
        blob,
        bundle,
        snapshot_id,
        failure: None,
        architecture: draft.architecture.clone().unwrap_or_else(|| "x86_64".to_owned()),
        firmware: if uefi { Firmware::Uefi } else { Firmware::Bios },
        root_device_name: root_device_name.to_owned(),
        kernel_id: draft.kernel_id.clone(),
        ramdisk_id: draft.ramdisk_id.clone(),
        description: draft.description.clone(),
        location: draft.location.clone().unwrap_or_default(),
        boot_mode: draft.boot_mode.clone(),
        virtualization_type: draft.virtualization_type.as_deref().unwrap_or(presumed).to_owned(),
        ena_support: draft.ena_support,
        sriov_net_support: draft.sriov_net_support.clone(),
        imds_support: draft.imds_support.clone(),
        root: RootDisk::default(),
    };
    definition.root = root_disk(&draft.disks, &definition)?;
    Ok(definition)
}

/// The one disk that may be described is the root disk.
fn root_disk(disks: &[DiskDraft], definition: &ImageDefinition) -> Result<RootDisk, Fault> {
    let mut root = RootDisk::default();
    let Some((disk, more)) = disks.split_first() else { return Ok(root) };
    let named =
        |disk: &DiskDraft| disk.device_name.as_deref().is_none_or(|n| n == definition.root_device_name);
    if !more.is_empty() || !named(disk) {
        let sentence = format!("Only the root device {} can be mapped", definition.root_device_name);
        return Err(Fault::new(FaultCode::InvalidBlockDeviceMapping, sentence));
    }
    if let Some(gib) = disk.gib {
        let least = definition.least_disk_gib();
        let gib = u64::try_from(gib).unwrap_or(0);
        if gib < least || gib > DISK_GIB_MAX {
            let sentence = format!(
                "Volume of size {gib}GB is not possible, expect size >= {least}GB and <= {DISK_GIB_MAX}GB"
            );
            return Err(Fault::new(FaultCode::InvalidBlockDeviceMapping, sentence));
        }
        root.gib = Some(gib);
    }
    if let Some(volume_type) = &disk.volume_type {
        root.volume_type.clone_from(volume_type);
    }
    Ok(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_ec2_has_them() {
        for name in ["abc", "a (b) [c] ./-'@_", &"x".repeat(128)] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["ab", "", "naïve", "a;b c", &"x".repeat(129), "a\nbc"] {
            assert_eq!(check_name(name).unwrap_err().code(), "InvalidAMIName.Malformed", "{name}");
        }
    }

    #[test]
    fn the_location_says_what_kind_of_image_it_is() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (prefix, kind) in [
            ("", ImageKind::Machine),
            ("karri-kernel/", ImageKind::Kernel),
            ("karri-ramdisk/", ImageKind::Ramdisk),
        ] {
            let found = parse_location(Some(&format!("{prefix}{digest}"))).unwrap();
            assert_eq!(found, Location::Blob(kind, digest.parse().unwrap()));
        }
        assert_eq!(parse_location(None).unwrap_err().code(), "MissingParameter");
        let path = ObjectPath { bucket: "bucket".into(), key: "a/manifest.xml".into() };
        assert_eq!(parse_location(Some("bucket/a/manifest.xml")).unwrap(), Location::Object(path));
        for wrong in ["", "nonsense", "sha256:12", "karri-kernel/x", "bucket/"] {
            assert_eq!(parse_location(Some(wrong)).unwrap_err().code(), "InvalidParameterValue", "{wrong}");
        }
    }
}
