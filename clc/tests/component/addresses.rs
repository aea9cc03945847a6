//! Addresses: which zone a launch goes to for their sake.

use crate::support::Cloud;

on_both! {
    a_launch_goes_on_where_there_are_addresses_left
    an_address_leads_to_its_zone
}

async fn a_launch_goes_on_where_there_are_addresses_left(cloud: Cloud) {
    // Three addresses, and the emptier of the two.
    let _small = cloud.cluster_at("zone-a", 6, "172.31.0.0/29").await;
    let _large = cloud.cluster_at("zone-b", 3, "172.31.16.0/20").await;
    let alice = cloud.owner().await;
    let mut zones = alice.run(5, &[]).await.ok().all("availabilityZone");
    zones.sort();
    assert_eq!(zones, ["zone-a", "zone-a", "zone-a", "zone-b", "zone-b"]);
    assert_eq!(alice.run(1, &[]).await.ok().one("availabilityZone"), "zone-b");
    let there = [("Placement.AvailabilityZone", "zone-a")];
    alice.run(1, &there).await.refused(400, "InsufficientFreeAddressesInSubnet");
    // A launch that takes fewer takes as many as there are places for.
    let some = [("MinCount", "1"), ("MaxCount", "9"), ("ImageId", crate::support::IMAGE)];
    let some = [&some[..], &[("InstanceType", "t3.micro")]].concat();
    assert_eq!(alice.ec2("RunInstances", &some).await.ok().instances().len(), 3);
}

async fn an_address_leads_to_its_zone(cloud: Cloud) {
    let _one = cloud.cluster_at("zone-a", 4, "172.31.0.0/20").await;
    let _two = cloud.cluster_at("zone-b", 1, "172.31.16.0/20").await;
    let alice = cloud.owner().await;
    let there = alice.run(1, &[("PrivateIpAddress", "172.31.16.77")]).await.ok();
    assert_eq!(there.one("availabilityZone"), "zone-b");
    alice.run(1, &[("PrivateIpAddress", "172.31.16.77")]).await.refused(400, "InvalidIPAddress.InUse");
    alice.run(1, &[("PrivateIpAddress", "10.0.0.7")]).await.refused(400, "InvalidParameterValue");
    let other = [("PrivateIpAddress", "172.31.16.78"), ("Placement.AvailabilityZone", "zone-a")];
    alice.run(1, &other).await.refused(400, "InvalidParameterValue");
}
