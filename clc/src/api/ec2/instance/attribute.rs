//! One attribute of an instance: told and changed.

use super::control::parse_ids;
use super::shape;
use crate::api::cx::{Answer, Cx};
use crate::api::permit::{Asks, Target, not_dry};
use crate::app::instance::attribute::{MetadataWish, Wish};
use crate::app::instance::{Instance, ShutdownBehavior};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use karri_proto::aws::ec2::{
    AttributeBooleanValue, AttributeValue, DescribeInstanceAttributeRequest, EnclaveOptions,
    InstanceAttribute, InstanceBlockDeviceMappingSpecification, ModifyInstanceAttributeRequest,
    ModifyInstanceMetadataOptionsRequest, ModifyInstanceMetadataOptionsResult,
};
use karri_proto::aws::{Done, WireFault};
use karri_proto::fault::{Fault, FaultCode, shown};
use karri_proto::ids::{InstanceId, KernelImageId, RamdiskImageId};

/// EC2's limit, before encoding.
const USER_DATA_BYTES_MAX: usize = 16 * 1024;

pub fn of_describe_attribute(_: &Cx, request: &DescribeInstanceAttributeRequest) -> Asks {
    Asks::On(vec![Target::new("instance", &request.instance_id)])
}

pub async fn describe_instance_attribute(
    cx: Cx,
    request: DescribeInstanceAttributeRequest,
) -> Answer<InstanceAttribute> {
    let ids = parse_ids(std::slice::from_ref(&request.instance_id))?;
    let found = cx.app.instances_named(cx.caller(), &ids)?;
    let instance = found.first().ok_or_else(|| Fault::internal("no instance for one id"))?;
    if request.attribute == "userData" {
        let user_data = cx.app.store.instance_user_data(&instance.id).await?;
        return Ok(InstanceAttribute {
            instance_id: Some(request.instance_id),
            user_data: Some(AttributeValue { value: user_data }),
            ..Default::default()
        });
    }
    attribute(instance, &request.attribute)
}

fn flag(value: bool) -> Option<AttributeBooleanValue> {
    Some(AttributeBooleanValue { value: Some(value) })
}

fn text(value: Option<&str>) -> Option<AttributeValue> {
    Some(AttributeValue { value: value.map(str::to_owned) })
}

fn attribute(one: &Instance, name: &str) -> Answer<InstanceAttribute> {
    let spec = &one.spec;
    let mut told = InstanceAttribute { instance_id: Some(one.id.to_string()), ..Default::default() };
    match name {
        "instanceType" => told.instance_type = text(Some(&spec.instance_type)),
        "kernel" => told.kernel_id = text(spec.kernel_id.as_deref()),
        "ramdisk" => told.ramdisk_id = text(spec.ramdisk_id.as_deref()),
        "disableApiTermination" => told.disable_api_termination = flag(one.disable_api_termination),
        "disableApiStop" => told.disable_api_stop = flag(one.disable_api_stop),
        "instanceInitiatedShutdownBehavior" => {
            told.instance_initiated_shutdown_behavior = text(Some(one.shutdown_behavior.as_str()));
        }
        "rootDeviceName" => told.root_device_name = text(Some(&spec.root_device_name)),
        "blockDeviceMapping" => {
            told.block_device_mappings = Some(shape::instance(one).block_device_mappings);
        }
        "productCodes" => told.product_codes = Some(Vec::new()),
        "sourceDestCheck" => {
            told.source_dest_check = flag(spec.ports.first().is_none_or(|port| port.source_dest_check));
        }
        "groupSet" => told.groups = Some(shape::instance(one).security_groups),
        "ebsOptimized" => told.ebs_optimized = flag(false),
        "enaSupport" => told.ena_support = flag(false),
        "sriovNetSupport" => told.sriov_net_support = text(None),
        "enclaveOptions" => told.enclave_options = Some(EnclaveOptions { enabled: Some(false) }),
        other => return Err(WireFault::invalid("attribute", other, "Unknown attribute.").into()),
    }
    Ok(told)
}

pub fn of_modify_attribute(_: &Cx, request: &ModifyInstanceAttributeRequest) -> Asks {
    let mut targets = vec![Target::new("instance", &request.instance_id)];
    targets.extend(request.groups.iter().map(|id| Target::new("security-group", id)));
    let value = |value: &Option<AttributeValue>| value.as_ref().and_then(|value| value.value.clone());
    let spelled = ["kernel", "ramdisk"].contains(&request.attribute.as_deref().unwrap_or_default());
    let spelled = request.value.clone().filter(|_| spelled);
    let parts = [value(&request.kernel), value(&request.ramdisk), spelled];
    targets.extend(parts.iter().flatten().map(|id| Target::new("image", id)));
    Asks::On(targets)
}

pub async fn modify_instance_attribute(cx: Cx, request: ModifyInstanceAttributeRequest) -> Answer<Done> {
    let id: InstanceId = request.instance_id.parse()?;
    // Who may not see it must not learn what it could be changed to.
    let found = cx.app.instances_named(cx.caller(), std::slice::from_ref(&id))?;
    let root = found.first().map(|instance| instance.spec.root_device_name.clone()).unwrap_or_default();
    let mut wishes = named(&request, &root)?;
    wishes.extend(spelled(&request)?);
    let wish = match (wishes.pop(), wishes.pop()) {
        (Some((_, wish)), None) => wish,
        (None, _) => {
            let sentence = "No attributes specified.";
            return Err(Fault::new(FaultCode::InvalidParameterCombination, sentence));
        }
        (Some((one, _)), Some((other, _))) => {
            let sentence = format!("Fields for multiple attribute types specified: {other}, {one}");
            return Err(Fault::new(FaultCode::InvalidParameterCombination, sentence));
        }
    };
    if let (Wish::Groups(groups), Some(instance)) = (&wish, found.first()) {
        cx.app.instance_groups_check(instance, groups).await?;
    }
    not_dry(&request)?;
    cx.app.instance_modify(cx.caller(), &id, wish).await?;
    Ok(Done)
}

type Named = (&'static str, Wish);

/// The attributes that have a parameter of their own.
fn named(request: &ModifyInstanceAttributeRequest, root: &str) -> Result<Vec<Named>, Fault> {
    let value = |value: &Option<AttributeValue>| value.as_ref().map(|v| v.value.clone().unwrap_or_default());
    let flag = |value: &Option<AttributeBooleanValue>| value.as_ref().map(|v| v.value.unwrap_or(false));
    let mut wishes = Vec::new();
    for (name, given) in [
        ("instanceType", value(&request.instance_type)),
        ("kernel", value(&request.kernel)),
        ("ramdisk", value(&request.ramdisk)),
        ("instanceInitiatedShutdownBehavior", value(&request.instance_initiated_shutdown_behavior)),
        ("sriovNetSupport", value(&request.sriov_net_support)),
    ] {
        if let Some(text) = given {
            wishes.push(wish(name, &text)?);
        }
    }
    for (name, given) in [
        ("disableApiTermination", flag(&request.disable_api_termination)),
        ("disableApiStop", flag(&request.disable_api_stop)),
        ("sourceDestCheck", flag(&request.source_dest_check)),
        ("ebsOptimized", flag(&request.ebs_optimized)),
        ("enaSupport", flag(&request.ena_support)),
        ("enclaveOptions", request.enclave_options.as_ref().map(|options| options.enabled == Some(true))),
    ] {
        if let Some(value) = given {
            wishes.push(wish(name, if value { "true" } else { "false" })?);
        }
    }
    if let Some(blob) = &request.user_data {
        wishes.push(user_data(blob.value.as_deref().unwrap_or_default())?);
    }
    if !request.groups.is_empty() {
        wishes.push(("groupSet", Wish::Groups(request.groups.clone())));
    }
    if !request.block_device_mappings.is_empty() {
        request.block_device_mappings.iter().try_for_each(|one| mapping(one, root))?;
        wishes.push(("blockDeviceMapping", Wish::AsItIs));
    }
    Ok(wishes)
}

/// The older form: `Attribute=instanceType&Value=m1.small`.
fn spelled(request: &ModifyInstanceAttributeRequest) -> Result<Option<Named>, Fault> {
    let Some(name) = request.attribute.as_deref() else { return Ok(None) };
    // Clients name the attribute besides giving its own parameter, too.
    let Some(value) = request.value.as_deref() else { return Ok(None) };
    if name == "userData" {
        let malformed = || Fault::invalid_parameter("Invalid BASE64 encoding of user data");
        return user_data(&STANDARD.decode(value).map_err(|_| malformed())?).map(Some);
    }
    wish(name, value).map(Some)
}

fn wish(name: &str, value: &str) -> Result<Named, Fault> {
    let invalid = |why: &str| Fault::from(WireFault::invalid("value", value, why));
    let truth = || match value.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(invalid("Expecting true or false.")),
    };
    Ok(match name {
        "instanceType" => ("instanceType", Wish::InstanceType(value.to_owned())),
        "kernel" => ("kernel", Wish::Kernel(value.parse::<KernelImageId>()?.into())),
        "ramdisk" => ("ramdisk", Wish::Ramdisk(value.parse::<RamdiskImageId>()?.into())),
        "instanceInitiatedShutdownBehavior" => match ShutdownBehavior::parse(value) {
            Some(behavior) => ("instanceInitiatedShutdownBehavior", Wish::ShutdownBehavior(behavior)),
            None => return Err(invalid("Expecting stop or terminate.")),
        },
        "disableApiTermination" => ("disableApiTermination", Wish::DisableApiTermination(truth()?)),
        "disableApiStop" => ("disableApiStop", Wish::DisableApiStop(truth()?)),
        "sourceDestCheck" => ("sourceDestCheck", Wish::SourceDestCheck(truth()?)),
        "ebsOptimized" if !truth()? => ("ebsOptimized", Wish::AsItIs),
        "ebsOptimized" => return Err(unsupported("EBS optimisation is not supported")),
        "enaSupport" if !truth()? => ("enaSupport", Wish::AsItIs),
        "enaSupport" => return Err(unsupported("Enhanced networking is not supported")),
        "enclaveOptions" if !truth()? => ("enclaveOptions", Wish::AsItIs),
        "enclaveOptions" => return Err(unsupported("Enclaves are not supported")),
        "sriovNetSupport" => return Err(unsupported("Enhanced networking is not supported")),
        other => {
            let shown = shown(other);
            return Err(WireFault::invalid("attribute", &shown, "It cannot be modified.").into());
        }
    })
}

fn user_data(bytes: &[u8]) -> Result<Named, Fault> {
    if bytes.len() > USER_DATA_BYTES_MAX {
        let sentence = format!("User data is limited to {USER_DATA_BYTES_MAX} bytes");
        return Err(Fault::invalid_parameter(sentence));
    }
    let text = (!bytes.is_empty()).then(|| STANDARD.encode(bytes));
    Ok(("userData", Wish::UserData(text)))
}

/// The root disk goes when its instance goes.
fn mapping(one: &InstanceBlockDeviceMappingSpecification, root: &str) -> Result<(), Fault> {
    let device = one.device_name.as_deref().unwrap_or_default();
    if device != root {
        let shown = shown(device);
        let sentence = format!("No device is currently mapped at {shown}");
        return Err(Fault::new(FaultCode::InvalidInstanceAttributeValue, sentence));
    }
    let ebs = one.ebs.as_ref();
    if one.no_device.is_some() || ebs.is_some_and(|ebs| ebs.delete_on_termination == Some(false)) {
        return Err(unsupported("A root disk that outlives its instance is not supported"));
    }
    Ok(())
}

fn unsupported(sentence: &'static str) -> Fault {
    Fault::new(FaultCode::UnsupportedOperation, sentence)
}

pub fn of_modify_metadata(_: &Cx, request: &ModifyInstanceMetadataOptionsRequest) -> Asks {
    Asks::On(vec![Target::new("instance", &request.instance_id)])
}

pub async fn modify_instance_metadata_options(
    cx: Cx,
    request: ModifyInstanceMetadataOptionsRequest,
) -> Answer<ModifyInstanceMetadataOptionsResult> {
    let id: InstanceId = request.instance_id.parse()?;
    let wish = metadata(&request)?;
    cx.app.instances_named(cx.caller(), std::slice::from_ref(&id))?;
    not_dry(&request)?;
    let instance = cx.app.instance_modify(cx.caller(), &id, Wish::Metadata(wish)).await?;
    Ok(ModifyInstanceMetadataOptionsResult {
        instance_id: Some(request.instance_id),
        instance_metadata_options: Some(shape::metadata_options(&instance)),
    })
}

fn metadata(request: &ModifyInstanceMetadataOptionsRequest) -> Result<MetadataWish, Fault> {
    if request.http_protocol_ipv6.as_deref() == Some("enabled") {
        return Err(unsupported("Metadata over IPv6 is not supported"));
    }
    let hop_limit = request.http_put_response_hop_limit.map(|limit| {
        let valid = u8::try_from(limit).ok().filter(|limit| (1..=64).contains(limit));
        let why = "Expecting a number from 1 to 64.";
        valid.ok_or_else(|| WireFault::invalid("HttpPutResponseHopLimit", &limit.to_string(), why))
    });
    let enabled = |text: &Option<String>| text.as_deref().map(|text| text == "enabled");
    Ok(MetadataWish {
        enabled: enabled(&request.http_endpoint),
        tokens_required: request.http_tokens.as_deref().map(|tokens| tokens == "required"),
        hop_limit: hop_limit.transpose()?,
        tags_shown: enabled(&request.instance_metadata_tags),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(request: &ModifyInstanceAttributeRequest, expected: Result<&[&str], &str>) {
        let wishes = named(request, "/dev/sda1").and_then(|mut wishes| {
            wishes.extend(spelled(request)?);
            Ok(wishes)
        });
        let names: Result<Vec<&str>, Fault> =
            wishes.map(|wishes| wishes.into_iter().map(|(name, _)| name).collect());
        assert_eq!(names.as_deref().map_err(|fault| fault.code()), expected, "{request:?}");
    }

    #[test]
    fn attributes_come_under_their_own_name_or_spelled_out() {
        let value = |text: &str| Some(AttributeValue { value: Some(text.into()) });
        let empty = ModifyInstanceAttributeRequest::default;
        check(&empty(), Ok(&[]));
        check(
            &ModifyInstanceAttributeRequest { instance_type: value("m1.small"), ..empty() },
            Ok(&["instanceType"]),
        );
        let spelled = |name: &str, value: &str| ModifyInstanceAttributeRequest {
            attribute: Some(name.into()),
            value: Some(value.into()),
            ..empty()
        };
        check(&spelled("disableApiTermination", "TRUE"), Ok(&["disableApiTermination"]));
        check(&spelled("disableApiTermination", "maybe"), Err("InvalidParameterValue"));
        check(&spelled("instanceInitiatedShutdownBehavior", "explode"), Err("InvalidParameterValue"));
        check(&spelled("kernel", "ami-0123456789abcdef0"), Err("InvalidAMIID.Malformed"));
        check(&spelled("sourceDestCheck", "true"), Ok(&["sourceDestCheck"]));
        check(&spelled("sourceDestCheck", "false"), Ok(&["sourceDestCheck"]));
        check(&spelled("userData", "%%%"), Err("InvalidParameterValue"));
        check(&spelled("productCodes", "x"), Err("InvalidParameterValue"));
    }
}
