//! What DescribeImages can be filtered by: all that EC2 knows.

use crate::api::ec2::listing::{Shown, tell, tell_flag, tell_number, tell_tags};
use karri_proto::aws::ec2::{BlockDeviceMapping, Image};
use karri_proto::aws::filter::Filterable;

impl Filterable for Shown<Image> {
    const FILTERS: &'static [&'static str] = &[
        "architecture",
        "block-device-mapping.delete-on-termination",
        "block-device-mapping.device-name",
        "block-device-mapping.encrypted",
        "block-device-mapping.snapshot-id",
        "block-device-mapping.volume-size",
        "block-device-mapping.volume-type",
        "boot-mode",
        "creation-date",
        "description",
        "ena-support",
        "free-tier-eligible",
        "hypervisor",
        "image-allowed",
        "image-id",
        "image-type",
        "imds-support",
        "is-public",
        "kernel-id",
        "manifest-location",
        "name",
        "owner-alias",
        "owner-id",
        "platform",
        "platform-details",
        "product-code",
        "product-code.type",
        "ramdisk-id",
        "root-device-name",
        "root-device-type",
        "source-image-id",
        "source-image-region",
        "source-instance-id",
        "sriov-net-support",
        "state",
        "state-reason-code",
        "state-reason-message",
        "tpm-support",
        "usage-operation",
        "virtualization-type",
    ];

    fn filter_values(&self, name: &str, each: &mut dyn FnMut(&str)) {
        let image = &self.0;
        match name {
            "architecture" => tell(each, &image.architecture),
            "boot-mode" => tell(each, &image.boot_mode),
            "creation-date" => tell(each, &image.creation_date),
            "description" => tell(each, &image.description),
            "ena-support" => tell_flag(each, image.ena_support),
            "hypervisor" => tell(each, &image.hypervisor),
            "image-id" => tell(each, &image.image_id),
            "image-type" => tell(each, &image.image_type),
            "imds-support" => tell(each, &image.imds_support),
            "is-public" => tell_flag(each, image.public),
            "kernel-id" => tell(each, &image.kernel_id),
            "manifest-location" => tell(each, &image.image_location),
            "name" => tell(each, &image.name),
            "owner-alias" => tell(each, &image.image_owner_alias),
            "owner-id" => tell(each, &image.owner_id),
            "platform-details" => tell(each, &image.platform_details),
            "ramdisk-id" => tell(each, &image.ramdisk_id),
            "root-device-name" => tell(each, &image.root_device_name),
            "root-device-type" => tell(each, &image.root_device_type),
            "sriov-net-support" => tell(each, &image.sriov_net_support),
            "state" => tell(each, &image.state),
            "state-reason-code" => tell(each, &image.state_reason.as_ref().and_then(|why| why.code.clone())),
            "state-reason-message" => {
                tell(each, &image.state_reason.as_ref().and_then(|why| why.message.clone()))
            }
            "usage-operation" => tell(each, &image.usage_operation),
            "virtualization-type" => tell(each, &image.virtualization_type),
            _ => image.block_device_mappings.iter().for_each(|mapping| mapping_values(mapping, name, each)),
        }
    }

    fn filter_tags(&self, each: &mut dyn FnMut(&str, &str)) {
        tell_tags(each, &self.0.tags);
    }
}

fn mapping_values(mapping: &BlockDeviceMapping, name: &str, each: &mut dyn FnMut(&str)) {
    let Some(ebs) = &mapping.ebs else { return };
    match name {
        "block-device-mapping.delete-on-termination" => tell_flag(each, ebs.delete_on_termination),
        "block-device-mapping.device-name" => tell(each, &mapping.device_name),
        "block-device-mapping.encrypted" => tell_flag(each, ebs.encrypted),
        "block-device-mapping.snapshot-id" => tell(each, &ebs.snapshot_id),
        "block-device-mapping.volume-size" => tell_number(each, ebs.volume_size),
        "block-device-mapping.volume-type" => tell(each, &ebs.volume_type),
        _ => {}
    }
}
