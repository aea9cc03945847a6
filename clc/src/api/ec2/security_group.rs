//! The account's security group: it has one, its default group.

mod filter;

use super::listing::{absent, ids_or_page, named, page};
use super::tag::shown;
use crate::api::cx::{Answer, Cx};
use crate::app::security_group::{Direction, rule_id};
use crate::app::tag::{Taggable, Tags};
use crate::store::network::SecurityGroup as Row;
use karri_proto::aws::ec2::{
    DescribeSecurityGroupRulesRequest, DescribeSecurityGroupRulesResult, DescribeSecurityGroupsRequest,
    DescribeSecurityGroupsResult, IpPermission, IpRange, ReferencedSecurityGroup, SecurityGroup,
    SecurityGroupRule, UserIdGroupPair,
};
use karri_proto::fault::FaultCode;
use karri_proto::ids::{SecurityGroupId, SecurityGroupRuleId};

const EVERYWHERE: &str = "0.0.0.0/0";
/// EC2's way to say all protocols and, in rules, all ports.
const ALL: &str = "-1";

pub async fn describe_security_groups(
    cx: Cx,
    request: DescribeSecurityGroupsRequest,
) -> Answer<DescribeSecurityGroupsResult> {
    ids_or_page(&request.group_ids, request.max_results, "securityGroupSet")?;
    for id in &request.group_ids {
        id.parse::<SecurityGroupId>()?;
    }
    let rows = cx.app.store.security_group_list(cx.account()).await?;
    let missing = |ids: &[&str]| absent(FaultCode::InvalidGroupNotFound, "security group", ids);
    let rows = named(&request.group_ids, rows, |row| &row.id, missing)?;
    let rows = named(&request.group_names, rows, |row| &row.name, missing)?;
    let mut tags = cx.app.store.tags_of_account(cx.account(), Taggable::SecurityGroup).await?;
    let described = rows.into_iter().map(|row| {
        let tags = tags.remove(&row.id).unwrap_or_default();
        describe(&cx, row, &tags)
    });
    let key = |group: &SecurityGroup| group.group_id.clone().unwrap_or_default();
    let (security_groups, next_token) = page(&request, described.collect(), key)?;
    Ok(DescribeSecurityGroupsResult { next_token, security_groups })
}

fn describe(cx: &Cx, row: Row, tags: &Tags) -> SecurityGroup {
    let itself = UserIdGroupPair {
        group_id: Some(row.id.clone()),
        user_id: Some(row.account.clone()),
        ..Default::default()
    };
    let all = || IpPermission { ip_protocol: Some(ALL.to_owned()), ..Default::default() };
    let everywhere = IpRange { cidr_ip: Some(EVERYWHERE.to_owned()), description: None };
    SecurityGroup {
        description: Some(row.description),
        group_name: Some(row.name),
        ip_permissions: vec![IpPermission { user_id_group_pairs: vec![itself], ..all() }],
        ip_permissions_egress: vec![IpPermission { ip_ranges: vec![everywhere], ..all() }],
        owner_id: Some(row.account),
        security_group_arn: Some(cx.arn("security-group", &row.id)),
        group_id: Some(row.id),
        tags: shown(tags),
        vpc_id: Some(row.vpc_id),
    }
}

pub async fn describe_security_group_rules(
    cx: Cx,
    request: DescribeSecurityGroupRulesRequest,
) -> Answer<DescribeSecurityGroupRulesResult> {
    ids_or_page(&request.security_group_rule_ids, request.max_results, "securityGroupRuleSet")?;
    for id in &request.security_group_rule_ids {
        id.parse::<SecurityGroupRuleId>()?;
    }
    let groups = cx.app.store.security_group_list(cx.account()).await?;
    let mut tags = cx.app.store.tags_of_account(cx.account(), Taggable::SecurityGroupRule).await?;
    let rules = groups.iter().flat_map(|group| Direction::ALL.map(|direction| (group, direction)));
    let rules = rules.map(|(group, direction)| {
        let id = rule_id(group, direction);
        let tags = tags.remove(&id).unwrap_or_default();
        (id.clone(), rule(&cx, group, direction, id, &tags))
    });
    let missing =
        |ids: &[&str]| absent(FaultCode::InvalidSecurityGroupRuleIdNotFound, "security group rule ID", ids);
    let rules = named(&request.security_group_rule_ids, rules.collect(), |(id, _)| id, missing)?;
    let rules = rules.into_iter().map(|(_, rule)| rule).collect();
    let key = |rule: &SecurityGroupRule| rule.security_group_rule_id.clone().unwrap_or_default();
    let (security_group_rules, next_token) = page(&request, rules, key)?;
    Ok(DescribeSecurityGroupRulesResult { next_token, security_group_rules })
}

fn rule(cx: &Cx, group: &Row, direction: Direction, id: String, tags: &Tags) -> SecurityGroupRule {
    let egress = direction == Direction::Egress;
    let itself = ReferencedSecurityGroup {
        group_id: Some(group.id.clone()),
        user_id: Some(group.account.clone()),
        ..Default::default()
    };
    SecurityGroupRule {
        cidr_ipv4: egress.then(|| EVERYWHERE.to_owned()),
        from_port: Some(-1),
        group_id: Some(group.id.clone()),
        group_owner_id: Some(group.account.clone()),
        ip_protocol: Some(ALL.to_owned()),
        is_egress: Some(egress),
        referenced_group_info: (!egress).then_some(itself),
        security_group_rule_arn: Some(cx.arn("security-group-rule", &id)),
        security_group_rule_id: Some(id),
        tags: shown(tags),
        to_port: Some(-1),
        ..Default::default()
    }
}
