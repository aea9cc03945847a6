//! Network ACLs, entries and associations made, changed and removed.

use super::shape::Shapes;
use crate::api::cx::{Answer, Cx};
use crate::api::ec2::tag::specified;
use crate::api::ec2::token::token;
use crate::api::permit::{Asks, Target, not_dry};
use crate::app::network_acl::{LAST_NUMBER, Put};
use crate::app::security_group::terms::{net4, traffic};
use crate::app::tag::Taggable;
use karri_proto::aws::ec2::{
    CreateNetworkAclEntryRequest, CreateNetworkAclRequest, CreateNetworkAclResult,
    DeleteNetworkAclEntryRequest, DeleteNetworkAclRequest, IcmpTypeCode, PortRange,
    ReplaceNetworkAclAssociationRequest, ReplaceNetworkAclAssociationResult, ReplaceNetworkAclEntryRequest,
};
use karri_proto::aws::{Done, WireFault};
use karri_proto::fault::{Fault, FaultCode, shown};
use karri_proto::network::{AclEntry, Traffic};

const KIND: &str = "network-acl";

fn on(acl: &str) -> Asks {
    Asks::On(vec![Target::new(KIND, acl)])
}

pub fn create_asks(_: &Cx, request: &CreateNetworkAclRequest) -> Asks {
    Asks::On(vec![Target::new(KIND, "*"), Target::new("vpc", &request.vpc_id)])
}

pub async fn create_network_acl(cx: Cx, request: CreateNetworkAclRequest) -> Answer<CreateNetworkAclResult> {
    let tags = specified(&request.tag_specifications, Taggable::NetworkAcl)?;
    let (used, dry) = (token(&cx, &request)?, request.dry_run == Some(true));
    let row = cx.app.network_acl_create(cx.caller(), &request.vpc_id, &used, &tags, dry).await?;
    not_dry(&request)?;
    let mut shapes = Shapes::read(&cx, &row.account).await?;
    let tags = cx.app.store.tags_of_resource(&row.account, &row.id).await?;
    Ok(CreateNetworkAclResult {
        client_token: request.client_token,
        network_acl: Some(shapes.acl(row, &tags)),
    })
}

pub fn delete_asks(_: &Cx, request: &DeleteNetworkAclRequest) -> Asks {
    on(&request.network_acl_id)
}

pub async fn delete_network_acl(cx: Cx, request: DeleteNetworkAclRequest) -> Answer<Done> {
    let dry = request.dry_run == Some(true);
    cx.app.network_acl_delete(cx.caller(), &request.network_acl_id, dry).await?;
    not_dry(&request)?;
    Ok(Done)
}

fn missing(parameter: &str) -> Fault {
    let sentence = format!("The request must contain the parameter {parameter}");
    Fault::new(FaultCode::MissingParameter, sentence)
}

/// The last entry is nobody's to write.
fn number(asked: i32) -> Result<u16, Fault> {
    let number = u16::try_from(asked).ok().filter(|number| (1..LAST_NUMBER).contains(number));
    number.ok_or_else(|| {
        let sentence = format!(
            "Value ({asked}) for parameter ruleNumber is invalid. The rule number must be between 1 and 32766."
        );
        Fault::invalid_parameter(sentence)
    })
}

/// What the two requests that write an entry say.
struct Words<'a> {
    number: i32,
    protocol: &'a str,
    action: &'a str,
    cidr: Option<&'a str>,
    cidr6: Option<&'a str>,
    ports: Option<&'a PortRange>,
    icmp: Option<&'a IcmpTypeCode>,
}

macro_rules! words {
    ($request:ident) => {
        Words {
            number: $request.rule_number,
            protocol: &$request.protocol,
            action: &$request.rule_action,
            cidr: $request.cidr_block.as_deref(),
            cidr6: $request.ipv6_cidr_block.as_deref(),
            ports: $request.port_range.as_ref(),
            icmp: $request.icmp_type_code.as_ref(),
        }
    };
}

fn entry(words: Words<'_>) -> Result<AclEntry, Fault> {
    let number = number(words.number)?;
    let allow = match words.action {
        "allow" => true,
        "deny" => false,
        other => return Err(WireFault::invalid("ruleAction", other, "Expecting allow or deny.").into()),
    };
    let range = match (words.cidr, words.cidr6) {
        (Some(text), None) => net4(text).map_err(|_| {
            let sentence = format!(
                "Value ({}) for parameter cidrBlock is invalid. This is not a valid CIDR block.",
                shown(text)
            );
            Fault::invalid_parameter(sentence)
        })?,
        (None, Some(_)) => {
            let sentence = "Network ACL entries of IPv6 are not supported";
            return Err(Fault::new(FaultCode::UnsupportedOperation, sentence));
        }
        (None, None) => return Err(missing("cidrBlock or ipv6CidrBlock")),
        (Some(_), Some(_)) => {
            let sentence = "An entry has exactly one of cidrBlock and ipv6CidrBlock";
            return Err(Fault::new(FaultCode::InvalidParameterCombination, sentence));
        }
    };
    Ok(AclEntry { number, allow, traffic: traffic_of(&words)?, range })
}

fn traffic_of(words: &Words<'_>) -> Result<Traffic, Fault> {
    let ports = words.ports.map_or((None, None), |ports| (ports.from, ports.to));
    let icmp = words.icmp.map_or((None, None), |icmp| (icmp.r#type, icmp.code));
    let named = traffic(words.protocol, Some(0), Some(0))?;
    match named {
        Traffic::Tcp { .. } | Traffic::Udp { .. } if words.ports.is_none() => Err(missing("portRange")),
        Traffic::Icmp { .. } | Traffic::Icmp6 { .. } if words.icmp.is_none() => Err(missing("icmpTypeCode")),
        Traffic::Icmp { .. } | Traffic::Icmp6 { .. } => traffic(words.protocol, icmp.0, icmp.1),
        _ => traffic(words.protocol, ports.0, ports.1),
    }
}

pub fn create_entry_asks(_: &Cx, request: &CreateNetworkAclEntryRequest) -> Asks {
    on(&request.network_acl_id)
}

pub async fn create_network_acl_entry(cx: Cx, request: CreateNetworkAclEntryRequest) -> Answer<Done> {
    let (entry, dry) = (entry(words!(request))?, request.dry_run == Some(true));
    let (acl, egress) = (&request.network_acl_id, request.egress);
    cx.app.network_acl_entry_put(cx.caller(), acl, egress, entry, Put::New, dry).await?;
    not_dry(&request)?;
    Ok(Done)
}

pub fn replace_entry_asks(_: &Cx, request: &ReplaceNetworkAclEntryRequest) -> Asks {
    on(&request.network_acl_id)
}

pub async fn replace_network_acl_entry(cx: Cx, request: ReplaceNetworkAclEntryRequest) -> Answer<Done> {
    let (entry, dry) = (entry(words!(request))?, request.dry_run == Some(true));
    let (acl, egress) = (&request.network_acl_id, request.egress);
    cx.app.network_acl_entry_put(cx.caller(), acl, egress, entry, Put::InPlace, dry).await?;
    not_dry(&request)?;
    Ok(Done)
}

pub fn delete_entry_asks(_: &Cx, request: &DeleteNetworkAclEntryRequest) -> Asks {
    on(&request.network_acl_id)
}

pub async fn delete_network_acl_entry(cx: Cx, request: DeleteNetworkAclEntryRequest) -> Answer<Done> {
    let (number, dry) = (number(request.rule_number)?, request.dry_run == Some(true));
    let (acl, egress) = (&request.network_acl_id, request.egress);
    cx.app.network_acl_entry_delete(cx.caller(), acl, egress, number, dry).await?;
    not_dry(&request)?;
    Ok(Done)
}

pub fn replace_association_asks(_: &Cx, request: &ReplaceNetworkAclAssociationRequest) -> Asks {
    on(&request.network_acl_id)
}

pub async fn replace_network_acl_association(
    cx: Cx,
    request: ReplaceNetworkAclAssociationRequest,
) -> Answer<ReplaceNetworkAclAssociationResult> {
    let (id, acl, dry) = (&request.association_id, &request.network_acl_id, request.dry_run == Some(true));
    let new = cx.app.network_acl_association_replace(cx.caller(), id, acl, dry).await?;
    not_dry(&request)?;
    Ok(ReplaceNetworkAclAssociationResult { new_association_id: Some(new) })
}
