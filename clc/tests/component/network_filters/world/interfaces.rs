//! Network interfaces, and the elastic addresses that lead to them.

use super::{Common, PRIVATE, alike, rows};
use crate::network_filters::{Row, Table};
use crate::support::{Answer, Client};

pub async fn interfaces(client: &Client, all: &Common) -> Table {
    let seen = client.ec2("DescribeNetworkInterfaces", &[("NetworkInterfaceId.1", &all.port)]).await.ok();
    let first = |name: &str| seen.first(name).unwrap_or_else(|| panic!("{name} in {}", seen.text));
    let mut asked = interface_association(all, &seen);
    asked.extend(interface_attachment(all, &seen));
    asked.extend(rows(&[
        ("addresses.primary", "true", "maybe"),
        ("description", "the back *", "the front door"),
        ("group-id", &first("groupId"), "sg-0123456789abcdef0"),
        ("group-name", "default", "doors"),
        ("interface-type", "interface", "nat_gateway"),
        ("mac-address", &first("macAddress"), "02:00:00:00:00:01"),
        ("network-interface-id", &all.port, "eni-0123456789abcdef0"),
        ("operator.managed", "false", "true"),
        ("owner-id", &all.account, "000000000000"),
        ("private-dns-name", &first("privateDnsName"), "ip-10-0-0-1.*"),
        ("requester-managed", "false", "true"),
        ("source-dest-check", "true", "false"),
        ("status", "in-use", "available"),
        ("subnet-id", &all.routed.subnet, "subnet-0123456789abcdef0"),
        ("vpc-id", &all.routed.vpc, "vpc-0123456789abcdef0"),
    ]));
    asked.extend(alike(&["availability-zone", "availability-zone-id"], "zone-a", "zone-b"));
    asked.extend(alike(&["addresses.private-ip-address", "private-ip-address"], PRIVATE, "10.0.0.1"));
    Table {
        action: "DescribeNetworkInterfaces",
        declared: (include_str!("../../../../src/api/ec2/network_interface/filter.rs"), "NetworkInterface"),
        element: "networkInterfaceId",
        one: all.port.clone(),
        rows: asked,
        nothing: &["ipv6-addresses.ipv6-address", "operator.principal", "requester-id"],
        tagged: Some(all.port.clone()),
    }
}

fn interface_association(all: &Common, seen: &Answer) -> Vec<Row> {
    let first = |name: &str| seen.first(name).unwrap_or_else(|| panic!("{name} in {}", seen.text));
    let mut asked = rows(&[
        ("association.allocation-id", &all.allocation, "eipalloc-0123456789abcdef0"),
        ("association.association-id", &first("associationId"), "eipassoc-0123456789abcdef0"),
        ("association.public-dns-name", &first("publicDnsName"), "ec2-192-0-2-1.*"),
    ]);
    let publics = ["association.public-ip", "addresses.association.public-ip"];
    asked.extend(alike(&publics, &all.public, "192.0.2.1"));
    let owners = ["association.ip-owner-id", "addresses.association.owner-id"];
    asked.extend(alike(&owners, &all.account, "000000000000"));
    asked
}

fn interface_attachment(all: &Common, seen: &Answer) -> Vec<Row> {
    rows(&[
        ("attachment.attach-time", &seen.one("attachTime"), "2001-*"),
        ("attachment.attachment-id", &seen.one("attachmentId"), "eni-attach-0123456789abcdef0"),
        ("attachment.delete-on-termination", "false", "true"),
        ("attachment.device-index", "1", "0"),
        ("attachment.instance-id", &all.instance, "i-0123456789abcdef0"),
        ("attachment.instance-owner-id", &all.account, "000000000000"),
        ("attachment.status", "attached", "detaching"),
    ])
}

pub async fn addresses(client: &Client, all: &Common) -> Table {
    let seen = client.ec2("DescribeAddresses", &[("AllocationId.1", &all.allocation)]).await.ok();
    Table {
        action: "DescribeAddresses",
        declared: (include_str!("../../../../src/api/ec2/address.rs"), "Address"),
        element: "allocationId",
        one: all.allocation.clone(),
        rows: rows(&[
            ("allocation-id", &all.allocation, "eipalloc-0123456789abcdef0"),
            ("association-id", &seen.one("associationId"), "eipassoc-0123456789abcdef0"),
            ("domain", "vpc", "standard"),
            ("instance-id", &all.instance, "i-0123456789abcdef0"),
            ("network-border-group", &seen.one("networkBorderGroup"), "elsewhere"),
            ("network-interface-id", &all.port, "eni-0123456789abcdef0"),
            ("network-interface-owner-id", &all.account, "000000000000"),
            ("private-ip-address", PRIVATE, "10.0.0.1"),
            ("public-ip", &all.public, "192.0.2.1"),
        ]),
        nothing: &[],
        tagged: Some(all.allocation.clone()),
    }
}
