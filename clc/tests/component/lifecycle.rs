//! Instances from launch to termination.

use crate::support::{Client, Cloud, Database, until};
use karri_clc::config::Limits;
use karri_proto::instance::{Desired, Phase, StateReason};
use karri_proto::internal::ApiError;

on_both! {
    an_instance_is_launched_described_and_terminated
    instances_stop_start_and_reboot
    a_guest_that_shuts_itself_down_is_stopped_or_terminated
    what_is_not_in_the_right_state_is_refused
    others_instances_are_not_found_but_an_administrator_may_end_them
    the_same_client_token_launches_once
    over_capacity_is_refused_at_once_and_leaves_nothing
    a_full_zone_is_told_with_those_that_have_room
    the_any_zone_fills_the_emptiest_cluster_and_overflows
    a_failed_launch_tells_its_reason
    a_launch_names_things_that_exist
    listings_are_filtered_and_paged
    protected_instances_stay
    console_and_status_are_told
}

async fn running(client: &Client, count: usize) -> Vec<String> {
    let ids = client.run(count, &[]).await.ok().instances();
    for id in &ids {
        client.wait_for(id, "running").await;
    }
    ids
}

async fn an_instance_is_launched_described_and_terminated(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    cloud.key_pair(&alice.account, "mykey").await;

    let more = [
        ("KeyName", "mykey"),
        ("UserData", "IyEvYmluL3NoCg=="),
        ("TagSpecification.1.ResourceType", "instance"),
        ("TagSpecification.1.Tag.1.Key", "Name"),
        ("TagSpecification.1.Tag.1.Value", "<web & db>"),
        ("MetadataOptions.HttpTokens", "required"),
    ];
    let launched = alice.run(1, &more).await.ok();
    let id = launched.one("instanceId");
    assert_eq!(launched.states(), ["pending"]);
    assert_eq!(launched.all("ownerId"), [alice.account.as_str(), &alice.account]);
    alice.wait_for(&id, "running").await;
    let described = alice.ec2("DescribeInstances", &[]).await.ok();
    assert_eq!(described.one("reservationId"), launched.one("reservationId"));
    assert_eq!(described.first("privateIpAddress").unwrap(), "172.31.0.4");
    assert_eq!(described.one("availabilityZone"), "zone-a");
    assert_eq!(described.one("keyName"), "mykey");
    assert_eq!(described.one("httpTokens"), "required");
    assert!(described.text.contains("<key>Name</key><value>&lt;web &amp; db&gt;</value>"));
    let intent = cluster.intent(&id).unwrap();
    assert_eq!(intent.request_id, launched.request_id);
    assert_eq!(intent.spec.ports[0].private_ip.to_string(), "172.31.0.4");
    assert_eq!(intent.spec.user_data_base64.as_deref(), Some("IyEvYmluL3NoCg=="));
    assert_eq!(intent.spec.tags, [("Name".to_owned(), "<web & db>".to_owned())]);
    assert!(intent.spec.metadata.tokens_required);

    let ended = alice.ec2("TerminateInstances", &[("InstanceId.1", &id)]).await.ok();
    assert_eq!(ended.all("name"), ["shutting-down", "running"]);
    alice.wait_for(&id, "terminated").await;
    until("the cluster forgets it", || async { cluster.has_forgotten(&id).then_some(()) }).await;
    assert_eq!(cluster.known_count(), 0);
    let again = alice.ec2("TerminateInstances", &[("InstanceId.1", &id)]).await.ok();
    assert_eq!(again.all("name"), ["terminated", "terminated"]);
    let described = alice.ec2("DescribeInstances", &[("InstanceId.1", &id)]).await.ok();
    assert!(described.all("privateIpAddress").is_empty(), "its address is free");
}

async fn instances_stop_start_and_reboot(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let id = &running(&alice, 1).await[0];

    let stopped = alice.ec2("StopInstances", &[("InstanceId.1", id)]).await.ok();
    assert_eq!(stopped.all("name"), ["stopping", "running"]);
    alice.wait_for(id, "stopped").await;
    assert_eq!(cluster.intent(id).unwrap().desired, Desired::Stopped);
    let described = alice.ec2("DescribeInstances", &[("InstanceId.1", id)]).await.ok();
    assert!(described.text.contains("Client.UserInitiatedShutdown"), "{}", described.text);
    assert!(described.one("reason").starts_with("User initiated ("), "{}", described.text);

    let started = alice.ec2("StartInstances", &[("InstanceId.1", id)]).await.ok();
    assert_eq!(started.all("name"), ["pending", "stopped"]);
    alice.wait_for(id, "running").await;
    alice.ec2("StartInstances", &[("InstanceId.1", id)]).await.ok();

    alice.ec2("RebootInstances", &[("InstanceId.1", id)]).await.ok();
    cluster.wait_for_intent(id, |intent| intent.reboots == 1).await;
    assert_eq!(alice.state(id).await, "running");
}

async fn a_guest_that_shuts_itself_down_is_stopped_or_terminated(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let stays = running(&alice, 1).await.remove(0);
    let behavior = ("InstanceInitiatedShutdownBehavior", "terminate");
    let goes = alice.run(1, &[behavior]).await.ok().one("instanceId");
    alice.wait_for(&goes, "running").await;

    cluster.report(&stays, Phase::Stopped, Some(StateReason::guest_shut_down()));
    alice.wait_for(&stays, "stopped").await;
    cluster.wait_for_intent(&stays, |intent| intent.desired == Desired::Stopped).await;
    let described = alice.ec2("DescribeInstances", &[("InstanceId.1", &stays)]).await.ok();
    assert!(described.text.contains("Client.InstanceInitiatedShutdown"), "{}", described.text);

    cluster.report(&goes, Phase::Stopped, Some(StateReason::guest_shut_down()));
    alice.wait_for(&goes, "terminated").await;
    until("forgotten", || async { cluster.has_forgotten(&goes).then_some(()) }).await;
}

async fn what_is_not_in_the_right_state_is_refused(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    cluster.be_manual();
    let id = alice.run(1, &[]).await.ok().one("instanceId");
    let named = [("InstanceId.1", id.as_str())];
    let early = alice.ec2("StopInstances", &named).await.refused(400, "IncorrectInstanceState");
    let expected = format!("Instance '{id}' cannot be stopped as it has never reached the 'running' state.");
    assert_eq!(early.message(), expected);
    cluster.wait_for_intent(&id, |_| true).await;
    cluster.report(&id, Phase::Running, None);
    alice.wait_for(&id, "running").await;
    alice.ec2("StopInstances", &named).await.ok();
    alice.ec2("StartInstances", &named).await.refused(400, "IncorrectInstanceState");
    alice.ec2("RebootInstances", &named).await.refused(400, "IncorrectInstanceState");
    alice.ec2("TerminateInstances", &named).await.ok();
    alice.ec2("StopInstances", &named).await.refused(400, "IncorrectInstanceState");
    assert_eq!(alice.state(&id).await, "shutting-down");

    for (bad, code) in [
        ("i-123", "InvalidInstanceID.Malformed"),
        ("i-0123456789abcdef0", "InvalidInstanceID.NotFound"),
        ("../etc", "InvalidInstanceID.Malformed"),
    ] {
        for action in ["StopInstances", "TerminateInstances", "DescribeInstances", "RebootInstances"] {
            alice.ec2(action, &[("InstanceId.1", bad)]).await.refused(400, code);
        }
    }
    alice.ec2("TerminateInstances", &[]).await.refused(400, "MissingParameter");
}

async fn others_instances_are_not_found_but_an_administrator_may_end_them(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 2).await;
    let alice = cloud.owner().await;
    let bob = cloud.user("umbrella", "bob", &["AdministratorAccess"]).await;
    let root = cloud.user("admin", "root", &["AdministratorAccess"]).await;
    let ids = running(&alice, 2).await;
    let named = [("InstanceId.1", ids[0].as_str())];

    for action in
        ["DescribeInstances", "StopInstances", "TerminateInstances", "RebootInstances", "StartInstances"]
    {
        bob.ec2(action, &named).await.refused(400, "InvalidInstanceID.NotFound");
    }
    bob.ec2("GetConsoleOutput", &[("InstanceId", &ids[0])]).await.refused(400, "InvalidInstanceID.NotFound");
    assert!(bob.ec2("DescribeInstances", &[]).await.ok().instances().is_empty());
    assert!(root.ec2("DescribeInstances", &[]).await.ok().instances().is_empty());
    let all = root.ec2("DescribeInstances", &[("InstanceId.1", "verbose")]).await.ok();
    assert_eq!(all.instances().len(), 2);
    assert!(bob.ec2("DescribeInstances", &[("InstanceId.1", "verbose")]).await.ok().instances().is_empty());

    // One that is not one's own spoils the whole request.
    let own = running(&bob, 1).await.remove(0);
    let both = [("InstanceId.1", own.as_str()), ("InstanceId.2", ids[0].as_str())];
    bob.ec2("TerminateInstances", &both).await.refused(400, "InvalidInstanceID.NotFound");
    assert_eq!(bob.state(&own).await, "running");

    root.ec2("TerminateInstances", &named).await.ok();
    alice.wait_for(&ids[0], "terminated").await;
    assert_eq!(alice.state(&ids[1]).await, "running");
}

async fn the_same_client_token_launches_once(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 2).await;
    let alice = cloud.owner().await;
    let token = ("ClientToken", "once");
    let tokens = [token];
    let (first, second, third) =
        tokio::join!(alice.run(2, &tokens), alice.run(2, &tokens), alice.run(2, &tokens));
    let (first, second, third) = (first.ok(), second.ok(), third.ok());
    let mut ids = [first.instances(), second.instances(), third.instances()];
    ids.iter_mut().for_each(|ids| ids.sort());
    assert!(ids[0].len() == 2 && ids[0] == ids[1] && ids[1] == ids[2], "{ids:?}");
    alice.run(1, &[token]).await.refused(400, "IdempotentParameterMismatch");
    alice.run(1, &[("ClientToken", &"x".repeat(65))]).await.refused(400, "InvalidParameterValue");
    let bob = cloud.user("umbrella", "bob", &["AdministratorAccess"]).await;
    assert_ne!(bob.run(2, &[token]).await.ok().instances(), first.instances());
    until("both launches arrive", || async { (cluster.known_count() == 4).then_some(()) }).await;
}

async fn over_capacity_is_refused_at_once_and_leaves_nothing(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 2).await; // 2 nodes of 4 vCPUs: four of t3.micro
    let alice = cloud.owner().await;
    let full = alice.run(5, &[]).await.refused(500, "InsufficientInstanceCapacity");
    let words = "We currently do not have sufficient t3.micro capacity in any Availability Zone";
    assert!(full.message().starts_with(words));
    assert!(alice.ec2("DescribeInstances", &[]).await.ok().instances().is_empty());

    let some = [("MinCount", "1"), ("MaxCount", "10"), ("ImageId", crate::support::IMAGE)];
    let some = alice.ec2("RunInstances", &[&some[..], &[("InstanceType", "t3.micro")]].concat()).await.ok();
    let ids = some.instances();
    assert_eq!(ids.len(), 4);
    alice.run(1, &[]).await.refused(500, "InsufficientInstanceCapacity");
    alice.wait_for(&ids[0], "running").await;
    alice.ec2("TerminateInstances", &[("InstanceId.1", &ids[0])]).await.ok();
    alice.wait_for(&ids[0], "terminated").await;
    let id = alice.run(1, &[]).await.ok().one("instanceId");
    alice.wait_for(&id, "running").await;

    // What is stopped gives its place away, and has to find one again.
    alice.ec2("StopInstances", &[("InstanceId.1", &id)]).await.ok();
    alice.wait_for(&id, "stopped").await;
    let other = alice.run(1, &[]).await.ok().one("instanceId");
    alice.ec2("StartInstances", &[("InstanceId.1", &id)]).await.refused(500, "InsufficientInstanceCapacity");
    alice.wait_for(&other, "running").await;
    assert_eq!(alice.state(&id).await, "stopped");
    let _ = cluster;
}

async fn a_full_zone_is_told_with_those_that_have_room(cloud: Cloud) {
    let _full = cloud.cluster("zone-a", 1).await;
    let _roomy = cloud.cluster("zone-b", 1).await;
    let alice = cloud.owner().await;
    let here = [("Placement.AvailabilityZone", "zone-a")];
    alice.run(2, &here).await.ok();
    let full = alice.run(1, &here).await.refused(500, "InsufficientInstanceCapacity");
    let words = "You can currently get t3.micro capacity by not specifying an Availability Zone in your request \
                 or choosing zone-b.";
    assert!(full.message().ends_with(words), "{}", full.message());
    let full = alice.run(3, &here).await.refused(500, "InsufficientInstanceCapacity");
    assert!(!full.message().contains("You can currently"), "zone-b takes two: {}", full.message());
}

async fn the_any_zone_fills_the_emptiest_cluster_and_overflows(cloud: Cloud) {
    let _small = cloud.cluster("zone-a", 1).await;
    let _large = cloud.cluster("zone-b", 2).await;
    let alice = cloud.owner().await;
    let here = [("Placement.AvailabilityZone", "zone-a")];
    assert_eq!(alice.run(1, &here).await.ok().one("availabilityZone"), "zone-a");
    let spread = alice.run(5, &[("Placement.AvailabilityZone", "any")]).await.ok();
    let mut zones = spread.all("availabilityZone");
    zones.sort();
    assert_eq!(zones, ["zone-a", "zone-b", "zone-b", "zone-b", "zone-b"]);
    let full = alice.run(1, &here).await.refused(500, "InsufficientInstanceCapacity");
    assert!(full.message().contains("(zone-a)"), "{}", full.message());
    assert!(!full.message().contains("You can currently"), "nowhere else is room: {}", full.message());
    let nowhere = alice.run(1, &[("Placement.AvailabilityZone", "zone-x")]).await;
    assert_eq!(
        nowhere.refused(400, "InvalidParameterValue").message(),
        "Invalid availability zone: [zone-x]"
    );
}

async fn a_failed_launch_tells_its_reason(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    cluster.be_manual();
    let id = alice.run(1, &[]).await.ok().one("instanceId");
    cluster.wait_for_intent(&id, |_| true).await;
    let reason = StateReason::new("Server.InternalError", "Server.InternalError: the disk is full");
    cluster.report(&id, Phase::Failed, Some(reason));
    alice.wait_for(&id, "terminated").await;
    let described = alice.ec2("DescribeInstances", &[("InstanceId.1", &id)]).await.ok();
    assert!(described.text.contains("the disk is full"), "{}", described.text);
    until("forgotten", || async { cluster.has_forgotten(&id).then_some(()) }).await;

    cluster.refuse(Some(ApiError::full("no room")));
    let id = alice.run(1, &[]).await.ok().one("instanceId");
    alice.wait_for(&id, "terminated").await;
    let described = alice.ec2("DescribeInstances", &[("InstanceId.1", &id)]).await.ok();
    assert!(described.text.contains("Server.InsufficientInstanceCapacity"), "{}", described.text);
}

async fn a_launch_names_things_that_exist(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let bob = cloud.user("umbrella", "bob", &["AdministratorAccess"]).await;
    cloud.key_pair(&bob.account, "bobs").await;
    let subnets = cloud.store().await.subnet_list(&bob.account).await.unwrap();
    let check = async |more: (&str, &str), code: &str| {
        alice.run(1, &[more]).await.refused(400, code);
    };
    check(("KeyName", "bobs"), "InvalidKeyPair.NotFound").await;
    check(("SubnetId", &subnets[0].id), "InvalidSubnetID.NotFound").await;
    check(("SubnetId", "subnet-1"), "InvalidSubnetID.Malformed").await;
    check(("SecurityGroupId.1", "sg-0123456789abcdef0"), "InvalidGroup.NotFound").await;
    check(("SecurityGroup.1", "nope"), "InvalidGroup.NotFound").await;
    check(("InstanceType", "z9.huge"), "InvalidParameterValue").await;
    check(("UserData", "%%%"), "InvalidParameterValue").await;
    check(("KernelId", "aki-0123456789abcdef0"), "InvalidAMIID.NotFound").await;
    check(("InstanceInitiatedShutdownBehavior", "explode"), "InvalidParameterValue").await;
    check(("BlockDeviceMapping.1.Ebs.VolumeSize", "0"), "InvalidParameterValue").await;
    check(("Monitoring.Enabled", "true"), "Unsupported").await;
    check(("MetadataOptions.HttpPutResponseHopLimit", "65"), "InvalidParameterValue").await;
    check(("PrivateIpAddress", "10.0.0.1"), "InvalidParameterValue").await;
    check(("PrivateIpAddress", "nowhere"), "InvalidParameterValue").await;
    check(("TagSpecification.1.Tag.1.Key", "x"), "InvalidParameterValue").await;
    for (image, code) in [
        ("ami-0123456789abcdef0", "InvalidAMIID.NotFound"),
        ("ami-x", "InvalidAMIID.Malformed"),
        ("aki-0123456789abcdef0", "InvalidAMIID.Malformed"),
    ] {
        let parameters = [("ImageId", image), ("MinCount", "1"), ("MaxCount", "1")];
        alice
            .ec2("RunInstances", &[&parameters[..], &[("InstanceType", "t3.micro")]].concat())
            .await
            .refused(400, code);
    }
    let counts = async |min: &str, max: &str, code: &str| {
        let parameters = [("ImageId", crate::support::IMAGE), ("MinCount", min), ("MaxCount", max)];
        alice
            .ec2("RunInstances", &[&parameters[..], &[("InstanceType", "t3.micro")]].concat())
            .await
            .refused(400, code);
    };
    counts("0", "1", "InvalidParameterValue").await;
    counts("2", "1", "InvalidParameterCombination").await;
    counts("1001", "2000", "InstanceLimitExceeded").await;
    counts("1", "1001", "InstanceLimitExceeded").await;
    counts("1", "99999999999", "InvalidParameterValue").await;
    assert!(alice.ec2("DescribeInstances", &[]).await.ok().instances().is_empty());

    let mine = [("PrivateIpAddress", "172.31.7.7")];
    assert_eq!(alice.run(1, &mine).await.ok().first("privateIpAddress").unwrap(), "172.31.7.7");
    bob.run(1, &mine).await.refused(400, "InvalidIPAddress.InUse");
}

async fn listings_are_filtered_and_paged(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 8).await;
    let alice = cloud.owner().await;
    let tag = [
        ("TagSpecification.1.ResourceType", "instance"),
        ("TagSpecification.1.Tag.1.Key", "role"),
        ("TagSpecification.1.Tag.1.Value", "web"),
    ];
    let web = alice.run(3, &tag).await.ok().instances();
    alice.run(9, &[]).await.ok();
    let filtered = async |name: &str, value: &str| {
        let parameters = [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
        alice.ec2("DescribeInstances", &parameters).await.ok().instances().len()
    };
    assert_eq!(filtered("tag:role", "w*").await, 3);
    assert_eq!(filtered("tag-key", "role").await, 3);
    assert_eq!(filtered("instance-id", &web[0]).await, 1);
    assert_eq!(filtered("availability-zone", "zone-b").await, 0);
    assert_eq!(filtered("private-ip-address", "172.31.0.?").await, 6);
    assert_eq!(filtered("launch-index", "8").await, 1);
    let parameters = [("Filter.1.Name", "colour"), ("Filter.1.Value.1", "red")];
    alice.ec2("DescribeInstances", &parameters).await.refused(400, "InvalidParameterValue");

    let mut seen = Vec::new();
    let mut token = String::new();
    loop {
        let page = alice.ec2("DescribeInstances", &[("MaxResults", "5"), ("NextToken", &token)]).await.ok();
        assert!(page.instances().len() <= 5);
        seen.extend(page.instances());
        match page.first("nextToken") {
            Some(next) => token = next,
            None => break,
        }
    }
    let mut all = alice.ec2("DescribeInstances", &[]).await.ok().instances();
    assert_eq!(seen, all);
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 12);
    let wrong = [("MaxResults", "5"), ("NextToken", "AAAA")];
    alice.ec2("DescribeInstances", &wrong).await.refused(400, "InvalidParameterValue");
    let both = [("MaxResults", "5"), ("InstanceId.1", web[0].as_str())];
    alice.ec2("DescribeInstances", &both).await.refused(400, "InvalidParameterCombination");
}

async fn protected_instances_stay(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let safe = [("DisableApiTermination", "true"), ("DisableApiStop", "true")];
    let id = alice.run(1, &safe).await.ok().one("instanceId");
    alice.wait_for(&id, "running").await;
    let named = [("InstanceId.1", id.as_str())];
    let refused = alice.ec2("TerminateInstances", &named).await.refused(400, "OperationNotPermitted");
    assert!(refused.message().contains("disableApiTermination"), "{}", refused.message());
    alice.ec2("StopInstances", &named).await.refused(400, "OperationNotPermitted");
    assert_eq!(alice.state(&id).await, "running");
}

async fn console_and_status_are_told(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let ids = running(&alice, 2).await;
    let console = alice.ec2("GetConsoleOutput", &[("InstanceId", &ids[0]), ("Latest", "true")]).await.ok();
    assert_eq!(console.one("output"), "aGVsbG8=");
    let password = alice.ec2("GetPasswordData", &[("InstanceId", &ids[0])]).await.ok();
    let launched = alice.ec2("DescribeInstances", &[("InstanceId.1", &ids[0])]).await.ok().one("launchTime");
    assert_eq!([password.one("passwordData"), password.one("timestamp")], [String::new(), launched]);
    alice.ec2("StopInstances", &[("InstanceId.1", &ids[1])]).await.ok();
    alice.wait_for(&ids[1], "stopped").await;
    let status = alice.ec2("DescribeInstanceStatus", &[]).await.ok();
    assert_eq!(status.instances(), [ids[0].as_str()]);
    assert_eq!(status.all("status"), ["passed", "ok", "passed", "ok"]);
    let all = alice.ec2("DescribeInstanceStatus", &[("IncludeAllInstances", "true")]).await.ok();
    assert_eq!(all.instances().len(), 2);
    cluster.cut(true);
    alice.ec2("GetConsoleOutput", &[("InstanceId", &ids[0])]).await.refused(503, "Unavailable");
}

mod what_takes_too_long_ends {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_sqlite() {
        tokio::join!(slow_launches_end(Database::Sqlite), slow_stops_end(Database::Sqlite));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_postgres() {
        tokio::join!(slow_launches_end(Database::Postgres), slow_stops_end(Database::Postgres));
    }
}

/// Asked first, forced then, and over for its owner when nobody answers.
async fn slow_stops_end(database: Database) {
    let cloud = Cloud::start_with(database, Limits { stopping_secs: 1, ..Limits::default() }).await;
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let [id] = &running(&alice, 1).await[..] else { panic!("one instance") };
    cluster.be_manual();
    alice.ec2("StopInstances", &[("InstanceId.1", id)]).await.ok();
    assert_eq!(alice.state(id).await, "stopping");
    cluster.wait_for_intent(id, |intent| intent.desired == Desired::Stopped && intent.force).await;
    alice.wait_for(id, "stopped").await;
    cluster.report(id, Phase::Stopped, None);
    alice.ec2("StartInstances", &[("InstanceId.1", id)]).await.ok();
    cluster.wait_for_intent(id, |intent| intent.desired == Desired::Running && !intent.force).await;
}

async fn slow_launches_end(database: Database) {
    let limits = Limits {
        pending_secs: 1,
        shutting_down_secs: 1,
        stopping_secs: 1,
        terminated_visible_secs: 1,
        ..Limits::default()
    };
    let cloud = Cloud::start_with(database, limits).await;
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    cluster.be_manual();
    let id = alice.run(1, &[]).await.ok().one("instanceId");
    cluster.wait_for_intent(&id, |intent| intent.desired == Desired::Terminated && intent.force).await;
    alice.wait_for(&id, "terminated").await;
    let described = alice.ec2("DescribeInstances", &[("InstanceId.1", &id)]).await.ok();
    assert!(described.text.contains("Server.InternalError"), "{}", described.text);
    cluster.report(&id, Phase::Gone, None);
    until("purged", || async {
        let gone = alice.ec2("DescribeInstances", &[("InstanceId.1", &id)]).await;
        (gone.code() == "InvalidInstanceID.NotFound").then_some(())
    })
    .await;
    assert_eq!(cluster.known_count(), 0);
}
