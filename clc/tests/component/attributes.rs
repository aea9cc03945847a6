//! Attributes of instances, told and changed.

use crate::support::{Client, Cloud, until};

on_both! {
    every_attribute_is_told
    a_stopped_instance_takes_another_type_and_user_data
    a_running_instance_keeps_what_it_was_started_with
    protection_and_shutdown_behaviour_change_at_any_time
    metadata_options_reach_the_node
    metadata_options_are_pending_until_the_cluster_has_them
    what_cannot_be_changed_is_refused
    others_instances_have_no_attributes
    credits_are_those_of_the_type
}

async fn launched(client: &Client, more: &[(&str, &str)]) -> String {
    let id = client.run(1, more).await.ok().one("instanceId");
    client.wait_for(&id, "running").await;
    id
}

async fn told(client: &Client, id: &str, attribute: &str) -> String {
    let asked = [("InstanceId", id), ("Attribute", attribute)];
    client.ec2("DescribeInstanceAttribute", &asked).await.ok().first("value").unwrap_or_default()
}

async fn stopped(client: &Client, id: &str) {
    client.ec2("StopInstances", &[("InstanceId.1", id)]).await.ok();
    client.wait_for(id, "stopped").await;
}

async fn every_attribute_is_told(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let id = launched(&alice, &[("UserData", "aGVsbG8="), ("DisableApiStop", "true")]).await;
    for (attribute, value) in [
        ("instanceType", "t3.micro"),
        ("userData", "aGVsbG8="),
        ("kernel", ""),
        ("ramdisk", ""),
        ("disableApiTermination", "false"),
        ("disableApiStop", "true"),
        ("instanceInitiatedShutdownBehavior", "stop"),
        ("rootDeviceName", "/dev/xvda"),
        ("sourceDestCheck", "true"),
        ("ebsOptimized", "false"),
        ("enaSupport", "false"),
        ("sriovNetSupport", ""),
    ] {
        assert_eq!(told(&alice, &id, attribute).await, value, "{attribute}");
    }
    let asked = |attribute: &'static str| {
        let (alice, id) = (alice.clone(), id.clone());
        async move {
            let asked = [("InstanceId", id.as_str()), ("Attribute", attribute)];
            alice.ec2("DescribeInstanceAttribute", &asked).await
        }
    };
    assert_eq!(asked("blockDeviceMapping").await.ok().one("deviceName"), "/dev/xvda");
    assert!(asked("groupSet").await.ok().one("groupId").starts_with("sg-"));
    asked("productCodes").await.ok();
    assert_eq!(asked("enclaveOptions").await.ok().one("enabled"), "false");
    asked("colour").await.refused(400, "InvalidParameterValue");
}

async fn a_stopped_instance_takes_another_type_and_user_data(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let id = launched(&alice, &[("UserData", "aGVsbG8=")]).await;
    stopped(&alice, &id).await;
    for change in [("InstanceType.Value", "m5.large"), ("UserData.Value", "d29ybGQ=")] {
        alice.ec2("ModifyInstanceAttribute", &[("InstanceId", &id), change]).await.ok();
    }
    assert_eq!(told(&alice, &id, "userData").await, "d29ybGQ=");
    alice.ec2("StartInstances", &[("InstanceId.1", &id)]).await.ok();
    alice.wait_for(&id, "running").await;
    let spec = cluster.intent(&id).unwrap().spec;
    assert_eq!((spec.instance_type.as_str(), spec.need.memory_mib), ("m5.large", 8192));
    assert_eq!(spec.user_data_base64.as_deref(), Some("d29ybGQ="));
    // The node is full now: nothing else starts, as the books know the larger type.
    alice.run(1, &[]).await.refused(500, "InsufficientInstanceCapacity");
    stopped(&alice, &id).await;
    alice.ec2("ModifyInstanceAttribute", &[("InstanceId", &id), ("UserData.Value", "")]).await.ok();
    assert_eq!(told(&alice, &id, "userData").await, "");
    let huge = [("InstanceId", id.as_str()), ("InstanceType.Value", "m5.24xlarge")];
    alice.ec2("ModifyInstanceAttribute", &huge).await.ok();
    let start = alice.ec2("StartInstances", &[("InstanceId.1", &id)]).await;
    start.refused(500, "InsufficientInstanceCapacity");
    assert_eq!(alice.state(&id).await, "stopped");
}

async fn a_running_instance_keeps_what_it_was_started_with(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let id = launched(&alice, &[]).await;
    for change in [("InstanceType.Value", "m5.large"), ("UserData.Value", "aGVsbG8=")] {
        let answer = alice.ec2("ModifyInstanceAttribute", &[("InstanceId", &id), change]).await;
        answer.refused(400, "IncorrectInstanceState");
    }
    assert_eq!(told(&alice, &id, "instanceType").await, "t3.micro");
    assert_eq!(told(&alice, &id, "userData").await, "");
}

async fn protection_and_shutdown_behaviour_change_at_any_time(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let id = launched(&alice, &[]).await;
    let spelled = [("Attribute", "disableApiTermination"), ("Value", "true"), ("InstanceId", id.as_str())];
    alice.ec2("ModifyInstanceAttribute", &spelled).await.ok();
    alice.ec2("TerminateInstances", &[("InstanceId.1", &id)]).await.refused(400, "OperationNotPermitted");
    let behavior = [("InstanceInitiatedShutdownBehavior.Value", "terminate"), ("InstanceId", id.as_str())];
    alice.ec2("ModifyInstanceAttribute", &behavior).await.ok();
    assert_eq!(told(&alice, &id, "instanceInitiatedShutdownBehavior").await, "terminate");
    let lift = [("DisableApiTermination.Value", "false"), ("InstanceId", id.as_str())];
    alice.ec2("ModifyInstanceAttribute", &lift).await.ok();
    alice.ec2("TerminateInstances", &[("InstanceId.1", &id)]).await.ok();
    alice.wait_for(&id, "terminated").await;
    alice.ec2("ModifyInstanceAttribute", &lift).await.refused(400, "IncorrectInstanceState");
}

async fn metadata_options_reach_the_node(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let id = launched(&alice, &[]).await;
    let wish = [("InstanceId", id.as_str()), ("HttpTokens", "required"), ("HttpPutResponseHopLimit", "3")];
    let answer = alice.ec2("ModifyInstanceMetadataOptions", &wish).await.ok();
    assert_eq!(
        (answer.one("httpTokens"), answer.one("httpPutResponseHopLimit")),
        ("required".into(), "3".into())
    );
    until("the node's options", || async {
        let options = cluster.intent(&id)?.spec.metadata;
        (options.tokens_required && options.hop_limit == 3 && options.enabled).then_some(())
    })
    .await;
    for wrong in [("HttpPutResponseHopLimit", "65"), ("HttpTokens", "perhaps")] {
        let answer = alice.ec2("ModifyInstanceMetadataOptions", &[("InstanceId", &id), wrong]).await;
        answer.refused(400, "InvalidParameterValue");
    }
}

async fn metadata_options_are_pending_until_the_cluster_has_them(cloud: Cloud) {
    let cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let id = launched(&alice, &[]).await;
    let in_state = async |state: &str| {
        let filter = [("Filter.1.Name", "metadata-options.state"), ("Filter.1.Value.1", state)];
        let found = alice.ec2("DescribeInstances", &filter).await.ok();
        let told = "<httpTokens>required</httpTokens>";
        found.instances() == [id.clone()] && found.text.contains(told)
    };
    cluster.cut(true);
    let wish = [("InstanceId", id.as_str()), ("HttpTokens", "required")];
    assert_eq!(alice.ec2("ModifyInstanceMetadataOptions", &wish).await.ok().one("state"), "pending");
    assert!(in_state("pending").await && !in_state("applied").await);
    cluster.cut(false);
    until("the cluster has them", async || in_state("applied").await.then_some(())).await;
    assert!(!in_state("pending").await);
}

async fn what_cannot_be_changed_is_refused(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let id = launched(&alice, &[]).await;
    let two = [("DisableApiStop.Value", "true"), ("DisableApiTermination.Value", "true")];
    let checks: &[(&[(&str, &str)], &str)] = &[
        (&[], "InvalidParameterCombination"),
        (&two, "InvalidParameterCombination"),
        (&[("SourceDestCheck.Value", "false")], "UnsupportedOperation"),
        (&[("EbsOptimized", "true")], "UnknownParameter"),
        (&[("EbsOptimized.Value", "true")], "UnsupportedOperation"),
        (&[("EnaSupport.Value", "true")], "UnsupportedOperation"),
        (&[("GroupId.1", "sg-0123456789abcdef0")], "InvalidGroup.NotFound"),
        (&[("GroupId.1", "nonsense")], "InvalidGroupId.Malformed"),
        (&[("InstanceType.Value", "t9.huge")], "InvalidParameterValue"),
        (&[("Kernel.Value", "aki-0123456789abcdef0")], "InvalidAMIID.NotFound"),
        (&[("Attribute", "rootDeviceName"), ("Value", "/dev/sdb")], "InvalidParameterValue"),
        (
            &[
                ("BlockDeviceMapping.1.DeviceName", "/dev/xvda"),
                ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "false"),
            ],
            "UnsupportedOperation",
        ),
        (&[("BlockDeviceMapping.1.DeviceName", "/dev/sdz")], "InvalidInstanceAttributeValue"),
    ];
    for (change, code) in checks {
        let mut parameters = vec![("InstanceId", id.as_str())];
        parameters.extend_from_slice(change);
        let answer = alice.ec2("ModifyInstanceAttribute", &parameters).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, *code), "{change:?} {}", answer.text);
    }
    let as_it_is = [("InstanceId", id.as_str()), ("SourceDestCheck.Value", "true")];
    alice.ec2("ModifyInstanceAttribute", &as_it_is).await.ok();
    let group = alice.ec2("DescribeSecurityGroups", &[]).await.ok().first("groupId").unwrap();
    let same = [("InstanceId", id.as_str()), ("GroupId.1", group.as_str())];
    alice.ec2("ModifyInstanceAttribute", &same).await.ok();
}

async fn others_instances_have_no_attributes(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let (alice, bob) = (cloud.owner().await, cloud.user("other", "bob", &["AdministratorAccess"]).await);
    let id = launched(&alice, &[]).await;
    let calls: &[(&str, &[(&str, &str)])] = &[
        ("DescribeInstanceAttribute", &[("Attribute", "userData")]),
        ("ModifyInstanceAttribute", &[("DisableApiStop.Value", "true")]),
        ("ModifyInstanceAttribute", &[("UserData.Value", "aGVsbG8=")]),
        ("ModifyInstanceMetadataOptions", &[("HttpTokens", "required")]),
    ];
    for (action, more) in calls {
        for (id, code) in
            [(id.as_str(), "InvalidInstanceID.NotFound"), ("i-x", "InvalidInstanceID.Malformed")]
        {
            let mut parameters = vec![("InstanceId", id)];
            parameters.extend_from_slice(more);
            bob.ec2(action, &parameters).await.refused(400, code);
        }
    }
    assert_eq!(told(&alice, &id, "disableApiStop").await, "false");
}

async fn credits_are_those_of_the_type(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 2).await;
    let alice = cloud.owner().await;
    let t3 = launched(&alice, &[]).await;
    let t2 = launched(&alice, &[("InstanceType", "t2.nano")]).await;
    let m5 = launched(&alice, &[("InstanceType", "m5.large")]).await;
    let action = "DescribeInstanceCreditSpecifications";
    assert_eq!(alice.ec2(action, &[]).await.ok().one("instanceId"), t3, "only unlimited ones, unasked");
    for (id, mode) in [(&t3, "unlimited"), (&t2, "standard")] {
        assert_eq!(alice.ec2(action, &[("InstanceId.1", id)]).await.ok().one("cpuCredits"), mode);
    }
    alice.ec2(action, &[("InstanceId.1", &m5)]).await.refused(400, "InvalidParameterValue");
}
