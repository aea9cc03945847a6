//! NAT gateways.

use super::{ADDRESSES_MAX, Caller};
use crate::model::Nat;

impl Caller<'_> {
    /// There is one or none.
    pub(super) async fn nat_change(&mut self) -> Option<()> {
        match self.any(self.model.nats.clone().into_keys()) {
            Some(id) => self.nat_delete(id).await,
            None => self.nat_create().await,
        }
    }

    /// What leads to it leads nowhere then; its address is free.
    pub(super) async fn nat_delete(&mut self, id: String) -> Option<()> {
        self.call("DeleteNatGateway", vec![("NatGatewayId", id.clone())], Ok(())).await?;
        self.model.nats.remove(&id);
        self.call("DeleteNatGateway", vec![("NatGatewayId", id)], Err("NatGatewayNotFound")).await;
        Some(())
    }

    /// One that cannot work is made all the same, and fails: that is nobody's question here.
    async fn nat_create(&mut self) -> Option<()> {
        let subnets = self.model.subnets.clone().into_iter();
        let open = subnets.filter(|(_, subnet)| self.model.vpcs[&subnet.vpc].gateway.is_some());
        let subnet = self.any(open.collect::<Vec<_>>().into_iter())?.0;
        let (private, taken) = self.address_in(&subnet);
        let loose = self.model.addresses.clone().into_iter().filter(|(_, one)| one.leads_to.is_none());
        let allocation = match self.any(loose) {
            Some((id, _)) => id,
            None if self.model.addresses.len() < ADDRESSES_MAX => {
                self.address_allocate().await?;
                let mut free = self.model.addresses.iter().filter(|(_, one)| one.leads_to.is_none());
                free.next()?.0.clone()
            }
            None => return None,
        };
        let public = self.model.addresses[&allocation].public;
        let words = vec![
            ("SubnetId", subnet.clone()),
            ("AllocationId", allocation),
            ("PrivateIpAddress", private.to_string()),
        ];
        let expected = if taken { Err("InvalidIPAddress.InUse") } else { Ok(()) };
        let id = self.call("CreateNatGateway", words, expected).await?.one("natGatewayId");
        self.model.nats.insert(id, Nat { subnet, private, public });
        Some(())
    }
}
