//! Elastic addresses.

use super::{ADDRESSES_MAX, Caller};
use crate::model::Address;
use rand::seq::SliceRandom;

impl Caller<'_> {
    pub(super) async fn address_allocate(&mut self) -> Option<()> {
        if self.model.addresses.len() == ADDRESSES_MAX {
            return None;
        }
        let answer = self.call("AllocateAddress", vec![("Domain", "vpc".into())], Ok(())).await?;
        let address = Address { public: answer.one("publicIp").parse().ok()?, leads_to: None };
        self.model.addresses.insert(answer.one("allocationId"), address);
        Some(())
    }

    pub(super) async fn address_associate(&mut self) -> Option<()> {
        let (allocation, address) = self.any(self.model.addresses.clone().into_iter())?;
        if self.model.is_nats(address.public) {
            return None;
        }
        let (id, port) = self.any(self.model.ports.clone().into_iter())?;
        let private = *port.addresses.choose(&mut self.rng)?;
        let expected = match self.model.vpcs[&port.vpc].gateway {
            Some(_) => Ok(()),
            None => Err("Gateway.NotAttached"),
        };
        let words = vec![
            ("AllocationId", allocation.clone()),
            ("NetworkInterfaceId", id.clone()),
            ("PrivateIpAddress", private.to_string()),
            ("AllowReassociation", "true".into()),
        ];
        self.call("AssociateAddress", words, expected).await?;
        let goal = Some((id, private));
        for address in self.model.addresses.values_mut().filter(|address| address.leads_to == goal) {
            address.leads_to = None;
        }
        self.model.addresses.get_mut(&allocation)?.leads_to = goal;
        Some(())
    }

    pub(super) async fn address_disassociate(&mut self) -> Option<()> {
        let (allocation, address) = self.any(self.model.addresses.clone().into_iter())?;
        let words = vec![("PublicIp", address.public.to_string())];
        let expected = match (self.model.is_nats(address.public), address.leads_to) {
            (true, _) => Err("AuthFailure"),
            (false, Some(_)) => Ok(()),
            (false, None) => Err("InvalidAssociationID.NotFound"),
        };
        self.call("DisassociateAddress", words, expected).await?;
        self.model.addresses.get_mut(&allocation)?.leads_to = None;
        Some(())
    }

    pub(super) async fn address_release(&mut self) -> Option<()> {
        let (allocation, address) = self.any(self.model.addresses.clone().into_iter())?;
        let used = address.leads_to.is_some() || self.model.is_nats(address.public);
        let expected = if used { Err("InvalidIPAddress.InUse") } else { Ok(()) };
        self.call("ReleaseAddress", vec![("AllocationId", allocation.clone())], expected).await?;
        self.model.addresses.remove(&allocation);
        Some(())
    }
}
