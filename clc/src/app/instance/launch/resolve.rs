//! What the names in an order stand for: rows are gathered, and rules are put to them.

use super::{Order, Spot};
use crate::app::App;
use crate::app::address::{Cidr, network_name};
use crate::app::image::{Image, ImageKind};
use crate::app::instance_type::InstanceType;
use crate::app::network_interface::Interface;
use crate::app::security_group::{DEFAULT, check_interface_groups, group_not_found};
use crate::store::network::{Network as Known, SecurityGroup};
use crate::store::subnet::{Subnet, subnet_fetch_in_txn};
use crate::store::vpc::Vpc;
use crate::store::{StoreError, Tx};
use karri_proto::fault::{Fault, FaultCode, shown};
use karri_proto::ids::{SecurityGroupId, SubnetId};
use karri_proto::instance::{BlobRef, BootSource, PublicKey};
use karri_proto::resources::Need;
use std::collections::HashSet;
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
    /// Those that it may come to lie in, of that VPC and at most one in a zone.
    pub subnets: Vec<Subnet>,
    pub groups: Vec<SecurityGroup>,
    pub zone: Option<String>,
    /// The first interface, if it was there before.
    pub existing: Option<Interface>,
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
    /// The subnet of a launch into that zone. A zone that came a moment ago may not have one among what was read.
    pub fn subnet(&self, zone: &str) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| subnet.zone == zone)
    }

    /// What an instance of that cluster has its address of.
    pub fn network(&self, zone: &str, cluster: &str) -> Option<(String, Cidr)> {
        let subnet = self.subnet(zone)?;
        Some((network_name(subnet.tag, &subnet.id, cluster), Cidr::parse(&subnet.cidr)?))
    }

    /// Of the subnets that were chosen, one that is not there any more.
    pub async fn subnet_missing_in_txn(
        &self,
        tx: &mut Tx,
        spots: &[Spot],
    ) -> Result<Option<String>, StoreError> {
        for subnet in &self.subnets {
            let chosen = spots.iter().any(|spot| spot.place.zone == subnet.zone);
            if chosen && subnet_fetch_in_txn(tx, &subnet.id).await?.is_none() {
                return Ok(Some(subnet.id.clone()));
            }
        }
        Ok(None)
    }

    pub fn touched(&self) -> Touched {
        let images = [Some(&self.image.id), self.kernel_id.as_ref(), self.ramdisk_id.as_ref()];
        let within = |subnet: &&Subnet| self.zone.as_ref().is_none_or(|zone| *zone == subnet.zone);
        let subnets = self.subnets.iter().filter(within);
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
        let existing = self.existing_first(order).await?;
        let network = self.network(order, existing.as_ref()).await?;
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
            existing,
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
    async fn network(&self, order: &Order, existing: Option<&Interface>) -> Result<Network, Fault> {
        let known = self.store.network_fetch(&order.account).await?.ok_or_else(no_default_vpc)?;
        let asked = self.asked_zone(order)?;
        let own = existing.map(|first| first.port.subnet_id.to_string());
        let subnet_id = own.as_ref().or(order.subnet_id.as_ref());
        let (vpc, subnets) = match subnet_id {
            Some(id) => named_subnet(&known, id, asked)?,
            None => default_subnets(&known, asked)?,
        };
        // A subnet leads to its zone, and so does an address.
        let holding = order.private_ip.filter(|_| asked.is_none()).and_then(|ip| zone_of(&subnets, ip));
        let own = subnets.first().filter(|_| subnet_id.is_some()).map(|subnet| subnet.zone.clone());
        let zone = own.or_else(|| asked.map(str::to_owned)).or(holding);
        let groups = groups(order, &known.security_groups, &vpc, &subnets)?;
        check_interface_groups(groups.len(), self.limits.security_groups_per_interface)?;
        Ok(Network { vpc, subnets, groups, zone })
    }

    fn asked_zone<'o>(&self, order: &'o Order) -> Result<Option<&'o str>, Fault> {
        let asked = order.zone.as_deref().filter(|zone| !zone.is_empty() && *zone != "any");
        if let Some(zone) = asked
            && self.clusters.by_zone(zone).is_none()
        {
            return Err(Fault::invalid_parameter(format!("Invalid availability zone: [{}]", shown(zone))));
        }
        Ok(asked)
    }
}

fn no_default_vpc() -> Fault {
    Fault::new(FaultCode::VpcIdNotSpecified, "No default VPC for this user")
}

fn named_subnet(known: &Known, id: &str, zone: Option<&str>) -> Result<(Vpc, Vec<Subnet>), Fault> {
    let id: SubnetId = id.parse()?;
    let subnet = known.subnets.iter().find(|subnet| subnet.id == id.as_str());
    let subnet = subnet.ok_or_else(|| id.not_found())?;
    if zone.is_some_and(|zone| zone != subnet.zone) {
        return Err(Fault::invalid_parameter(format!(
            "The subnet ID '{id}' is not in the availability zone that was asked for"
        )));
    }
    let vpc = known.vpcs.iter().find(|vpc| vpc.id == subnet.vpc_id).ok_or_else(|| id.not_found())?;
    Ok((vpc.clone(), vec![subnet.clone()]))
}

/// Those of the default VPC: who names no subnet means one of them.
fn default_subnets(known: &Known, zone: Option<&str>) -> Result<(Vpc, Vec<Subnet>), Fault> {
    let vpc = known.vpcs.iter().find(|vpc| vpc.is_default).ok_or_else(no_default_vpc)?;
    let own = known.subnets.iter().filter(|subnet| subnet.is_default && subnet.vpc_id == vpc.id);
    let subnets: Vec<Subnet> = own.cloned().collect();
    match zone {
        _ if subnets.is_empty() => {
            let sentence =
                format!("No subnets found for the default VPC '{}'. Please specify a subnet.", vpc.id);
            Err(Fault::new(FaultCode::MissingInput, sentence))
        }
        Some(zone) if !subnets.iter().any(|subnet| subnet.zone == zone) => {
            let sentence = format!("No default subnet for availability zone: '{zone}'.");
            Err(Fault::new(FaultCode::InvalidInput, sentence))
        }
        _ => Ok((vpc.clone(), subnets)),
    }
}

fn zone_of(subnets: &[Subnet], address: Ipv4Addr) -> Option<String> {
    let holds =
        |subnet: &&Subnet| Cidr::parse(&subnet.cidr).is_some_and(|range| range.is_assignable(address));
    subnets.iter().find(holds).map(|subnet| subnet.zone.clone())
}

/// By id of the subnet's VPC, by name of the default one: nobody can name both a subnet and a group by its name.
fn groups(
    order: &Order,
    known: &[SecurityGroup],
    vpc: &Vpc,
    subnets: &[Subnet],
) -> Result<Vec<SecurityGroup>, Fault> {
    let mut found: Vec<SecurityGroup> = Vec::new();
    for text in &order.group_ids {
        text.parse::<SecurityGroupId>()?;
        let group = known.iter().find(|group| group.id == *text).ok_or_else(|| group_not_found(text))?;
        if group.vpc_id != vpc.id {
            let subnet = subnets.first().map(|subnet| subnet.id.as_str()).unwrap_or_default();
            let sentence =
                format!("Security group {} and subnet {subnet} belong to different networks.", group.id);
            return Err(Fault::new(FaultCode::InvalidParameter, sentence));
        }
        found.push(group.clone());
    }
    let mut within = known.iter().filter(|group| group.vpc_id == vpc.id);
    for text in &order.group_names {
        let group = within.clone().find(|group| group.name == *text);
        found.push(group.ok_or_else(|| group_not_found(text))?.clone());
    }
    let mut seen = HashSet::new();
    found.retain(|group| seen.insert(group.id.clone()));
    if found.is_empty() {
        found.extend(within.find(|group| group.name == DEFAULT).cloned());
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
