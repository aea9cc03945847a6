//! What there is of gateways, route tables, ACLs and addresses to be named in requests that are only tried.

use super::Wrong;
use crate::support::vpc::{Routed, allocated, nat_state, routed, subnet, told};
use crate::support::{Client, until};

/// Nobody has such a gateway, and no address a name of its own.
pub const NEVER: [(&str, &str); 3] = [
    ("EnableVgwRoutePropagation", "InvalidVpnGatewayID.NotFound"),
    ("DisableVgwRoutePropagation", "InvalidVpnGatewayID.NotFound"),
    ("ModifyAddressAttribute", "UnsupportedOperation"),
];

pub struct Ways {
    routed: Routed,
    /// Without a gateway.
    bare_vpc: String,
    loose_gateway: String,
    /// With a route, and a subnet that goes by it.
    table: String,
    association: String,
    loose_table: String,
    /// With an entry, and nobody goes by it.
    acl: String,
    acl_association: String,
    nat: String,
    /// One that leads nowhere, and the association of another one.
    allocation: String,
    address_association: String,
    /// In its first version, which nothing names.
    list: String,
    /// One that is attached to nothing, and the attachment of another one.
    interface: String,
    attachment: String,
}

impl Ways {
    /// `instance` is one of the default VPC.
    pub async fn made(client: &Client, instance: &str) -> Self {
        let routed = routed(client).await;
        let vpc = ("VpcId", routed.vpc.as_str());
        let table = told(client, "CreateRouteTable", &[vpc], "routeTableId").await;
        let route = [
            ("RouteTableId", table.as_str()),
            ("DestinationCidrBlock", "0.0.0.0/0"),
            ("GatewayId", routed.gateway.as_str()),
        ];
        client.ec2("CreateRoute", &route).await.ok();
        let second = subnet(client, &routed.vpc, "10.0.1.0/24").await;
        let pair = [("RouteTableId", table.as_str()), ("SubnetId", second.as_str())];
        let association = told(client, "AssociateRouteTable", &pair, "associationId").await;
        let acl = told(client, "CreateNetworkAcl", &[vpc], "networkAclId").await;
        client.ec2("CreateNetworkAclEntry", &entry(&acl, "100")).await.ok();
        let of_subnet = [("Filter.1.Name", "association.subnet-id"), ("Filter.1.Value.1", second.as_str())];
        let acls = client.ec2("DescribeNetworkAcls", &of_subnet).await.ok();
        let nat = [("SubnetId", second.as_str()), ("ConnectivityType", "private")];
        let nat = told(client, "CreateNatGateway", &nat, "natGatewayId").await;
        nat_state(client, &nat, "available").await;
        let list = [("PrefixListName", "tried"), ("AddressFamily", "IPv4"), ("MaxEntries", "2")];
        let list = told(client, "CreateManagedPrefixList", &list, "prefixListId").await;
        let (other, _) = allocated(client).await;
        let pair = [("AllocationId", other.as_str()), ("InstanceId", instance)];
        let address_association = told(client, "AssociateAddress", &pair, "associationId").await;
        let own = client.ec2("DescribeInstances", &[("InstanceId.1", instance)]).await.ok();
        let beside = [("SubnetId", own.first("subnetId").unwrap())];
        let beside = beside.each_ref().map(|(name, id)| (*name, id.as_str()));
        let interface = told(client, "CreateNetworkInterface", &beside, "networkInterfaceId").await;
        let attachment = second_interface(client).await;
        // From here on nothing is told otherwise.
        until("the cluster has the address", || async {
            let told = client.ec2("DescribeInstances", &[("InstanceId.1", instance)]).await.ok();
            told.text.contains("<state>applied</state>").then_some(())
        })
        .await;
        Self {
            bare_vpc: client.ec2("CreateVpc", &[("CidrBlock", "10.8.0.0/16")]).await.ok().one("vpcId"),
            loose_gateway: told(client, "CreateInternetGateway", &[], "internetGatewayId").await,
            loose_table: told(client, "CreateRouteTable", &[vpc], "routeTableId").await,
            acl_association: acls.first("networkAclAssociationId").unwrap(),
            allocation: allocated(client).await.0,
            address_association,
            list,
            interface,
            attachment,
            table,
            association,
            acl,
            nat,
            routed,
        }
    }

    /// What a request of that action needs to succeed, on that instance.
    pub fn needs<'a>(&'a self, action: &str, instance: &'a str) -> Vec<(&'static str, &'a str)> {
        let Routed { vpc, subnet, gateway, .. } = &self.routed;
        let everywhere = ("DestinationCidrBlock", "0.0.0.0/0");
        let to_internet = ("GatewayId", gateway.as_str());
        match action {
            "AttachInternetGateway" => {
                vec![("InternetGatewayId", &self.loose_gateway), ("VpcId", &self.bare_vpc)]
            }
            "DetachInternetGateway" => vec![("InternetGatewayId", gateway), ("VpcId", vpc)],
            "DeleteInternetGateway" => vec![("InternetGatewayId", &self.loose_gateway)],
            "CreateRouteTable" | "CreateNetworkAcl" => vec![("VpcId", vpc)],
            "DeleteRouteTable" => vec![("RouteTableId", &self.loose_table)],
            "CreateRoute" => vec![("RouteTableId", &self.loose_table), everywhere, to_internet],
            "ReplaceRoute" => vec![("RouteTableId", &self.table), everywhere, to_internet],
            "DeleteRoute" => vec![("RouteTableId", &self.table), everywhere],
            "AssociateRouteTable" => vec![("RouteTableId", &self.table), ("SubnetId", subnet)],
            "DisassociateRouteTable" => vec![("AssociationId", &self.association)],
            "ReplaceRouteTableAssociation" => {
                vec![("AssociationId", &self.association), ("RouteTableId", &self.loose_table)]
            }
            "EnableVgwRoutePropagation" | "DisableVgwRoutePropagation" => {
                vec![("RouteTableId", &self.table), ("GatewayId", "vgw-0123456789abcdef0")]
            }
            "DeleteNetworkAcl" => vec![("NetworkAclId", &self.acl)],
            "CreateNetworkAclEntry" => entry(&self.acl, "200"),
            "ReplaceNetworkAclEntry" => entry(&self.acl, "100"),
            "DeleteNetworkAclEntry" => entry(&self.acl, "100")[..3].to_vec(),
            "ReplaceNetworkAclAssociation" => {
                vec![("AssociationId", &self.acl_association), ("NetworkAclId", &self.acl)]
            }
            "CreateNatGateway" => vec![("SubnetId", subnet), ("ConnectivityType", "private")],
            "DeleteNatGateway" => vec![("NatGatewayId", &self.nat)],
            "AssociateAddress" => vec![("AllocationId", &self.allocation), ("InstanceId", instance)],
            "DisassociateAddress" => vec![("AssociationId", &self.address_association)],
            "ReleaseAddress" => vec![("AllocationId", &self.allocation)],
            "ModifyAddressAttribute" => {
                vec![("AllocationId", &self.allocation), ("DomainName", "mail.example.org")]
            }
            "ResetAddressAttribute" => {
                vec![("AllocationId", &self.allocation), ("Attribute", "domain-name")]
            }
            "CreateManagedPrefixList" => {
                vec![("PrefixListName", "new"), ("AddressFamily", "IPv4"), ("MaxEntries", "2")]
            }
            "ModifyManagedPrefixList" => {
                vec![("PrefixListId", &self.list), ("AddEntry.1.Cidr", "10.0.0.0/8")]
            }
            "RestoreManagedPrefixListVersion" => {
                vec![("PrefixListId", &self.list), ("CurrentVersion", "1"), ("PreviousVersion", "1")]
            }
            "DeleteManagedPrefixList"
            | "GetManagedPrefixListEntries"
            | "GetManagedPrefixListAssociations" => {
                vec![("PrefixListId", &self.list)]
            }
            "CreateNetworkInterface" => vec![("SubnetId", subnet)],
            "DeleteNetworkInterface" => vec![("NetworkInterfaceId", &self.interface)],
            "AttachNetworkInterface" => {
                vec![("NetworkInterfaceId", &self.interface), ("InstanceId", instance), ("DeviceIndex", "1")]
            }
            "DetachNetworkInterface" => vec![("AttachmentId", &self.attachment)],
            "DescribeNetworkInterfaceAttribute" => {
                vec![("NetworkInterfaceId", &self.interface), ("Attribute", "description")]
            }
            "ResetNetworkInterfaceAttribute" => {
                vec![("NetworkInterfaceId", &self.interface), ("SourceDestCheck", "true")]
            }
            _ => Vec::new(),
        }
    }
}

/// The attachment of the second interface of an instance that runs.
async fn second_interface(client: &Client) -> String {
    let both = [("NetworkInterface.1.DeviceIndex", "0"), ("NetworkInterface.2.DeviceIndex", "1")];
    let launched = client.run(1, &both).await.ok();
    client.wait_for(&launched.one("instanceId"), "running").await;
    launched.all("attachmentId").pop().unwrap()
}

fn entry<'a>(acl: &'a str, number: &'a str) -> Vec<(&'static str, &'a str)> {
    vec![
        ("NetworkAclId", acl),
        ("RuleNumber", number),
        ("Egress", "false"),
        ("Protocol", "-1"),
        ("RuleAction", "allow"),
        ("CidrBlock", "0.0.0.0/0"),
    ]
}

/// Requests each with what it is refused.
pub fn wrong() -> Vec<Wrong> {
    let vpc = ("VpcId", "vpc-0123456789abcdef0");
    let gateway = ("InternetGatewayId", "igw-0123456789abcdef0");
    let table = ("RouteTableId", "rtb-0123456789abcdef0");
    let everywhere = ("DestinationCidrBlock", "0.0.0.0/0");
    let to_internet = ("GatewayId", "igw-0123456789abcdef0");
    let association = |id| ("AssociationId", id);
    let subnet = ("SubnetId", "subnet-0123456789abcdef0");
    let acl = ("NetworkAclId", "acl-0123456789abcdef0");
    let nat = ("NatGatewayId", "nat-0123456789abcdef0");
    let address = ("AllocationId", "eipalloc-0123456789abcdef0");
    let instance = ("InstanceId", "i-0123456789abcdef0");
    let interface = ("NetworkInterfaceId", "eni-0123456789abcdef0");
    let (no_interface, no_attachment) =
        ("InvalidNetworkInterfaceID.NotFound", "InvalidAttachmentID.NotFound");
    let (no_gateway, no_table) = ("InvalidInternetGatewayID.NotFound", "InvalidRouteTableID.NotFound");
    let (no_acl, no_address) = ("InvalidNetworkAclID.NotFound", "InvalidAllocationID.NotFound");
    let list = ("PrefixListId", "pl-0123456789abcdef0");
    let no_list = "InvalidPrefixListID.NotFound";
    let (no_association, no_vpc) = ("InvalidAssociationID.NotFound", "InvalidVpcID.NotFound");
    vec![
        ("CreateInternetGateway", vec![("TagSpecification.1.ResourceType", "vpc")], "InvalidParameterValue"),
        ("AttachInternetGateway", vec![gateway, vpc], no_gateway),
        ("DetachInternetGateway", vec![gateway, vpc], no_gateway),
        ("DeleteInternetGateway", vec![gateway], no_gateway),
        ("CreateRouteTable", vec![vpc], no_vpc),
        ("DeleteRouteTable", vec![table], no_table),
        ("CreateRoute", vec![table, everywhere, to_internet], no_table),
        ("ReplaceRoute", vec![table, everywhere, to_internet], no_table),
        ("DeleteRoute", vec![table, everywhere], no_table),
        ("AssociateRouteTable", vec![table, subnet], no_table),
        ("DisassociateRouteTable", vec![association("rtbassoc-0123456789abcdef0")], no_association),
        (
            "ReplaceRouteTableAssociation",
            vec![association("rtbassoc-0123456789abcdef0"), table],
            no_association,
        ),
        ("EnableVgwRoutePropagation", vec![table, to_internet], no_table),
        ("DisableVgwRoutePropagation", vec![table, to_internet], no_table),
        ("CreateNetworkAcl", vec![vpc], no_vpc),
        ("DeleteNetworkAcl", vec![acl], no_acl),
        ("CreateNetworkAclEntry", entry(acl.1, "1"), no_acl),
        ("ReplaceNetworkAclEntry", entry(acl.1, "1"), no_acl),
        ("DeleteNetworkAclEntry", entry(acl.1, "1")[..3].to_vec(), no_acl),
        (
            "ReplaceNetworkAclAssociation",
            vec![association("aclassoc-0123456789abcdef0"), acl],
            no_association,
        ),
        ("CreateNatGateway", vec![subnet, ("ConnectivityType", "private")], "InvalidSubnetID.NotFound"),
        ("DeleteNatGateway", vec![nat], "NatGatewayNotFound"),
        (
            "DescribeNatGateways",
            vec![("Filter.1.Name", "nonsense"), ("Filter.1.Value.1", "x")],
            "InvalidParameterValue",
        ),
        ("AllocateAddress", vec![("Address", "8.8.8.8")], "InvalidAddress.NotFound"),
        ("AssociateAddress", vec![address, instance], no_address),
        ("DisassociateAddress", vec![association("eipassoc-0123456789abcdef0")], no_association),
        ("ReleaseAddress", vec![address], no_address),
        ("DescribeAddressesAttribute", vec![("AllocationId.1", address.1)], no_address),
        ("ModifyAddressAttribute", vec![address, ("DomainName", "mail.example.org")], no_address),
        ("ResetAddressAttribute", vec![address, ("Attribute", "domain-name")], no_address),
        (
            "CreateManagedPrefixList",
            vec![("PrefixListName", "x"), ("AddressFamily", "IPv4"), ("MaxEntries", "0")],
            "InvalidParameterValue",
        ),
        ("ModifyManagedPrefixList", vec![list, ("AddEntry.1.Cidr", "10.0.0.0/8")], no_list),
        (
            "RestoreManagedPrefixListVersion",
            vec![list, ("CurrentVersion", "1"), ("PreviousVersion", "1")],
            no_list,
        ),
        ("DeleteManagedPrefixList", vec![list], no_list),
        ("GetManagedPrefixListEntries", vec![list], no_list),
        ("GetManagedPrefixListAssociations", vec![list], no_list),
        ("CreateNetworkInterface", vec![subnet], "InvalidSubnetID.NotFound"),
        ("DeleteNetworkInterface", vec![interface], no_interface),
        ("AttachNetworkInterface", vec![interface, instance, ("DeviceIndex", "1")], no_interface),
        ("DetachNetworkInterface", vec![("AttachmentId", "eni-attach-0123456789abcdef0")], no_attachment),
        ("DescribeNetworkInterfaceAttribute", vec![interface, ("Attribute", "description")], no_interface),
        ("ResetNetworkInterfaceAttribute", vec![interface, ("SourceDestCheck", "true")], no_interface),
    ]
}
