//! DescribeInstances and DescribeInstanceStatus, from memory.

use super::control::{parse_ids, state};
use super::filter::{Health, Subject, WithPortTags};
use super::parts::parts;
use crate::api::cx::{Answer, Cx};
use crate::app::instance::view::sort_key;
use crate::app::instance::{Instance, State};
use crate::app::kept::{Before, Part};
use crate::app::tag::Taggable;
use axum::body::Bytes;
use karri_proto::aws::ec2::{
    DescribeInstanceStatusRequest, DescribeInstanceStatusResult, DescribeInstancesRequest, InstanceStatus,
    InstanceStatusDetails, InstanceStatusSummary,
};
use karri_proto::aws::filter::Selection;
use karri_proto::aws::paging::Page;
use karri_proto::fault::{Fault, FaultCode};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Eucalyptus' word for "everyone's", from an administrator.
const VERBOSE: &str = "verbose";

/// Whose instances are meant.
enum Scope {
    Own,
    Everyones,
    Named,
}

fn scope(cx: &Cx, ids: &[String]) -> Scope {
    match ids {
        [] => Scope::Own,
        [only] if only == VERBOSE && cx.is_administrator() => Scope::Everyones,
        [only] if only == VERBOSE => Scope::Own,
        _ => Scope::Named,
    }
}

/// The instances of a request, in the order that pages follow.
fn candidates(cx: &Cx, ids: &[String], pages: bool) -> Result<Vec<Arc<Instance>>, Fault> {
    match scope(cx, ids) {
        Scope::Own => Ok(cx.app.instances.of_account(cx.account())),
        Scope::Everyones => Ok(cx.app.instances.everyones()),
        Scope::Named if pages => {
            let sentence = "The parameter instancesSet cannot be used with the parameter maxResults";
            Err(Fault::new(FaultCode::InvalidParameterCombination, sentence))
        }
        Scope::Named => {
            let mut instances = cx.app.instances_named(cx.caller(), &parse_ids(ids)?)?;
            instances.sort_by_cached_key(|one| sort_key(one));
            instances.dedup_by(|a, b| a.id == b.id);
            Ok(instances)
        }
    }
}

fn page_of(page: &Page, instances: Vec<Arc<Instance>>) -> (Vec<Arc<Instance>>, Option<String>) {
    if page.after.is_none() && page.limit.is_none() {
        return (instances, None);
    }
    let keyed: Vec<(String, Arc<Instance>)> =
        instances.into_iter().map(|one| (sort_key(&one), one)).collect();
    let (keyed, token) = page.cut(keyed, |(key, _)| key);
    (keyed.into_iter().map(|(_, one)| one).collect(), token)
}

/// A listing is encoded once for each change of the account's instances, however often it is asked; and
/// then only the parts of it that the change is in.
pub async fn describe_instances(cx: Cx, request: DescribeInstancesRequest) -> Answer<Vec<Bytes>> {
    let selection = Selection::of::<Subject>(&request.filters)?;
    let page = Page::of(&request)?;
    if request.filters.iter().any(|filter| WithPortTags::NAMES.contains(&filter.name.as_str())) {
        // Never kept: tags of ports are no change of their instances.
        let tags = cx.app.store.tags_of_type(Taggable::NetworkInterface).await?;
        let mut instances = candidates(&cx, &request.instance_ids, request.max_results.is_some())?;
        instances.retain(|one| selection.matches(&WithPortTags { subject: Subject(one), tags: &tags }));
        return Ok(texts(&encode(instances, &Selection::of::<Subject>(&[])?, &page, &Before::default())));
    }
    let whose = match scope(&cx, &request.instance_ids) {
        Scope::Own => Some(cx.account()),
        Scope::Everyones => None,
        Scope::Named => {
            let instances = candidates(&cx, &request.instance_ids, request.max_results.is_some())?;
            return Ok(texts(&encode(instances, &selection, &page, &Before::default())));
        }
    };
    let changes = || cx.app.instances.changes(whose);
    let parts = cx.app.answers.get(cx.account(), question(&cx), changes, |before| {
        let instances = match whose {
            Some(account) => cx.app.instances.of_account(account),
            None => cx.app.instances.everyones(),
        };
        encode(instances, &selection, &page, before)
    });
    Ok(texts(&parts))
}

fn texts(parts: &[Part]) -> Vec<Bytes> {
    parts.iter().map(|part| part.text.clone()).collect()
}

fn question(cx: &Cx) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(cx.account());
    hash.update([0, u8::from(cx.is_administrator())]);
    hash.update(cx.request_digest());
    hash.finalize().into()
}

fn encode(
    mut instances: Vec<Arc<Instance>>,
    selection: &Selection,
    page: &Page,
    before: &Before<'_>,
) -> Vec<Part> {
    if !selection.is_empty() {
        instances.retain(|one| selection.matches(&Subject(one)));
    }
    let (instances, next_token) = page_of(page, instances);
    parts(&instances, next_token, before)
}

pub async fn describe_instance_status(
    cx: Cx,
    request: DescribeInstanceStatusRequest,
) -> Answer<DescribeInstanceStatusResult> {
    let selection = Selection::of::<Health>(&request.filters)?;
    let page = Page::of(&request)?;
    let mut instances = candidates(&cx, &request.instance_ids, request.max_results.is_some())?;
    let all = request.include_all_instances == Some(true);
    instances.retain(|one| (all || one.state == State::Running) && selection.matches(&health(&cx, one)));
    let (instances, next_token) = page_of(&page, instances);
    let statuses = instances.iter().map(|one| status(&health(&cx, one)));
    Ok(DescribeInstanceStatusResult { instance_statuses: statuses.collect(), next_token })
}

/// A cluster that is silent leaves its instances running, as far as anyone knows.
fn health<'a>(cx: &Cx, instance: &'a Instance) -> Health<'a> {
    let away = || cx.app.clusters.get(&instance.cluster).is_none_or(|link| cx.app.cluster_is_away(&link));
    let status = match instance.state {
        State::Running if away() => "insufficient-data",
        State::Running => "ok",
        _ => "not-applicable",
    };
    Health { instance, status }
}

fn status(health: &Health<'_>) -> InstanceStatus {
    let summary = || InstanceStatusSummary {
        details: health
            .reachability()
            .map(|reachability| InstanceStatusDetails {
                impaired_since: None,
                name: Some("reachability".to_owned()),
                status: Some(reachability.to_owned()),
            })
            .into_iter()
            .collect(),
        status: Some(health.status.to_owned()),
    };
    InstanceStatus {
        availability_zone: Some(health.instance.zone.clone()),
        availability_zone_id: Some(health.instance.zone.clone()),
        instance_id: Some(health.instance.id.to_string()),
        instance_state: Some(state(health.instance.state)),
        instance_status: Some(summary()),
        system_status: Some(summary()),
        ..Default::default()
    }
}
