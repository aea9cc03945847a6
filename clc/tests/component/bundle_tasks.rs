//! Instances that are bundled: tasks from their request to their end, and the instance in the meantime.

use crate::support::cluster::FakeCluster;
use crate::support::{Answer, Client, Cloud, until};
use karri_proto::instance::{CaptureState, Desired, Digest, StateReason};
use karri_proto::internal::ApiError;
use karri_proto::internal::instance_bundles::InstanceBundleProgress;
use karri_proto::internal::{Identity, Role};

on_both! {
    an_instance_is_bundled_through_every_state_and_runs_on
    a_stopped_instance_is_bundled_and_not_started
    a_policy_is_verified_and_not_told
    what_cannot_be_bundled_is_refused_and_named
    a_task_that_cannot_be_done_says_why_and_lets_the_instance_be
    a_cancelled_task_leaves_nothing_and_is_told_as_failed
    a_cancellation_that_comes_too_late_changes_nothing
    a_terminated_instance_ends_its_task
    a_task_goes_on_after_a_restart
    tasks_are_filtered_and_named
}

const BUCKET: (&str, &str) = ("Storage.S3.Bucket", "bundles");
const PREFIX: (&str, &str) = ("Storage.S3.Prefix", "nightly/web");

fn digest() -> Digest {
    Digest::from_sha256([91; 32])
}

fn taken() -> CaptureState {
    CaptureState::Taken(digest())
}

async fn running(client: &Client) -> String {
    let id = client.run(1, &[]).await.ok().one("instanceId");
    client.wait_for(&id, "running").await;
    id
}

async fn bundle(client: &Client, id: &str) -> Answer {
    client.ec2("BundleInstance", &[("InstanceId", id), BUCKET, PREFIX]).await
}

async fn told(client: &Client, task: &str) -> Answer {
    client.ec2("DescribeBundleTasks", &[("BundleId.1", task)]).await.ok()
}

/// What is told of the task once it is in that state.
async fn reaches(client: &Client, task: &str, state: &str) -> Answer {
    until(&format!("the task is {state}"), async || {
        Some(told(client, task).await).filter(|told| told.one("state") == state)
    })
    .await
}

/// A running instance that is being bundled, and its task; its node has been told.
async fn bundling(cluster: &FakeCluster, client: &Client) -> (String, String) {
    let id = running(client).await;
    let task = bundle(client, &id).await.ok().one("bundleId");
    cluster.wait_for_intent(&id, |intent| intent.capture.is_some()).await;
    (id, task)
}

/// Nothing of it is left to do: no copy is wanted, and the instance may be bundled again.
async fn is_let_be(client: &Client, id: &str) {
    client.wait_for(id, "running").await;
    bundle(client, id).await.ok();
}

async fn an_instance_is_bundled_through_every_state_and_runs_on(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let id = running(&alice).await;
    let walrus = cloud.walrus.instance_bundles.clone();
    let answer = bundle(&alice, &id).await.ok();
    let task = answer.one("bundleId");
    assert!(task.starts_with("bun-"), "{task}");
    for (element, value) in [
        ("state", "pending"),
        ("progress", "0%"),
        ("instanceId", id.as_str()),
        ("bucket", "bundles"),
        ("prefix", "nightly/web"),
    ] {
        assert_eq!(answer.one(element), value, "{element}");
    }
    assert_eq!(answer.one("startTime"), answer.one("updateTime"));
    let intent = cluster.wait_for_intent(&id, |intent| intent.capture.is_some()).await;
    assert_eq!((intent.desired, intent.request_id), (Desired::Running, answer.request_id.clone()));
    assert_eq!(intent.capture.unwrap().as_str(), task);
    reaches(&alice, &task, "waiting-for-shutdown").await;
    let expected =
        until("its node is expected", async || walrus.expected.lock().unwrap().last().cloned()).await;
    assert_eq!(expected.node, Identity::new(Role::Nc, "zone-a", "zone-a-node-1"));
    assert_eq!((expected.task.as_str(), &expected.account), (task.as_str(), &alice.account));
    bundle(&alice, &id).await.refused(400, "BundlingInProgress");
    cluster.captures(&id, CaptureState::Reading);
    reaches(&alice, &task, "bundling").await;
    alice.wait_for(&id, "running").await;
    cluster.captures(&id, taken());
    let told = reaches(&alice, &task, "storing").await;
    assert!(["0%", "25%"].contains(&told.one("progress").as_str()), "{}", told.text);
    until("progress is told", async || {
        (self::told(&alice, &task).await.one("progress") == "25%").then_some(())
    })
    .await;
    let asked = walrus.asked.lock().unwrap().last().cloned().unwrap();
    assert_eq!(
        (asked.digest, asked.account, asked.task.as_str()),
        (digest(), alice.account.clone(), task.as_str())
    );
    let at = &asked.target.manifest;
    assert_eq!((at.bucket.as_str(), at.key.as_str()), ("bundles", "nightly/web.manifest.xml"));
    assert_eq!((asked.machine.architecture.as_str(), asked.machine.kernel_id), ("x86_64", None));
    *walrus.outcome.lock().unwrap() = Some(Ok(InstanceBundleProgress::Written { parts: 3 }));
    let told = reaches(&alice, &task, "complete").await;
    assert_eq!((told.one("progress").as_str(), told.all("code").len()), ("100%", 0));
    assert!(cloud.walrus.bundles.released.lock().unwrap().contains(&digest()), "the copy goes");
    is_let_be(&alice, &id).await;
}

async fn a_stopped_instance_is_bundled_and_not_started(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let id = running(&alice).await;
    alice.ec2("StopInstances", &[("InstanceId.1", &id)]).await.ok();
    alice.wait_for(&id, "stopped").await;
    let task = bundle(&alice, &id).await.ok().one("bundleId");
    let intent = cluster.wait_for_intent(&id, |intent| intent.capture.is_some()).await;
    assert_eq!(intent.desired, Desired::Stopped);
    let start = alice.ec2("StartInstances", &[("InstanceId.1", &id)]).await;
    assert!(start.refused(400, "IncorrectInstanceState").message().contains("being bundled"));
    cluster.captures(&id, taken());
    reaches(&alice, &task, "storing").await;
    until("it may be started", async || {
        (alice.ec2("StartInstances", &[("InstanceId.1", &id)]).await.status == 200).then_some(())
    })
    .await;
    alice.wait_for(&id, "running").await;
    assert_eq!(cluster.intent(&id).unwrap().capture, None);
}

async fn a_policy_is_verified_and_not_told(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let id = running(&alice).await;
    // `{"conditions": []}` in base64, once by the wire
    let policy = ("Storage.S3.UploadPolicy", "eyJjb25kaXRpb25zIjogW119");
    let signature = ("Storage.S3.UploadPolicySignature", "c2lnbmVk");
    let key = ("Storage.S3.AWSAccessKeyId", "AKIAOTHER00000000000");
    let base = [("InstanceId", id.as_str()), BUCKET, PREFIX];
    let ask = async |more: &[(&str, &str)]| alice.ec2("BundleInstance", &[&base[..], more].concat()).await;
    for (more, missing) in [(&[signature, key], "UploadPolicy"), (&[policy, signature], "AWSAccessKeyId")] {
        let answer = ask(more).await.refused(400, "MissingParameter");
        assert!(answer.message().contains(missing), "{}", answer.text);
    }
    ask(&[key]).await.refused(400, "InvalidParameterCombination");
    ask(&[key, policy]).await.refused(400, "InvalidParameterCombination");
    let newest = || cloud.walrus.instance_bundles.inspected.lock().unwrap().last().cloned().unwrap();
    ask(&[policy, ("DryRun", "true")]).await.refused(412, "DryRunOperation");
    assert_eq!(newest().policy, None, "unsigned, it says nothing: the caller's own right counts");
    let answer = ask(&[policy, signature, key]).await.ok();
    let inspected = newest();
    let signed = inspected.policy.unwrap();
    assert_eq!((signed.text.0.as_str(), signed.signature.0.as_str()), (policy.1, signature.1));
    assert_eq!(inspected.manifest.access_key_id, key.1);
    assert_eq!(answer.one("AWSAccessKeyId"), key.1);
    let told = told(&alice, &answer.one("bundleId")).await;
    assert!(!told.text.contains(signature.1) && !told.text.contains(policy.1), "{}", told.text);
    cluster.wait_for_intent(&id, |intent| intent.capture.is_some()).await;
}

async fn what_cannot_be_bundled_is_refused_and_named(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let id = running(&alice).await;
    let named = ("InstanceId", id.as_str());
    let refused = async |request: &[(&str, &str)], code: &str, words: &str| {
        let answer = alice.ec2("BundleInstance", request).await.refused(400, code);
        assert!(answer.message().contains(words), "{request:?} {}", answer.text);
    };
    refused(&[BUCKET, PREFIX], "MissingParameter", "nstanceId").await;
    refused(&[named], "MissingParameter", "torage").await;
    refused(&[named, BUCKET], "MissingParameter", "Storage.S3.Prefix").await;
    refused(&[named, PREFIX], "MissingParameter", "Storage.S3.Bucket").await;
    refused(&[named, BUCKET, ("Storage.S3.Prefix", "a/")], "InvalidParameterValue", "Prefix").await;
    refused(&[named, PREFIX, ("Storage.S3.Bucket", "b")], "InvalidParameterValue", "Bucket").await;
    refused(&[("InstanceId", "i-nonsense"), BUCKET, PREFIX], "InvalidInstanceID.Malformed", "i-nonsense")
        .await;
    let absent = ("InstanceId", "i-0123456789abcdef0");
    refused(&[absent, BUCKET, PREFIX], "InvalidInstanceID.NotFound", "does not exist").await;
    let stranger = cloud.user("strangers", "sam", &["AdministratorAccess"]).await;
    bundle(&stranger, &id).await.refused(400, "InvalidInstanceID.NotFound");
    for (error, words) in [
        (ApiError::forbidden("Access Denied"), "cannot be written to bundles/nightly/web: Access Denied"),
        (ApiError::not_found("x"), "The bucket bundles does not exist"),
    ] {
        *cloud.walrus.instance_bundles.refused.lock().unwrap() = Some(error);
        refused(&[named, BUCKET, PREFIX], "InvalidParameterValue", words).await;
    }
    *cloud.walrus.instance_bundles.refused.lock().unwrap() = None;
    assert_eq!(alice.ec2("DescribeBundleTasks", &[]).await.ok().all("bundleId").len(), 0);
    alice.ec2("TerminateInstances", &[("InstanceId.1", &id)]).await.ok();
    alice.wait_for(&id, "terminated").await;
    refused(&[named, BUCKET, PREFIX], "IncorrectInstanceState", "(terminated)").await;
    let wrong = [("BundleId", "bun-nonsense")];
    alice.ec2("CancelBundleTask", &wrong).await.refused(400, "InvalidBundleID.NotFound");
    let wrong = [("BundleId.1", "bun-0123456789abcdef0")];
    alice.ec2("DescribeBundleTasks", &wrong).await.refused(400, "InvalidBundleID.NotFound");
}

async fn a_task_that_cannot_be_done_says_why_and_lets_the_instance_be(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let walrus = cloud.walrus.instance_bundles.clone();
    let (id, task) = bundling(&cluster, &alice).await;
    let reason = StateReason::new("Server.InternalError", "Server.InternalError: the disk is full");
    cluster.captures(&id, CaptureState::Failed(reason));
    let told = reaches(&alice, &task, "failed").await;
    let error = (told.one("code"), told.one("message"));
    assert_eq!(error, ("Server.InternalError".into(), "Server.InternalError: the disk is full".into()));
    assert!(walrus.no_more.lock().unwrap().iter().any(|one| one.as_str() == task));
    *walrus.outcome.lock().unwrap() = Some(Err(ApiError::forbidden("Access Denied")));
    let task = bundle(&alice, &id).await.ok().one("bundleId");
    cluster
        .wait_for_intent(&id, |intent| intent.capture.as_ref().is_some_and(|one| one.as_str() == task))
        .await;
    cluster.captures(&id, taken());
    let told = reaches(&alice, &task, "failed").await;
    assert_eq!((told.one("code"), told.one("message")), ("Client.S3Error".into(), "Access Denied".into()));
    assert!(walrus.abandoned.lock().unwrap().iter().any(|one| one.task.as_str() == task));
    assert!(cloud.walrus.bundles.released.lock().unwrap().contains(&digest()), "the copy goes");
    is_let_be(&alice, &id).await;
}

async fn a_cancelled_task_leaves_nothing_and_is_told_as_failed(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let (id, task) = bundling(&cluster, &alice).await;
    cluster.captures(&id, CaptureState::Reading);
    reaches(&alice, &task, "bundling").await;
    let stranger = cloud.user("strangers", "sam", &["AdministratorAccess"]).await;
    stranger.ec2("CancelBundleTask", &[("BundleId", &task)]).await.refused(400, "InvalidBundleID.NotFound");
    let cancelled = alice.ec2("CancelBundleTask", &[("BundleId", &task)]).await.ok();
    assert_eq!(cancelled.one("state"), "cancelling");
    let told = reaches(&alice, &task, "failed").await;
    assert_eq!(told.one("code"), "Client.Cancelled");
    cluster.wait_for_intent(&id, |intent| intent.capture.is_none()).await;
    alice.ec2("CancelBundleTask", &[("BundleId", &task)]).await.refused(400, "IncorrectState");
    is_let_be(&alice, &id).await;
}

async fn a_cancellation_that_comes_too_late_changes_nothing(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let (id, task) = bundling(&cluster, &alice).await;
    cluster.captures(&id, taken());
    reaches(&alice, &task, "storing").await;
    *cloud.walrus.instance_bundles.written.lock().unwrap() = true;
    alice.ec2("CancelBundleTask", &[("BundleId", &task)]).await.ok();
    let told = reaches(&alice, &task, "complete").await;
    assert_eq!(told.all("code").len(), 0, "{}", told.text);
}

async fn a_terminated_instance_ends_its_task(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let (id, task) = bundling(&cluster, &alice).await;
    alice.ec2("TerminateInstances", &[("InstanceId.1", &id)]).await.ok();
    let told = reaches(&alice, &task, "failed").await;
    assert_eq!(told.one("code"), "Client.InstanceTerminated");
    alice.wait_for(&id, "terminated").await;
    // What was copied before is written all the same.
    let (id, task) = bundling(&cluster, &alice).await;
    cluster.captures(&id, taken());
    reaches(&alice, &task, "storing").await;
    alice.ec2("TerminateInstances", &[("InstanceId.1", &id)]).await.ok();
    let written = Some(Ok(InstanceBundleProgress::Written { parts: 1 }));
    *cloud.walrus.instance_bundles.outcome.lock().unwrap() = written;
    reaches(&alice, &task, "complete").await;
}

async fn restarted(cloud: &mut Cloud, cluster: &FakeCluster, client: &mut Client) {
    cloud.stop().await;
    cloud.start_again().await;
    client.url = cloud.endpoint.public_url.clone().unwrap();
    cluster.hello(cloud).await;
}

async fn a_task_goes_on_after_a_restart(mut cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let mut alice = cloud.owner().await;
    let (id, task) = bundling(&cluster, &alice).await;
    reaches(&alice, &task, "waiting-for-shutdown").await;
    restarted(&mut cloud, &cluster, &mut alice).await;
    cluster.captures(&id, taken());
    reaches(&alice, &task, "storing").await;
    restarted(&mut cloud, &cluster, &mut alice).await;
    let written = Some(Ok(InstanceBundleProgress::Written { parts: 1 }));
    *cloud.walrus.instance_bundles.outcome.lock().unwrap() = written;
    reaches(&alice, &task, "complete").await;
    alice.wait_for(&id, "running").await;
}

async fn tasks_are_filtered_and_named(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let (id, task) = bundling(&cluster, &alice).await;
    alice.ec2("CancelBundleTask", &[("BundleId", &task)]).await.ok();
    let failed = reaches(&alice, &task, "failed").await;
    let (other, open) = bundling(&cluster, &alice).await;
    reaches(&alice, &open, "waiting-for-shutdown").await;
    let (start, message) = (failed.one("startTime"), failed.one("message"));
    let found = async |name: &str, value: &str| {
        let filter = [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
        alice.ec2("DescribeBundleTasks", &filter).await.ok().all("bundleId")
    };
    let update = failed.one("updateTime");
    for (name, value) in [
        ("bundle-id", task.as_str()),
        ("error-code", "Client.*"),
        ("error-message", message.as_str()),
        ("instance-id", id.as_str()),
        ("start-time", start.as_str()),
        ("state", "failed"),
        ("update-time", update.as_str()),
    ] {
        assert_eq!(found(name, value).await, [task.as_str()], "{name}={value}");
    }
    assert_eq!(found("instance-id", &other).await, [open.as_str()]);
    let mut both = found("s3-bucket", "bundles").await;
    both.sort();
    let mut ids = [task.clone(), open.clone()];
    ids.sort();
    assert_eq!(both, ids);
    for (name, value) in [("s3-prefix", "nightly/*"), ("progress", "0%")] {
        assert_eq!(found(name, value).await.len(), 2, "{name}");
    }
    assert_eq!(found("state", "complete").await, [""; 0]);
    let unknown = [("Filter.1.Name", "colour"), ("Filter.1.Value.1", "red")];
    alice.ec2("DescribeBundleTasks", &unknown).await.refused(400, "InvalidParameterValue");
    let stranger = cloud.user("strangers", "sam", &["AdministratorAccess"]).await;
    assert_eq!(stranger.ec2("DescribeBundleTasks", &[]).await.ok().all("bundleId").len(), 0);
}
