//! One attribute of a network interface: told, changed, and put back.

use super::asked::description;
use super::{KIND, shape};
use crate::api::cx::{Answer, Cx};
use crate::api::permit::{Asks, Target, not_dry};
use crate::app::network_interface::InterfaceWish;
use karri_proto::aws::ec2::{
    AttributeBooleanValue, AttributeValue, DescribeNetworkInterfaceAttributeRequest,
    DescribeNetworkInterfaceAttributeResult, ModifyNetworkInterfaceAttributeRequest,
    NetworkInterfaceAttachmentChanges, ResetNetworkInterfaceAttributeRequest,
};
use karri_proto::aws::{Done, WireFault};
use karri_proto::fault::{Fault, FaultCode};

fn combination(sentence: &'static str) -> Fault {
    Fault::new(FaultCode::InvalidParameterCombination, sentence)
}

pub fn describe_attribute_asks(_: &Cx, request: &DescribeNetworkInterfaceAttributeRequest) -> Asks {
    Asks::On(vec![Target::new(KIND, &request.network_interface_id)])
}

pub async fn describe_network_interface_attribute(
    cx: Cx,
    request: DescribeNetworkInterfaceAttributeRequest,
) -> Answer<DescribeNetworkInterfaceAttributeResult> {
    let id = request.network_interface_id.parse()?;
    let mut tx = cx.app.store.begin().await?;
    let one = cx.app.interface_in_txn(&mut tx, cx.caller(), &id).await?;
    drop(tx);
    let mut told = DescribeNetworkInterfaceAttributeResult {
        network_interface_id: Some(request.network_interface_id),
        ..Default::default()
    };
    match request.attribute.as_deref() {
        Some("description") => {
            told.description = Some(AttributeValue { value: Some(one.about.description) });
        }
        Some("groupSet") => told.groups = one.port.groups.iter().map(shape::group).collect(),
        Some("sourceDestCheck") => {
            told.source_dest_check = Some(AttributeBooleanValue { value: Some(one.port.source_dest_check) });
        }
        Some("attachment") => {
            told.attachment = shape::attachment_of(&one);
        }
        Some("associatePublicIpAddress") => {
            let own = one.port.public.as_ref().is_some_and(|public| !public.elastic);
            told.associate_public_ip_address = Some(own);
        }
        Some(other) => return Err(WireFault::invalid("attribute", other, "Unknown attribute.").into()),
        None => return Err(combination("No attributes specified.")),
    }
    Ok(told)
}

pub fn modify_attribute_asks(_: &Cx, request: &ModifyNetworkInterfaceAttributeRequest) -> Asks {
    let mut targets = vec![Target::new(KIND, &request.network_interface_id)];
    targets.extend(request.groups.iter().map(|id| Target::new("security-group", id)));
    Asks::On(targets)
}

fn refuse_unsupported(request: &ModifyNetworkInterfaceAttributeRequest) -> Result<(), Fault> {
    let attachment = request.attachment.as_ref();
    let ena =
        attachment.is_some_and(|it| it.ena_queue_count.is_some() || it.default_ena_queue_count.is_some());
    let refused = [
        request.associate_public_ip_address.is_some(),
        request.connection_tracking_specification.is_some(),
        request.ena_srd_specification.is_some(),
        request.enable_primary_ipv6.is_some(),
        !request.associated_subnet_ids.is_empty(),
        ena,
    ];
    if refused.contains(&true) {
        let sentence = "Of a network interface, only the description, the security groups, the source/destination check \
                        and whether it is deleted on termination can be modified";
        return Err(Fault::new(FaultCode::UnsupportedOperation, sentence));
    }
    Ok(())
}

fn on_termination(changes: &NetworkInterfaceAttachmentChanges) -> Result<InterfaceWish, Fault> {
    let Some(value) = changes.delete_on_termination else {
        return Err(combination("No attributes specified."));
    };
    let attachment = changes.attachment_id.as_deref().map(str::parse).transpose()?;
    Ok(InterfaceWish::DeleteOnTermination { attachment, value })
}

/// One attribute at a time, as EC2 has it.
pub async fn modify_network_interface_attribute(
    cx: Cx,
    request: ModifyNetworkInterfaceAttributeRequest,
) -> Answer<Done> {
    let id = request.network_interface_id.parse()?;
    refuse_unsupported(&request)?;
    let mut wishes = Vec::new();
    if let Some(text) = &request.description {
        wishes.push(InterfaceWish::Description(description(text.value.as_deref())?));
    }
    if !request.groups.is_empty() {
        wishes.push(InterfaceWish::Groups(request.groups.clone()));
    }
    if let Some(check) = &request.source_dest_check {
        wishes.push(InterfaceWish::SourceDestCheck(check.value.unwrap_or(false)));
    }
    if let Some(changes) = &request.attachment {
        wishes.push(on_termination(changes)?);
    }
    let wish = match (wishes.pop(), wishes.is_empty()) {
        (Some(wish), true) => wish,
        (None, _) => return Err(combination("No attributes specified.")),
        (Some(_), false) => return Err(combination("Fields for multiple attribute types specified")),
    };
    cx.app.interface_modify(cx.caller(), &id, &wish, request.dry_run == Some(true)).await?;
    not_dry(&request)?;
    Ok(Done)
}

pub fn reset_attribute_asks(_: &Cx, request: &ResetNetworkInterfaceAttributeRequest) -> Asks {
    Asks::On(vec![Target::new(KIND, &request.network_interface_id)])
}

/// EC2 resets one attribute, and its value is no matter.
pub async fn reset_network_interface_attribute(
    cx: Cx,
    request: ResetNetworkInterfaceAttributeRequest,
) -> Answer<Done> {
    let id = request.network_interface_id.parse()?;
    if request.source_dest_check.is_none() {
        return Err(combination("No attributes specified."));
    }
    let wish = InterfaceWish::SourceDestCheck(true);
    cx.app.interface_modify(cx.caller(), &id, &wish, request.dry_run == Some(true)).await?;
    not_dry(&request)?;
    Ok(Done)
}
