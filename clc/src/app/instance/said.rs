//! What a launch, its image or its type says that is told again and changes nothing: no node hears of it.

use crate::app::instance_type::{Credits, InstanceType};
use karri_proto::ids::{NetworkInterfaceAttachmentId, NetworkInterfaceId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the root disk of an image that says nothing passes for.
pub const VOLUME_TYPE_DEFAULT: &str = "gp3";

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Said {
    /// Of the root disk: the launch's word, else its image's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credits: Option<Credits>,
    /// Of the first network interface.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub port_description: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub auto_recovery_disabled: bool,
    /// The image's word.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub paravirtual: bool,
    /// It is to have a public address of its own whenever it runs.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub public_address: bool,
    /// Of its type; launches before this was kept have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads_per_core: Option<u32>,
    /// Of its network interfaces, those of which something else is to be told than of one that came with the launch.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub interfaces: BTreeMap<NetworkInterfaceId, About>,
}

/// What is told of one of an instance's network interfaces, beside its port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct About {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// It outlives its instance.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub keep: bool,
    /// None: it came with the launch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attachment: Option<Attachment>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    pub id: NetworkInterfaceAttachmentId,
    pub at_ms: i64,
    /// That of the instance which was the first to have it.
    pub generation: u64,
}

impl Said {
    pub fn volume_type(&self) -> &str {
        self.volume_type.as_deref().unwrap_or(VOLUME_TYPE_DEFAULT)
    }

    /// The credit mode of an instance of that type; none where the type has no credits.
    pub fn credits(&self, kind: &InstanceType) -> Option<Credits> {
        kind.credits.map(|usual| self.credits.unwrap_or(usual))
    }

    pub fn virtualization_type(&self) -> &'static str {
        if self.paravirtual { "paravirtual" } else { "hvm" }
    }

    pub fn auto_recovery(&self) -> &'static str {
        if self.auto_recovery_disabled { "disabled" } else { "default" }
    }
}
