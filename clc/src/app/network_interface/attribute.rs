//! Attributes of a network interface that its owner may change.

use super::{App, Caller};
use crate::store::network_change::networks_turn_in_txn;
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::{NetworkInterfaceAttachmentId, NetworkInterfaceId};
use karri_proto::instance::PortSpec;

/// What is wanted, with names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InterfaceWish {
    Description(String),
    Groups(Vec<String>),
    SourceDestCheck(bool),
    DeleteOnTermination { attachment: Option<NetworkInterfaceAttachmentId>, value: bool },
}

/// In the flat network other accounts' addresses are on the same wire.
pub fn source_dest_check_set(port: &mut PortSpec, value: bool) -> Result<(), Fault> {
    if port.segment == 0 && !value {
        let sentence = "In a default VPC, network interfaces send and receive under their own addresses only";
        return Err(Fault::new(FaultCode::UnsupportedOperation, sentence));
    }
    port.source_dest_check = value;
    Ok(())
}

impl App {
    pub async fn interface_modify(
        &self,
        caller: Caller<'_>,
        id: &NetworkInterfaceId,
        wish: &InterfaceWish,
        dry: bool,
    ) -> Result<(), Fault> {
        // The groups that are looked up are there when it is written.
        let _held = self.networks_held.read().await;
        let (mut tx, number) = self.store.begin_numbered().await?;
        networks_turn_in_txn(&mut tx).await?;
        let mut interface = self.interface_in_txn(&mut tx, caller, id).await?;
        match wish {
            InterfaceWish::Description(text) => interface.about.description.clone_from(text),
            InterfaceWish::Groups(ids) => {
                let (account, vpc) = (&interface.account, interface.port.vpc_id.as_str());
                let groups = self.groups_of_port_in_txn(&mut tx, account, vpc, ids).await?;
                self.check_groups_of_mode(&interface.zone, groups.iter().map(|(_, name)| name.as_str()))?;
                interface.port.groups = groups;
            }
            InterfaceWish::SourceDestCheck(value) => source_dest_check_set(&mut interface.port, *value)?,
            InterfaceWish::DeleteOnTermination { attachment, value } => {
                let own = interface.holder.as_ref().map(|one| one.attachment_id(&interface.port));
                let Some(own) = own else {
                    let sentence = format!("Network interface '{id}' is not attached to an instance.");
                    return Err(Fault::new(FaultCode::IncorrectState, sentence));
                };
                if let Some(other) = attachment.as_ref().filter(|asked| asked.as_str() != own) {
                    return Err(other.not_found());
                }
                if !value {
                    self.needs_managed(
                        &interface.zone,
                        "Network interfaces that outlive their instances are",
                    )?;
                }
                interface.about.keep = !value;
            }
        }
        self.interface_put(tx, number, caller, &interface, dry).await
    }
}
