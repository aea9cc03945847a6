//! Start, stop, reboot, terminate, and the console.

use crate::api::cx::{Answer, Cx};
use crate::api::permit::{Asks, Target, not_dry};
use crate::app::instance::control::StateChange;
use crate::app::instance::{State, lifecycle};
use karri_proto::aws::ec2::{
    GetConsoleOutputRequest, GetConsoleOutputResult, InstanceState, InstanceStateChange,
    RebootInstancesRequest, StartInstancesRequest, StartInstancesResult, StopInstancesRequest,
    StopInstancesResult, TerminateInstancesRequest, TerminateInstancesResult,
};
use karri_proto::aws::{Action, Done};
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::InstanceId;
use time::OffsetDateTime;

/// EC2's own limit.
const IDS_MAX: usize = 1000;

pub(super) fn parse_ids(texts: &[String]) -> Result<Vec<InstanceId>, Fault> {
    if texts.len() > IDS_MAX {
        return Err(Fault::invalid_parameter(format!("At most {IDS_MAX} instance IDs may be given.")));
    }
    texts.iter().map(|text| text.parse()).collect()
}

pub(super) fn state(state: State) -> InstanceState {
    InstanceState { code: Some(state.code()), name: Some(state.as_str().to_owned()) }
}

fn change(change: StateChange) -> InstanceStateChange {
    InstanceStateChange {
        current_state: Some(state(change.now)),
        instance_id: Some(change.id.to_string()),
        previous_state: Some(state(change.before)),
    }
}

fn changes(all: Vec<StateChange>) -> Vec<InstanceStateChange> {
    all.into_iter().map(change).collect()
}

fn on_instances(ids: &[String]) -> Asks {
    Asks::On(ids.iter().map(|id| Target::new("instance", id)).collect())
}

/// The ids of a request that is to be carried out: a dry run ends here, when all of them are there.
fn named<A: Action>(cx: &Cx, request: &A, ids: &[String]) -> Result<Vec<InstanceId>, Fault> {
    let ids = parse_ids(ids)?;
    cx.app.instances_named(cx.caller(), &ids)?;
    not_dry(request)?;
    Ok(ids)
}

pub fn of_start(_: &Cx, request: &StartInstancesRequest) -> Asks {
    on_instances(&request.instance_ids)
}

pub async fn start_instances(cx: Cx, request: StartInstancesRequest) -> Answer<StartInstancesResult> {
    let ids = named(&cx, &request, &request.instance_ids)?;
    let started = cx.app.instances_start(cx.caller(), &ids).await?;
    Ok(StartInstancesResult { starting_instances: changes(started) })
}

pub fn of_stop(_: &Cx, request: &StopInstancesRequest) -> Asks {
    on_instances(&request.instance_ids)
}

pub async fn stop_instances(cx: Cx, request: StopInstancesRequest) -> Answer<StopInstancesResult> {
    if request.hibernate == Some(true) {
        let sentence = "The instances are not configured for hibernation.";
        return Err(Fault::new(FaultCode::UnsupportedOperation, sentence));
    }
    let ids = named(&cx, &request, &request.instance_ids)?;
    let force = request.force == Some(true) || request.skip_os_shutdown == Some(true);
    let stop = move |instance: &mut _, order: lifecycle::Order<'_>| lifecycle::stop(instance, force, order);
    let stopped = cx.app.instances_order(cx.caller(), &ids, stop).await?;
    Ok(StopInstancesResult { stopping_instances: changes(stopped) })
}

pub fn of_reboot(_: &Cx, request: &RebootInstancesRequest) -> Asks {
    on_instances(&request.instance_ids)
}

pub async fn reboot_instances(cx: Cx, request: RebootInstancesRequest) -> Answer<Done> {
    let ids = named(&cx, &request, &request.instance_ids)?;
    cx.app.instances_order(cx.caller(), &ids, lifecycle::reboot).await?;
    Ok(Done)
}

pub fn of_terminate(_: &Cx, request: &TerminateInstancesRequest) -> Asks {
    on_instances(&request.instance_ids)
}

pub async fn terminate_instances(
    cx: Cx,
    request: TerminateInstancesRequest,
) -> Answer<TerminateInstancesResult> {
    let ids = named(&cx, &request, &request.instance_ids)?;
    let force = request.force == Some(true) || request.skip_os_shutdown == Some(true);
    let end =
        move |instance: &mut _, order: lifecycle::Order<'_>| lifecycle::terminate(instance, force, order);
    let terminated = cx.app.instances_order(cx.caller(), &ids, end).await?;
    Ok(TerminateInstancesResult { terminating_instances: changes(terminated) })
}

pub fn of_console(_: &Cx, request: &GetConsoleOutputRequest) -> Asks {
    on_instances(std::slice::from_ref(&request.instance_id))
}

pub async fn get_console_output(cx: Cx, request: GetConsoleOutputRequest) -> Answer<GetConsoleOutputResult> {
    let ids = parse_ids(std::slice::from_ref(&request.instance_id))?;
    let found = cx.app.instances_named(cx.caller(), &ids)?;
    let console = match found.first() {
        Some(instance) => cx.app.instance_console(instance, &cx.request_id).await?,
        None => None,
    };
    let at = |ms: i64| OffsetDateTime::from_unix_timestamp(ms / 1000).ok();
    Ok(GetConsoleOutputResult {
        instance_id: Some(request.instance_id),
        timestamp: at(console.as_ref().map_or_else(crate::app::now_ms, |console| console.at_unix_ms)),
        output: Some(console.map(|console| console.base64).unwrap_or_default()),
    })
}
