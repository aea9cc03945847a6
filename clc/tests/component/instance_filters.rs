//! Every filter that EC2 documents for instances is known, and those about what is told look at it.

use crate::support::{Client, Cloud};

on_both! {
    every_documented_filter_is_known
    filters_find_what_is_told
    ports_are_found_by_their_tags
}

/// As EC2's reference of DescribeInstances has them, without those of tags.
const INSTANCES: &[&str] = &[
    "affinity",
    "architecture",
    "availability-zone",
    "availability-zone-id",
    "block-device-mapping.attach-time",
    "block-device-mapping.delete-on-termination",
    "block-device-mapping.device-name",
    "block-device-mapping.status",
    "block-device-mapping.volume-id",
    "boot-mode",
    "capacity-reservation-id",
    "capacity-reservation-specification.capacity-reservation-preference",
    "capacity-reservation-specification.capacity-reservation-target.capacity-reservation-id",
    "capacity-reservation-specification.capacity-reservation-target.capacity-reservation-resource-group-arn",
    "client-token",
    "current-instance-boot-mode",
    "dns-name",
    "ebs-optimized",
    "ena-support",
    "enclave-options.enabled",
    "hibernation-options.configured",
    "host-id",
    "hypervisor",
    "iam-instance-profile.arn",
    "iam-instance-profile.id",
    "image-id",
    "instance-id",
    "instance-lifecycle",
    "instance-state-code",
    "instance-state-name",
    "instance-type",
    "instance.group-id",
    "instance.group-name",
    "ip-address",
    "ipv6-address",
    "kernel-id",
    "key-name",
    "launch-index",
    "launch-time",
    "maintenance-options.auto-recovery",
    "metadata-options.http-endpoint",
    "metadata-options.http-protocol-ipv4",
    "metadata-options.http-protocol-ipv6",
    "metadata-options.http-put-response-hop-limit",
    "metadata-options.http-tokens",
    "metadata-options.instance-metadata-tags",
    "metadata-options.state",
    "monitoring-state",
    "network-interface.addresses.association.allocation-id",
    "network-interface.addresses.association.association-id",
    "network-interface.addresses.association.carrier-ip",
    "network-interface.addresses.association.customer-owned-ip",
    "network-interface.addresses.association.ip-owner-id",
    "network-interface.addresses.association.public-dns-name",
    "network-interface.addresses.association.public-ip",
    "network-interface.addresses.primary",
    "network-interface.addresses.private-dns-name",
    "network-interface.addresses.private-ip-address",
    "network-interface.association.allocation-id",
    "network-interface.association.association-id",
    "network-interface.association.carrier-ip",
    "network-interface.association.customer-owned-ip",
    "network-interface.association.ip-owner-id",
    "network-interface.association.public-dns-name",
    "network-interface.association.public-ip",
    "network-interface.attachment.attach-time",
    "network-interface.attachment.attachment-id",
    "network-interface.attachment.delete-on-termination",
    "network-interface.attachment.device-index",
    "network-interface.attachment.instance-id",
    "network-interface.attachment.instance-owner-id",
    "network-interface.attachment.network-card-index",
    "network-interface.attachment.status",
    "network-interface.availability-zone",
    "network-interface.deny-all-igw-traffic",
    "network-interface.description",
    "network-interface.group-id",
    "network-interface.group-name",
    "network-interface.ipv4-prefixes.ipv4-prefix",
    "network-interface.ipv6-address",
    "network-interface.ipv6-addresses.ipv6-address",
    "network-interface.ipv6-addresses.is-primary-ipv6",
    "network-interface.ipv6-native",
    "network-interface.ipv6-prefixes.ipv6-prefix",
    "network-interface.mac-address",
    "network-interface.network-interface-id",
    "network-interface.operator.managed",
    "network-interface.operator.principal",
    "network-interface.outpost-arn",
    "network-interface.owner-id",
    "network-interface.private-dns-name",
    "network-interface.private-ip-address",
    "network-interface.public-dns-name",
    "network-interface.requester-id",
    "network-interface.requester-managed",
    "network-interface.status",
    "network-interface.source-dest-check",
    "network-interface.subnet-id",
    "network-interface.tag-key",
    "network-interface.tag-value",
    "network-interface.vpc-id",
    "network-performance-options.bandwidth-weighting",
    "operator.managed",
    "operator.principal",
    "outpost-arn",
    "owner-id",
    "placement-group-name",
    "placement-partition-number",
    "platform",
    "platform-details",
    "private-dns-name",
    "private-dns-name-options.enable-resource-name-dns-a-record",
    "private-dns-name-options.enable-resource-name-dns-aaaa-record",
    "private-dns-name-options.hostname-type",
    "private-ip-address",
    "product-code",
    "product-code.type",
    "ramdisk-id",
    "reason",
    "requester-id",
    "reservation-id",
    "root-device-name",
    "root-device-type",
    "source-dest-check",
    "spot-instance-request-id",
    "state-reason-code",
    "state-reason-message",
    "subnet-id",
    "tenancy",
    "tpm-support",
    "usage-operation",
    "usage-operation-update-time",
    "virtualization-type",
    "vpc-id",
];

/// As EC2's reference of DescribeInstanceStatus has them.
const STATUS: &[&str] = &[
    "availability-zone",
    "availability-zone-id",
    "event.code",
    "event.description",
    "event.instance-event-id",
    "event.not-after",
    "event.not-before",
    "event.not-before-deadline",
    "instance-state-code",
    "instance-state-name",
    "instance-status.reachability",
    "instance-status.status",
    "operator.managed",
    "operator.principal",
    "system-status.reachability",
    "system-status.status",
    "attached-ebs-status.status",
    "application-status.status",
];

async fn found(client: &Client, action: &str, name: &str, value: &str) -> Vec<String> {
    let filter = [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
    client.ec2(action, &filter).await.ok().instances()
}

async fn every_documented_filter_is_known(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    alice.run(1, &[]).await.ok();
    for (action, names) in [("DescribeInstances", INSTANCES), ("DescribeInstanceStatus", STATUS)] {
        for name in names {
            assert!(found(&alice, action, name, "no such value").await.is_empty(), "{name}");
        }
        let unknown = [("Filter.1.Name", "colour"), ("Filter.1.Value.1", "red")];
        alice.ec2(action, &unknown).await.refused(400, "InvalidParameterValue");
    }
}

async fn filters_find_what_is_told(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let said = [
        ("NetworkInterface.1.Description", "front"),
        ("MaintenanceOptions.AutoRecovery", "disabled"),
        ("NetworkInterface.1.DeviceIndex", "0"),
    ];
    let id = alice.run(1, &said).await.ok().one("instanceId");
    alice.wait_for(&id, "running").await;
    let told = alice.ec2("DescribeInstances", &[]).await.ok();
    let attached = told.first("attachTime").unwrap();
    let dns = told.first("privateDnsName").unwrap();
    for (name, value, other) in [
        ("availability-zone-id", "zone-a", "zone-b"),
        ("current-instance-boot-mode", &told.one("currentInstanceBootMode"), "uefi"),
        ("ebs-optimized", &told.one("ebsOptimized"), "true"),
        ("ena-support", &told.one("enaSupport"), "true"),
        ("enclave-options.enabled", "false", "true"),
        ("hibernation-options.configured", &told.one("configured"), "true"),
        ("maintenance-options.auto-recovery", "disabled", "default"),
        ("metadata-options.state", "applied", "pending"),
        ("metadata-options.http-protocol-ipv4", "enabled", "disabled"),
        ("metadata-options.http-protocol-ipv6", &told.one("httpProtocolIpv6"), "enabled"),
        ("network-interface.addresses.private-dns-name", &dns, "localhost"),
        ("network-interface.attachment.attach-time", &attached, "2001-*"),
        ("network-interface.attachment.network-card-index", &told.one("networkCardIndex"), "1"),
        ("network-interface.description", "fr?nt", "back"),
        ("network-interface.requester-managed", "false", "true"),
        ("network-performance-options.bandwidth-weighting", &told.one("bandwidthWeighting"), "vpc-1"),
        ("operator.managed", "false", "true"),
        ("private-dns-name-options.enable-resource-name-dns-a-record", "false", "true"),
        ("private-dns-name-options.enable-resource-name-dns-aaaa-record", "false", "true"),
        ("private-dns-name-options.hostname-type", &told.one("hostnameType"), "resource-name"),
        ("usage-operation-update-time", &told.one("usageOperationUpdateTime"), "2001-*"),
    ] {
        let those = found(&alice, "DescribeInstances", name, value).await;
        assert_eq!(those, [id.as_str()], "{name} = {value}");
        assert!(found(&alice, "DescribeInstances", name, other).await.is_empty(), "{name} = {other}");
    }
    for (name, value, other) in
        [("availability-zone-id", "zone-a", "zone-b"), ("operator.managed", "false", "true")]
    {
        assert_eq!(found(&alice, "DescribeInstanceStatus", name, value).await, [id.as_str()], "{name}");
        assert!(found(&alice, "DescribeInstanceStatus", name, other).await.is_empty(), "{name} = {other}");
    }
}

async fn ports_are_found_by_their_tags(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let tags = [
        ("TagSpecification.1.ResourceType", "network-interface"),
        ("TagSpecification.1.Tag.1.Key", "side"),
        ("TagSpecification.1.Tag.1.Value", "front"),
    ];
    let launched = alice.run(1, &tags).await.ok();
    let (id, port) = (launched.one("instanceId"), launched.one("networkInterfaceId"));
    alice.run(1, &[]).await.ok();
    let (key, value) = ("network-interface.tag-key", "network-interface.tag-value");
    assert_eq!(found(&alice, "DescribeInstances", key, "side").await, [id.as_str()]);
    assert_eq!(found(&alice, "DescribeInstances", value, "fr*").await, [id.as_str()]);
    assert!(found(&alice, "DescribeInstances", value, "side").await.is_empty());
    let named = [("InstanceId.1", id.as_str()), ("Filter.1.Name", key), ("Filter.1.Value.1", "other")];
    assert!(alice.ec2("DescribeInstances", &named).await.ok().instances().is_empty());
    let tag = [("ResourceId.1", port.as_str()), ("Tag.1.Key", "other"), ("Tag.1.Value", "")];
    alice.ec2("CreateTags", &tag).await.ok();
    assert_eq!(alice.ec2("DescribeInstances", &named).await.ok().instances(), [id.as_str()]);
}
