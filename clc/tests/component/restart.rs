//! Death and return: of the cloud controller, and of a cluster's memory.

use crate::support::{Client, Cloud, until};
use karri_clc::app::instance::said::{About, Said};
use karri_clc::app::instance::{Instance, ShutdownBehavior, State};
use karri_clc::app::instance_type::Credits;
use karri_clc::store::StoreError;
use karri_proto::ids::InstanceId;
use karri_proto::instance::{CaptureReport, CaptureState, Desired, Phase, StateReason};
use karri_proto::internal::ApiError;
use std::sync::Arc;

on_both! {
    a_restarted_controller_goes_on_where_it_was
    whatever_changes_of_an_instance_is_kept
    what_a_changed_type_says_outlives_a_restart
    what_was_asked_while_the_cluster_was_away_is_done_when_it_is_back
    a_cluster_that_lost_everything_is_told_again
    a_start_after_the_clock_was_set_forward_keeps_the_disk_when_it_fails
    a_newer_schema_is_refused
}

async fn a_restarted_controller_goes_on_where_it_was(mut cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 2).await;
    let mut alice = cloud.owner().await;
    let first = alice.run(1, &[("ClientToken", "t")]).await.ok().one("instanceId");
    alice.wait_for(&first, "running").await;
    cluster.be_manual();
    let second = alice.run(1, &[]).await.ok().one("instanceId");
    cluster.wait_for_intent(&second, |_| true).await;
    cloud.stop().await;
    cluster.report(&second, Phase::Running, None);
    cluster.report(&first, Phase::Stopped, None);
    cloud.start_again().await;
    alice.url = cloud.endpoint.public_url.clone().unwrap();

    // Keys, capacity and addresses are there before anything is heard.
    let third = alice.run(1, &[]).await.ok();
    assert_eq!(third.first("privateIpAddress").unwrap(), "172.31.0.6");
    assert_eq!(alice.run(1, &[("ClientToken", "t")]).await.ok().one("instanceId"), first);
    alice.wait_for(&second, "running").await;
    alice.wait_for(&first, "stopped").await;
    cluster.hello(&cloud).await;
    assert_eq!(alice.ec2("DescribeInstances", &[]).await.ok().instances().len(), 3);
}

/// Everything that is not the same for as long as it lives.
async fn whatever_changes_of_an_instance_is_kept(mut cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let id: InstanceId = alice.run(1, &[]).await.ok().one("instanceId").parse().unwrap();
    alice.wait_for(id.as_str(), "running").await;
    cloud.stop().await; // nobody else writes it
    let store = cloud.store().await;
    let changed = store.instances_change(std::slice::from_ref(&id), |instances| {
        instances.iter_mut().for_each(change_all);
        Ok::<_, StoreError>(vec![true; instances.len()])
    });
    let [written] = <[_; 1]>::try_from(changed.await.unwrap()).unwrap();
    let read = store.instances_changed_after(0).await.unwrap();
    assert_eq!(read, [written]);
    store.close().await;
}

/// A value that it does not have at its launch, to each of them: who adds one says here which it is.
fn change_all(instance: &mut Instance) {
    let Instance {
        id: _,
        change: _,
        account: _,
        reservation: _,
        cluster: _,
        zone: _,
        client_token: _,
        spec,
        has_user_data: _, // is where the user data is
        tags: _,          // are a table of their own
        shutdown_behavior,
        disable_api_stop,
        disable_api_termination,
        said,
        launched_ms,
        desired,
        generation,
        reboots,
        force,
        request_id,
        capture,
        captured,
        state,
        acknowledged,
        forgotten,
        node,
        reason,
        transition,
        deadline_ms,
        purge_ms,
    } = instance;
    Arc::make_mut(spec).instance_type = "m5.large".into();
    *shutdown_behavior = ShutdownBehavior::Terminate;
    (*disable_api_stop, *disable_api_termination, *force, *forgotten) = (true, true, true, true);
    *said = Said {
        volume_type: Some("gp2".into()),
        credits: Some(Credits::Unlimited),
        port_description: "changed".into(),
        auto_recovery_disabled: true,
        paravirtual: true,
        public_address: true,
        threads_per_core: Some(8),
        interfaces: [(spec.ports[0].id.clone(), About { description: "changed".into(), ..About::default() })]
            .into(),
    };
    (*generation, *reboots, *acknowledged) = (71, 72, 73);
    *desired = Desired::Stopped;
    *state = State::Stopping;
    *request_id = "changed".into();
    *capture = Some("bun-0123456789abcdef0".parse().unwrap());
    *captured = capture.clone().map(|task| CaptureReport { task, state: CaptureState::Reading });
    *node = Some("another".into());
    *reason = Some(StateReason { code: "changed".into(), message: "as well".into() });
    *transition = "changed".into();
    (*launched_ms, *deadline_ms, *purge_ms) = (74, Some(75), Some(76));
}

async fn what_a_changed_type_says_outlives_a_restart(mut cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let mut alice = cloud.owner().await;
    let id = alice.run(1, &[("InstanceType", "t3.micro")]).await.ok().one("instanceId");
    alice.wait_for(&id, "running").await;
    alice.ec2("StopInstances", &[("InstanceId.1", &id)]).await.ok();
    alice.wait_for(&id, "stopped").await;
    let larger = [("InstanceId", id.as_str()), ("InstanceType.Value", "m3.large")];
    alice.ec2("ModifyInstanceAttribute", &larger).await.ok();
    let told = async |client: &Client| {
        let told = client.ec2("DescribeInstances", &[]).await.ok();
        ["instanceType", "coreCount", "threadsPerCore"].map(|name| told.one(name))
    };
    let expected = ["m3.large", "2", "1"]; // and not the one core with two threads of a t3.micro
    assert_eq!(told(&alice).await, expected);
    cloud.stop().await;
    cloud.start_again().await;
    alice.url = cloud.endpoint.public_url.clone().unwrap();
    cluster.hello(&cloud).await;
    assert_eq!(told(&alice).await, expected);
}

async fn what_was_asked_while_the_cluster_was_away_is_done_when_it_is_back(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let id = alice.run(1, &[]).await.ok().one("instanceId");
    alice.wait_for(&id, "running").await;
    cluster.cut(true);
    let ended = alice.ec2("TerminateInstances", &[("InstanceId.1", &id)]).await.ok();
    assert_eq!(ended.all("name"), ["shutting-down", "running"]);
    let new = alice.run(1, &[]).await.ok().one("instanceId");
    assert_eq!(alice.state(&id).await, "shutting-down");
    cluster.cut(false);
    alice.wait_for(&id, "terminated").await;
    alice.wait_for(&new, "running").await;
}

async fn a_cluster_that_lost_everything_is_told_again(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 2).await;
    let alice = cloud.owner().await;
    let ids = alice.run(2, &[]).await.ok().instances();
    for id in &ids {
        alice.wait_for(id, "running").await;
    }
    cluster.lose_all();
    for id in &ids {
        let intent = cluster.wait_for_intent(id, |_| true).await;
        assert_eq!((intent.desired, intent.generation), (Desired::Running, 1));
    }
    until("both run again", || async {
        (alice.ec2("DescribeInstances", &[]).await.states() == ["running", "running"]).then_some(())
    })
    .await;
}

/// The system's clock was set forward while the controller ran: what was launched after that was launched
/// later than the controller counts now.
async fn a_start_after_the_clock_was_set_forward_keeps_the_disk_when_it_fails(mut cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let mut alice = cloud.owner().await;
    let id = alice.run(1, &[]).await.ok().one("instanceId");
    alice.wait_for(&id, "running").await;
    cloud.stop().await;
    launched_an_hour_ahead(&cloud, &id).await;
    cloud.start_again().await;
    alice.url = cloud.endpoint.public_url.clone().unwrap();
    cluster.hello(&cloud).await;

    alice.ec2("StopInstances", &[("InstanceId.1", &id)]).await.ok();
    alice.wait_for(&id, "stopped").await;
    cluster.cut(true); // it stays pending
    alice.ec2("StartInstances", &[("InstanceId.1", &id)]).await.ok();
    let refused = alice.ec2("StopInstances", &[("InstanceId.1", &id)]).await;
    let refused = refused.refused(400, "IncorrectInstanceState");
    assert!(!refused.message().contains("has never reached"), "{}", refused.message());
    cluster.cut(false);
    alice.wait_for(&id, "running").await;
    alice.ec2("StopInstances", &[("InstanceId.1", &id)]).await.ok();
    alice.wait_for(&id, "stopped").await;

    cluster.refuse(Some(ApiError::full("no room")));
    alice.ec2("StartInstances", &[("InstanceId.1", &id)]).await.ok();
    let ended = until("the start has ended", || async {
        Some(alice.state(&id).await).filter(|state| state != "pending")
    });
    assert_eq!(ended.await, "stopped", "its disk is kept");
}

async fn launched_an_hour_ahead(cloud: &Cloud, id: &str) {
    let store = cloud.store().await;
    let id = id.parse().unwrap();
    let changed = store.instances_change(std::slice::from_ref(&id), |instances| {
        for instance in instances.iter_mut() {
            instance.launched_ms += 3_600_000;
            Arc::make_mut(&mut instance.spec).launched_at_unix_ms = instance.launched_ms;
        }
        Ok::<_, StoreError>(vec![true; instances.len()])
    });
    assert_eq!(changed.await.unwrap().len(), 1);
    store.close().await;
}

async fn a_newer_schema_is_refused(mut cloud: Cloud) {
    cloud.stop().await;
    let store = cloud.store().await;
    let mut tx = store.begin().await.unwrap();
    sqlx::query("INSERT INTO schema_versions (version, name) VALUES (9999, 'from the future')")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    store.close().await;
    let error = karri_clc::store::Store::open(&cloud.config.database).await.unwrap_err().to_string();
    assert!(error.contains("9999") && error.contains("newer release"), "{error}");
}
