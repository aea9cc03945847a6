//! Volumes: the root disks of the account's instances.

use super::instance::{GP3_IOPS, GP3_THROUGHPUT_MIB};
use super::listing::{
    Shown, absent, ids_or_page, named, page, tell, tell_flag, tell_number, tell_tags, tell_time, time_of,
};
use super::tag::shown;
use crate::api::cx::{Answer, Cx};
use crate::app::instance::{Instance, State};
use crate::app::tag::{Taggable, Tags};
use crate::app::volume::root_volume_id;
use karri_proto::aws::ec2::{DescribeVolumesRequest, DescribeVolumesResult, Volume, VolumeAttachment};
use karri_proto::aws::filter::Filterable;
use karri_proto::fault::FaultCode;
use karri_proto::ids::VolumeId;

pub async fn describe_volumes(cx: Cx, request: DescribeVolumesRequest) -> Answer<DescribeVolumesResult> {
    ids_or_page(&request.volume_ids, request.max_results, "volumeSet")?;
    for id in &request.volume_ids {
        id.parse::<VolumeId>()?;
    }
    let mut tags = cx.app.store.tags_of_account(cx.account(), Taggable::Volume).await?;
    let instances = cx.app.instances.of_account(cx.account());
    let volumes = instances.iter().filter(|instance| instance.state != State::Terminated).map(|instance| {
        let id = root_volume_id(&instance.id);
        let tags = tags.remove(&id).unwrap_or_default();
        (id.clone(), describe(&cx, instance, id, &tags))
    });
    let missing = |ids: &[&str]| absent(FaultCode::InvalidVolumeNotFound, "volume", ids);
    let volumes = named(&request.volume_ids, volumes.collect(), |(id, _)| id, missing)?;
    let volumes = volumes.into_iter().map(|(_, volume)| volume).collect();
    let key = |volume: &Volume| volume.volume_id.clone().unwrap_or_default();
    let (volumes, next_token) = page(&request, volumes, key)?;
    Ok(DescribeVolumesResult { next_token, volumes })
}

fn describe(cx: &Cx, instance: &Instance, id: String, tags: &Tags) -> Volume {
    let created = time_of(instance.spec.launched_at_unix_ms);
    let attachment = VolumeAttachment {
        attach_time: Some(created),
        delete_on_termination: Some(true),
        device: Some(instance.spec.root_device_name.clone()),
        instance_id: Some(instance.id.to_string()),
        state: Some(if instance.state == State::Pending { "attaching" } else { "attached" }.to_owned()),
        volume_id: Some(id.clone()),
        ..Default::default()
    };
    let gp3 = instance.said.volume_type() == "gp3";
    Volume {
        attachments: vec![attachment],
        availability_zone: Some(instance.zone.clone()),
        availability_zone_id: Some(instance.zone.clone()),
        create_time: Some(created),
        encrypted: Some(false),
        iops: gp3.then_some(GP3_IOPS),
        multi_attach_enabled: Some(false),
        size: i32::try_from(instance.spec.need.disk_gib).ok(),
        snapshot_id: Some(String::new()),
        state: Some("in-use".to_owned()),
        tags: shown(tags),
        throughput: gp3.then_some(GP3_THROUGHPUT_MIB),
        volume_arn: Some(cx.arn("volume", &id)),
        volume_id: Some(id),
        volume_type: Some(instance.said.volume_type().to_owned()),
        ..Default::default()
    }
}

impl Filterable for Shown<Volume> {
    const FILTERS: &'static [&'static str] = &[
        "attachment.attach-time",
        "attachment.delete-on-termination",
        "attachment.device",
        "attachment.instance-id",
        "attachment.status",
        "availability-zone",
        "availability-zone-id",
        "create-time",
        "encrypted",
        "fast-restored",
        "multi-attach-enabled",
        "operator.managed",
        "operator.principal",
        "size",
        "snapshot-id",
        "source-volume-id",
        "status",
        "volume-id",
        "volume-type",
    ];

    fn filter_values(&self, name: &str, each: &mut dyn FnMut(&str)) {
        let one = &self.0;
        if let Some(part) = name.strip_prefix("attachment.") {
            return one.attachments.iter().for_each(|attachment| attachment_values(attachment, part, each));
        }
        match name {
            "availability-zone" | "availability-zone-id" => tell(each, &one.availability_zone),
            "create-time" => tell_time(each, one.create_time),
            "encrypted" => tell_flag(each, one.encrypted),
            "fast-restored" | "operator.managed" => each("false"),
            "multi-attach-enabled" => tell_flag(each, one.multi_attach_enabled),
            "size" => tell_number(each, one.size),
            "snapshot-id" => tell(each, &one.snapshot_id),
            "status" => tell(each, &one.state),
            "volume-id" => tell(each, &one.volume_id),
            "volume-type" => tell(each, &one.volume_type),
            _ => {}
        }
    }

    fn filter_tags(&self, each: &mut dyn FnMut(&str, &str)) {
        tell_tags(each, &self.0.tags);
    }
}

fn attachment_values(one: &VolumeAttachment, part: &str, each: &mut dyn FnMut(&str)) {
    match part {
        "attach-time" => tell_time(each, one.attach_time),
        "delete-on-termination" => tell_flag(each, one.delete_on_termination),
        "device" => tell(each, &one.device),
        "instance-id" => tell(each, &one.instance_id),
        "status" => tell(each, &one.state),
        _ => {}
    }
}
