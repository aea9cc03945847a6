//! Tags: which resources take them, and what a tag may be. Rules only; `change` commits.

mod change;

pub use change::Change;

use super::text::is_plain;
use karri_proto::fault::{Fault, FaultCode, shown};
use karri_proto::ids::{
    AllocationId, DhcpOptionsId, ExportImageTaskId, ImportImageTaskId, ImportSnapshotTaskId, InstanceId,
    InternetGatewayId, KernelImageId, KeyPairId, MachineImageId, NatGatewayId, NetworkAclId,
    NetworkInterfaceId, PrefixListId, RamdiskImageId, RouteTableId, SecurityGroupId, SecurityGroupRuleId,
    SnapshotId, SubnetId, VolumeId, VpcId,
};

pub const TAGS_PER_RESOURCE_MAX: usize = 50;
pub const KEY_CHARS_MAX: usize = 128;
pub const VALUE_CHARS_MAX: usize = 256;
const METADATA_KEY_BYTES_MAX: usize = 255;
/// Resources in one CreateTags or DeleteTags.
pub const RESOURCES_MAX: usize = 1000;

pub type Tags = Vec<(String, String)>;

/// A kind of resource that takes tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Taggable {
    Instance,
    Image,
    KeyPair,
    Vpc,
    Subnet,
    SecurityGroup,
    SecurityGroupRule,
    NetworkInterface,
    Volume,
    Snapshot,
    ImportImageTask,
    ImportSnapshotTask,
    ExportImageTask,
    DhcpOptions,
    InternetGateway,
    RouteTable,
    NetworkAcl,
    NatGateway,
    ElasticIp,
    PrefixList,
}

impl Taggable {
    const ALL: [Taggable; 20] = [
        Taggable::Instance,
        Taggable::Image,
        Taggable::KeyPair,
        Taggable::Vpc,
        Taggable::Subnet,
        Taggable::SecurityGroup,
        Taggable::SecurityGroupRule,
        Taggable::NetworkInterface,
        Taggable::Volume,
        Taggable::Snapshot,
        Taggable::ImportImageTask,
        Taggable::ImportSnapshotTask,
        Taggable::ExportImageTask,
        Taggable::DhcpOptions,
        Taggable::InternetGateway,
        Taggable::RouteTable,
        Taggable::NetworkAcl,
        Taggable::NatGateway,
        Taggable::ElasticIp,
        Taggable::PrefixList,
    ];

    /// EC2's name of the kind.
    pub fn as_str(self) -> &'static str {
        match self {
            Taggable::Instance => "instance",
            Taggable::Image => "image",
            Taggable::KeyPair => "key-pair",
            Taggable::Vpc => "vpc",
            Taggable::Subnet => "subnet",
            Taggable::SecurityGroup => "security-group",
            Taggable::SecurityGroupRule => "security-group-rule",
            Taggable::NetworkInterface => "network-interface",
            Taggable::Volume => "volume",
            Taggable::Snapshot => "snapshot",
            Taggable::ImportImageTask => "import-image-task",
            Taggable::ImportSnapshotTask => "import-snapshot-task",
            Taggable::ExportImageTask => "export-image-task",
            Taggable::DhcpOptions => "dhcp-options",
            Taggable::InternetGateway => "internet-gateway",
            Taggable::RouteTable => "route-table",
            Taggable::NetworkAcl => "network-acl",
            Taggable::NatGateway => "natgateway",
            Taggable::ElasticIp => "elastic-ip",
            Taggable::PrefixList => "prefix-list",
        }
    }

    pub fn of_name(name: &str) -> Option<Self> {
        Taggable::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The kind that an id is of. A wrong id has the code of its kind; one of no kind is `InvalidID`.
    pub fn of_id(id: &str) -> Result<Self, Fault> {
        let tasks = [ImportImageTaskId::PREFIX, ImportSnapshotTaskId::PREFIX, ExportImageTaskId::PREFIX];
        let task = tasks.into_iter().find(|prefix| id.starts_with(prefix));
        let prefix = task.unwrap_or_else(|| id.split_once('-').map_or("", |(prefix, _)| prefix));
        match prefix {
            InstanceId::PREFIX => id.parse::<InstanceId>().map(|_| Taggable::Instance),
            MachineImageId::PREFIX => id.parse::<MachineImageId>().map(|_| Taggable::Image),
            KernelImageId::PREFIX => id.parse::<KernelImageId>().map(|_| Taggable::Image),
            RamdiskImageId::PREFIX => id.parse::<RamdiskImageId>().map(|_| Taggable::Image),
            KeyPairId::PREFIX => id.parse::<KeyPairId>().map(|_| Taggable::KeyPair),
            VpcId::PREFIX => id.parse::<VpcId>().map(|_| Taggable::Vpc),
            SubnetId::PREFIX => id.parse::<SubnetId>().map(|_| Taggable::Subnet),
            DhcpOptionsId::PREFIX => id.parse::<DhcpOptionsId>().map(|_| Taggable::DhcpOptions),
            InternetGatewayId::PREFIX => id.parse::<InternetGatewayId>().map(|_| Taggable::InternetGateway),
            RouteTableId::PREFIX => id.parse::<RouteTableId>().map(|_| Taggable::RouteTable),
            NetworkAclId::PREFIX => id.parse::<NetworkAclId>().map(|_| Taggable::NetworkAcl),
            NatGatewayId::PREFIX => id.parse::<NatGatewayId>().map(|_| Taggable::NatGateway),
            AllocationId::PREFIX => id.parse::<AllocationId>().map(|_| Taggable::ElasticIp),
            PrefixListId::PREFIX => id.parse::<PrefixListId>().map(|_| Taggable::PrefixList),
            SecurityGroupId::PREFIX => id.parse::<SecurityGroupId>().map(|_| Taggable::SecurityGroup),
            SecurityGroupRuleId::PREFIX => {
                id.parse::<SecurityGroupRuleId>().map(|_| Taggable::SecurityGroupRule)
            }
            NetworkInterfaceId::PREFIX => {
                id.parse::<NetworkInterfaceId>().map(|_| Taggable::NetworkInterface)
            }
            VolumeId::PREFIX => id.parse::<VolumeId>().map(|_| Taggable::Volume),
            SnapshotId::PREFIX => id.parse::<SnapshotId>().map(|_| Taggable::Snapshot),
            ImportSnapshotTaskId::PREFIX => {
                id.parse::<ImportSnapshotTaskId>().map(|_| Taggable::ImportSnapshotTask)
            }
            ImportImageTaskId::PREFIX => id.parse::<ImportImageTaskId>().map(|_| Taggable::ImportImageTask),
            ExportImageTaskId::PREFIX => id.parse::<ExportImageTaskId>().map(|_| Taggable::ExportImageTask),
            _ => {
                let shown = shown(id);
                Err(Fault::new(FaultCode::InvalidId, format!("The ID '{shown}' is not valid")))
            }
        }
    }

    /// EC2's words for an id of this kind that the caller does not have.
    pub fn not_found(self, id: &str) -> Fault {
        let (code, sentence) = match self {
            Taggable::Instance => {
                (FaultCode::InvalidInstanceIdNotFound, format!("The instance ID '{id}' does not exist"))
            }
            Taggable::Image => {
                (FaultCode::InvalidAmiIdNotFound, format!("The image id '[{id}]' does not exist"))
            }
            Taggable::KeyPair => {
                (FaultCode::InvalidKeyPairNotFound, format!("The key pair ID '{id}' does not exist"))
            }
            Taggable::Vpc => (FaultCode::InvalidVpcIdNotFound, format!("The vpc ID '{id}' does not exist")),
            Taggable::Subnet => {
                (FaultCode::InvalidSubnetIdNotFound, format!("The subnet ID '{id}' does not exist"))
            }
            Taggable::DhcpOptions => {
                (FaultCode::InvalidDhcpOptionIdNotFound, format!("The dhcpOptions ID '{id}' does not exist"))
            }
            Taggable::InternetGateway => (
                FaultCode::InvalidInternetGatewayIdNotFound,
                format!("The internetGateway ID '{id}' does not exist"),
            ),
            Taggable::RouteTable => {
                (FaultCode::InvalidRouteTableIdNotFound, format!("The routeTable ID '{id}' does not exist"))
            }
            Taggable::NetworkAcl => {
                (FaultCode::InvalidNetworkAclIdNotFound, format!("The networkAcl ID '{id}' does not exist"))
            }
            Taggable::NatGateway => (FaultCode::NatGatewayNotFound, format!("NatGateway {id} was not found")),
            Taggable::ElasticIp => {
                (FaultCode::InvalidAllocationIdNotFound, format!("The allocation ID '{id}' does not exist"))
            }
            Taggable::PrefixList => {
                (FaultCode::InvalidPrefixListIdNotFound, format!("The prefix list ID '{id}' does not exist"))
            }
            Taggable::SecurityGroup => {
                (FaultCode::InvalidGroupNotFound, format!("The security group '{id}' does not exist"))
            }
            Taggable::SecurityGroupRule => (
                FaultCode::InvalidSecurityGroupRuleIdNotFound,
                format!("The security group rule ID '{id}' does not exist"),
            ),
            Taggable::NetworkInterface => (
                FaultCode::InvalidNetworkInterfaceIdNotFound,
                format!("The networkInterface ID '{id}' does not exist"),
            ),
            Taggable::Volume => {
                (FaultCode::InvalidVolumeNotFound, format!("The volume '{id}' does not exist."))
            }
            Taggable::Snapshot => {
                (FaultCode::InvalidSnapshotNotFound, format!("The snapshot '{id}' does not exist."))
            }
            Taggable::ImportImageTask | Taggable::ImportSnapshotTask => {
                (FaultCode::InvalidConversionTaskId, format!("The import task '{id}' does not exist"))
            }
            Taggable::ExportImageTask => {
                (FaultCode::InvalidExportTaskIdNotFound, format!("The export task ID '{id}' does not exist"))
            }
        };
        Fault::new(code, sentence)
    }
}

/// What every set of tags that a client brings must be like.
pub fn check(tags: &[(String, String)]) -> Result<(), Fault> {
    if tags.len() > TAGS_PER_RESOURCE_MAX {
        return Err(too_many());
    }
    for (at, (key, value)) in tags.iter().enumerate() {
        check_key(key)?;
        if value.chars().count() > VALUE_CHARS_MAX {
            let sentence = format!("Tag value exceeds the maximum length of {VALUE_CHARS_MAX} characters");
            return Err(Fault::invalid_parameter(sentence));
        }
        if !is_plain(value) {
            return Err(Fault::invalid_parameter("Tag values must not contain control characters"));
        }
        if tags[..at].iter().any(|(earlier, _)| earlier == key) {
            let shown: String = key.chars().take(KEY_CHARS_MAX).collect();
            return Err(Fault::invalid_parameter(format!("Duplicate tag key '{shown}' specified.")));
        }
    }
    Ok(())
}

pub fn check_key(key: &str) -> Result<(), Fault> {
    if key.is_empty() {
        return Err(Fault::invalid_parameter("Tag key cannot be an empty string."));
    }
    if key.chars().count() > KEY_CHARS_MAX {
        let sentence = format!("Tag key exceeds the maximum length of {KEY_CHARS_MAX} characters");
        return Err(Fault::invalid_parameter(sentence));
    }
    if key.chars().any(char::is_control) || !is_plain(key) {
        return Err(Fault::invalid_parameter("Tag keys must not contain control characters"));
    }
    // EC2 minds only lower case; any spelling would be mistaken for the real thing.
    if key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:")) {
        return Err(Fault::invalid_parameter("Tag keys starting with 'aws:' are reserved for internal use"));
    }
    Ok(())
}

/// Instance metadata has each tag under its key, as the end of a path.
pub fn check_metadata_keys<'a>(keys: impl IntoIterator<Item = &'a String>) -> Result<(), Fault> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_+=,.@:".contains(&b);
    let fits = |key: &str| {
        (1..=METADATA_KEY_BYTES_MAX).contains(&key.len())
            && key.bytes().all(plain)
            && ![".", "..", "_index"].contains(&key)
    };
    match keys.into_iter().find(|key| !fits(key)) {
        None => Ok(()),
        Some(key) => Err(Fault::invalid_parameter(format!(
            "'{}' is not a valid tag key. Tag keys must match pattern ([0-9a-zA-Z\\\\-_+=,.@:]{{1,255}}), and must \
             not be a reserved name ('.', '..', '_index')",
            shown(key)
        ))),
    }
}

pub fn too_many() -> Fault {
    let sentence = "The maximum number of Tags for a resource has been reached.";
    Fault::new(FaultCode::TagLimitExceeded, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(key: &str, value: &str) -> Tags {
        vec![(key.to_owned(), value.to_owned())]
    }

    #[test]
    fn limits_are_counted_in_characters_and_include_the_last() {
        check(&tag(&"ü".repeat(128), &"ü".repeat(256))).unwrap();
        assert_eq!(check(&tag(&"k".repeat(129), "")).unwrap_err().code(), "InvalidParameterValue");
        assert_eq!(check(&tag("k", &"v".repeat(257))).unwrap_err().code(), "InvalidParameterValue");
        assert_eq!(check(&tag("", "v")).unwrap_err().code(), "InvalidParameterValue");
        assert!(check(&tag("k", "")).is_ok());
    }

    #[test]
    fn what_answers_cannot_carry_is_refused() {
        for (key, value) in [("a\u{1}", ""), ("a\nb", ""), ("k", "\u{0}"), ("k", "a\rb"), ("\u{ffff}", "")] {
            assert_eq!(check(&tag(key, value)).unwrap_err().code(), "InvalidParameterValue", "{key:?}");
        }
        assert!(check(&tag("k", "two\nlines")).is_ok());
    }

    #[test]
    fn metadata_shows_tags_with_plain_keys_only() {
        let check = |key: &str, good: bool| {
            assert_eq!(check_metadata_keys([&key.to_owned()]).is_ok(), good, "{key}");
        };
        for key in ["Name", "a:b=c,d.e@f+g_h-i", "..."] {
            check(key, true);
        }
        for key in ["Patch Group", "a/b", "ü", ".", "..", "_index"] {
            check(key, false);
        }
        let fault = check_metadata_keys([&"Patch Group".to_owned()]).unwrap_err();
        let expected = r"'Patch Group' is not a valid tag key. Tag keys must match pattern ([0-9a-zA-Z\\-_+=,.@:]{1,255}), and must not be a reserved name ('.', '..', '_index')";
        assert_eq!(fault.message(), expected);
    }

    #[test]
    fn reserved_and_repeated_keys_are_refused() {
        for key in ["aws:x", "AWS:x", "aws:"] {
            assert_eq!(check(&tag(key, "v")).unwrap_err().code(), "InvalidParameterValue", "{key}");
        }
        assert!(check(&tag("aws", "v")).is_ok());
        assert!(check(&[tag("k", "1"), tag("k", "2")].concat()).unwrap_err().message().contains("'k'"));
    }

    #[test]
    fn fifty_tags_are_the_most() {
        let many = |count: usize| (0..count).map(|n| (format!("k{n}"), String::new())).collect::<Tags>();
        assert!(check(&many(50)).is_ok());
        assert_eq!(check(&many(51)).unwrap_err().code(), "TagLimitExceeded");
    }

    #[test]
    fn the_kind_of_a_resource_is_in_its_id() {
        for (id, kind) in [
            ("i-0123456789abcdef0", Taggable::Instance),
            ("aki-0123456789abcdef0", Taggable::Image),
            ("sgr-0123456789abcdef0", Taggable::SecurityGroupRule),
        ] {
            assert_eq!(Taggable::of_id(id).unwrap(), kind);
        }
        assert_eq!(Taggable::of_id("i-zzz").unwrap_err().code(), "InvalidInstanceID.Malformed");
        for id in ["", "nonsense", "r-0123456789abcdef0", "ÿ-1"] {
            assert_eq!(Taggable::of_id(id).unwrap_err().code(), "InvalidID", "{id}");
        }
    }
}
