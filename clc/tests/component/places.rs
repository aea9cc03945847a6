//! Where and on what: regions, zones with their slots, instance types.

use crate::support::{Cloud, REGION};

on_both! {
    the_region_is_the_clouds_own
    a_zone_is_a_cluster_and_tells_its_slots
    instance_types_are_those_of_the_catalogue
    types_are_offered_in_the_region_and_in_each_zone
    filters_of_zones_are_checked_where_there_is_none
}

async fn the_region_is_the_clouds_own(cloud: Cloud) {
    let alice = cloud.owner().await;
    let regions = alice.ec2("DescribeRegions", &[]).await.ok();
    assert_eq!(regions.one("regionName"), REGION);
    assert!(alice.url.ends_with(&regions.one("regionEndpoint")), "{}", regions.text);
    alice.ec2("DescribeRegions", &[("RegionName.1", REGION)]).await.ok();
    alice.ec2("DescribeRegions", &[("RegionName.1", "mars-1")]).await.refused(400, "InvalidParameterValue");
    let filter = [("Filter.1.Name", "region-name"), ("Filter.1.Value.1", "mars-*")];
    assert!(alice.ec2("DescribeRegions", &filter).await.ok().all("regionName").is_empty());
}

async fn a_zone_is_a_cluster_and_tells_its_slots(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 2).await;
    let alice = cloud.owner().await;
    let zones = alice.ec2("DescribeAvailabilityZones", &[]).await.ok();
    assert_eq!((zones.one("zoneName"), zones.one("zoneState")), ("zone-a".into(), "available".into()));
    alice.run(1, &[]).await.ok();
    // Two nodes of 4 vCPUs and 8 GiB, one t3.micro (2 vCPUs, 1 GiB) on one of them.
    let verbose = alice.ec2("DescribeAvailabilityZones", &[("ZoneName.1", "verbose")]).await.ok();
    let (names, states) = (verbose.all("zoneName"), verbose.all("zoneState"));
    assert_eq!(names[..2], ["zone-a", "|- vm types"]);
    assert_eq!(states[1], "free / max   cpu   ram  disk");
    let line = |name: &str| states[names.iter().position(|n| n == &format!("|- {name}")).unwrap()].clone();
    assert_eq!(line("t3.micro"), "0003 / 0004   2   1024     8");
    assert_eq!(line("m5.large"), "0001 / 0002   2   8192     8");
    assert_eq!(line("m5.24xlarge"), "0000 / 0000  96   393216     8");
    for (parameter, value) in [("ZoneName.1", "nowhere"), ("ZoneId.1", "nowhere")] {
        let answer = alice.ec2("DescribeAvailabilityZones", &[(parameter, value)]).await;
        answer.refused(400, "InvalidParameterValue");
    }
    let filter = [("Filter.1.Name", "region-name"), ("Filter.1.Value.1", REGION)];
    assert_eq!(alice.ec2("DescribeAvailabilityZones", &filter).await.ok().all("zoneName"), ["zone-a"]);
}

async fn filters_of_zones_are_checked_where_there_is_none(cloud: Cloud) {
    let alice = cloud.owner().await;
    assert!(alice.ec2("DescribeAvailabilityZones", &[]).await.ok().all("zoneName").is_empty());
    let filter = [("Filter.1.Name", "colour"), ("Filter.1.Value.1", "red")];
    alice.ec2("DescribeAvailabilityZones", &filter).await.refused(400, "InvalidParameterValue");
}

async fn instance_types_are_those_of_the_catalogue(cloud: Cloud) {
    let alice = cloud.owner().await;
    let micro = alice.ec2("DescribeInstanceTypes", &[("InstanceType.1", "t3.micro")]).await.ok();
    for (element, value) in [
        ("defaultVCpus", "2"),
        ("defaultCores", "1"),
        ("defaultThreadsPerCore", "2"),
        ("sizeInMiB", "1024"),
        ("currentGeneration", "true"),
        ("burstablePerformanceSupported", "true"),
        ("bareMetal", "false"),
        ("instanceStorageSupported", "false"),
        ("hypervisor", "nitro"),
        ("ipv4AddressesPerInterface", "2"),
        ("freeTierEligible", "false"),
    ] {
        assert_eq!(micro.one(element), value, "{element}");
    }
    let unknown = [("InstanceType.1", "t9.huge"), ("InstanceType.2", "t3.micro")];
    let refused = alice.ec2("DescribeInstanceTypes", &unknown).await.refused(400, "InvalidInstanceType");
    let expected = "The following supplied instance types do not exist: [t9.huge]";
    assert_eq!(refused.message(), expected);
    for (name, value, some, none) in [
        ("instance-type", "t3.*", "t3.nano", "t2.nano"),
        ("vcpu-info.default-vcpus", "2", "m5.large", "m5.xlarge"),
        ("current-generation", "false", "m1.small", "t3.micro"),
        ("memory-info.size-in-mib", "8192", "m5.large", "t3.micro"),
        ("processor-info.supported-architecture", "i386", "t2.micro", "t3.micro"),
        ("burstable-performance-supported", "true", "t2.micro", "m5.large"),
    ] {
        let filter = [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
        let found = alice.ec2("DescribeInstanceTypes", &filter).await.ok().all("instanceType");
        assert!(found.iter().any(|f| f == some) && !found.iter().any(|f| f == none), "{name}: {found:?}");
    }
    let mut parameters = vec![("MaxResults".to_owned(), "20".to_owned())];
    let mut seen = Vec::new();
    loop {
        let asked: Vec<(&str, &str)> = parameters.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let page = alice.ec2("DescribeInstanceTypes", &asked).await.ok();
        seen.extend(page.all("instanceType"));
        let Some(token) = page.first("nextToken") else { break };
        parameters.truncate(1);
        parameters.push(("NextToken".to_owned(), token));
    }
    assert_eq!(seen, alice.ec2("DescribeInstanceTypes", &[]).await.ok().all("instanceType"));
}

async fn types_are_offered_in_the_region_and_in_each_zone(cloud: Cloud) {
    let _first = cloud.cluster("zone-a", 1).await;
    let _second = cloud.cluster("zone-b", 1).await;
    let alice = cloud.owner().await;
    let types = alice.ec2("DescribeInstanceTypes", &[]).await.ok().all("instanceType").len();
    for (kind, places) in
        [("region", 1), ("availability-zone", 2), ("availability-zone-id", 2), ("outpost", 0)]
    {
        let answer = alice.ec2("DescribeInstanceTypeOfferings", &[("LocationType", kind)]).await.ok();
        assert_eq!(answer.all("location").len(), types * places, "{kind}");
    }
    let filters = [
        ("LocationType", "availability-zone"),
        ("Filter.1.Name", "location"),
        ("Filter.1.Value.1", "zone-b"),
        ("Filter.2.Name", "instance-type"),
        ("Filter.2.Value.1", "m5.large"),
    ];
    let answer = alice.ec2("DescribeInstanceTypeOfferings", &filters).await.ok();
    assert_eq!((answer.one("location"), answer.one("instanceType")), ("zone-b".into(), "m5.large".into()));
    let wrong = [("LocationType", "planet")];
    alice.ec2("DescribeInstanceTypeOfferings", &wrong).await.refused(400, "InvalidParameterValue");
}
