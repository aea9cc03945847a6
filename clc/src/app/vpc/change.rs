//! VPCs made and removed, and their further ranges.

use super::range::{more_of_vpc, of_vpc};
use super::{has_dependencies, not_in_default_vpc};
use crate::app::App;
use crate::app::address::Cidr;
use crate::app::instance::control::Caller;
use crate::app::network::{default_vpc_insert_in_txn, vpc_with_parts_insert_in_txn};
use crate::app::security_group::DEFAULT;
use crate::app::tag::{Taggable, Tags};
use crate::store::dhcp_options::default_dhcp_options_in_txn;
use crate::store::internet_gateway::internet_gateway_of_vpc_in_txn;
use crate::store::network::{SecurityGroup, security_groups_of_vpc_in_txn};
use crate::store::network_acl::network_acls_of_vpc_in_txn;
use crate::store::network_change::{network_gone_in_txn, network_touch_in_txn, networks_turn_in_txn};
use crate::store::route_table::{main_route_table_in_txn, route_tables_of_vpc_in_txn};
use crate::store::security_group::{group_delete_in_txn, group_referrer_in_txn, rules_turn_in_txn};
use crate::store::segment_tag::{TagPool, segment_tag_free_in_txn, segment_tag_take_in_txn};
use crate::store::subnet::subnets_of_vpc_in_txn;
use crate::store::tag::{tags_drop_in_txn, tags_put_in_txn};
use crate::store::told::routes_to_lists_touched_in_txn;
use crate::store::vpc::{
    Vpc, VpcRange, vpc_delete_in_txn, vpc_fetch_in_txn, vpc_list_in_txn, vpc_of_range_in_txn,
    vpc_range_delete_in_txn, vpc_range_insert_in_txn,
};
use crate::store::{Tx, counter_next_in_txn};
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::{VpcCidrAssociationId, VpcId};
use karri_proto::network::ShapeKey;

/// The id of the association of a VPC's first range, which has none of its own.
pub fn first_association(vpc: &str) -> String {
    super::parts::part_id(VpcCidrAssociationId::PREFIX, vpc)
}

fn too_many() -> Fault {
    Fault::new(FaultCode::VpcLimitExceeded, "The maximum number of VPCs has been reached.")
}

impl App {
    /// `dry`: nothing is done after all.
    pub async fn vpc_create(&self, account: &str, cidr: &str, tags: &Tags, dry: bool) -> Result<Vpc, Fault> {
        let range = of_vpc(cidr)?;
        self.needs_a_managed_zone("VPCs other than the default one are")?;
        let id = VpcId::random(&mut rand::thread_rng()).to_string();
        let mut tx = self.store.begin().await?;
        let rules = rules_turn_in_txn(&mut tx).await?;
        let networks = networks_turn_in_txn(&mut tx).await?;
        if vpc_list_in_txn(&mut tx, account).await?.len() >= self.limits.vpcs_per_account {
            return Err(too_many());
        }
        let tag =
            segment_tag_take_in_txn(&mut tx, &id, &TagPool::of_cloud(self.segment_tags.clone())).await?;
        let no_tag = || {
            let sentence = "No segment is left in this cloud for the network of another VPC.";
            Fault::new(FaultCode::VpcLimitExceeded, sentence)
        };
        let vpc = Vpc {
            dhcp_options_id: default_dhcp_options_in_txn(&mut tx, account).await?,
            transit: tag.ok_or_else(no_tag)?,
            ..Vpc::plain(&id, account, &range.to_string())
        };
        vpc_with_parts_insert_in_txn(&mut tx, rules, networks, &vpc).await?;
        tags_put_in_txn(&mut tx, account, Taggable::Vpc, &vpc.id, tags).await?;
        if dry {
            return Ok(vpc);
        }
        self.store.commit_and_forget(tx).await?;
        self.networks_changed();
        tracing::info!(vpc = vpc.id, account, cidr = vpc.cidr, transit = vpc.transit, "VPC created");
        Ok(vpc)
    }

    /// The default VPC, again. `dry`: not after all.
    pub async fn default_vpc_create(&self, account: &str, dry: bool) -> Result<Vpc, Fault> {
        let mut tx = self.store.begin().await?;
        let rules = rules_turn_in_txn(&mut tx).await?;
        let networks = networks_turn_in_txn(&mut tx).await?;
        let have = vpc_list_in_txn(&mut tx, account).await?;
        if have.iter().any(|vpc| vpc.is_default) {
            let sentence = "A Default VPC already exists for this account in this region.";
            return Err(Fault::new(FaultCode::DefaultVpcAlreadyExists, sentence));
        }
        if have.len() >= self.limits.vpcs_per_account {
            return Err(too_many());
        }
        let vpc =
            default_vpc_insert_in_txn(&mut tx, rules, networks, account, self.default_subnets_public).await?;
        // With its subnets, its range may be another.
        let vpc = vpc_fetch_in_txn(&mut tx, &vpc.id).await?.unwrap_or(vpc);
        if dry {
            return Ok(vpc);
        }
        self.store.commit_and_forget(tx).await?;
        self.networks_changed();
        tracing::info!(vpc = vpc.id, account, "default VPC created");
        Ok(vpc)
    }

    /// Not while there is more in it than what it had from its beginning. `dry`: not at all.
    pub async fn vpc_delete(&self, caller: Caller<'_>, id: &str, dry: bool) -> Result<(), Fault> {
        let vpc = self.vpc_named(caller, id).await?;
        let mut tx = self.store.begin().await?;
        counter_next_in_txn(&mut tx, "instances").await?; // whoever tags it takes this turn, too
        let rules = rules_turn_in_txn(&mut tx).await?;
        let networks = networks_turn_in_txn(&mut tx).await?;
        let id: VpcId = vpc.id.parse()?;
        if vpc_fetch_in_txn(&mut tx, &vpc.id).await?.is_none() {
            return Err(id.not_found());
        }
        let groups = security_groups_of_vpc_in_txn(&mut tx, &vpc.id).await?;
        if let Some(dependency) = dependency_in_txn(&mut tx, &vpc, &groups).await? {
            return Err(has_dependencies("vpc", &vpc.id, &dependency));
        }
        for table in route_tables_of_vpc_in_txn(&mut tx, &vpc.id).await? {
            tags_drop_in_txn(&mut tx, &table.id).await?;
            network_gone_in_txn(&mut tx, networks, &ShapeKey::RouteTable(table.id.parse()?)).await?;
        }
        for acl in network_acls_of_vpc_in_txn(&mut tx, &vpc.id).await? {
            tags_drop_in_txn(&mut tx, &acl.id).await?;
            network_gone_in_txn(&mut tx, networks, &ShapeKey::Acl(acl.id.parse()?)).await?;
        }
        for group in &groups {
            group_delete_in_txn(&mut tx, rules, &group.id).await?;
        }
        network_gone_in_txn(&mut tx, networks, &ShapeKey::Vpc(id)).await?;
        tags_drop_in_txn(&mut tx, &vpc.id).await?;
        segment_tag_free_in_txn(&mut tx, &vpc.id).await?;
        vpc_delete_in_txn(&mut tx, &vpc.id).await?;
        if dry {
            return Ok(());
        }
        self.store.commit_and_forget(tx).await?;
        self.networks_changed();
        tracing::info!(vpc = vpc.id, account = vpc.account, "VPC deleted");
        Ok(())
    }

    pub async fn vpc_range_associate(
        &self,
        caller: Caller<'_>,
        id: &str,
        cidr: &str,
    ) -> Result<(Vpc, VpcRange), Fault> {
        let seen = self.vpc_named(caller, id).await?;
        if seen.is_default {
            return Err(not_in_default_vpc("A further CIDR block"));
        }
        let id: VpcId = seen.id.parse()?;
        // Launches that have looked it up are in the books before anybody looks there for who is to hear of it.
        let _alone = self.networks_held.write().await;
        let (mut tx, number) = self.store.begin_numbered().await?;
        let networks = networks_turn_in_txn(&mut tx).await?;
        let vpc = vpc_fetch_in_txn(&mut tx, id.as_str()).await?.ok_or_else(|| id.not_found())?;
        let range = more_of_vpc(&vpc, cidr, self.limits.cidr_blocks_per_vpc)?;
        let association = VpcCidrAssociationId::random(&mut rand::thread_rng());
        let range = VpcRange { association_id: association.into(), cidr: range.to_string() };
        vpc_range_insert_in_txn(&mut tx, &vpc.id, &range).await?;
        network_touch_in_txn(&mut tx, networks, &ShapeKey::Vpc(id)).await?;
        routes_to_lists_touched_in_txn(&mut tx, networks, &vpc.id).await?;
        let hearers = self.ranges_told_in_txn(&mut tx, number, caller, &vpc.id).await?;
        self.store.commit_and_forget(tx).await?;
        self.adopt(hearers);
        self.networks_changed();
        Ok((vpc, range))
    }

    /// Not while a subnet is in it.
    pub async fn vpc_range_disassociate(
        &self,
        caller: Caller<'_>,
        association: &str,
    ) -> Result<(Vpc, VpcRange), Fault> {
        let id: VpcCidrAssociationId = association.parse()?;
        let _alone = self.networks_held.write().await; // as when it was associated
        let (mut tx, number) = self.store.begin_numbered().await?;
        let networks = networks_turn_in_txn(&mut tx).await?;
        let first = super::parts::part_id(VpcId::PREFIX, &id.as_str()[VpcCidrAssociationId::PREFIX.len()..]);
        let further = vpc_of_range_in_txn(&mut tx, id.as_str()).await?;
        let vpc = vpc_fetch_in_txn(&mut tx, further.as_deref().unwrap_or(&first)).await?;
        let seen = vpc.filter(|vpc| caller.administrator || vpc.account == caller.account);
        let vpc = seen.ok_or_else(|| id.not_found())?;
        let Some(range) = vpc.more_ranges.iter().find(|range| range.association_id == id.as_str()) else {
            let sentence = format!(
                "The vpc CIDR block with association ID {id} may not be disassociated. It is the primary IPv4 CIDR \
                 block of the VPC"
            );
            return Err(Fault::new(FaultCode::OperationNotPermitted, sentence));
        };
        let whole = Cidr::parse(&range.cidr);
        let within = |cidr: &str| whole.zip(Cidr::parse(cidr)).is_some_and(|(whole, one)| whole.covers(&one));
        if subnets_of_vpc_in_txn(&mut tx, &vpc.id).await?.iter().any(|subnet| within(&subnet.cidr)) {
            let sentence =
                format!("The vpc {} currently has a subnet within CIDR block {}", vpc.id, range.cidr);
            return Err(Fault::new(FaultCode::InvalidCidrBlockInUse, sentence));
        }
        vpc_range_delete_in_txn(&mut tx, id.as_str()).await?;
        network_touch_in_txn(&mut tx, networks, &ShapeKey::Vpc(vpc.id.parse()?)).await?;
        routes_to_lists_touched_in_txn(&mut tx, networks, &vpc.id).await?;
        let hearers = self.ranges_told_in_txn(&mut tx, number, caller, &vpc.id).await?;
        self.store.commit_and_forget(tx).await?;
        self.adopt(hearers);
        self.networks_changed();
        Ok((vpc.clone(), range.clone()))
    }
}

/// What keeps a VPC from going, as it is told.
async fn dependency_in_txn(
    tx: &mut Tx,
    vpc: &Vpc,
    groups: &[SecurityGroup],
) -> Result<Option<String>, Fault> {
    if let Some(subnet) = subnets_of_vpc_in_txn(tx, &vpc.id).await?.first() {
        return Ok(Some(format!("subnet '{}'", subnet.id)));
    }
    if let Some(gateway) = internet_gateway_of_vpc_in_txn(tx, &vpc.id).await? {
        return Ok(Some(format!("internet gateway '{}'", gateway.id)));
    }
    for group in groups {
        if group.name != DEFAULT {
            return Ok(Some(format!("security group '{}'", group.id)));
        }
        if let Some(other) = group_referrer_in_txn(tx, &group.id).await? {
            return Ok(Some(format!("a rule of security group '{other}'")));
        }
    }
    let main = main_route_table_in_txn(tx, &vpc.id).await?.map(|main| main.route_table_id);
    let tables = route_tables_of_vpc_in_txn(tx, &vpc.id).await?;
    if let Some(table) = tables.iter().find(|table| Some(&table.id) != main.as_ref()) {
        return Ok(Some(format!("route table '{}'", table.id)));
    }
    let acls = network_acls_of_vpc_in_txn(tx, &vpc.id).await?;
    let other = acls.iter().find(|acl| !acl.is_default);
    Ok(other.map(|acl| format!("network ACL '{}'", acl.id)))
}
