//! Faults as AWS clients know them: a code from a closed list, an HTTP status, a public sentence.
//!
//! What went wrong inside (`internal`) is for logs only and is kept apart, so that it cannot leak.

use std::borrow::Cow;

/// One line per code: name, wire form, HTTP status. The list is closed, so every code is spelled once.
macro_rules! fault_codes {
    ($($name:ident = $wire:literal, $status:literal;)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum FaultCode { $($name,)* }

        impl FaultCode {
            pub fn as_str(self) -> &'static str {
                match self { $(FaultCode::$name => $wire,)* }
            }

            pub fn status(self) -> u16 {
                match self { $(FaultCode::$name => $status,)* }
            }

            /// The code of that wire form, for faults that arrive as text.
            pub fn from_wire(code: &str) -> Option<Self> {
                match code { $($wire => Some(FaultCode::$name),)* _ => None }
            }
        }
    };
}

fault_codes! {
    AccessDenied = "AccessDenied", 403;
    AddressLimitExceeded = "AddressLimitExceeded", 400;
    AttachmentLimitExceeded = "AttachmentLimitExceeded", 400;
    AuthFailure = "AuthFailure", 401;
    Blocked = "Blocked", 403;
    BundlingInProgress = "BundlingInProgress", 400;
    CannotDelete = "CannotDelete", 400;
    CidrLimitExceeded = "CidrLimitExceeded", 400;
    DefaultSubnetAlreadyExistsInAvailabilityZone = "DefaultSubnetAlreadyExistsInAvailabilityZone", 400;
    DefaultVpcAlreadyExists = "DefaultVpcAlreadyExists", 400;
    DefaultVpcDoesNotExist = "DefaultVpcDoesNotExist", 400;
    DependencyViolation = "DependencyViolation", 400;
    DryRunOperation = "DryRunOperation", 412;
    FilterLimitExceeded = "FilterLimitExceeded", 400;
    GatewayNotAttached = "Gateway.NotAttached", 400;
    IdempotentParameterMismatch = "IdempotentParameterMismatch", 400;
    IncompleteSignature = "IncompleteSignature", 400;
    IncorrectInstanceState = "IncorrectInstanceState", 400;
    IncorrectState = "IncorrectState", 400;
    InstanceCreditSpecificationNotSupported = "InstanceCreditSpecification.NotSupported", 400;
    InstanceLimitExceeded = "InstanceLimitExceeded", 400;
    InsufficientAddressCapacity = "InsufficientAddressCapacity", 503;
    InsufficientFreeAddresses = "InsufficientFreeAddressesInSubnet", 400;
    InsufficientInstanceCapacity = "InsufficientInstanceCapacity", 500;
    InternalError = "InternalError", 500;
    InternetGatewayLimitExceeded = "InternetGatewayLimitExceeded", 400;
    InvalidAction = "InvalidAction", 400;
    InvalidAddressNotFound = "InvalidAddress.NotFound", 400;
    InvalidAllocationIdMalformed = "InvalidAllocationID.Malformed", 400;
    InvalidAllocationIdNotFound = "InvalidAllocationID.NotFound", 400;
    InvalidAmiAttributeItemMalformed = "InvalidAMIAttributeItemValue", 400;
    InvalidAmiIdMalformed = "InvalidAMIID.Malformed", 400;
    InvalidAmiIdNotFound = "InvalidAMIID.NotFound", 400;
    InvalidAmiIdUnavailable = "InvalidAMIID.Unavailable", 400;
    InvalidAmiNameDuplicate = "InvalidAMIName.Duplicate", 400;
    InvalidAmiNameMalformed = "InvalidAMIName.Malformed", 400;
    InvalidAssociationIdMalformed = "InvalidAssociationID.Malformed", 400;
    InvalidAssociationIdNotFound = "InvalidAssociationID.NotFound", 400;
    InvalidAttachmentIdMalformed = "InvalidAttachmentID.Malformed", 400;
    InvalidAttachmentIdNotFound = "InvalidAttachmentID.NotFound", 400;
    InvalidBlockDeviceMapping = "InvalidBlockDeviceMapping", 400;
    InvalidBundleIdNotFound = "InvalidBundleID.NotFound", 400;
    InvalidCidrBlockInUse = "InvalidCidrBlock.InUse", 400;
    InvalidClientToken = "InvalidClientToken", 400;
    InvalidClientTokenId = "InvalidClientTokenId", 403;
    InvalidConversionTaskId = "InvalidConversionTaskId", 400;
    InvalidConversionTaskIdMalformed = "InvalidConversionTaskId.Malformed", 400;
    InvalidDhcpOptionIdNotFound = "InvalidDhcpOptionID.NotFound", 400;
    InvalidDhcpOptionsIdMalformed = "InvalidDhcpOptionsId.Malformed", 400;
    InvalidDhcpOptionsIdNotFound = "InvalidDhcpOptionsID.NotFound", 400;
    InvalidExportTaskIdMalformed = "InvalidExportTaskID.Malformed", 400;
    InvalidExportTaskIdNotFound = "InvalidExportTaskID.NotFound", 400;
    InvalidGroupDuplicate = "InvalidGroup.Duplicate", 400;
    InvalidGroupIdMalformed = "InvalidGroupId.Malformed", 400;
    InvalidGroupInUse = "InvalidGroup.InUse", 400;
    InvalidGroupNotFound = "InvalidGroup.NotFound", 400;
    InvalidId = "InvalidID", 400;
    InvalidInput = "InvalidInput", 400;
    InvalidInstanceAttributeValue = "InvalidInstanceAttributeValue", 400;
    InvalidInstanceId = "InvalidInstanceID", 400;
    InvalidInstanceIdMalformed = "InvalidInstanceID.Malformed", 400;
    InvalidInstanceIdNotFound = "InvalidInstanceID.NotFound", 400;
    InvalidInstanceType = "InvalidInstanceType", 400;
    InvalidInternetGatewayIdMalformed = "InvalidInternetGatewayId.Malformed", 400;
    InvalidInternetGatewayIdNotFound = "InvalidInternetGatewayID.NotFound", 400;
    InvalidIpAddressInUse = "InvalidIPAddress.InUse", 400;
    InvalidKeyDuplicate = "InvalidKeyPair.Duplicate", 400;
    InvalidKeyFormat = "InvalidKey.Format", 400;
    InvalidKeyPairNotFound = "InvalidKeyPair.NotFound", 400;
    InvalidManifest = "InvalidManifest", 400;
    InvalidNatGatewayIdNotFound = "InvalidNatGatewayID.NotFound", 400;
    InvalidNetworkAclEntryNotFound = "InvalidNetworkAclEntry.NotFound", 400;
    InvalidNetworkAclIdMalformed = "InvalidNetworkAclId.Malformed", 400;
    InvalidNetworkAclIdNotFound = "InvalidNetworkAclID.NotFound", 400;
    InvalidNetworkInterfaceIdMalformed = "InvalidNetworkInterfaceId.Malformed", 400;
    InvalidNetworkInterfaceIdNotFound = "InvalidNetworkInterfaceID.NotFound", 400;
    InvalidNetworkInterfaceInUse = "InvalidNetworkInterface.InUse", 400;
    InvalidNextToken = "InvalidNextToken", 400;
    InvalidParameter = "InvalidParameter", 400;
    InvalidParameterCombination = "InvalidParameterCombination", 400;
    InvalidParameterValue = "InvalidParameterValue", 400;
    InvalidPermissionDuplicate = "InvalidPermission.Duplicate", 400;
    InvalidPermissionMalformed = "InvalidPermission.Malformed", 400;
    InvalidPermissionNotFound = "InvalidPermission.NotFound", 400;
    InvalidPrefixListIdMalformed = "InvalidPrefixListID.Malformed", 400;
    InvalidPrefixListIdNotFound = "InvalidPrefixListID.NotFound", 400;
    InvalidPrefixListModification = "InvalidPrefixListModification", 400;
    InvalidQueryParameter = "InvalidQueryParameter", 400;
    InvalidRequest = "InvalidRequest", 400;
    InvalidReservationIdMalformed = "InvalidReservationID.Malformed", 400;
    InvalidReservationIdNotFound = "InvalidReservationID.NotFound", 400;
    InvalidRouteNotFound = "InvalidRoute.NotFound", 400;
    InvalidRouteTableIdMalformed = "InvalidRouteTableId.Malformed", 400;
    InvalidRouteTableIdNotFound = "InvalidRouteTableID.NotFound", 400;
    InvalidSecurityGroupRuleIdMalformed = "InvalidSecurityGroupRuleId.Malformed", 400;
    InvalidSecurityGroupRuleIdNotFound = "InvalidSecurityGroupRuleId.NotFound", 400;
    InvalidSnapshotIdMalformed = "InvalidSnapshotID.Malformed", 400;
    InvalidSnapshotInUse = "InvalidSnapshot.InUse", 400;
    InvalidSnapshotNotFound = "InvalidSnapshot.NotFound", 400;
    InvalidSubnetConflict = "InvalidSubnet.Conflict", 400;
    InvalidSubnetIdMalformed = "InvalidSubnetID.Malformed", 400;
    InvalidSubnetIdNotFound = "InvalidSubnetID.NotFound", 400;
    InvalidSubnetRange = "InvalidSubnet.Range", 400;
    InvalidVolumeIdMalformed = "InvalidVolumeID.Malformed", 400;
    InvalidVolumeNotFound = "InvalidVolume.NotFound", 400;
    InvalidVpcCidrBlockAssociationIdMalformed = "InvalidVpcCidrBlockAssociationID.Malformed", 400;
    InvalidVpcCidrBlockAssociationIdNotFound = "InvalidVpcCidrBlockAssociationID.NotFound", 400;
    InvalidVpcEndpointIdMalformed = "InvalidVpcEndpointId.Malformed", 400;
    InvalidVpcEndpointIdNotFound = "InvalidVpcEndpointId.NotFound", 400;
    InvalidVpcIdMalformed = "InvalidVpcID.Malformed", 400;
    InvalidVpcIdNotFound = "InvalidVpcID.NotFound", 400;
    InvalidVpcRange = "InvalidVpc.Range", 400;
    InvalidVpnGatewayIdMalformed = "InvalidVpnGatewayID.Malformed", 400;
    InvalidVpnGatewayIdNotFound = "InvalidVpnGatewayID.NotFound", 400;
    InvalidZoneNotFound = "InvalidZone.NotFound", 400;
    MalformedPolicyDocument = "MalformedPolicyDocument", 400;
    MalformedQueryString = "MalformedQueryString", 404;
    MissingAction = "MissingAction", 400;
    MissingAuthenticationToken = "MissingAuthenticationToken", 403;
    MissingInput = "MissingInput", 400;
    MissingParameter = "MissingParameter", 400;
    NatGatewayLimitExceeded = "NatGatewayLimitExceeded", 400;
    NatGatewayMalformed = "NatGatewayMalformed", 400;
    NatGatewayNotFound = "NatGatewayNotFound", 400;
    NetworkAclEntryAlreadyExists = "NetworkAclEntryAlreadyExists", 400;
    NetworkAclEntryLimitExceeded = "NetworkAclEntryLimitExceeded", 400;
    NetworkAclLimitExceeded = "NetworkAclLimitExceeded", 400;
    NetworkInterfaceLimitExceeded = "NetworkInterfaceLimitExceeded", 400;
    NoSuchVersion = "NoSuchVersion", 400;
    OperationNotPermitted = "OperationNotPermitted", 400;
    PrefixListLimitExceeded = "PrefixListLimitExceeded", 400;
    PrefixListMaxEntriesExceeded = "PrefixListMaxEntriesExceeded", 400;
    PrefixListVersionMismatch = "PrefixListVersionMismatch", 400;
    PrivateIpAddressLimitExceeded = "PrivateIpAddressLimitExceeded", 400;
    RequestEntityTooLarge = "RequestEntityTooLarge", 413;
    RequestExpired = "RequestExpired", 400;
    RequestLimitExceeded = "RequestLimitExceeded", 503;
    RequestTimeout = "RequestTimeout", 400;
    ResourceAlreadyAssociated = "Resource.AlreadyAssociated", 400;
    ResourceLimitExceeded = "ResourceLimitExceeded", 400;
    RouteAlreadyExists = "RouteAlreadyExists", 400;
    RouteLimitExceeded = "RouteLimitExceeded", 400;
    RouteTableLimitExceeded = "RouteTableLimitExceeded", 400;
    RulesPerSecurityGroupLimitExceeded = "RulesPerSecurityGroupLimitExceeded", 400;
    SecurityGroupLimitExceeded = "SecurityGroupLimitExceeded", 400;
    SecurityGroupsPerInterfaceLimitExceeded = "SecurityGroupsPerInterfaceLimitExceeded", 400;
    ServiceUnavailable = "ServiceUnavailable", 503;
    SignatureDoesNotMatch = "SignatureDoesNotMatch", 403;
    SubnetLimitExceeded = "SubnetLimitExceeded", 400;
    TagLimitExceeded = "TagLimitExceeded", 400;
    UnauthorizedOperation = "UnauthorizedOperation", 403;
    Unavailable = "Unavailable", 503;
    UnknownParameter = "UnknownParameter", 400;
    Unsupported = "Unsupported", 400;
    UnsupportedOperation = "UnsupportedOperation", 400;
    UnsupportedTenancy = "UnsupportedTenancy", 400;
    ValidationError = "ValidationError", 400;
    VpcIdNotSpecified = "VPCIdNotSpecified", 400;
    VpcLimitExceeded = "VpcLimitExceeded", 400;
}

/// So much of a client's own text is told back.
pub const SHOWN_CHARS_MAX: usize = 64;

/// A client's text, cut to what belongs in a message.
pub fn shown(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((cut, _)) => Cow::Owned(format!("{}…", &text[..cut])),
        None => Cow::Borrowed(text),
    }
}

/// So many of a client's names are told back.
const SHOWN_NAMES_MAX: usize = 20;

/// A client's names, one after the other, as far as they belong in a message.
pub fn shown_list(names: &[impl AsRef<str>]) -> String {
    let mut texts: Vec<Cow<'_, str>> =
        names.iter().take(SHOWN_NAMES_MAX).map(|name| shown(name.as_ref())).collect();
    if names.len() > SHOWN_NAMES_MAX {
        texts.push(Cow::Borrowed("…"));
    }
    texts.join(", ")
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", .code.as_str())]
pub struct Fault {
    code: FaultCode,
    message: Cow<'static, str>,
    internal: Option<String>,
}

impl Fault {
    pub fn new(code: FaultCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), internal: None }
    }

    /// A fault of ours: the client gets AWS's own neutral sentence, the log gets the cause.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        Self {
            code: FaultCode::InternalError,
            message: Cow::Borrowed("An internal error has occurred"),
            internal: Some(cause.to_string()),
        }
    }

    pub fn invalid_parameter(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(FaultCode::InvalidParameterValue, message)
    }

    pub fn kind(&self) -> FaultCode {
        self.code
    }

    pub fn code(&self) -> &'static str {
        self.code.as_str()
    }

    pub fn status(&self) -> u16 {
        self.code.status()
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    /// What only the operator may read.
    pub fn cause(&self) -> Option<&str> {
        self.internal.as_deref()
    }
}
