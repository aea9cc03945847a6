//! One attribute of an image.

use super::{Image, root_mapping};
use crate::api::cx::{Answer, Cx};
use crate::app::image::{self, ImageKind};
use karri_proto::aws::ec2::{
    AttributeValue, DescribeImageAttributeRequest, ImageAttribute, LaunchPermission,
};
use karri_proto::fault::{self, Fault, FaultCode};

pub async fn describe_image_attribute(
    cx: Cx,
    request: DescribeImageAttributeRequest,
) -> Answer<ImageAttribute> {
    image::check_id(&request.image_id)?;
    let found = cx.app.store.image_fetch(&request.image_id).await?;
    let visible =
        |image: &Image| image.is_registered() && image.is_visible_to(cx.account(), cx.is_administrator());
    let found = found.filter(visible).ok_or_else(|| image::not_found(&[&request.image_id]))?;
    if !cx.may_touch(&found.account) {
        return Err(Fault::new(FaultCode::AuthFailure, "Not authorized for image:".to_owned() + &found.id));
    }
    attribute(&found, &request.attribute)
}

fn attribute(image: &Image, name: &str) -> Answer<ImageAttribute> {
    let definition = &image.definition;
    let value = |value: &Option<String>| Some(AttributeValue { value: value.clone() });
    let mut shown = ImageAttribute { image_id: Some(image.id.clone()), ..Default::default() };
    match name {
        "description" => shown.description = value(&definition.description),
        "kernel" => shown.kernel_id = value(&definition.kernel_id),
        "ramdisk" => shown.ramdisk_id = value(&definition.ramdisk_id),
        "launchPermission" => {
            let everyone = LaunchPermission { group: Some("all".to_owned()), ..Default::default() };
            shown.launch_permissions = Some(if image.public { vec![everyone] } else { Vec::new() });
        }
        "productCodes" => shown.product_codes = Some(Vec::new()),
        "blockDeviceMapping" => {
            let machine = image.kind == ImageKind::Machine;
            shown.block_device_mappings = Some(if machine { vec![root_mapping(image)] } else { Vec::new() });
        }
        "sriovNetSupport" => shown.sriov_net_support = value(&definition.sriov_net_support),
        "bootMode" => shown.boot_mode = value(&definition.boot_mode),
        "imdsSupport" => shown.imds_support = value(&definition.imds_support),
        "tpmSupport" => shown.tpm_support = value(&None),
        "uefiData" => shown.uefi_data = value(&None),
        "lastLaunchedTime" => shown.last_launched_time = value(&None),
        "deregistrationProtection" => shown.deregistration_protection = value(&Some("disabled".to_owned())),
        other => {
            let sentence = format!(
                "Value ({}) for parameter attribute is invalid. Unknown attribute.",
                fault::shown(other)
            );
            return Err(Fault::invalid_parameter(sentence));
        }
    }
    Ok(shown)
}
