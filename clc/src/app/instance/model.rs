//! An instance as the cloud controller knows it: what its owner wants, and what is known of it.
//!
//! A plain value. What may become of it is decided in `state`, `lifecycle` and `absorb`.

use super::said::{About, Said};
use super::state::State;
use karri_proto::ids::{BundleTaskId, InstanceId, ReservationId};
use karri_proto::instance::{CaptureReport, Desired, InstanceIntent, InstanceSpec, PortSpec, StateReason};
use std::net::Ipv4Addr;
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    pub id: InstanceId,
    /// Numbers every change of every instance, in commit order.
    pub change: i64,
    pub account: String,
    pub reservation: ReservationId,
    pub cluster: String,
    pub zone: String,
    pub client_token: Option<String>,
    /// Without user data and tags, which are kept beside it.
    pub spec: Arc<InstanceSpec>,
    pub has_user_data: bool,
    pub tags: Vec<(String, String)>,
    pub shutdown_behavior: ShutdownBehavior,
    pub disable_api_stop: bool,
    pub disable_api_termination: bool,
    pub said: Said,
    /// Of its launch or of its last start; `spec.launched_at_unix_ms` remains that of its launch.
    pub launched_ms: i64,

    pub desired: Desired,
    /// Grows with every change that the cluster must hear of.
    pub generation: u64,
    pub reboots: u64,
    pub force: bool,
    /// The request that made this generation.
    pub request_id: String,
    /// A copy of the root disk is wanted for this task.
    pub capture: Option<BundleTaskId>,
    /// How far that copy is, as its cluster has told.
    pub captured: Option<CaptureReport>,

    pub state: State,
    /// The newest generation that the cluster has durably accepted; 0: none, as far as is known.
    pub acknowledged: u64,
    /// The cluster was told to forget it, and did.
    pub forgotten: bool,
    pub node: Option<String>,
    pub reason: Option<StateReason>,
    /// EC2's `StateTransitionReason`, such as `User initiated (2026-01-02 03:04:05 GMT)`.
    pub transition: String,
    /// A transitional state ends by then.
    pub deadline_ms: Option<i64>,
    /// A terminated instance is visible until then.
    pub purge_ms: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownBehavior {
    Stop,
    Terminate,
}

impl ShutdownBehavior {
    pub fn as_str(self) -> &'static str {
        match self {
            ShutdownBehavior::Stop => "stop",
            ShutdownBehavior::Terminate => "terminate",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Stop, Self::Terminate].into_iter().find(|behavior| behavior.as_str() == text)
    }
}

impl Instance {
    /// What the cluster is told. User data is read from the store only for this.
    pub fn intent(&self, user_data_base64: Option<String>) -> InstanceIntent {
        let mut spec = (*self.spec).clone();
        spec.user_data_base64 = user_data_base64;
        spec.tags = self.tags.clone();
        // Its node learns it, and has the last word.
        for port in spec.ports.iter_mut().filter(|port| port.learns_address) {
            port.private_ip = Ipv4Addr::UNSPECIFIED;
        }
        InstanceIntent {
            id: self.id.clone(),
            account: self.account.clone(),
            generation: self.generation,
            attempt: 0,
            desired: self.desired,
            reboots: self.reboots,
            force: self.force,
            capture: self.capture.clone(),
            request_id: self.request_id.clone(),
            spec,
        }
    }

    /// What is told of one of its interfaces.
    pub fn about(&self, port: &PortSpec) -> About {
        let description = || match port.device_index {
            0 => self.said.port_description.clone(),
            _ => String::new(),
        };
        let told = self.said.interfaces.get(&port.id).cloned();
        told.unwrap_or_else(|| About { description: description(), ..About::default() })
    }

    pub fn attachment_id(&self, port: &PortSpec) -> String {
        let own = self.said.interfaces.get(&port.id).and_then(|about| about.attachment.as_ref());
        own.map_or_else(|| port.id.as_str().replacen("eni-", "eni-attach-", 1), |own| own.id.to_string())
    }

    pub fn attached_ms(&self, port: &PortSpec) -> i64 {
        let own = self.said.interfaces.get(&port.id).and_then(|about| about.attachment.as_ref());
        own.map_or(self.spec.launched_at_unix_ms, |own| own.at_ms)
    }

    /// Attached is what its cluster has durably accepted.
    pub fn attachment_status(&self, port: &PortSpec) -> &'static str {
        let own = self.said.interfaces.get(&port.id).and_then(|about| about.attachment.as_ref());
        let accepted = own.is_none_or(|own| self.acknowledged >= own.generation);
        if self.state == State::Pending || !accepted { "attaching" } else { "attached" }
    }

    /// Whether it was started again since its launch: then it has run, and its disk holds what it did. Every
    /// start has a time of its own; that it is another one says it all, earlier or later says nothing.
    pub fn is_restart(&self) -> bool {
        self.launched_ms != self.spec.launched_at_unix_ms
    }

    /// A new generation: the cluster is to hear of what was just changed.
    pub fn advance(&mut self, request_id: &str) {
        self.generation += 1;
        self.request_id = request_id.to_owned();
    }
}
