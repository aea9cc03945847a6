//! Typed ids. Parsing one *is* EC2's `…ID.Malformed` check: what is inside is already right.
//!
//! An id is a prefix, a dash and 17 hex digits; the 8-digit form of older clouds is accepted too.

use crate::fault::{Fault, FaultCode, shown};
use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const LONG_DIGITS: usize = 17;
const SHORT_DIGITS: usize = 8;

fn digits_are_valid(digits: &str) -> bool {
    matches!(digits.len(), LONG_DIGITS | SHORT_DIGITS)
        && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn random_digits(rng: &mut impl Rng) -> String {
    let value: u128 = rng.r#gen();
    format!("{value:032x}")[..LONG_DIGITS].to_owned()
}

/// EC2's sentence for what cannot be the id of anything of that kind.
fn malformed(prefix: &str, text: &str) -> String {
    let text = shown(text);
    match prefix {
        // Of instances it says no more.
        InstanceId::PREFIX => format!("Invalid id: \"{text}\""),
        prefix => format!("Invalid id: \"{text}\" (expecting \"{prefix}-...\")"),
    }
}

/// Declares one id type: its prefix and the fault codes of its `Malformed` and `NotFound`.
macro_rules! typed_id {
    ($name:ident, $prefix:literal, $malformed:ident, $not_found:ident, $missing:literal) => {
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub const PREFIX: &'static str = $prefix;

            pub fn random(rng: &mut impl Rng) -> Self {
                Self(format!("{}-{}", $prefix, random_digits(rng)))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// EC2's answer when no such resource is visible to the caller.
            pub fn not_found(&self) -> Fault {
                Fault::new(FaultCode::$not_found, format!($missing, self.0))
            }
        }

        impl std::str::FromStr for $name {
            type Err = Fault;

            fn from_str(text: &str) -> Result<Self, Fault> {
                match text.strip_prefix($prefix).and_then(|rest| rest.strip_prefix('-')) {
                    Some(digits) if digits_are_valid(digits) => Ok(Self(text.to_owned())),
                    _ => Err(Fault::new(FaultCode::$malformed, malformed($prefix, text))),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = Fault;

            fn try_from(text: String) -> Result<Self, Fault> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

typed_id!(
    InstanceId,
    "i",
    InvalidInstanceIdMalformed,
    InvalidInstanceIdNotFound,
    "The instance ID '{}' does not exist"
);
typed_id!(
    ReservationId,
    "r",
    InvalidReservationIdMalformed,
    InvalidReservationIdNotFound,
    "The reservation ID '{}' does not exist"
);
typed_id!(
    MachineImageId,
    "ami",
    InvalidAmiIdMalformed,
    InvalidAmiIdNotFound,
    "The image id '[{}]' does not exist"
);
typed_id!(
    KernelImageId,
    "aki",
    InvalidAmiIdMalformed,
    InvalidAmiIdNotFound,
    "The image id '[{}]' does not exist"
);
typed_id!(
    RamdiskImageId,
    "ari",
    InvalidAmiIdMalformed,
    InvalidAmiIdNotFound,
    "The image id '[{}]' does not exist"
);
typed_id!(
    KeyPairId,
    "key",
    InvalidParameterValue,
    InvalidKeyPairNotFound,
    "The key pair ID '{}' does not exist"
);
typed_id!(VpcId, "vpc", InvalidVpcIdMalformed, InvalidVpcIdNotFound, "The vpc ID '{}' does not exist");
typed_id!(
    SubnetId,
    "subnet",
    InvalidSubnetIdMalformed,
    InvalidSubnetIdNotFound,
    "The subnet ID '{}' does not exist"
);
typed_id!(
    SecurityGroupId,
    "sg",
    InvalidGroupIdMalformed,
    InvalidGroupNotFound,
    "The security group '{}' does not exist"
);
typed_id!(
    SecurityGroupRuleId,
    "sgr",
    InvalidSecurityGroupRuleIdMalformed,
    InvalidSecurityGroupRuleIdNotFound,
    "The security group rule ID '{}' does not exist"
);
typed_id!(
    NetworkInterfaceId,
    "eni",
    InvalidNetworkInterfaceIdMalformed,
    InvalidNetworkInterfaceIdNotFound,
    "The networkInterface ID '{}' does not exist"
);
typed_id!(
    NetworkInterfaceAttachmentId,
    "eni-attach",
    InvalidAttachmentIdMalformed,
    InvalidAttachmentIdNotFound,
    "The interface attachment '{}' does not exist"
);
typed_id!(
    RouteTableId,
    "rtb",
    InvalidRouteTableIdMalformed,
    InvalidRouteTableIdNotFound,
    "The routeTable ID '{}' does not exist"
);
typed_id!(
    InternetGatewayId,
    "igw",
    InvalidInternetGatewayIdMalformed,
    InvalidInternetGatewayIdNotFound,
    "The internetGateway ID '{}' does not exist"
);
typed_id!(NatGatewayId, "nat", NatGatewayMalformed, NatGatewayNotFound, "NatGateway {} was not found");
typed_id!(
    NetworkAclId,
    "acl",
    InvalidNetworkAclIdMalformed,
    InvalidNetworkAclIdNotFound,
    "The networkAcl ID '{}' does not exist"
);
typed_id!(
    DhcpOptionsId,
    "dopt",
    InvalidDhcpOptionsIdMalformed,
    InvalidDhcpOptionIdNotFound,
    "The dhcpOptions ID '{}' does not exist"
);
typed_id!(
    VpcCidrAssociationId,
    "vpc-cidr-assoc",
    InvalidVpcCidrBlockAssociationIdMalformed,
    InvalidVpcCidrBlockAssociationIdNotFound,
    "The vpc CIDR block association ID '{}' does not exist"
);
typed_id!(
    AllocationId,
    "eipalloc",
    InvalidAllocationIdMalformed,
    InvalidAllocationIdNotFound,
    "The allocation ID '{}' does not exist"
);
typed_id!(
    AddressAssociationId,
    "eipassoc",
    InvalidAssociationIdMalformed,
    InvalidAssociationIdNotFound,
    "The association ID '{}' does not exist"
);
typed_id!(
    RouteTableAssociationId,
    "rtbassoc",
    InvalidAssociationIdMalformed,
    InvalidAssociationIdNotFound,
    "The association ID '{}' does not exist"
);
typed_id!(
    AclAssociationId,
    "aclassoc",
    InvalidAssociationIdMalformed,
    InvalidAssociationIdNotFound,
    "The association ID '{}' does not exist"
);
typed_id!(
    VpnGatewayId,
    "vgw",
    InvalidVpnGatewayIdMalformed,
    InvalidVpnGatewayIdNotFound,
    "The vpnGateway ID '{}' does not exist"
);
typed_id!(
    PrefixListId,
    "pl",
    InvalidPrefixListIdMalformed,
    InvalidPrefixListIdNotFound,
    "The prefix list ID '{}' does not exist"
);
typed_id!(
    VolumeId,
    "vol",
    InvalidVolumeIdMalformed,
    InvalidVolumeNotFound,
    "The volume '{}' does not exist."
);
typed_id!(
    SnapshotId,
    "snap",
    InvalidSnapshotIdMalformed,
    InvalidSnapshotNotFound,
    "The snapshot '{}' does not exist."
);
typed_id!(
    ImportSnapshotTaskId,
    "import-snap",
    InvalidConversionTaskIdMalformed,
    InvalidConversionTaskId,
    "The import task '{}' does not exist"
);
typed_id!(
    ImportImageTaskId,
    "import-ami",
    InvalidConversionTaskIdMalformed,
    InvalidConversionTaskId,
    "The import task '{}' does not exist"
);
typed_id!(
    ExportImageTaskId,
    "export-ami",
    InvalidExportTaskIdMalformed,
    InvalidExportTaskIdNotFound,
    "The export task ID '{}' does not exist"
);
typed_id!(
    BundleTaskId,
    "bun",
    InvalidBundleIdNotFound,
    InvalidBundleIdNotFound,
    "The bundle task ID '{}' does not exist"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_ids_parse_back() {
        let id = InstanceId::random(&mut rand::thread_rng());
        assert_eq!(id.as_str().parse::<InstanceId>().unwrap(), id);
    }

    #[test]
    fn foreign_prefix_short_digits_and_upper_case_are_malformed() {
        for text in
            ["", "i-", "i-123", "ami-0123456789abcdef0", "i-0123456789ABCDEF0", "i-0123456789abcdef0x"]
        {
            let fault = text.parse::<InstanceId>().unwrap_err();
            assert_eq!(fault.code(), "InvalidInstanceID.Malformed", "{text}");
            assert_eq!(fault.message(), format!("Invalid id: \"{text}\""));
        }
        assert!("i-0a1b2c3d".parse::<InstanceId>().is_ok());
        let fault = "ami-1".parse::<MachineImageId>().unwrap_err();
        assert_eq!(fault.message(), "Invalid id: \"ami-1\" (expecting \"ami-...\")");
    }
}
