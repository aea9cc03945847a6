//! The element by which a domain says whose it is: several clouds may share one libvirtd, and a node
//! controller touches only what carries its own cloud and node.

use karri_proto::ids::InstanceId;
use quick_xml::Reader;
use quick_xml::events::Event;

pub const NAMESPACE: &str = "urn:karri:instance:1";
pub const DOMAIN_PREFIX: &str = "karri-";

/// Which controller a domain belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The fingerprint of the cloud's CA.
    pub cloud: String,
    pub node: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerTag {
    pub owner: Owner,
    pub id: InstanceId,
    pub account: String,
    pub generation: u64,
    pub attempt: u32,
    pub reboots: u64,
}

pub fn domain_name(id: &InstanceId) -> String {
    format!("{DOMAIN_PREFIX}{id}")
}

/// The instance that a domain of this name would be.
pub fn named_instance(domain: &str) -> Option<InstanceId> {
    domain.strip_prefix(DOMAIN_PREFIX)?.parse().ok()
}

impl OwnerTag {
    pub fn attributes(&self) -> [(&'static str, String); 7] {
        [
            ("cloud", self.owner.cloud.clone()),
            ("node", self.owner.node.clone()),
            ("id", self.id.to_string()),
            ("account", self.account.clone()),
            ("generation", self.generation.to_string()),
            ("attempt", self.attempt.to_string()),
            ("reboots", self.reboots.to_string()),
        ]
    }

    /// Reads the element back, as libvirt gives it.
    pub fn parse(xml: &str) -> Option<Self> {
        let mut reader = Reader::from_str(xml);
        let element = loop {
            match reader.read_event().ok()? {
                Event::Start(element) | Event::Empty(element) => break element,
                Event::Eof => return None,
                _ => {}
            }
        };
        let value = |name: &str| -> Option<String> {
            let attribute = element.try_get_attribute(name).ok()??;
            Some(quick_xml::escape::unescape(&attribute.value).ok()?.into_owned())
        };
        Some(Self {
            owner: Owner { cloud: value("cloud")?, node: value("node")? },
            id: value("id")?.parse().ok()?,
            account: value("account")?,
            generation: value("generation")?.parse().ok()?,
            attempt: value("attempt")?.parse().ok()?,
            reboots: value("reboots")?.parse().ok()?,
        })
    }
}
