//! RunInstances: the request's words into an order. What Karri does not do is refused, never ignored.

use super::shape::reservation;
use crate::api::Asks;
use crate::api::cx::{Answer, Cx};
use crate::api::ec2::tag::specified_for;
use crate::api::permit::permit;
use crate::app::instance::ShutdownBehavior;
use crate::app::instance::launch::{Order, Touched};
use crate::app::tag::{Taggable, Tags};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use karri_proto::aws::WireFault;
use karri_proto::aws::ec2::{
    BlockDeviceMapping, InstanceMetadataOptionsRequest, InstanceNetworkInterfaceSpecification, Reservation,
    RunInstancesRequest,
};
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::{KernelImageId, MachineImageId, RamdiskImageId};
use karri_proto::instance::MetadataOptions;
use std::net::Ipv4Addr;

const DEFAULT_TYPE: &str = "m1.small";
/// EC2's limit, before encoding.
const USER_DATA_BYTES_MAX: usize = 16 * 1024;
const CLIENT_TOKEN_CHARS_MAX: usize = 64;
const ROOT_GIB_MAX: i32 = 16_384;

/// What is known of a launch from its words alone; `of_touched` asks for the rest.
pub fn of_run(cx: &Cx, request: &RunInstancesRequest) -> Asks {
    let mut arns = vec![cx.arn("instance", "*"), cx.arn("network-interface", "*"), cx.arn("volume", "*")];
    arns.extend(request.image_id.iter().map(|id| cx.arn("image", id)));
    arns.extend(request.key_name.iter().map(|name| cx.arn("key-pair", name)));
    Asks::On(arns)
}

/// What the words stand for: a launch that names no subnet or group gets one all the same.
fn of_touched(cx: &Cx, touched: &Touched<'_>) -> Asks {
    let arns =
        |kind: &'static str, ids: &[&str]| -> Vec<String> { ids.iter().map(|id| cx.arn(kind, id)).collect() };
    let parts =
        [("image", &touched.images), ("subnet", &touched.subnets), ("security-group", &touched.groups)];
    Asks::On(parts.into_iter().flat_map(|(kind, ids)| arns(kind, ids)).collect())
}

pub async fn run_instances(cx: Cx, request: RunInstancesRequest) -> Answer<Reservation> {
    refuse_unsupported(&request)?;
    let order = order(&cx, &request)?;
    let permit = |touched: &Touched<'_>| permit(&cx, &request, of_touched(&cx, touched));
    let instances = cx.app.launch(order, permit).await?;
    Ok(reservation(&instances))
}

fn order(cx: &Cx, request: &RunInstancesRequest) -> Result<Order, Fault> {
    let (min, max) = counts(cx, request)?;
    let image_id = request.image_id.as_deref().ok_or_else(|| WireFault::missing("ImageId"))?;
    let image_id: MachineImageId = image_id.parse()?;
    let network = network(request)?;
    if network.private_ip.is_some() && max > 1 {
        let sentence = "A private address can be asked for only when one instance is launched";
        return Err(Fault::new(FaultCode::InvalidParameterCombination, sentence));
    }
    let (root_device, root_gib) = root_disk(&request.block_device_mappings)?;
    let shutdown = request.instance_initiated_shutdown_behavior.as_deref();
    let specifications = &request.tag_specifications;
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
        zone: request.placement.as_ref().and_then(|placement| placement.availability_zone.clone()),
        subnet_id: network.subnet_id,
        private_ip: network.private_ip,
        group_ids: network.group_ids,
        group_names: request.security_groups.clone(),
        user_data_base64: user_data(request.user_data.clone())?,
        root_gib,
        root_device,
        metadata: metadata(request.metadata_options.as_ref())?,
        tokens_said: request.metadata_options.as_ref().is_some_and(|options| options.http_tokens.is_some()),
        shutdown_behavior: shutdown.and_then(ShutdownBehavior::parse).unwrap_or(ShutdownBehavior::Stop),
        disable_api_stop: request.disable_api_stop == Some(true),
        disable_api_termination: request.disable_api_termination == Some(true),
        tags: sorted(specified_for(specifications, Taggable::Instance, &TAGGED)?),
        disk_tags: specified_for(specifications, Taggable::Volume, &TAGGED)?,
        port_tags: specified_for(specifications, Taggable::NetworkInterface, &TAGGED)?,
    })
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
    if min > limit {
        let sentence = format!(
            "You have requested more instances ({min}) than your current instance limit of {limit} per request \
             allows."
        );
        return Err(Fault::new(FaultCode::InstanceLimitExceeded, sentence));
    }
    let count = |n: i32| usize::try_from(n).unwrap_or(0);
    Ok((count(min), count(max.min(limit))))
}

/// None also for a launch that is only tried: it has no earlier telling.
fn client_token(request: &RunInstancesRequest) -> Result<Option<String>, Fault> {
    let token = request.client_token.as_deref().filter(|token| !token.is_empty());
    let Some(token) = token else { return Ok(None) };
    if token.len() > CLIENT_TOKEN_CHARS_MAX || !token.is_ascii() {
        let sentence =
            format!("The client token must have at most {CLIENT_TOKEN_CHARS_MAX} ASCII characters");
        return Err(Fault::invalid_parameter(sentence));
    }
    Ok(Some(token.to_owned()).filter(|_| request.dry_run != Some(true)))
}

fn user_data(text: Option<String>) -> Result<Option<String>, Fault> {
    let Some(mut text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    text.retain(|c| !c.is_ascii_whitespace()); // old clients wrap lines
    let malformed =
        || Fault::new(FaultCode::InvalidUserDataMalformed, "Invalid BASE64 encoding of user data");
    let bytes = STANDARD.decode(&text).map_err(|_| malformed())?;
    if bytes.len() > USER_DATA_BYTES_MAX {
        let sentence = format!("User data is limited to {USER_DATA_BYTES_MAX} bytes");
        return Err(Fault::invalid_parameter(sentence));
    }
    Ok(Some(text))
}

#[derive(Default)]
struct Network {
    subnet_id: Option<String>,
    private_ip: Option<Ipv4Addr>,
    group_ids: Vec<String>,
}

/// Either the request's own network parameters, or those of its one network interface.
fn network(request: &RunInstancesRequest) -> Result<Network, Fault> {
    let (subnet, address, groups) = match request.network_interfaces.as_slice() {
        [] => (&request.subnet_id, &request.private_ip_address, &request.security_group_ids),
        [one] => {
            let twice = request.subnet_id.is_some()
                || request.private_ip_address.is_some()
                || !request.security_group_ids.is_empty()
                || !request.security_groups.is_empty();
            if twice {
                let sentence = "Network interfaces and an instance-level subnet ID, private address or security \
                                groups may not be specified on the same request";
                return Err(Fault::new(FaultCode::InvalidParameterCombination, sentence));
            }
            refuse_unsupported_interface(one)?;
            (&one.subnet_id, &one.private_ip_address, &one.groups)
        }
        _ => return Err(unsupported("more than one network interface")),
    };
    let parse = |text: &String| {
        text.parse().map_err(|_| Fault::invalid_parameter(format!("Invalid IPv4 address: {text}")))
    };
    Ok(Network {
        subnet_id: subnet.clone(),
        private_ip: address.as_ref().map(parse).transpose()?,
        group_ids: groups.clone(),
    })
}

/// The root disk's size; other disks come with volumes.
fn root_disk(mappings: &[BlockDeviceMapping]) -> Result<(Option<String>, Option<u64>), Fault> {
    let Some((first, rest)) = mappings.split_first() else { return Ok((None, None)) };
    let ebs = first.ebs.as_ref();
    if !rest.is_empty() || first.virtual_name.is_some() || first.no_device.is_some() {
        return Err(unsupported("block devices other than the root disk"));
    }
    if let Some(ebs) = ebs
        && (ebs.encrypted == Some(true)
            || ebs.snapshot_id.is_some()
            || ebs.delete_on_termination == Some(false))
    {
        return Err(unsupported("an encrypted or kept root disk, or one from a snapshot"));
    }
    let size = ebs.and_then(|ebs| ebs.volume_size);
    if let Some(size) = size
        && !(1..=ROOT_GIB_MAX).contains(&size)
    {
        return Err(Fault::invalid_parameter(format!(
            "Volume size must be between 1 and {ROOT_GIB_MAX} GiB"
        )));
    }
    Ok((first.device_name.clone(), size.and_then(|size| u64::try_from(size).ok())))
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

fn unsupported(what: &str) -> Fault {
    Fault::new(FaultCode::Unsupported, format!("The requested configuration is not supported: {what}."))
}

fn refuse(wanted: &[(bool, &str)]) -> Result<(), Fault> {
    match wanted.iter().find(|(wanted, _)| *wanted) {
        Some((_, what)) => Err(unsupported(what)),
        None => Ok(()),
    }
}

fn refuse_unsupported(request: &RunInstancesRequest) -> Result<(), Fault> {
    let placement = request.placement.clone().unwrap_or_default();
    let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    refuse(&[
        (request.launch_template.is_some(), "launch templates"),
        (request.instance_market_options.is_some(), "spot instances"),
        (request.iam_instance_profile.is_some(), "instance profiles"),
        (request.monitoring.as_ref().is_some_and(|monitoring| monitoring.enabled), "detailed monitoring"),
        (request.ebs_optimized == Some(true), "EBS optimisation"),
        (request.cpu_options.is_some(), "CPU options"),
        (request.capacity_reservation_specification.is_some(), "capacity reservations"),
        (!request.elastic_gpu_specification.is_empty(), "elastic GPUs"),
        (!request.elastic_inference_accelerators.is_empty(), "inference accelerators"),
        (request.enclave_options.as_ref().is_some_and(|o| o.enabled == Some(true)), "enclaves"),
        (request.hibernation_options.as_ref().is_some_and(|o| o.configured == Some(true)), "hibernation"),
        (!request.license_specifications.is_empty(), "licence configurations"),
        (request.ipv6_address_count.is_some_and(|count| count > 0), "IPv6"),
        (!request.ipv6_addresses.is_empty() || request.enable_primary_ipv6 == Some(true), "IPv6"),
        (!request.secondary_interfaces.is_empty(), "secondary interfaces"),
        (given(&placement.affinity) || given(&placement.host_id), "dedicated hosts"),
        (given(&placement.host_resource_group_arn), "dedicated hosts"),
        (given(&placement.group_name) || given(&placement.group_id), "placement groups"),
        (placement.partition_number.is_some(), "placement groups"),
        (given(&placement.availability_zone_id), "zones by their id"),
        (placement.tenancy.as_deref().is_some_and(|tenancy| tenancy != "default"), "dedicated tenancy"),
    ])
}

fn refuse_unsupported_interface(one: &InstanceNetworkInterfaceSpecification) -> Result<(), Fault> {
    let elsewhere = one.device_index.is_some_and(|index| index != 0)
        || one.network_card_index.is_some_and(|index| index != 0);
    let more = !one.private_ip_addresses.is_empty()
        || one.secondary_private_ip_address_count.is_some_and(|count| count > 0);
    let ipv6 = !one.ipv6_addresses.is_empty() || one.ipv6_address_count.is_some_and(|count| count > 0);
    refuse(&[
        (elsewhere, "a network interface other than the first"),
        (one.network_interface_id.is_some(), "network interfaces made before"),
        (one.associate_public_ip_address == Some(true), "public addresses"),
        (one.delete_on_termination == Some(false), "network interfaces that outlive their instance"),
        (more, "several addresses"),
        (ipv6 || one.primary_ipv6 == Some(true), "IPv6"),
        (!one.ipv4_prefixes.is_empty() || one.ipv4_prefix_count.is_some(), "address prefixes"),
        (one.interface_type.as_deref().is_some_and(|kind| kind != "interface"), "special interfaces"),
    ])
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
        check("%%%", Err("InvalidUserData.Malformed"));
        assert!(user_data(Some(STANDARD.encode(vec![0; 16_384]))).is_ok());
        let long = user_data(Some(STANDARD.encode(vec![0; 16_385])));
        assert_eq!(long.unwrap_err().code(), "InvalidParameterValue");
    }
}
