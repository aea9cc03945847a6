//! What the names in an order stand for: rows are gathered, and rules are put to them.

use super::Order;
use crate::app::App;
use crate::app::address::Cidr;
use crate::app::image::{Image, ImageKind};
use crate::app::instance_type::InstanceType;
use crate::app::security_group::{DEFAULT, check_interface_groups, group_not_found};
use crate::store::network::{SecurityGroup, Subnet, Vpc};
use karri_proto::fault::{Fault, FaultCode, shown};
use karri_proto::instance::{BlobRef, BootSource, PublicKey};
use karri_proto::resources::Need;
use std::net::Ipv4Addr;

/// What an order's names stand for.
pub struct Resolved {
    pub image: Image,
    pub boot: BootSource,
    pub kernel_id: Option<String>,
    pub ramdisk_id: Option<String>,
    pub need: Need,
    pub threads_per_core: u32,
    pub key: Option<PublicKey>,
    pub vpc: Vpc,
    pub subnets: Vec<Subnet>,
    pub groups: Vec<SecurityGroup>,
    pub zone: Option<String>,
}

/// What a launch uses that was there before it: permissions are about these.
#[derive(Debug)]
pub struct Touched {
    pub images: Vec<String>,
    /// All that the launch may come to lie in.
    pub subnets: Vec<String>,
    pub groups: Vec<String>,
}

impl Resolved {
    pub fn touched(&self) -> Touched {
        let images = [Some(&self.image.id), self.kernel_id.as_ref(), self.ramdisk_id.as_ref()];
        let within = |subnet: &&Subnet| self.zone.as_ref().is_none_or(|zone| *zone == subnet.zone);
        let subnets = self.subnets.iter().filter(|subnet| subnet.is_default).filter(within);
        Touched {
            images: images.into_iter().flatten().cloned().collect(),
            subnets: subnets.map(|subnet| subnet.id.clone()).collect(),
            groups: self.groups.iter().map(|group| group.id.clone()).collect(),
        }
    }
}

impl App {
    pub async fn resolve(&self, order: &Order) -> Result<Resolved, Fault> {
        let kind = self.catalogue.get(&order.instance_type).ok_or_else(|| {
            let name = shown(&order.instance_type);
            Fault::invalid_parameter(format!("Invalid value '{name}' for InstanceType."))
        })?;
        if order.said.credits.is_some() && kind.credits.is_none() {
            let sentence = format!("The {} instance type does not support T2 Unlimited.", kind.name); // AWS's words
            return Err(Fault::new(FaultCode::InstanceCreditSpecificationNotSupported, sentence));
        }
        let (image, root) = self.image_for(order, order.image_id.as_str(), ImageKind::Machine).await?;
        kind.check_architecture(&image.definition.architecture)?;
        let (given, own) = (order.kernel_id.as_ref(), &image.definition.kernel_id);
        let (kernel, kernel_id) = self.part(order, given, own, ImageKind::Kernel).await?;
        let (given, own) = (order.ramdisk_id.as_ref(), &image.definition.ramdisk_id);
        let (ramdisk, ramdisk_id) = self.part(order, given, own, ImageKind::Ramdisk).await?;
        let network = self.network(order).await?;
        let firmware = image.definition.firmware;
        Ok(Resolved {
            need: need_of(kind, order, &image)?,
            threads_per_core: kind.threads(),
            boot: BootSource { root, kernel, ramdisk, firmware },
            key: self.key(order).await?,
            image,
            kernel_id,
            ramdisk_id,
            vpc: network.vpc,
            subnets: network.subnets,
            groups: network.groups,
            zone: network.zone,
        })
    }

    async fn image_for(&self, order: &Order, id: &str, kind: ImageKind) -> Result<(Image, BlobRef), Fault> {
        let image = self.store.image_fetch(id).await?;
        let visible = image.filter(|image| image.is_visible_to(&order.account, order.administrator));
        let not_found =
            || Fault::new(FaultCode::InvalidAmiIdNotFound, format!("The image id '[{id}]' does not exist"));
        let image = visible.filter(|image| image.kind == kind).ok_or_else(not_found)?;
        let Some(blob) = image.bootable().cloned() else {
            let sentence = format!("The image ID '{id}' is not available");
            return Err(Fault::new(FaultCode::InvalidAmiIdUnavailable, sentence));
        };
        Ok((image, blob))
    }

    /// A kernel or ramdisk: the one asked for, or the image's own.
    async fn part(
        &self,
        order: &Order,
        given: Option<&String>,
        own: &Option<String>,
        kind: ImageKind,
    ) -> Result<(Option<BlobRef>, Option<String>), Fault> {
        let Some(id) = given.or(own.as_ref()) else { return Ok((None, None)) };
        let (part, blob) = self.image_for(order, id, kind).await?;
        Ok((Some(blob), Some(part.id)))
    }

    async fn key(&self, order: &Order) -> Result<Option<PublicKey>, Fault> {
        let Some(name) = &order.key_name else { return Ok(None) };
        let pair = self.store.key_pair_fetch(&order.account, name).await?;
        let missing = || {
            let sentence = format!("The key pair '{}' does not exist", shown(name));
            Fault::new(FaultCode::InvalidKeyPairNotFound, sentence)
        };
        let pair = pair.ok_or_else(missing)?;
        Ok(Some(PublicKey { name: pair.name, openssh: pair.openssh }))
    }
}

struct Network {
    vpc: Vpc,
    subnets: Vec<Subnet>,
    groups: Vec<SecurityGroup>,
    zone: Option<String>,
}

impl App {
    async fn network(&self, order: &Order) -> Result<Network, Fault> {
        let none = || Fault::invalid_parameter("No default VPC for this user");
        let known = self.store.network_fetch(&order.account).await?.ok_or_else(none)?;
        let vpc = known.vpcs.into_iter().find(|vpc| vpc.is_default).ok_or_else(none)?;
        let zone = self.zone(order, &known.subnets)?;
        let groups = groups(order, &known.security_groups)?;
        check_interface_groups(groups.len(), self.limits.security_groups_per_interface)?;
        Ok(Network { vpc, subnets: known.subnets, groups, zone })
    }

    fn zone(&self, order: &Order, subnets: &[Subnet]) -> Result<Option<String>, Fault> {
        let asked = order.zone.as_deref().filter(|zone| !zone.is_empty() && *zone != "any");
        if let Some(zone) = asked
            && self.clusters.by_zone(zone).is_none()
        {
            return Err(Fault::invalid_parameter(format!("Invalid availability zone: [{}]", shown(zone))));
        }
        let Some(subnet_id) = &order.subnet_id else {
            // An address leads to the zone that has it.
            let holding = order.private_ip.filter(|_| asked.is_none()).and_then(|ip| zone_of(subnets, ip));
            return Ok(asked.map(str::to_owned).or(holding));
        };
        let id: karri_proto::ids::SubnetId = subnet_id.parse()?;
        let subnet = subnets.iter().find(|subnet| subnet.id == *subnet_id).ok_or_else(|| id.not_found())?;
        if asked.is_some_and(|zone| zone != subnet.zone) {
            return Err(Fault::invalid_parameter(format!(
                "The subnet ID '{id}' is not in the availability zone that was asked for"
            )));
        }
        Ok(Some(subnet.zone.clone()))
    }
}

fn zone_of(subnets: &[Subnet], address: Ipv4Addr) -> Option<String> {
    let holds =
        |subnet: &&Subnet| Cidr::parse(&subnet.cidr).is_some_and(|range| range.is_assignable(address));
    subnets.iter().filter(|subnet| subnet.is_default).find(holds).map(|subnet| subnet.zone.clone())
}

fn groups(order: &Order, known: &[SecurityGroup]) -> Result<Vec<SecurityGroup>, Fault> {
    let mut found: Vec<SecurityGroup> = Vec::new();
    let asked = order.group_ids.iter().map(|id| (id, true));
    for (text, by_id) in asked.chain(order.group_names.iter().map(|name| (name, false))) {
        if by_id {
            text.parse::<karri_proto::ids::SecurityGroupId>()?;
        }
        let group = known.iter().find(|group| if by_id { group.id == *text } else { group.name == *text });
        let group = group.ok_or_else(|| group_not_found(text))?;
        if !found.contains(group) {
            found.push(group.clone());
        }
    }
    if found.is_empty() {
        found.extend(known.iter().find(|group| group.name == DEFAULT).cloned());
    }
    Ok(found)
}

fn need_of(kind: &InstanceType, order: &Order, image: &Image) -> Result<Need, Fault> {
    let least_gib = image.definition.least_disk_gib();
    if let Some(device) = &order.root_device
        && *device != image.definition.root_device_name
    {
        return Err(Fault::new(
            FaultCode::InvalidBlockDeviceMapping,
            format!("Only the root device {} can be mapped, not {device}", image.definition.root_device_name),
        ));
    }
    match order.root_gib {
        Some(asked) if asked < least_gib => Err(Fault::new(
            FaultCode::InvalidBlockDeviceMapping,
            format!(
                "Volume of size {asked}GB is smaller than image '{}', expect size >= {least_gib}GB",
                image.id
            ),
        )),
        asked => {
            let disk_gib = asked.unwrap_or_else(|| kind.disk_gib.max(image.definition.disk_gib()));
            Ok(Need { disk_gib, ..kind.need() })
        }
    }
}
