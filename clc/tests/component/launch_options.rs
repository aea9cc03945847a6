//! What a launch asks for is done, told again or refused; nothing is ignored.

use crate::support::{Client, Cloud, IMAGE};

on_both! {
    what_a_launch_says_is_told_again
    the_root_disk_passes_for_what_its_image_says
    cpu_credits_are_for_types_that_have_them
    what_is_not_done_is_refused
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
