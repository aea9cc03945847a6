//! Subnets: made, changed, removed. Their ranges are `vpc::range`'s matter.

use crate::app::App;
use crate::app::address::network_name;
use crate::app::instance::State;
use crate::app::instance::control::Caller;
use crate::app::network::{default_subnet, subnet_with_parts_insert_in_txn};
use crate::app::tag::{Taggable, Tags};
use crate::app::vpc::flat::bars_subnets_in_txn;
use crate::app::vpc::range::of_subnet;
use crate::app::vpc::{has_dependencies, not_in_default_vpc};
use crate::store::nat_gateway::nat_gateway_of_subnet_in_txn;
use crate::store::network_change::{network_gone_in_txn, network_touch_in_txn, networks_turn_in_txn};
use crate::store::network_interface::network_interface_of_subnet_in_txn;
use crate::store::segment_tag::{TagPool, segment_tag_free_in_txn, segment_tag_take_in_txn};
use crate::store::subnet::{
    Subnet, subnet_attributes_update_in_txn, subnet_delete_in_txn, subnet_fetch_in_txn, subnets_of_vpc_in_txn,
};
use crate::store::tag::{tags_drop_in_txn, tags_put_in_txn};
use crate::store::vpc::{Vpc, vpc_fetch_in_txn, vpc_list_in_txn};
use crate::store::{StoreError, Tx};
use karri_proto::fault::{Fault, FaultCode, shown};
use karri_proto::ids::{SubnetId, VpcId};
use karri_proto::network::{NetworkMode, ShapeKey};

/// What a user asks for.
#[derive(Debug, Clone)]
pub struct NewSubnet<'a> {
    pub vpc_id: &'a str,
    pub cidr: &'a str,
    /// None: any.
    pub zone: Option<&'a str>,
    pub tags: &'a Tags,
}

impl App {
    /// One that the caller may touch.
    pub async fn subnet_named(&self, caller: Caller<'_>, id: &str) -> Result<Subnet, Fault> {
        let id: SubnetId = id.parse()?;
        let found = self.store.subnet_fetch(id.as_str()).await?;
        let seen = found.filter(|subnet| caller.administrator || subnet.account == caller.account);
        seen.ok_or_else(|| id.not_found())
    }

    /// The zone that is named, or the first one.
    fn zone_for_subnet(&self, asked: Option<&str>) -> Result<String, Fault> {
        let mut zones: Vec<String> = self.clusters.zones().iter().map(|link| link.hello().zone).collect();
        zones.sort();
        let chosen = match asked {
            Some(zone) => zones.iter().find(|known| *known == zone),
            // What has no networks of its own is for those who name it.
            None => zones.iter().find(|zone| self.mode_of(zone) == NetworkMode::Managed).or(zones.first()),
        };
        chosen.cloned().ok_or_else(|| {
            let sentence = format!(
                "Value ({}) for parameter availabilityZone is invalid. Subnets can currently only be created in the \
                 following availability zones: {}.",
                shown(asked.unwrap_or_default()),
                zones.join(", ")
            );
            Fault::invalid_parameter(sentence)
        })
    }

    /// `dry`: nothing is done after all.
    pub async fn subnet_create(
        &self,
        caller: Caller<'_>,
        new: NewSubnet<'_>,
        dry: bool,
    ) -> Result<Subnet, Fault> {
        let seen = self.vpc_named(caller, new.vpc_id).await?;
        if seen.is_default {
            return Err(not_in_default_vpc("A subnet other than the default ones"));
        }
        let mut tx = self.store.begin().await?;
        let networks = networks_turn_in_txn(&mut tx).await?;
        let gone = seen.id.parse::<VpcId>()?;
        let vpc = vpc_fetch_in_txn(&mut tx, &seen.id).await?.ok_or_else(|| gone.not_found())?;
        let others = subnets_of_vpc_in_txn(&mut tx, &vpc.id).await?;
        let range = of_subnet(&vpc, &others, new.cidr)?;
        let zone = self.zone_for_subnet(new.zone)?;
        self.needs_managed(&zone, "Subnets other than the default one are")?;
        if others.len() >= self.limits.subnets_per_vpc {
            let most = self.limits.subnets_per_vpc;
            let sentence = format!("The maximum number of subnets for this VPC has been reached ({most}).");
            return Err(Fault::new(FaultCode::SubnetLimitExceeded, sentence));
        }
        let id = SubnetId::random(&mut rand::thread_rng()).to_string();
        let (pool, all_taken) = self.tags_of(&zone);
        let tag = segment_tag_take_in_txn(&mut tx, &id, &pool).await?;
        let no_tag = || Fault::new(FaultCode::SubnetLimitExceeded, all_taken);
        let subnet = Subnet {
            id,
            account: vpc.account,
            vpc_id: vpc.id,
            zone,
            cidr: range.to_string(),
            gateway: range.gateway(),
            is_default: false,
            tag: tag.ok_or_else(no_tag)?,
            map_public_ip: false,
        };
        self.subnet_put(tx, networks, &subnet, new.tags, dry).await?;
        Ok(subnet)
    }

    /// What tags a subnet of the zone can have, and what is said once all are taken.
    fn tags_of(&self, zone: &str) -> (TagPool, String) {
        match self.clusters.by_zone(zone).and_then(|link| link.hello().vlans) {
            Some(vlans) => {
                let sentence = format!(
                    "No VLAN of {vlans} is left in Availability Zone '{zone}' for the network of another subnet."
                );
                (TagPool::of_zone(zone, vlans), sentence)
            }
            None => {
                let sentence =
                    "No segment is left in this cloud for the network of another subnet.".to_owned();
                (TagPool::of_cloud(self.segment_tags.clone()), sentence)
            }
        }
    }

    async fn subnet_put(
        &self,
        mut tx: Tx,
        networks: i64,
        subnet: &Subnet,
        tags: &Tags,
        dry: bool,
    ) -> Result<(), Fault> {
        subnet_with_parts_insert_in_txn(&mut tx, networks, subnet).await?;
        tags_put_in_txn(&mut tx, &subnet.account, Taggable::Subnet, &subnet.id, tags).await?;
        if dry {
            return Ok(());
        }
        self.store.commit_and_forget(tx).await?;
        self.networks_changed();
        let Subnet { id, account, zone, cidr, tag, .. } = subnet;
        tracing::info!(subnet = id, account, zone, cidr, tag, "subnet created");
        Ok(())
    }

    /// A zone's default subnet, again. `dry`: not after all.
    pub async fn default_subnet_create(&self, account: &str, zone: &str, dry: bool) -> Result<Subnet, Fault> {
        let zone = self.zone_for_subnet(Some(zone))?;
        let link =
            self.clusters.by_zone(&zone).ok_or_else(|| Fault::internal("a zone without its cluster"))?;
        let mut tx = self.store.begin().await?;
        let networks = networks_turn_in_txn(&mut tx).await?;
        let vpcs: Vec<Vpc> = vpc_list_in_txn(&mut tx, account).await?;
        let vpc = vpcs.iter().find(|vpc| vpc.is_default).ok_or_else(|| {
            let sentence = "No default VPC exists for this account in this region.";
            Fault::new(FaultCode::DefaultVpcDoesNotExist, sentence)
        })?;
        let have = subnets_of_vpc_in_txn(&mut tx, &vpc.id).await?;
        if let Some(there) = have.iter().find(|subnet| subnet.is_default && subnet.zone == zone) {
            let sentence = format!("'{}' is already the default subnet in {zone}.", there.id);
            return Err(Fault::new(FaultCode::DefaultSubnetAlreadyExistsInAvailabilityZone, sentence));
        }
        if let Some(what) = bars_subnets_in_txn(&mut tx, &vpc.id).await? {
            return Err(not_in_default_vpc(what));
        }
        let subnet = default_subnet(account, &vpc.id, &link.hello(), self.default_subnets_public);
        // The VPC's range follows from its subnets.
        network_touch_in_txn(&mut tx, networks, &ShapeKey::Vpc(vpc.id.parse()?)).await?;
        self.subnet_put(tx, networks, &subnet, &Tags::new(), dry).await?;
        Ok(subnet)
    }

    /// Not while anything has an address in it. `dry`: not at all.
    pub async fn subnet_delete(&self, caller: Caller<'_>, id: &str, dry: bool) -> Result<(), Fault> {
        let seen = self.subnet_named(caller, id).await?;
        // Launches that have looked it up are in the books before anybody looks there for who is in it.
        let _alone = self.networks_held.write().await;
        let (mut tx, number) = self.store.begin_numbered().await?;
        self.catch_up_in_txn(&mut tx, number).await?;
        let networks = networks_turn_in_txn(&mut tx).await?;
        let id: SubnetId = seen.id.parse()?;
        let subnet = subnet_fetch_in_txn(&mut tx, id.as_str()).await?.ok_or_else(|| id.not_found())?;
        if let Some(port) = self.port_in(&id) {
            return Err(has_dependencies("subnet", &subnet.id, &format!("network interface '{port}'")));
        }
        if let Some(port) = network_interface_of_subnet_in_txn(&mut tx, &subnet.id).await? {
            return Err(has_dependencies("subnet", &subnet.id, &format!("network interface '{port}'")));
        }
        if let Some(gateway) = nat_gateway_of_subnet_in_txn(&mut tx, &subnet.id).await? {
            return Err(has_dependencies("subnet", &subnet.id, &format!("NAT gateway '{gateway}'")));
        }
        network_gone_in_txn(&mut tx, networks, &ShapeKey::Subnet(id)).await?;
        if subnet.is_default {
            network_touch_in_txn(&mut tx, networks, &ShapeKey::Vpc(subnet.vpc_id.parse()?)).await?;
        }
        tags_drop_in_txn(&mut tx, &subnet.id).await?;
        segment_tag_free_in_txn(&mut tx, &subnet.id).await?;
        subnet_delete_in_txn(&mut tx, &subnet.id).await?;
        if dry {
            return Ok(());
        }
        self.store.commit_and_forget(tx).await?;
        if !subnet.is_flat() {
            self.book().addresses.forget(&network_name(subnet.tag, &subnet.id, ""));
        }
        self.networks_changed();
        tracing::info!(subnet = subnet.id, account = subnet.account, "subnet deleted");
        Ok(())
    }

    /// A network interface that is in the subnet.
    fn port_in(&self, subnet: &SubnetId) -> Option<String> {
        let within = self.instances.select(|instance| {
            instance.state != State::Terminated
                && instance.spec.ports.iter().any(|port| port.subnet_id == *subnet)
        });
        let ports = within.iter().flat_map(|instance| &instance.spec.ports);
        ports.filter(|port| port.subnet_id == *subnet).map(|port| port.id.to_string()).min()
    }

    pub async fn subnet_map_public_ip(&self, caller: Caller<'_>, id: &str, value: bool) -> Result<(), Fault> {
        let seen = self.subnet_named(caller, id).await?;
        if value {
            self.needs_managed(&seen.zone, "Public IP addresses are")?;
        }
        let mut tx = self.store.begin().await?;
        networks_turn_in_txn(&mut tx).await?;
        let id: SubnetId = seen.id.parse()?;
        let found: Result<Option<Subnet>, StoreError> = subnet_fetch_in_txn(&mut tx, id.as_str()).await;
        let subnet = Subnet { map_public_ip: value, ..found?.ok_or_else(|| id.not_found())? };
        // Nobody is told: what is launched from now on is otherwise.
        subnet_attributes_update_in_txn(&mut tx, &subnet).await?;
        Ok(self.store.commit_and_forget(tx).await?)
    }
}
