//! What the network modes of clusters make of a launch.

use super::Order;
use super::resolve::Resolved;
use crate::app::App;
use crate::app::network_interface::MORE;
use crate::app::tag::Tags;
use karri_proto::fault::Fault;
use karri_proto::instance::PortSpec;
use karri_proto::internal::clusters::ClusterHello;
use karri_proto::network::{ForwardedPort, NetworkMode, forwarded};

/// Where an instance in mode `user` is reached. Tags of this kind are the cloud's own: nobody else sets them, and who
/// keeps tags by a plan leaves them alone.
pub const FORWARDED_TAG: &str = "aws:karri:forwarded-ports";

impl App {
    /// Of a launch that no cluster can take for its mode, the first one's reason.
    pub(super) fn check_modes(&self, order: &Order, resolved: &Resolved) -> Result<(), Fault> {
        let mut reason = Ok(());
        for link in self.clusters.list() {
            let hello = link.hello();
            let possible = resolved.zone.as_ref().is_none_or(|zone| *zone == hello.zone);
            if !possible || resolved.subnet(&hello.zone).is_none() {
                continue;
            }
            match self.check_mode_of_launch(&hello, order, resolved) {
                Ok(()) => return Ok(()),
                Err(fault) => reason = reason.and(Err(fault)),
            }
        }
        reason
    }

    /// Whether the instances may be in that cluster; where not, another one may do.
    pub(super) fn may_take(&self, hello: &ClusterHello, order: &Order, resolved: &Resolved) -> bool {
        let subnet = resolved.subnet(&hello.zone);
        self.check_mode_of_launch(hello, order, resolved).is_ok()
            && subnet.is_none_or(|subnet| self.may_carry(hello, subnet))
    }

    pub(super) fn check_mode_of_launch(
        &self,
        hello: &ClusterHello,
        order: &Order,
        resolved: &Resolved,
    ) -> Result<(), Fault> {
        let groups = resolved.groups.iter().map(|group| group.name.as_str());
        self.check_groups_of_mode(&hello.zone, groups)?;
        if hello.mode == NetworkMode::System && order.private_ip.is_some() {
            self.needs_managed(&hello.zone, "Private IP addresses of one's choice are")?;
        }
        if order.has_more_ports() {
            self.needs_managed(&hello.zone, MORE)?;
        }
        match hello.mode {
            // What a guest of user networking has from its host is asked for in the same words.
            NetworkMode::Managed | NetworkMode::User { .. } => Ok(()),
            NetworkMode::Static { .. } | NetworkMode::System if order.public_address == Some(true) => {
                self.needs_managed(&hello.zone, "Public IP addresses are")
            }
            NetworkMode::Static { .. } | NetworkMode::System => Ok(()),
        }
    }
}

/// What of a guest's ports is led to it; nothing where the launch wants no way in.
pub fn forwarded_of(order: &Order, mode: &NetworkMode, port: &PortSpec) -> Vec<ForwardedPort> {
    match mode {
        NetworkMode::User { forwarded: ports } if order.public_address != Some(false) => {
            forwarded(port.private_ip, ports)
        }
        _ => Vec::new(),
    }
}

/// `22=127.254.64.5:2022 80=127.254.64.5:2080`
pub fn forwarded_tag(port: &PortSpec) -> Tags {
    if port.forwarded.is_empty() {
        return Tags::new();
    }
    let told: Vec<String> = port.forwarded.iter().map(|one| format!("{}={}", one.guest, one.host)).collect();
    vec![(FORWARDED_TAG.to_owned(), told.join(" "))]
}
