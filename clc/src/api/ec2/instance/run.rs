//! RunInstances: the request's words into an order. What Karri does not do is refused, never ignored.

use super::interfaces::{check_count, network};
use super::shape::reservation;
use super::unsupported::{refuse_unsupported, refuse_unsupported_disk, unsupported};
use crate::api::cx::{Answer, Cx};
use crate::api::ec2::tag::specified_for;
use crate::api::ec2::token::client_token;
use crate::api::permit::{Asks, Target, permit};
use crate::app::instance::ShutdownBehavior;
use crate::app::instance::launch::{Order, Touched};
use crate::app::instance::said::Said;
use crate::app::instance_type::Credits;
use crate::app::tag::{Taggable, Tags, check_metadata_keys};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt as _;
use karri_proto::aws::WireFault;
use karri_proto::aws::ec2::{
    BlockDeviceMapping, InstanceMetadataOptionsRequest, Placement, Reservation, RunInstancesRequest,
};
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::{KernelImageId, MachineImageId, RamdiskImageId};
use karri_proto::instance::MetadataOptions;
use std::collections::BTreeMap;

const DEFAULT_TYPE: &str = "m1.small";
/// EC2's limit, before encoding.
const USER_DATA_BYTES_MAX: usize = 16 * 1024;
const ROOT_GIB_MAX: i32 = 16_384;

/// What is known of a launch from its words alone; `of_touched` asks for the rest.
pub fn of_run(_: &Cx, request: &RunInstancesRequest) -> Asks {
    let kind = request.instance_type.as_deref().unwrap_or(DEFAULT_TYPE);
    let mut targets = vec![
        Target::new("instance", "*").key("ec2:InstanceType", kind),
        Target::new("network-interface", "*"),
        Target::new("volume", "*"),
    ];
    targets.extend(request.image_id.iter().map(|id| Target::new("image", id)));
    targets.extend(request.key_name.iter().map(|name| Target::new("key-pair", name)));
    for one in &request.network_interfaces {
        targets.extend(one.network_interface_id.iter().map(|id| Target::new("network-interface", id)));
        // Those of the first are looked up with what else the launch turns out to be about.
        if one.device_index.is_some_and(|index| index != 0) {
            targets.extend(one.subnet_id.iter().map(|id| Target::new("subnet", id)));
            targets.extend(one.groups.iter().map(|id| Target::new("security-group", id)));
        }
    }
    Asks::On(targets)
}

/// What the words stand for: a launch that names no subnet or group gets one all the same.
fn of_touched(touched: &Touched) -> Asks {
    let images = touched.images.iter().map(|id| Target::new("image", id));
    let subnets = touched.subnets.iter().map(|id| Target::own("subnet", id));
    let groups = touched.groups.iter().map(|id| Target::own("security-group", id));
    Asks::On(images.chain(subnets).chain(groups).collect())
}

pub async fn run_instances(cx: Cx, request: RunInstancesRequest) -> Answer<Reservation> {
    refuse_unsupported(&request)?;
    let order = order(&cx, &request)?;
    let permit = |touched: Touched| permit(&cx, &request, of_touched(&touched)).boxed();
    let instances = cx.app.launch(order, permit).await?;
    Ok(reservation(&instances))
}

fn order(cx: &Cx, request: &RunInstancesRequest) -> Result<Order, Fault> {
    let (min, max) = counts(cx, request)?;
    let image_id = request.image_id.as_deref().ok_or_else(|| WireFault::missing("ImageId"))?;
    let image_id: MachineImageId = image_id.parse()?;
    let network = network(request)?;
    check_count(&network, max)?;
    let root = root_disk(&request.block_device_mappings)?;
    let recovery = request.maintenance_options.as_ref().and_then(|options| options.auto_recovery.as_deref());
    let shutdown = request.instance_initiated_shutdown_behavior.as_deref();
    let specifications = &request.tag_specifications;
    let metadata = metadata(request.metadata_options.as_ref())?;
    let tags = sorted(specified_for(specifications, Taggable::Instance, &TAGGED)?);
    if metadata.tags_shown {
        check_metadata_keys(tags.iter().map(|(key, _)| key))?;
    }
    Ok(Order {
        account: cx.account().to_owned(),
        administrator: cx.is_administrator(),
        request_id: cx.request_id.to_string(),
        client_token: client_token(request)?,
        request_digest: hex::encode(cx.request_digest()),
        min,
        max,
        image_id,
        kernel_id: request
            .kernel_id
            .as_ref()
            .map(|id| id.parse::<KernelImageId>().map(String::from))
            .transpose()?,
        ramdisk_id: request
            .ramdisk_id
            .as_ref()
            .map(|id| id.parse::<RamdiskImageId>().map(String::from))
            .transpose()?,
        instance_type: request.instance_type.clone().unwrap_or_else(|| DEFAULT_TYPE.to_owned()),
        key_name: request.key_name.clone().filter(|name| !name.is_empty()),
        zone: zone(request.placement.as_ref())?,
        subnet_id: network.subnet_id,
        private_ip: network.private_ip,
        group_ids: network.group_ids,
        group_names: request.security_groups.clone(),
        public_address: network.public_address,
        first: network.first,
        more: network.more,
        user_data_base64: user_data(request.user_data.clone())?,
        root_gib: root.gib,
        root_device: root.device,
        said: Said {
            volume_type: root.volume_type,
            credits: credits(request)?,
            port_description: network.description,
            auto_recovery_disabled: recovery == Some("disabled"),
            paravirtual: false,          // its image says
            public_address: false,       // its subnet says, unless it does itself
            threads_per_core: None,      // of the type, which is not looked up yet
            interfaces: BTreeMap::new(), // they are not made yet
        },
        metadata,
        tokens_said: request.metadata_options.as_ref().is_some_and(|options| options.http_tokens.is_some()),
        hop_limit_said: request
            .metadata_options
            .as_ref()
            .is_some_and(|options| options.http_put_response_hop_limit.is_some()),
        shutdown_behavior: shutdown.and_then(ShutdownBehavior::parse).unwrap_or(ShutdownBehavior::Stop),
        disable_api_stop: request.disable_api_stop == Some(true),
        disable_api_termination: request.disable_api_termination == Some(true),
        tags,
        disk_tags: specified_for(specifications, Taggable::Volume, &TAGGED)?,
        port_tags: specified_for(specifications, Taggable::NetworkInterface, &TAGGED)?,
    })
}

/// A zone's id is its name here.
fn zone(placement: Option<&Placement>) -> Result<Option<String>, Fault> {
    let Some(placement) = placement else { return Ok(None) };
    match (&placement.availability_zone, &placement.availability_zone_id) {
        (Some(_), Some(_)) => {
            let sentence =
                "The parameters AvailabilityZone and AvailabilityZoneId cannot be used together in Placement";
            Err(Fault::new(FaultCode::InvalidParameterCombination, sentence))
        }
        (zone, id) => Ok(zone.clone().or_else(|| id.clone())),
    }
}

fn counts(cx: &Cx, request: &RunInstancesRequest) -> Result<(usize, usize), Fault> {
    let (min, max) = (request.min_count, request.max_count);
    for (name, count) in [("minCount", min), ("maxCount", max)] {
        if count < 1 {
            let why = "Expecting a number greater than 0.";
            return Err(WireFault::invalid(name, &count.to_string(), why).into());
        }
    }
    if min > max {
        let sentence = format!("The parameter minCount ({min}) must not be greater than maxCount ({max})");
        return Err(Fault::new(FaultCode::InvalidParameterCombination, sentence));
    }
    let limit = cx.app.limits.instances_per_request;
    // All of them, not as many as may be: who asks for so many is to know.
    if max > limit {
        let sentence = format!(
            "You have requested more instances ({max}) than your current instance limit of {limit} per request \
             allows."
        );
        return Err(Fault::new(FaultCode::InstanceLimitExceeded, sentence));
    }
    let count = |n: i32| usize::try_from(n).unwrap_or(0);
    Ok((count(min), count(max)))
}

fn user_data(text: Option<String>) -> Result<Option<String>, Fault> {
    let Some(mut text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    text.retain(|c| !c.is_ascii_whitespace()); // old clients wrap lines
    let malformed = || Fault::invalid_parameter("Invalid BASE64 encoding of user data");
    let bytes = STANDARD.decode(&text).map_err(|_| malformed())?;
    if bytes.len() > USER_DATA_BYTES_MAX {
        let sentence = format!("User data is limited to {USER_DATA_BYTES_MAX} bytes");
        return Err(Fault::invalid_parameter(sentence));
    }
    Ok(Some(text))
}

#[derive(Default)]
struct RootDisk {
    device: Option<String>,
    gib: Option<u64>,
    volume_type: Option<String>,
}

/// What is said of the root disk; other disks come with volumes.
fn root_disk(mappings: &[BlockDeviceMapping]) -> Result<RootDisk, Fault> {
    let Some((first, rest)) = mappings.split_first() else { return Ok(RootDisk::default()) };
    if !rest.is_empty() || first.virtual_name.is_some() || first.no_device.is_some() {
        return Err(unsupported("block devices other than the root disk"));
    }
    let ebs = first.ebs.clone().unwrap_or_default();
    refuse_unsupported_disk(&ebs)?;
    if let Some(size) = ebs.volume_size
        && !(1..=ROOT_GIB_MAX).contains(&size)
    {
        return Err(Fault::invalid_parameter(format!(
            "Volume size must be between 1 and {ROOT_GIB_MAX} GiB"
        )));
    }
    Ok(RootDisk {
        device: first.device_name.clone(),
        gib: ebs.volume_size.and_then(|size| u64::try_from(size).ok()),
        volume_type: ebs.volume_type,
    })
}

fn credits(request: &RunInstancesRequest) -> Result<Option<Credits>, Fault> {
    let Some(asked) = request.credit_specification.as_ref().map(|asked| asked.cpu_credits.as_str()) else {
        return Ok(None);
    };
    let why = "Expecting standard or unlimited.";
    let unknown = || WireFault::invalid("CreditSpecification.CpuCredits", asked, why);
    Ok(Some(Credits::parse(asked).ok_or_else(unknown)?))
}

fn metadata(options: Option<&InstanceMetadataOptionsRequest>) -> Result<MetadataOptions, Fault> {
    let mut metadata = MetadataOptions::default();
    let Some(options) = options else { return Ok(metadata) };
    if options.http_protocol_ipv6.as_deref() == Some("enabled") {
        return Err(unsupported("metadata over IPv6"));
    }
    metadata.enabled = options.http_endpoint.as_deref() != Some("disabled");
    metadata.tokens_required = options.http_tokens.as_deref() == Some("required");
    metadata.tags_shown = options.instance_metadata_tags.as_deref() == Some("enabled");
    if let Some(limit) = options.http_put_response_hop_limit {
        let valid = u8::try_from(limit).ok().filter(|limit| (1..=64).contains(limit));
        let why = "Expecting a number from 1 to 64.";
        let invalid =
            || WireFault::invalid("MetadataOptions.HttpPutResponseHopLimit", &limit.to_string(), why);
        metadata.hop_limit = valid.ok_or_else(invalid)?;
    }
    Ok(metadata)
}

/// What a launch makes and tags; spot requests are never made.
const TAGGED: [Taggable; 3] = [Taggable::Instance, Taggable::Volume, Taggable::NetworkInterface];

fn sorted(mut tags: Tags) -> Tags {
    tags.sort();
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_data_must_be_base64_and_short() {
        let check = |text: &str, expected: Result<Option<&str>, &str>| {
            let result = user_data(Some(text.to_owned()));
            let result = result.as_ref().map(|ok| ok.as_deref()).map_err(|fault| fault.code());
            assert_eq!(result, expected, "{text}");
        };
        check("", Ok(None));
        check("aGVs\nbG8=", Ok(Some("aGVsbG8=")));
        check("%%%", Err("InvalidParameterValue"));
        assert!(user_data(Some(STANDARD.encode(vec![0; 16_384]))).is_ok());
        let long = user_data(Some(STANDARD.encode(vec![0; 16_385])));
        assert_eq!(long.unwrap_err().code(), "InvalidParameterValue");
    }
}
