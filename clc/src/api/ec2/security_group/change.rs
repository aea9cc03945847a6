//! Groups and rules made, changed and removed.

use super::asked::{Words, replacement, rules};
use super::shape;
use crate::api::cx::{Answer, Cx};
use crate::api::ec2::tag::{shown, specified};
use crate::api::permit::{Asks, Target, grant, not_dry};
use crate::app::security_group::name::rule_description;
use crate::app::security_group::{Named, Selection};
use crate::app::tag::{Taggable, Tags};
use crate::store::network::SecurityGroup as Row;
use karri_proto::aws::Action;
use karri_proto::aws::ec2::{
    AuthorizeSecurityGroupEgressRequest, AuthorizeSecurityGroupEgressResult,
    AuthorizeSecurityGroupIngressRequest, AuthorizeSecurityGroupIngressResult, CreateSecurityGroupRequest,
    CreateSecurityGroupResult, DeleteSecurityGroupRequest, DeleteSecurityGroupResult,
    ModifySecurityGroupRulesRequest, ModifySecurityGroupRulesResult, RevokeSecurityGroupEgressRequest,
    RevokeSecurityGroupEgressResult, RevokeSecurityGroupIngressRequest, RevokeSecurityGroupIngressResult,
    RevokedSecurityGroupRule, SecurityGroupRule, SecurityGroupRuleDescription, TagSpecification,
    UpdateSecurityGroupRuleDescriptionsEgressRequest, UpdateSecurityGroupRuleDescriptionsEgressResult,
    UpdateSecurityGroupRuleDescriptionsIngressRequest, UpdateSecurityGroupRuleDescriptionsIngressResult,
};
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::network::Direction::{self, Egress, Ingress};

const KIND: &str = "security-group";

/// A group that is named by its name has to be looked up first.
fn asks(id: Option<&str>) -> Asks {
    id.map_or(Asks::Nothing, |id| Asks::On(vec![Target::new(KIND, id)]))
}

/// The group that a request names, and how.
async fn group<A: Action>(
    cx: &Cx,
    request: &A,
    id: Option<&str>,
    name: Option<&str>,
) -> Result<(Row, Named), Fault> {
    match (id, name) {
        (Some(id), None) => Ok((cx.app.group_by_id(cx.caller(), id).await?, Named::ById)),
        (None, Some(name)) => {
            let group = cx.app.group_by_name(cx.account(), name).await?;
            grant(cx, request, Asks::On(vec![Target::own(KIND, &group.id)])).await?;
            Ok((group, Named::ByName))
        }
        (Some(_), Some(_)) => {
            let sentence = "The parameter groupName cannot be used with the parameter groupId";
            Err(Fault::new(FaultCode::InvalidParameterCombination, sentence))
        }
        (None, None) => {
            let sentence = "The request must contain the parameter groupName or groupId";
            Err(Fault::new(FaultCode::MissingParameter, sentence))
        }
    }
}

pub fn create_asks(_: &Cx, request: &CreateSecurityGroupRequest) -> Asks {
    let vpc = request.vpc_id.iter().map(|id| Target::new("vpc", id));
    Asks::On([Target::new(KIND, "*")].into_iter().chain(vpc).collect())
}

pub async fn create_security_group(
    cx: Cx,
    request: CreateSecurityGroupRequest,
) -> Answer<CreateSecurityGroupResult> {
    let tags = specified(&request.tag_specifications, Taggable::SecurityGroup)?;
    let (vpc, dry) = (request.vpc_id.as_deref().filter(|id| !id.is_empty()), request.dry_run == Some(true));
    let (name, description) = (&request.group_name, &request.description);
    let group = cx.app.group_create(cx.account(), vpc, name, description, &tags, dry).await?;
    not_dry(&request)?;
    Ok(CreateSecurityGroupResult {
        security_group_arn: Some(cx.arn_of(&group.account, KIND, &group.id)),
        group_id: Some(group.id),
        tags: shown(&tags),
    })
}

pub fn delete_asks(_: &Cx, request: &DeleteSecurityGroupRequest) -> Asks {
    asks(request.group_id.as_deref())
}

pub async fn delete_security_group(
    cx: Cx,
    request: DeleteSecurityGroupRequest,
) -> Answer<DeleteSecurityGroupResult> {
    let (id, name) = (request.group_id.as_deref(), request.group_name.as_deref());
    let (group, named) = group(&cx, &request, id, name).await?;
    cx.app.group_delete(&group, named, request.dry_run == Some(true)).await?;
    not_dry(&request)?;
    Ok(DeleteSecurityGroupResult { group_id: Some(group.id), r#return: Some(true) })
}

/// Four requests have the same parameters, under the same names.
macro_rules! words {
    ($request:ident) => {
        Words {
            permissions: &$request.ip_permissions,
            protocol: $request.ip_protocol.as_deref(),
            from_port: $request.from_port,
            to_port: $request.to_port,
            cidr: $request.cidr_ip.as_deref(),
            source_name: $request.source_security_group_name.as_deref(),
            source_owner: $request.source_security_group_owner_id.as_deref(),
        }
    };
}

async fn authorize<A: Action>(
    cx: &Cx,
    request: &A,
    group: &Row,
    direction: Direction,
    words: Words<'_>,
    specifications: &[TagSpecification],
) -> Result<Vec<SecurityGroupRule>, Fault> {
    let tags: Tags = specified(specifications, Taggable::SecurityGroupRule)?;
    let rules = rules(cx, group, direction, words).await?;
    let dry = request.dry_run() == Some(true);
    let written = cx.app.rules_authorize(group, rules, &tags, dry).await?;
    not_dry(request)?;
    Ok(written.into_iter().map(|rule| shape::rule(cx, rule, &tags)).collect())
}

pub fn authorize_ingress_asks(_: &Cx, request: &AuthorizeSecurityGroupIngressRequest) -> Asks {
    asks(request.group_id.as_deref())
}

pub async fn authorize_security_group_ingress(
    cx: Cx,
    request: AuthorizeSecurityGroupIngressRequest,
) -> Answer<AuthorizeSecurityGroupIngressResult> {
    let (id, name) = (request.group_id.as_deref(), request.group_name.as_deref());
    let (group, _) = group(&cx, &request, id, name).await?;
    let (words, tags) = (words!(request), &request.tag_specifications);
    let security_group_rules = authorize(&cx, &request, &group, Ingress, words, tags).await?;
    Ok(AuthorizeSecurityGroupIngressResult { r#return: Some(true), security_group_rules })
}

pub fn authorize_egress_asks(_: &Cx, request: &AuthorizeSecurityGroupEgressRequest) -> Asks {
    asks(Some(&request.group_id))
}

pub async fn authorize_security_group_egress(
    cx: Cx,
    request: AuthorizeSecurityGroupEgressRequest,
) -> Answer<AuthorizeSecurityGroupEgressResult> {
    let (group, _) = group(&cx, &request, Some(&request.group_id), None).await?;
    let (words, tags) = (words!(request), &request.tag_specifications);
    let security_group_rules = authorize(&cx, &request, &group, Egress, words, tags).await?;
    Ok(AuthorizeSecurityGroupEgressResult { r#return: Some(true), security_group_rules })
}

async fn revoke<A: Action>(
    cx: &Cx,
    request: &A,
    group: &Row,
    direction: Direction,
    words: Words<'_>,
    ids: &[String],
) -> Result<Vec<RevokedSecurityGroupRule>, Fault> {
    let mut selected = Vec::with_capacity(ids.len());
    for id in ids {
        selected.push(Selection::Id(id.parse()?));
    }
    if selected.is_empty() || !words.says_nothing() {
        let rules = rules(cx, group, direction, words).await?;
        selected.extend(rules.into_iter().map(|rule| Selection::Terms(rule.terms)));
    }
    let gone = cx.app.rules_revoke(group, direction, &selected, request.dry_run() == Some(true)).await?;
    not_dry(request)?;
    Ok(gone.into_iter().map(shape::revoked).collect())
}

pub fn revoke_ingress_asks(_: &Cx, request: &RevokeSecurityGroupIngressRequest) -> Asks {
    asks(request.group_id.as_deref())
}

pub async fn revoke_security_group_ingress(
    cx: Cx,
    request: RevokeSecurityGroupIngressRequest,
) -> Answer<RevokeSecurityGroupIngressResult> {
    let (id, name) = (request.group_id.as_deref(), request.group_name.as_deref());
    let (group, _) = group(&cx, &request, id, name).await?;
    let (words, ids) = (words!(request), &request.security_group_rule_ids);
    let revoked_security_group_rules = revoke(&cx, &request, &group, Ingress, words, ids).await?;
    Ok(RevokeSecurityGroupIngressResult {
        r#return: Some(true),
        revoked_security_group_rules,
        unknown_ip_permissions: Vec::new(),
    })
}

pub fn revoke_egress_asks(_: &Cx, request: &RevokeSecurityGroupEgressRequest) -> Asks {
    asks(Some(&request.group_id))
}

pub async fn revoke_security_group_egress(
    cx: Cx,
    request: RevokeSecurityGroupEgressRequest,
) -> Answer<RevokeSecurityGroupEgressResult> {
    let (group, _) = group(&cx, &request, Some(&request.group_id), None).await?;
    let (words, ids) = (words!(request), &request.security_group_rule_ids);
    let revoked_security_group_rules = revoke(&cx, &request, &group, Egress, words, ids).await?;
    Ok(RevokeSecurityGroupEgressResult {
        r#return: Some(true),
        revoked_security_group_rules,
        unknown_ip_permissions: Vec::new(),
    })
}

pub fn modify_asks(_: &Cx, request: &ModifySecurityGroupRulesRequest) -> Asks {
    asks(Some(&request.group_id))
}

pub async fn modify_security_group_rules(
    cx: Cx,
    request: ModifySecurityGroupRulesRequest,
) -> Answer<ModifySecurityGroupRulesResult> {
    let (group, _) = group(&cx, &request, Some(&request.group_id), None).await?;
    let mut wanted = Vec::with_capacity(request.security_group_rules.len());
    for update in &request.security_group_rules {
        let missing = || {
            let sentence = "The request must contain the parameter SecurityGroupRule";
            Fault::new(FaultCode::MissingParameter, sentence)
        };
        let asked = update.security_group_rule.as_ref().ok_or_else(missing)?;
        let rule = update.security_group_rule_id.parse()?;
        let new = replacement(&cx, &group, &rule, asked).await?;
        wanted.push((rule, new));
    }
    cx.app.rules_replace(&group, wanted, request.dry_run == Some(true)).await?;
    not_dry(&request)?;
    Ok(ModifySecurityGroupRulesResult { r#return: Some(true) })
}

async fn describe<A: Action>(
    cx: &Cx,
    request: &A,
    group: &Row,
    direction: Direction,
    permissions: &[karri_proto::aws::ec2::IpPermission],
    descriptions: &[SecurityGroupRuleDescription],
) -> Result<(), Fault> {
    let mut described = Vec::new();
    if permissions.is_empty() == descriptions.is_empty() {
        let sentence =
            "The request must contain either the parameter ipPermissions or securityGroupRuleDescription";
        return Err(Fault::new(FaultCode::MissingParameter, sentence));
    }
    for one in descriptions {
        let id = one.security_group_rule_id.as_deref().unwrap_or_default().parse()?;
        described.push((Selection::Id(id), rule_description(one.description.as_deref())?));
    }
    if !permissions.is_empty() {
        let words = Words {
            permissions,
            protocol: None,
            from_port: None,
            to_port: None,
            cidr: None,
            source_name: None,
            source_owner: None,
        };
        let rules = rules(cx, group, direction, words).await?;
        described.extend(rules.into_iter().map(|rule| (Selection::Terms(rule.terms), rule.description)));
    }
    cx.app.rules_describe(group, direction, &described, request.dry_run() == Some(true)).await?;
    not_dry(request)
}

pub fn describe_ingress_asks(_: &Cx, request: &UpdateSecurityGroupRuleDescriptionsIngressRequest) -> Asks {
    asks(request.group_id.as_deref())
}

pub async fn update_security_group_rule_descriptions_ingress(
    cx: Cx,
    request: UpdateSecurityGroupRuleDescriptionsIngressRequest,
) -> Answer<UpdateSecurityGroupRuleDescriptionsIngressResult> {
    let (id, name) = (request.group_id.as_deref(), request.group_name.as_deref());
    let (group, _) = group(&cx, &request, id, name).await?;
    let (permissions, descriptions) = (&request.ip_permissions, &request.security_group_rule_descriptions);
    describe(&cx, &request, &group, Ingress, permissions, descriptions).await?;
    Ok(UpdateSecurityGroupRuleDescriptionsIngressResult { r#return: Some(true) })
}

pub fn describe_egress_asks(_: &Cx, request: &UpdateSecurityGroupRuleDescriptionsEgressRequest) -> Asks {
    asks(request.group_id.as_deref())
}

pub async fn update_security_group_rule_descriptions_egress(
    cx: Cx,
    request: UpdateSecurityGroupRuleDescriptionsEgressRequest,
) -> Answer<UpdateSecurityGroupRuleDescriptionsEgressResult> {
    let (id, name) = (request.group_id.as_deref(), request.group_name.as_deref());
    let (group, _) = group(&cx, &request, id, name).await?;
    let (permissions, descriptions) = (&request.ip_permissions, &request.security_group_rule_descriptions);
    describe(&cx, &request, &group, Egress, permissions, descriptions).await?;
    Ok(UpdateSecurityGroupRuleDescriptionsEgressResult { r#return: Some(true) })
}
