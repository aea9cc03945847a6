//! The rules that a request speaks of: in lists of permissions, or one by itself as EC2-Classic had it.

use crate::api::cx::Cx;
use crate::app::security_group::name::rule_description;
use crate::app::security_group::terms::{net4, net6, traffic};
use crate::app::security_group::{NewRule, Peer, Terms, different_networks, group_not_found};
use crate::store::network::SecurityGroup as Row;
use karri_proto::aws::ec2::{IpPermission, SecurityGroupRuleRequest, UserIdGroupPair};
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::{PrefixListId, SecurityGroupId, SecurityGroupRuleId};
use karri_proto::network::{Direction, Traffic};

/// Rules that one request may speak of; more than a group can have.
const RULES_MAX: usize = 1000;
/// What a group let another through to in EC2-Classic, where nothing was said of protocols.
const EVERYTHING_OF_OLD: [Traffic; 3] = [
    Traffic::Tcp { from: 0, to: u16::MAX },
    Traffic::Udp { from: 0, to: u16::MAX },
    Traffic::Icmp { r#type: None, code: None },
];

/// Where a request names rules. The same parameters in every action that does.
pub struct Words<'a> {
    pub permissions: &'a [IpPermission],
    pub protocol: Option<&'a str>,
    pub from_port: Option<i32>,
    pub to_port: Option<i32>,
    pub cidr: Option<&'a str>,
    pub source_name: Option<&'a str>,
    pub source_owner: Option<&'a str>,
}

impl Words<'_> {
    fn one_by_itself(&self) -> bool {
        self.protocol.is_some()
            || self.from_port.is_some()
            || self.to_port.is_some()
            || self.cidr.is_some()
            || self.source_name.is_some()
            || self.source_owner.is_some()
    }

    pub fn says_nothing(&self) -> bool {
        self.permissions.is_empty() && !self.one_by_itself()
    }
}

fn missing(parameter: &str) -> Fault {
    let sentence = format!("The request must contain the parameter {parameter}");
    Fault::new(FaultCode::MissingParameter, sentence)
}

fn unsaid_protocol() -> Fault {
    Fault::invalid_parameter(
        "Invalid value 'null' for protocol. VPC security group rules must specify protocols explicitly.",
    )
}

/// `group` is the one whose rules they are.
pub async fn rules(
    cx: &Cx,
    group: &Row,
    direction: Direction,
    words: Words<'_>,
) -> Result<Vec<NewRule>, Fault> {
    let mut rules = Vec::new();
    if words.one_by_itself() {
        if !words.permissions.is_empty() {
            let sentence = "The parameter ipPermissions cannot be used with ipProtocol, fromPort, toPort, cidrIp or \
                            sourceSecurityGroupName";
            return Err(Fault::new(FaultCode::InvalidParameterCombination, sentence));
        }
        by_itself(cx, group, direction, &words, &mut rules).await?;
    }
    for permission in words.permissions {
        listed(cx, group, direction, permission, &mut rules).await?;
        if rules.len() > RULES_MAX {
            let sentence = format!("At most {RULES_MAX} rules can be named in one request");
            return Err(Fault::invalid_parameter(sentence));
        }
    }
    if rules.is_empty() {
        return Err(missing("ipPermissions"));
    }
    Ok(rules)
}

async fn by_itself(
    cx: &Cx,
    group: &Row,
    direction: Direction,
    words: &Words<'_>,
    rules: &mut Vec<NewRule>,
) -> Result<(), Fault> {
    if words.source_name.is_none() && words.source_owner.is_some() {
        return Err(missing("sourceSecurityGroupName"));
    }
    if let Some(name) = words.source_name {
        if words.cidr.is_some() {
            let sentence = "The parameter cidrIp cannot be used with the parameter sourceSecurityGroupName";
            return Err(Fault::new(FaultCode::InvalidParameterCombination, sentence));
        }
        let pair = UserIdGroupPair {
            group_name: Some(name.to_owned()),
            user_id: words.source_owner.map(str::to_owned),
            ..Default::default()
        };
        let (peer, account) = peer_group(cx, group, &pair).await?;
        let said = words.protocol.map(|protocol| traffic(protocol, words.from_port, words.to_port));
        let said = said.transpose()?.map_or(EVERYTHING_OF_OLD.to_vec(), |said| vec![said]);
        rules.extend(said.into_iter().map(|traffic| NewRule {
            terms: Terms { direction, traffic, peer: Peer::Group(peer.clone()) },
            peer_account: Some(account.clone()),
            description: None,
        }));
        return Ok(());
    }
    let protocol = words.protocol.ok_or_else(unsaid_protocol)?;
    let traffic = traffic(protocol, words.from_port, words.to_port)?;
    let peer = Peer::V4(net4(words.cidr.ok_or_else(|| missing("cidrIp"))?)?);
    rules.push(NewRule { terms: Terms { direction, traffic, peer }, peer_account: None, description: None });
    Ok(())
}

async fn listed(
    cx: &Cx,
    group: &Row,
    direction: Direction,
    permission: &IpPermission,
    rules: &mut Vec<NewRule>,
) -> Result<(), Fault> {
    let protocol = permission.ip_protocol.as_deref().ok_or_else(unsaid_protocol)?;
    let traffic = traffic(protocol, permission.from_port, permission.to_port)?;
    let before = rules.len();
    let mut add = |peer, peer_account, description: &Option<String>| {
        let description = rule_description(description.as_deref())?;
        rules.push(NewRule { terms: Terms { direction, traffic, peer }, peer_account, description });
        Ok::<(), Fault>(())
    };
    for range in &permission.ip_ranges {
        let text = range.cidr_ip.as_deref().ok_or_else(|| missing("cidrIp"))?;
        add(Peer::V4(net4(text)?), None, &range.description)?;
    }
    for range in &permission.ipv6_ranges {
        let text = range.cidr_ipv6.as_deref().ok_or_else(|| missing("cidrIpv6"))?;
        add(Peer::V6(net6(text)?), None, &range.description)?;
    }
    for pair in &permission.user_id_group_pairs {
        let (peer, account) = peer_group(cx, group, pair).await?;
        add(Peer::Group(peer), Some(account), &pair.description)?;
    }
    for named in &permission.prefix_list_ids {
        let id = named.prefix_list_id.as_deref().ok_or_else(|| missing("prefixListId"))?;
        add(Peer::List(peer_list(cx, group, id).await?), None, &named.description)?;
    }
    if rules.len() == before {
        let sentence = "The permission names no range, group or prefix list";
        return Err(Fault::new(FaultCode::InvalidPermissionMalformed, sentence));
    }
    Ok(())
}

/// One of the account whose group it is.
async fn peer_list(cx: &Cx, group: &Row, id: &str) -> Result<PrefixListId, Fault> {
    let id: PrefixListId = id.parse()?;
    let found = cx.app.store.prefix_list_fetch(id.as_str()).await?;
    match found.filter(|list| list.account == group.account) {
        Some(_) => Ok(id),
        None => Err(id.not_found()),
    }
}

/// One's own group, or another account's when that account is named; with whose it is. By name it is one of the default
/// VPC.
async fn peer_group(
    cx: &Cx,
    group: &Row,
    pair: &UserIdGroupPair,
) -> Result<(SecurityGroupId, String), Fault> {
    let account = pair.user_id.as_deref().unwrap_or(&group.account);
    let (asked, found) = match (&pair.group_id, &pair.group_name) {
        (Some(id), _) => {
            id.parse::<SecurityGroupId>()?;
            (id, cx.app.store.security_group_fetch(id).await?)
        }
        (None, Some(name)) => (name, cx.app.store.security_group_by_name(account, name).await?),
        (None, None) => return Err(missing("groupId")),
    };
    let found = found.filter(|found| found.account == account).ok_or_else(|| group_not_found(asked))?;
    if !cx.app.may_meet(&group.vpc_id, &found.vpc_id).await? {
        return Err(different_networks());
    }
    Ok((found.id.parse()?, found.account))
}

/// A request that replaces a rule has no word for accounts: the group that the rule names already is the one it was, and
/// any other is one's own.
async fn peer_group_instead(
    cx: &Cx,
    group: &Row,
    rule: &SecurityGroupRuleId,
    id: &str,
) -> Result<(SecurityGroupId, String), Fault> {
    let old = cx.app.store.rule_fetch(&group.id, rule).await?;
    let same = old.filter(|old| matches!(&old.terms.peer, Peer::Group(peer) if peer.as_str() == id));
    let pair = UserIdGroupPair {
        group_id: Some(id.to_owned()),
        user_id: same.and_then(|old| old.peer_account),
        ..Default::default()
    };
    peer_group(cx, group, &pair).await
}

/// What a rule is to be replaced by. The side is that of the rule.
pub async fn replacement(
    cx: &Cx,
    group: &Row,
    rule: &SecurityGroupRuleId,
    asked: &SecurityGroupRuleRequest,
) -> Result<NewRule, Fault> {
    let protocol = asked.ip_protocol.as_deref().ok_or_else(unsaid_protocol)?;
    let traffic = traffic(protocol, asked.from_port, asked.to_port)?;
    let description = rule_description(asked.description.as_deref())?;
    let peers = [&asked.cidr_ipv4, &asked.cidr_ipv6, &asked.prefix_list_id, &asked.referenced_group_id];
    if peers.into_iter().flatten().count() != 1 {
        let sentence = "A rule has exactly one of CidrIpv4, CidrIpv6, PrefixListId and ReferencedGroupId";
        return Err(Fault::new(FaultCode::InvalidParameterCombination, sentence));
    }
    let mut peer_account = None;
    let peer = if let Some(text) = &asked.cidr_ipv4 {
        Peer::V4(net4(text)?)
    } else if let Some(text) = &asked.cidr_ipv6 {
        Peer::V6(net6(text)?)
    } else if let Some(id) = &asked.referenced_group_id {
        let (peer, account) = peer_group_instead(cx, group, rule, id).await?;
        peer_account = Some(account);
        Peer::Group(peer)
    } else {
        Peer::List(peer_list(cx, group, asked.prefix_list_id.as_deref().unwrap_or_default()).await?)
    };
    Ok(NewRule { terms: Terms { direction: Direction::Ingress, traffic, peer }, peer_account, description })
}
