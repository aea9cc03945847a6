//! Instances, and network interfaces with their addresses and groups.

use super::{ADDRESSES_OF_PORT, Caller, INSTANCES_MAX, PLACES};
use crate::model::{Model, Port, Subnet};
use crate::support::vpc::told;
use rand::Rng;
use rand::seq::{IteratorRandom, SliceRandom};
use std::net::Ipv4Addr;

const MATES: usize = 3;
/// An address that is drawn may be somebody's.
const MATES_TRIES: usize = 20;

impl Caller<'_> {
    pub(super) fn groups_in(&mut self, vpc: &str) -> Vec<String> {
        let count = self.rng.gen_range(1..=2);
        let groups = self.model.groups.iter().filter(|(_, group)| group.vpc == vpc).map(|(id, _)| id.clone());
        groups.choose_multiple(&mut self.rng, count)
    }

    /// One of the subnet, which may be somebody's.
    pub(super) fn address_in(&mut self, subnet: &str) -> (Ipv4Addr, bool) {
        let range = self.model.subnets[subnet].range;
        let address = Ipv4Addr::from(u32::from(range.address) + self.rng.gen_range(4..16));
        let of = self.model.ports.values().filter(|port| port.subnet == subnet);
        let mut nats = self.model.nats.values().filter(|nat| nat.subnet == subnet);
        let taken = of.flat_map(|port| &port.addresses).any(|known| *known == address);
        (address, taken || nats.any(|nat| nat.private == address))
    }

    pub(super) async fn launch(&mut self) -> Option<()> {
        let (subnet, Subnet { vpc, .. }) = self.any(self.model.subnets.clone().into_iter())?;
        if self.model.instances.len() >= INSTANCES_MAX {
            return None;
        }
        let groups = self.groups_in(&vpc);
        self.launch_in(subnet, groups).await
    }

    async fn launch_in(&mut self, subnet: String, groups: Vec<String>) -> Option<()> {
        let vpc = self.model.subnets[&subnet].vpc.clone();
        let (address, taken) = self.address_in(&subnet);
        let mut words = vec![("SubnetId", subnet.clone()), ("PrivateIpAddress", address.to_string())];
        let names = ["SecurityGroupId.1", "SecurityGroupId.2"];
        words.extend(names.into_iter().zip(groups.iter().cloned()));
        words.extend([("ImageId", crate::support::IMAGE.into()), ("MinCount", "1".into())]);
        words.extend([("MaxCount", "1".into()), ("InstanceType", "t3.micro".into())]);
        let expected = if taken { Err("InvalidIPAddress.InUse") } else { Ok(()) };
        let answer = self.call("RunInstances", words, expected).await?;
        let (instance, port) = (answer.one("instanceId"), answer.first("networkInterfaceId")?);
        self.client.wait_for(&instance, "running").await;
        self.model.instances.insert(instance.clone());
        let (instance, addresses) = (Some((instance, 0)), vec![address]);
        self.model.ports.insert(port, Port { vpc, subnet, addresses, groups, instance, launched: true });
        Some(())
    }

    /// Machines on one subnet in the group that its VPC began with: no ACL and no router is between them.
    pub(super) async fn mates(&mut self) {
        let living = |model: &Model, subnet: &str| -> Vec<Port> {
            model.living().map(|(_, port)| port).filter(|port| port.subnet == subnet).cloned().collect()
        };
        if self.model.subnets.is_empty() {
            self.vpc_create().await;
            self.subnet_create().await;
        }
        let fullest = self.model.subnets.keys().max_by_key(|subnet| living(&self.model, subnet).len());
        let subnet = fullest.unwrap().clone();
        let group = vec![self.model.vpcs[&self.model.subnets[&subnet].vpc].default_group.clone()];
        for _ in 0..MATES_TRIES {
            if living(&self.model, &subnet).iter().filter(|port| port.groups == group).count() >= MATES {
                return;
            }
            if self.model.instances.len() >= INSTANCES_MAX + MATES {
                self.terminate().await;
            }
            self.launch_in(subnet.clone(), group.clone()).await;
        }
    }

    pub(super) async fn terminate(&mut self) -> Option<()> {
        let id = self.any(self.model.instances.clone().into_iter())?;
        self.call("TerminateInstances", vec![("InstanceId.1", id.clone())], Ok(())).await?;
        self.client.wait_for(&id, "terminated").await;
        self.instance_gone(&id);
        Some(())
    }

    pub(super) fn instance_gone(&mut self, id: &str) {
        self.model.instances.remove(id);
        let is_its = |port: &Port| port.instance.as_ref().is_some_and(|(instance, _)| instance == id);
        let gone: Vec<String> = self
            .model
            .ports
            .iter()
            .filter(|(_, port)| is_its(port) && port.launched)
            .map(|(id, _)| id.clone())
            .collect();
        for port in self.model.ports.values_mut().filter(|port| is_its(port)) {
            port.instance = None;
        }
        self.ports_gone(&gone);
    }

    pub(super) fn ports_gone(&mut self, gone: &[String]) {
        self.model.ports.retain(|id, _| !gone.contains(id));
        for address in self.model.addresses.values_mut() {
            address.leads_to = address.leads_to.take().filter(|(port, _)| !gone.contains(port));
        }
    }

    pub(super) async fn interface_create(&mut self) -> Option<()> {
        let (subnet, Subnet { vpc, .. }) = self.any(self.model.subnets.clone().into_iter())?;
        let (address, taken) = self.address_in(&subnet);
        let groups = self.groups_in(&vpc);
        let mut words = vec![("SubnetId", subnet.clone()), ("PrivateIpAddress", address.to_string())];
        words.extend(["SecurityGroupId.1", "SecurityGroupId.2"].into_iter().zip(groups.iter().cloned()));
        let expected = if taken { Err("InvalidIPAddress.InUse") } else { Ok(()) };
        let answer = self.call("CreateNetworkInterface", words, expected).await?;
        let port = Port { vpc, subnet, addresses: vec![address], groups, instance: None, launched: false };
        self.model.ports.insert(answer.one("networkInterfaceId"), port);
        Some(())
    }

    pub(super) async fn interface_delete(&mut self) -> Option<()> {
        let (id, port) = self.any(self.model.ports.clone().into_iter())?;
        let expected = if port.instance.is_some() { Err("InvalidParameterValue") } else { Ok(()) };
        self.call("DeleteNetworkInterface", vec![("NetworkInterfaceId", id.clone())], expected).await?;
        self.ports_gone(&[id]);
        Some(())
    }

    pub(super) async fn attach(&mut self) -> Option<()> {
        let (id, port) = self.any(self.model.ports.clone().into_iter())?;
        let instance = self.any(self.model.instances.clone().into_iter())?;
        let of = self
            .model
            .ports
            .values()
            .filter(|port| port.instance.as_ref().is_some_and(|(own, _)| *own == instance));
        let of: Vec<&Port> = of.collect();
        let expected = if port.instance.is_some() {
            Err("InvalidNetworkInterface.InUse")
        } else if of.iter().any(|own| own.vpc != port.vpc) {
            Err("InvalidParameterCombination")
        } else if of.len() == PLACES {
            Err("InvalidParameterValue") // the place is taken
        } else if port.addresses.len() > ADDRESSES_OF_PORT {
            Err("PrivateIpAddressLimitExceeded")
        } else {
            Ok(())
        };
        let words = vec![
            ("NetworkInterfaceId", id.clone()),
            ("InstanceId", instance.clone()),
            ("DeviceIndex", "1".into()),
        ];
        self.call("AttachNetworkInterface", words, expected).await?;
        self.model.ports.get_mut(&id)?.instance = Some((instance, 1));
        Some(())
    }

    pub(super) async fn detach(&mut self) -> Option<()> {
        let (id, port) =
            self.any(self.model.ports.clone().into_iter().filter(|(_, port)| port.instance.is_some()))?;
        let attachment =
            told(&self.client, "DescribeNetworkInterfaces", &[("NetworkInterfaceId.1", &id)], "attachmentId")
                .await;
        let expected = if port.instance?.1 == 0 { Err("OperationNotPermitted") } else { Ok(()) };
        let words = vec![("AttachmentId", attachment), ("Force", "true".into())];
        self.call("DetachNetworkInterface", words, expected).await?;
        self.model.ports.get_mut(&id)?.instance = None;
        Some(())
    }

    pub(super) async fn assign(&mut self) -> Option<()> {
        let (id, port) = self.any(self.model.ports.clone().into_iter())?;
        let (address, taken) = self.address_in(&port.subnet);
        let full = port.instance.is_some() && port.addresses.len() >= ADDRESSES_OF_PORT;
        // One that has it already is asked for nothing.
        if port.addresses.contains(&address) || (full && taken) {
            return None;
        }
        let expected = match (full, taken) {
            (true, _) => Err("PrivateIpAddressLimitExceeded"),
            (false, true) => Err("InvalidParameterValue"),
            (false, false) => Ok(()),
        };
        let words = vec![("NetworkInterfaceId", id.clone()), ("PrivateIpAddress.1", address.to_string())];
        self.call("AssignPrivateIpAddresses", words, expected).await?;
        self.model.ports.get_mut(&id)?.addresses.push(address);
        Some(())
    }

    pub(super) async fn unassign(&mut self) -> Option<()> {
        let (id, port) = self.any(self.model.ports.clone().into_iter())?;
        let address = *port.addresses.choose(&mut self.rng)?;
        let expected = if address == port.addresses[0] { Err("InvalidParameterValue") } else { Ok(()) };
        let words = vec![("NetworkInterfaceId", id.clone()), ("PrivateIpAddress.1", address.to_string())];
        self.call("UnassignPrivateIpAddresses", words, expected).await?;
        self.model.ports.get_mut(&id)?.addresses.retain(|own| *own != address);
        for elastic in self.model.addresses.values_mut() {
            elastic.leads_to = elastic.leads_to.take().filter(|to| *to != (id.clone(), address));
        }
        Some(())
    }

    pub(super) async fn groups_change(&mut self) -> Option<()> {
        let (id, port) = self.any(self.model.ports.clone().into_iter())?;
        let groups = self.groups_in(&port.vpc);
        let mut words = vec![("NetworkInterfaceId", id.clone())];
        words.extend(["SecurityGroupId.1", "SecurityGroupId.2"].into_iter().zip(groups.iter().cloned()));
        self.call("ModifyNetworkInterfaceAttribute", words, Ok(())).await?;
        self.model.ports.get_mut(&id)?.groups = groups;
        Some(())
    }
}
