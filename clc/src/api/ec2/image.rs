//! Images.

mod attribute;
mod export;
mod filter;
mod import;
mod import_snapshot;
mod task;

pub use attribute::describe_image_attribute;
pub use export::{
    cancel_export_asks, cancel_export_task, describe_export_image_tasks, export_asks, export_image,
};
pub use import::{
    cancel_import_asks, cancel_import_task, describe_import_image_tasks, import_asks, import_image,
};

pub use import_snapshot::{describe_import_snapshot_tasks, import_snapshot, import_snapshot_asks};

use super::instance::VOLUME_TYPES;
use super::listing::{ids_or_page, page, time_of, time_text};
use super::snapshot::delete_with_image;
use super::tag::{shown, specified};
use crate::api::cx::{Answer, Cx};
use crate::api::permit::{Asks, Target, not_dry};
use crate::app::image::register::{DiskDraft, Draft, Owner, Sources, check, register};
use crate::app::image::{self, Image, ImageKind};
use crate::app::tag::{Taggable, Tags};
use karri_proto::aws::ec2;
use karri_proto::aws::ec2::{
    BlockDeviceMapping, DeregisterImageRequest, DeregisterImageResult, DescribeImagesRequest,
    DescribeImagesResult, EbsBlockDevice, RegisterImageRequest, RegisterImageResult, StateReason,
};
use karri_proto::fault::{Fault, FaultCode};
use std::collections::{HashMap, HashSet};

/// Whose images `Owners=amazon` means: the cloud's own.
const OWNER_ALIAS: &str = "amazon";
/// EC2's code for an image of which nothing came.
const FAILED_CODE: &str = "Client.ImageInitializationFailure";

pub fn register_asks(_: &Cx, request: &RegisterImageRequest) -> Asks {
    let disks = request.block_device_mappings.iter().filter_map(|mapping| mapping.ebs.as_ref());
    let snapshots = disks.filter_map(|ebs| Some(Target::new("snapshot", ebs.snapshot_id.as_deref()?)));
    Asks::On(std::iter::once(Target::new("image", "*")).chain(snapshots).collect())
}

pub fn deregister_asks(_: &Cx, request: &DeregisterImageRequest) -> Asks {
    Asks::On(vec![Target::new("image", &request.image_id)])
}

pub async fn register_image(cx: Cx, request: RegisterImageRequest) -> Answer<RegisterImageResult> {
    let tags = specified(&request.tag_specifications, Taggable::Image)?;
    let tried = not_dry(&request);
    let draft = draft(request, tags)?;
    let caller = cx.app.caller(&cx.request_id);
    let sources = Sources { blobs: &*cx.app.blobs, bundles: &*cx.app.bundles };
    let image = check(&cx.app.store, sources, &caller, owner(&cx), &draft, crate::app::now_ms()).await?;
    tried?;
    register(&cx.app.store, &*cx.app.blobs, &caller, &image, &draft.tags).await?;
    cx.app.images_pending.notify_one();
    let (request_id, location) = (&image.request_id, &image.definition.location);
    tracing::info!(request_id, image_id = image.id, location, "image registered");
    Ok(RegisterImageResult { image_id: Some(image.id) })
}

/// Who makes an image.
fn owner(cx: &Cx) -> Owner<'_> {
    Owner {
        account: cx.account(),
        administrator: cx.is_administrator(),
        access_key_id: &cx.signer.access_key_id,
        session_token: cx.signer.session_token(),
        address: cx.client.address,
    }
}

fn unsupported(sentence: &'static str) -> Fault {
    Fault::new(FaultCode::Unsupported, sentence)
}

fn draft(request: RegisterImageRequest, tags: Tags) -> Result<Draft, Fault> {
    if request.uefi_data.is_some() {
        return Err(unsupported(
            "UefiData is not supported: every instance starts with an empty variable store",
        ));
    }
    if request.tpm_support.is_some() {
        return Err(unsupported("TpmSupport is not supported: instances have no TPM"));
    }
    if !request.billing_products.is_empty() {
        return Err(unsupported("BillingProducts are not supported: this cloud bills nobody"));
    }
    let disks = request.block_device_mappings.into_iter().map(disk).collect::<Result<_, _>>()?;
    Ok(Draft {
        name: request.name,
        location: request.image_location,
        description: request.description,
        architecture: request.architecture,
        kernel_id: request.kernel_id,
        ramdisk_id: request.ramdisk_id,
        boot_mode: request.boot_mode,
        virtualization_type: request.virtualization_type,
        root_device_name: request.root_device_name,
        ena_support: request.ena_support.unwrap_or(false),
        sriov_net_support: request.sriov_net_support,
        imds_support: request.imds_support,
        disks,
        tags,
    })
}

fn disk(mapping: BlockDeviceMapping) -> Result<DiskDraft, Fault> {
    if mapping.virtual_name.is_some() || mapping.no_device.is_some() {
        return Err(unsupported("Only the root device can be mapped: there are no instance store disks"));
    }
    let ebs = mapping.ebs.unwrap_or_default();
    if ebs.encrypted == Some(true) || ebs.kms_key_id.is_some() {
        return Err(unsupported("Encrypted disks are not supported"));
    }
    if ebs.delete_on_termination == Some(false) {
        return Err(unsupported("A root disk goes when its instance goes"));
    }
    if ebs.iops.is_some() || ebs.throughput.is_some() || ebs.outpost_arn.is_some() {
        return Err(unsupported("Disks have no provisioned performance and no outpost"));
    }
    if ebs.volume_type.as_deref().is_some_and(|kind| !VOLUME_TYPES.contains(&kind)) {
        return Err(unsupported("Root disks are of the volume types gp2, gp3 and standard"));
    }
    Ok(DiskDraft {
        device_name: mapping.device_name,
        snapshot_id: ebs.snapshot_id,
        gib: ebs.volume_size,
        volume_type: ebs.volume_type,
    })
}

pub async fn deregister_image(cx: Cx, request: DeregisterImageRequest) -> Answer<DeregisterImageResult> {
    image::check_id(&request.image_id)?;
    let missing = || image::not_found(&[&request.image_id]);
    let found = cx.app.store.image_fetch(&request.image_id).await?.filter(Image::is_registered);
    let visible = |image: &Image| image.is_visible_to(cx.account(), cx.is_administrator());
    let found = found.filter(visible).ok_or_else(missing)?;
    if !cx.may_touch(&found.account) {
        let sentence = format!("You do not have permission to deregister the image {}", found.id);
        return Err(Fault::new(FaultCode::AuthFailure, sentence));
    }
    not_dry(&request)?;
    if !cx.app.store.image_deregister(&found.id).await? {
        return Err(missing());
    }
    tracing::info!(image_id = found.id, "image deregistered");
    let mut delete_snapshot_results = Vec::new();
    if request.delete_associated_snapshots == Some(true)
        && let Some(id) = &found.definition.snapshot_id
    {
        delete_snapshot_results.push(delete_with_image(&cx, id).await);
    }
    Ok(DeregisterImageResult { r#return: Some(true), delete_snapshot_results })
}

pub async fn describe_images(cx: Cx, request: DescribeImagesRequest) -> Answer<DescribeImagesResult> {
    ids_or_page(&request.image_ids, request.max_results, "imagesSet")?;
    for id in &request.image_ids {
        image::check_id(id)?;
    }
    let images = cx.app.store.image_list().await?;
    let administrators = administrators(&cx).await?;
    let images = chosen(&cx, &request, images, &administrators)?;
    let mut tags = cx.app.store.tags_of_account(cx.account(), Taggable::Image).await?;
    let described = images.iter().map(|image| describe(image, &mut tags, &administrators));
    let key = |image: &ec2::Image| image.image_id.clone().unwrap_or_default();
    let (mut images, next_token) = page(&request, described.collect(), key)?;
    // Named ones come in the order they were named.
    images.sort_by_key(|image| request.image_ids.iter().position(|id| Some(id) == image.image_id.as_ref()));
    Ok(DescribeImagesResult { images, next_token })
}

async fn administrators(cx: &Cx) -> Result<HashSet<String>, Fault> {
    let accounts = cx.app.store.account_list().await?;
    Ok(accounts.into_iter().filter(|account| account.administrator).map(|account| account.id).collect())
}

/// Those that the request names or, where it names none, those that concern the account. An administrator
/// reaches everyone's by naming them or their owner.
fn chosen(
    cx: &Cx,
    request: &DescribeImagesRequest,
    images: Vec<Image>,
    administrators: &HashSet<String>,
) -> Result<Vec<Image>, Fault> {
    let named = !request.image_ids.is_empty() || !request.owners.is_empty();
    let reach = cx.is_administrator() && named;
    let mut images: Vec<Image> =
        images.into_iter().filter(|image| image.is_visible_to(cx.account(), reach)).collect();
    let present = |id: &&str| images.iter().any(|image| image.id == **id);
    let absent: Vec<&str> = request.image_ids.iter().map(String::as_str).filter(|id| !present(id)).collect();
    if !absent.is_empty() {
        return Err(image::not_found(&absent));
    }
    if !request.image_ids.is_empty() {
        images.retain(|image| request.image_ids.contains(&image.id));
    }
    if !request.owners.is_empty() {
        images.retain(|image| {
            request.owners.iter().any(|owner| owned_by(image, owner, cx.account(), administrators))
        });
    }
    if !request.executable_users.is_empty() {
        images.retain(|image| request.executable_users.iter().any(|user| executable_by(image, user)));
    }
    Ok(images)
}

fn owned_by(image: &Image, owner: &str, account: &str, administrators: &HashSet<String>) -> bool {
    match owner {
        "self" => image.account == account,
        OWNER_ALIAS => administrators.contains(&image.account) && image.public,
        owner => image.account == owner,
    }
}

/// Launch permissions: `all` for public images; nobody is given a permission of their own yet, and EC2
/// does not count the owner.
fn executable_by(image: &Image, user: &str) -> bool {
    user == "all" && image.public
}

fn describe(image: &Image, tags: &mut HashMap<String, Tags>, administrators: &HashSet<String>) -> ec2::Image {
    let definition = &image.definition;
    let machine = image.kind == ImageKind::Machine;
    let cloud_own = image.public && administrators.contains(&image.account);
    let tags = tags.remove(&image.id).unwrap_or_default();
    ec2::Image {
        architecture: Some(definition.architecture.clone()),
        block_device_mappings: if machine { vec![root_mapping(image)] } else { Vec::new() },
        boot_mode: definition.boot_mode.clone(),
        creation_date: Some(time_text(time_of(image.created_ms))),
        description: definition.description.clone(),
        ena_support: machine.then_some(definition.ena_support),
        hypervisor: Some("xen".to_owned()),
        image_id: Some(image.id.clone()),
        image_location: Some(definition.location.clone()),
        image_owner_alias: cloud_own.then(|| OWNER_ALIAS.to_owned()),
        image_type: Some(image.kind.as_str().to_owned()),
        imds_support: definition.imds_support.clone(),
        kernel_id: definition.kernel_id.clone(),
        name: Some(image.name.clone()),
        owner_id: Some(image.account.clone()),
        platform_details: Some("Linux/UNIX".to_owned()),
        public: Some(image.public),
        ramdisk_id: definition.ramdisk_id.clone(),
        root_device_name: machine.then(|| definition.root_device_name.clone()),
        root_device_type: Some(if machine { "ebs" } else { "instance-store" }.to_owned()),
        sriov_net_support: definition.sriov_net_support.clone(),
        state: Some(image.state.as_str().to_owned()),
        state_reason: definition
            .failure
            .as_ref()
            .map(|why| StateReason { code: Some(FAILED_CODE.to_owned()), message: Some(why.clone()) }),
        tags: shown(&tags),
        usage_operation: Some("RunInstances".to_owned()),
        virtualization_type: Some(definition.virtualization_type.clone()),
        ..Default::default()
    }
}

pub(super) fn root_mapping(image: &Image) -> BlockDeviceMapping {
    let definition = &image.definition;
    BlockDeviceMapping {
        device_name: Some(definition.root_device_name.clone()),
        ebs: Some(EbsBlockDevice {
            delete_on_termination: Some(true),
            encrypted: Some(false),
            snapshot_id: definition.snapshot_id.clone(),
            volume_size: i32::try_from(definition.disk_gib()).ok(),
            volume_type: Some(definition.root.volume_type.clone()),
            ..Default::default()
        }),
        ..Default::default()
    }
}
