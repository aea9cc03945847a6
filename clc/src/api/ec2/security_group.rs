//! Security groups and their rules.

mod asked;
mod change;
mod filter;
mod shape;

pub use change::{
    authorize_egress_asks, authorize_ingress_asks, authorize_security_group_egress,
    authorize_security_group_ingress, create_asks, create_security_group, delete_asks, delete_security_group,
    describe_egress_asks, describe_ingress_asks, modify_asks, modify_security_group_rules,
    revoke_egress_asks, revoke_ingress_asks, revoke_security_group_egress, revoke_security_group_ingress,
    update_security_group_rule_descriptions_egress, update_security_group_rule_descriptions_ingress,
};

use super::listing::{absent, ids_or_page, named, page};
use crate::api::cx::{Answer, Cx};
use crate::app::security_group::Rule;
use crate::app::tag::Taggable;
use crate::store::network::SecurityGroup as Row;
use karri_proto::aws::ec2::{
    DescribeSecurityGroupReferencesRequest, DescribeSecurityGroupReferencesResult,
    DescribeSecurityGroupRulesRequest, DescribeSecurityGroupRulesResult, DescribeSecurityGroupsRequest,
    DescribeSecurityGroupsResult, SecurityGroup, SecurityGroupReference, SecurityGroupRule,
};
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::{SecurityGroupId, SecurityGroupRuleId};
use std::collections::HashMap;

/// Groups whose references one request may ask for.
const REFERENCED_MAX: usize = 100;

pub async fn describe_security_groups(
    cx: Cx,
    request: DescribeSecurityGroupsRequest,
) -> Answer<DescribeSecurityGroupsResult> {
    ids_or_page(&request.group_ids, request.max_results, "securityGroupSet")?;
    for id in &request.group_ids {
        id.parse::<SecurityGroupId>()?;
    }
    let rows = cx.app.store.security_group_list(cx.account()).await?;
    let names = peer_names(&request, &rows);
    let missing = |ids: &[&str]| absent(FaultCode::InvalidGroupNotFound, "security group", ids);
    let rows = named(&request.group_ids, rows, |row| &row.id, missing)?;
    let rows = in_default_vpc(&cx, &request.group_names, rows).await?;
    let rows = named(&request.group_names, rows, |row| &row.name, missing)?;
    let mut rules: HashMap<String, Vec<Rule>> = HashMap::new();
    for rule in cx.app.store.rules_of_account(cx.account()).await? {
        rules.entry(rule.group.to_string()).or_default().push(rule);
    }
    let mut tags = cx.app.store.tags_of_account(cx.account(), Taggable::SecurityGroup).await?;
    let described = rows.into_iter().map(|row| {
        let rules = rules.remove(&row.id).unwrap_or_default();
        let tags = tags.remove(&row.id).unwrap_or_default();
        let mut group = shape::group(&cx, row, &rules, &tags);
        if let Some(names) = &names {
            filter::peers_named(&mut group, |id| names.get(id).cloned());
        }
        group
    });
    let key = |group: &SecurityGroup| group.group_id.clone().unwrap_or_default();
    let (mut security_groups, next_token) = page(&request, described.collect(), key)?;
    if names.is_some() {
        security_groups.iter_mut().for_each(|group| filter::peers_named(group, |_| None));
    }
    Ok(DescribeSecurityGroupsResult { next_token, security_groups })
}

/// Names of groups by their ids. None: no filter is about them.
fn peer_names(request: &DescribeSecurityGroupsRequest, rows: &[Row]) -> Option<HashMap<String, String>> {
    let asked = request.filters.iter().any(|asked| filter::is_about_names_of_peers(&asked.name));
    asked.then(|| rows.iter().map(|row| (row.id.clone(), row.name.clone())).collect())
}

/// By name, groups of the default VPC are meant, whose names are theirs alone.
async fn in_default_vpc(cx: &Cx, names: &[String], rows: Vec<Row>) -> Result<Vec<Row>, Fault> {
    if names.is_empty() {
        return Ok(rows);
    }
    let vpcs = cx.app.store.vpc_list(cx.account()).await?;
    let default = vpcs.into_iter().find(|vpc| vpc.is_default).map(|vpc| vpc.id);
    Ok(rows.into_iter().filter(|row| Some(&row.vpc_id) == default.as_ref()).collect())
}

pub async fn describe_security_group_rules(
    cx: Cx,
    request: DescribeSecurityGroupRulesRequest,
) -> Answer<DescribeSecurityGroupRulesResult> {
    ids_or_page(&request.security_group_rule_ids, request.max_results, "securityGroupRuleSet")?;
    for id in &request.security_group_rule_ids {
        id.parse::<SecurityGroupRuleId>()?;
    }
    let rules = cx.app.store.rules_of_account(cx.account()).await?;
    let missing =
        |ids: &[&str]| absent(FaultCode::InvalidSecurityGroupRuleIdNotFound, "security group rule ID", ids);
    let rules = named(&request.security_group_rule_ids, rules, |rule| rule.id.as_str(), missing)?;
    let mut tags = cx.app.store.tags_of_account(cx.account(), Taggable::SecurityGroupRule).await?;
    let described = rules.into_iter().map(|rule| {
        let tags = tags.remove(rule.id.as_str()).unwrap_or_default();
        shape::rule(&cx, rule, &tags)
    });
    let key = |rule: &SecurityGroupRule| rule.security_group_rule_id.clone().unwrap_or_default();
    let (security_group_rules, next_token) = page(&request, described.collect(), key)?;
    Ok(DescribeSecurityGroupRulesResult { next_token, security_group_rules })
}

/// VPCs elsewhere whose groups let these through.
pub async fn describe_security_group_references(
    cx: Cx,
    request: DescribeSecurityGroupReferencesRequest,
) -> Answer<DescribeSecurityGroupReferencesResult> {
    if request.group_id.len() > REFERENCED_MAX {
        let sentence = format!("At most {REFERENCED_MAX} security groups can be named in one request");
        return Err(Fault::invalid_parameter(sentence));
    }
    let mut told = Vec::new();
    for id in &request.group_id {
        let group = cx.app.group_by_id(cx.caller(), id).await?;
        let vpcs = cx.app.store.group_referrers(&group.id).await?;
        let elsewhere = vpcs.into_iter().filter(|vpc| *vpc != group.vpc_id);
        told.extend(elsewhere.map(|vpc| SecurityGroupReference {
            group_id: Some(group.id.clone()),
            referencing_vpc_id: Some(vpc),
            ..Default::default()
        }));
    }
    Ok(DescribeSecurityGroupReferencesResult { security_group_reference_set: told })
}
