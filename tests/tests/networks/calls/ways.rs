//! Ways in and out: elastic addresses, internet gateways, routes, network ACLs.

use super::{ADDRESSES_MAX, Caller};
use crate::model::{Address, Entry};
use crate::support::vpc::told;
use rand::Rng;
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
        let allocation = self.any(self.model.addresses.clone().into_keys())?;
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
        for address in self.model.addresses.values_mut() {
            address.leads_to = address.leads_to.take().filter(|_| address.leads_to != goal);
        }
        for address in self.model.addresses.values_mut().filter(|address| address.leads_to == goal) {
            address.leads_to = None;
        }
        self.model.addresses.get_mut(&allocation)?.leads_to = goal;
        Some(())
    }

    pub(super) async fn address_disassociate(&mut self) -> Option<()> {
        let (allocation, address) = self.any(self.model.addresses.clone().into_iter())?;
        let words = vec![("PublicIp", address.public.to_string())];
        let expected = if address.leads_to.is_some() { Ok(()) } else { Err("InvalidAssociationID.NotFound") };
        self.call("DisassociateAddress", words, expected).await?;
        self.model.addresses.get_mut(&allocation)?.leads_to = None;
        Some(())
    }

    pub(super) async fn address_release(&mut self) -> Option<()> {
        let (allocation, address) = self.any(self.model.addresses.clone().into_iter())?;
        let expected = if address.leads_to.is_some() { Err("InvalidIPAddress.InUse") } else { Ok(()) };
        self.call("ReleaseAddress", vec![("AllocationId", allocation.clone())], expected).await?;
        self.model.addresses.remove(&allocation);
        Some(())
    }

    pub(super) async fn gateway_attach(&mut self) -> Option<()> {
        let (id, vpc) = self.any(self.model.vpcs.clone().into_iter())?;
        let gateway = told(self.client, "CreateInternetGateway", &[], "internetGatewayId").await;
        let words = vec![("InternetGatewayId", gateway.clone()), ("VpcId", id.clone())];
        let expected = if vpc.gateway.is_some() { Err("InvalidParameterValue") } else { Ok(()) };
        match self.call("AttachInternetGateway", words, expected).await {
            Some(_) => self.model.vpcs.get_mut(&id)?.gateway = Some(gateway),
            None => {
                drop(self.call("DeleteInternetGateway", vec![("InternetGatewayId", gateway)], Ok(())).await)
            }
        }
        Some(())
    }

    pub(super) async fn gateway_detach(&mut self) -> Option<()> {
        let (id, vpc) = self.any(self.model.vpcs.clone().into_iter())?;
        let gateway = vpc.gateway?;
        let expected = if self.model.is_mapped(&id) { Err("DependencyViolation") } else { Ok(()) };
        let words = vec![("InternetGatewayId", gateway), ("VpcId", id.clone())];
        self.call("DetachInternetGateway", words, expected).await?;
        self.model.vpcs.get_mut(&id)?.gateway = None;
        Some(())
    }

    pub(super) async fn route_create(&mut self) -> Option<()> {
        let (id, vpc) = self.any(self.model.vpcs.clone().into_iter())?;
        let gateway = vpc.gateway?;
        let expected = if vpc.route.is_some() { Err("RouteAlreadyExists") } else { Ok(()) };
        let words = vec![
            ("RouteTableId", vpc.table),
            ("DestinationCidrBlock", "0.0.0.0/0".into()),
            ("GatewayId", gateway.clone()),
        ];
        self.call("CreateRoute", words, expected).await?;
        self.model.vpcs.get_mut(&id)?.route = Some(gateway);
        Some(())
    }

    pub(super) async fn route_delete(&mut self) -> Option<()> {
        let (id, vpc) = self.any(self.model.vpcs.clone().into_iter())?;
        let expected = if vpc.route.is_some() { Ok(()) } else { Err("InvalidRoute.NotFound") };
        let words = vec![("RouteTableId", vpc.table), ("DestinationCidrBlock", "0.0.0.0/0".into())];
        self.call("DeleteRoute", words, expected).await?;
        self.model.vpcs.get_mut(&id)?.route = None;
        Some(())
    }

    pub(super) async fn entry_create(&mut self) -> Option<()> {
        let (id, vpc) = self.any(self.model.vpcs.clone().into_iter())?;
        let key = (self.rng.gen_bool(0.4), *[50, 90, 100].choose(&mut self.rng)?);
        let entry = Entry { allow: self.rng.gen_bool(0.4), ports: self.ports(), range: self.range() };
        let expected =
            if vpc.entries.contains_key(&key) { Err("NetworkAclEntryAlreadyExists") } else { Ok(()) };
        let mut words = vec![
            ("NetworkAclId", vpc.acl),
            ("RuleNumber", key.1.to_string()),
            ("Egress", key.0.to_string()),
            ("RuleAction", if entry.allow { "allow".into() } else { "deny".into() }),
            ("CidrBlock", entry.range.to_string()),
        ];
        match entry.ports {
            None => words.push(("Protocol", "-1".into())),
            Some((from, to)) => words.extend([
                ("Protocol", "17".into()),
                ("PortRange.From", from.to_string()),
                ("PortRange.To", to.to_string()),
            ]),
        }
        self.call("CreateNetworkAclEntry", words, expected).await?;
        self.model.vpcs.get_mut(&id)?.entries.insert(key, entry);
        Some(())
    }

    pub(super) async fn entry_delete(&mut self) -> Option<()> {
        let (id, vpc) = self.any(self.model.vpcs.clone().into_iter())?;
        let key = (self.rng.gen_bool(0.5), *[50, 90, 100].choose(&mut self.rng)?);
        let expected =
            if vpc.entries.contains_key(&key) { Ok(()) } else { Err("InvalidNetworkAclEntry.NotFound") };
        let words =
            vec![("NetworkAclId", vpc.acl), ("RuleNumber", key.1.to_string()), ("Egress", key.0.to_string())];
        self.call("DeleteNetworkAclEntry", words, expected).await?;
        self.model.vpcs.get_mut(&id)?.entries.remove(&key);
        Some(())
    }
}
