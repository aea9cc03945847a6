//! What a launch asks for is done, told again or refused; nothing is ignored.

use crate::support::{Client, Cloud, IMAGE};

on_both! {
    what_contradicts_itself_is_refused
    a_zone_is_known_by_its_id
    a_gp3_disk_has_its_usual_performance
    what_a_launch_says_is_told_again
    the_root_disk_passes_for_what_its_image_says
    cpu_credits_are_for_types_that_have_them
    what_is_not_done_is_refused
    an_image_runs_on_types_of_its_architecture
    nothing_has_ena_unless_its_image_says_so
    text_that_answers_cannot_carry_is_refused
    more_than_a_request_may_ask_for_is_refused_whole
}

async fn described(client: &Client, id: &str, action: &str) -> crate::support::Answer {
    let filter = match action {
        "DescribeVolumes" | "DescribeNetworkInterfaces" => "attachment.instance-id",
        _ => "instance-id",
    };
    client.ec2(action, &[("Filter.1.Name", filter), ("Filter.1.Value.1", id)]).await.ok()
}

async fn what_a_launch_says_is_told_again(mut cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let mut alice = cloud.owner().await;
    let said = [
        ("BlockDeviceMapping.1.Ebs.VolumeType", "gp2"),
        ("BlockDeviceMapping.1.DeviceName", "/dev/xvda"),
        ("CreditSpecification.CpuCredits", "standard"),
        ("NetworkInterface.1.DeviceIndex", "0"),
        ("NetworkInterface.1.Description", "the <front> door"),
        ("MaintenanceOptions.AutoRecovery", "disabled"),
        ("PrivateDnsNameOptions.HostnameType", "ip-name"),
        ("PrivateDnsNameOptions.EnableResourceNameDnsARecord", "false"),
    ];
    let launched = alice.run(1, &said).await.ok();
    assert_eq!(launched.one("autoRecovery"), "disabled");
    let id = launched.one("instanceId");
    let plain = alice.run(1, &[]).await.ok().one("instanceId");
    for round in ["at once", "after a restart"] {
        let told = async |id: &str| {
            let instance = described(&alice, id, "DescribeInstances").await;
            let credits = [("InstanceId.1", id)];
            let credits = alice.ec2("DescribeInstanceCreditSpecifications", &credits).await.ok();
            let interface = described(&alice, id, "DescribeNetworkInterfaces").await;
            assert_eq!(interface.one("description"), instance.one("description"), "{round}");
            assert_eq!(instance.one("hostnameType"), "ip-name");
            [
                described(&alice, id, "DescribeVolumes").await.one("volumeType"),
                credits.one("cpuCredits"),
                instance.one("description"),
                instance.one("autoRecovery"),
            ]
        };
        assert_eq!(told(&id).await, ["gp2", "standard", "the &lt;front&gt; door", "disabled"], "{round}");
        assert_eq!(told(&plain).await, ["gp3", "unlimited", "", "default"], "{round}");
        cloud.stop().await;
        cloud.start_again().await;
        alice.url = cloud.endpoint.public_url.clone().unwrap();
    }
}

async fn the_root_disk_passes_for_what_its_image_says(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let location = cloud.walrus.put(1, karri_proto::instance::BlobFormat::Raw, 1 << 30);
    let image = [
        ("Name", "old"),
        ("ImageLocation", location.as_str()),
        ("BlockDeviceMapping.1.Ebs.VolumeType", "standard"),
    ];
    let image = alice.ec2("RegisterImage", &image).await.ok().one("imageId");
    let launch =
        [("ImageId", image.as_str()), ("MinCount", "1"), ("MaxCount", "1"), ("InstanceType", "t3.nano")];
    let id = alice.ec2("RunInstances", &launch).await.ok().one("instanceId");
    assert_eq!(described(&alice, &id, "DescribeVolumes").await.one("volumeType"), "standard");
    let fast = [
        ("Name", "fast"),
        ("ImageLocation", location.as_str()),
        ("BlockDeviceMapping.1.Ebs.VolumeType", "io2"),
    ];
    alice.ec2("RegisterImage", &fast).await.refused(400, "Unsupported");
}

async fn cpu_credits_are_for_types_that_have_them(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let credits = |mode: &'static str| ("CreditSpecification.CpuCredits", mode);
    let refused = alice.run(1, &[credits("standard"), ("InstanceType", "m5.large")]).await;
    let refused = refused.refused(400, "InstanceCreditSpecification.NotSupported");
    assert_eq!(refused.message(), "The m5.large instance type does not support T2 Unlimited.");
    alice.run(1, &[credits("bogus")]).await.refused(400, "InvalidParameterValue");
    let id = alice.run(1, &[credits("unlimited"), ("InstanceType", "t2.micro")]).await.ok().one("instanceId");
    let told = alice.ec2("DescribeInstanceCreditSpecifications", &[("InstanceId.1", &id)]).await.ok();
    assert_eq!(told.one("cpuCredits"), "unlimited");
}

async fn what_is_not_done_is_refused(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let ebs = |name: &str| format!("BlockDeviceMapping.1.Ebs.{name}");
    let disk = [
        ("Iops", "3000", "Unsupported"),
        ("Throughput", "125", "Unsupported"),
        ("KmsKeyId", "key", "Unsupported"),
        ("Encrypted", "true", "Unsupported"),
        ("DeleteOnTermination", "false", "Unsupported"),
        ("VolumeType", "io1", "Unsupported"),
        ("VolumeType", "io2", "Unsupported"),
        ("VolumeType", "st1", "InvalidParameterCombination"),
        ("VolumeType", "floppy", "InvalidParameterValue"),
        ("OutpostArn", "arn:x", "Unsupported"),
    ];
    for (name, value, code) in disk {
        alice.run(1, &[(&ebs(name), value)]).await.refused(400, code);
    }
    let both = [(ebs("VolumeType"), "gp2"), (ebs("Iops"), "100")];
    let both = [(both[0].0.as_str(), both[0].1), (both[1].0.as_str(), both[1].1)];
    let refused = alice.run(1, &both).await.refused(400, "InvalidParameterCombination");
    assert_eq!(refused.message(), "The parameter iops is not supported for gp2 volumes.");
    for other in [
        ("PrivateDnsNameOptions.HostnameType", "resource-name"),
        ("PrivateDnsNameOptions.EnableResourceNameDnsARecord", "true"),
        ("PrivateDnsNameOptions.EnableResourceNameDnsAAAARecord", "true"),
        ("NetworkPerformanceOptions.BandwidthWeighting", "vpc-1"),
        ("Operator.Principal", "someone"),
        ("AdditionalInfo", "more"),
        ("Placement.SpreadDomain", "rack"),
        ("NetworkInterface.1.AssociateCarrierIpAddress", "true"),
        ("NetworkInterface.1.ConnectionTrackingSpecification.TcpEstablishedTimeout", "60"),
        ("NetworkInterface.1.Ipv6PrefixCount", "1"),
    ] {
        alice.run(1, &[other]).await.refused(400, "Unsupported");
    }
    let long = "d".repeat(256);
    for description in ["a\u{7}b", long.as_str()] {
        let said = [("NetworkInterface.1.Description", description)];
        alice.run(1, &said).await.refused(400, "InvalidParameterValue");
    }
    assert!(alice.ec2("DescribeInstances", &[]).await.ok().instances().is_empty());
}

async fn more_than_a_request_may_ask_for_is_refused_whole(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let run = async |max: &str| {
        let counts = [("ImageId", IMAGE), ("InstanceType", "t3.micro"), ("MinCount", "1"), ("MaxCount", max)];
        alice.ec2("RunInstances", &counts).await
    };
    for max in ["1001", "1000000", "2147483647"] {
        let refused = run(max).await.refused(400, "InstanceLimitExceeded");
        assert!(refused.message().contains(max), "{}", refused.message());
    }
    assert!(alice.ec2("DescribeInstances", &[]).await.ok().instances().is_empty());
    assert_eq!(run("1000").await.ok().instances().len(), 2, "as many as there is room for");
}

async fn register(
    cloud: &Cloud,
    client: &Client,
    name: &str,
    more: &[(&str, &str)],
) -> crate::support::Answer {
    let location = cloud.walrus.put(1, karri_proto::instance::BlobFormat::Raw, 1 << 30);
    let own = [("Name", name), ("ImageLocation", location.as_str())];
    client.ec2("RegisterImage", &[&own[..], more].concat()).await
}

async fn an_image_runs_on_types_of_its_architecture(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let old = register(&cloud, &alice, "old", &[("Architecture", "i386")]).await.ok().one("imageId");
    let run = async |kind: &str| {
        let launch =
            [("ImageId", old.as_str()), ("MinCount", "1"), ("MaxCount", "1"), ("InstanceType", kind)];
        alice.ec2("RunInstances", &launch).await
    };
    let refused = run("t3.micro").await.refused(400, "InvalidParameterValue");
    let words = "The architecture 'x86_64' of the specified instance type does not match the architecture 'i386' of \
                 the specified AMI.";
    assert!(refused.message().starts_with(words), "{}", refused.message());
    let id = run("t2.micro").await.ok().one("instanceId");
    alice.wait_for(&id, "running").await;
    alice.ec2("StopInstances", &[("InstanceId.1", &id)]).await.ok();
    alice.wait_for(&id, "stopped").await;
    let modify = async |kind: &str| {
        let wish = [("InstanceId", id.as_str()), ("InstanceType.Value", kind)];
        alice.ec2("ModifyInstanceAttribute", &wish).await
    };
    modify("t3.micro").await.refused(400, "InvalidParameterValue");
    modify("t2.small").await.ok();
}

async fn nothing_has_ena_unless_its_image_says_so(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let told =
        async |id: &str| alice.ec2("DescribeImages", &[("ImageId.1", id)]).await.ok().one("enaSupport");
    let plain = register(&cloud, &alice, "plain", &[]).await.ok().one("imageId");
    assert_eq!(told(&plain).await, "false");
    let driven = register(&cloud, &alice, "driven", &[("EnaSupport", "true")]).await.ok().one("imageId");
    assert_eq!(told(&driven).await, "true");
    let launch =
        [("ImageId", driven.as_str()), ("MinCount", "1"), ("MaxCount", "1"), ("InstanceType", "t3.nano")];
    assert_eq!(alice.ec2("RunInstances", &launch).await.ok().one("enaSupport"), "false");
    let kind = alice.ec2("DescribeInstanceTypes", &[("InstanceType.1", "t3.nano")]).await.ok();
    assert_eq!(kind.one("enaSupport"), "unsupported");
}

async fn text_that_answers_cannot_carry_is_refused(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    for (key, value) in [("a\u{1}b", "v"), ("k", "a\u{0}b"), ("k", "bell\u{7}"), ("k", "\u{fffe}")] {
        let tags = [
            ("TagSpecification.1.ResourceType", "instance"),
            ("TagSpecification.1.Tag.1.Key", key),
            ("TagSpecification.1.Tag.1.Value", value),
        ];
        alice.run(1, &tags).await.refused(400, "InvalidParameterValue");
    }
    alice.run(1, &[("ClientToken", "a\u{1}b")]).await.refused(400, "InvalidParameterValue");
    for bad in [("Description", "a\u{8}b"), ("SriovNetSupport", "complex")] {
        register(&cloud, &alice, "described", &[bad]).await.refused(400, "InvalidParameterValue");
    }
    assert!(alice.ec2("DescribeInstances", &[]).await.ok().instances().is_empty());
    let id = alice.run(1, &[]).await.ok().one("instanceId");
    let tag = |value: &'static str| {
        [("ResourceId.1", id.clone()), ("Tag.1.Key", "k".into()), ("Tag.1.Value", value.into())]
    };
    let put = async |value: &'static str| {
        let tag = tag(value);
        let tag: Vec<(&str, &str)> =
            tag.iter().map(|(name, value): &(&str, String)| (*name, value.as_str())).collect();
        alice.ec2("CreateTags", &tag).await
    };
    put("a\rb").await.refused(400, "InvalidParameterValue");
    put("two\nlines").await.ok();
    let told = alice.ec2("DescribeTags", &[]).await.ok();
    assert_eq!(told.one("value"), "two\nlines");
}

async fn what_contradicts_itself_is_refused(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let subnet = alice.ec2("DescribeSubnets", &[]).await.ok().one("subnetId");
    let both = [("SubnetId", subnet.as_str()), ("SecurityGroup.1", "default")];
    let refused = alice.run(1, &both).await.refused(400, "InvalidParameterCombination");
    assert_eq!(refused.message(), "The parameter groupName cannot be used with the parameter subnet");
    let empty = [("TagSpecification.1.ResourceType", "instance")];
    let refused = alice.run(1, &empty).await.refused(400, "InvalidParameterValue");
    assert_eq!(refused.message(), "Tag specification must have at least one tag");
    let twice = [
        ("TagSpecification.1.ResourceType", "instance"),
        ("TagSpecification.1.Tag.1.Key", "a"),
        ("TagSpecification.2.ResourceType", "instance"),
        ("TagSpecification.2.Tag.1.Key", "b"),
    ];
    alice.run(1, &twice).await.refused(400, "InvalidParameterValue");
    let by_tag = [("Filter.1.Name", "tag:a"), ("Filter.1.Value.1", "b")];
    alice.ec2("DescribeInstanceStatus", &by_tag).await.refused(400, "InvalidParameterValue");
    alice.ec2("DescribeInstances", &by_tag).await.ok();
}

async fn a_zone_is_known_by_its_id(cloud: Cloud) {
    let _first = cloud.cluster("zone-a", 2).await;
    let _second = cloud.cluster("zone-b", 1).await;
    let alice = cloud.owner().await;
    let id = ("Placement.AvailabilityZoneId", "zone-b");
    assert_eq!(alice.run(1, &[id]).await.ok().one("availabilityZone"), "zone-b");
    let both = [id, ("Placement.AvailabilityZone", "zone-b")];
    alice.run(1, &both).await.refused(400, "InvalidParameterCombination");
}

async fn a_gp3_disk_has_its_usual_performance(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let disk = |iops: &'static str| {
        [
            ("BlockDeviceMapping.1.DeviceName", "/dev/xvda"),
            ("BlockDeviceMapping.1.Ebs.VolumeType", "gp3"),
            ("BlockDeviceMapping.1.Ebs.Throughput", "125"),
            ("BlockDeviceMapping.1.Ebs.Iops", iops),
        ]
    };
    alice.run(1, &disk("4000")).await.refused(400, "Unsupported");
    alice.run(1, &disk("3000")).await.ok();
    let volume = alice.ec2("DescribeVolumes", &[]).await.ok();
    assert_eq!((volume.one("iops").as_str(), volume.one("throughput").as_str()), ("3000", "125"));
}
