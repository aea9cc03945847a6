//! Default networks: each account has a VPC, a subnet in every zone and a security group, as EC2 gives them, so that users
//! who never say VPC need not.
//!
//! Behind a zone there is one flat bridge for them, so the accounts' default subnets of a zone share one range.

use super::App;
use super::security_group::{DEFAULT, default_rules};
use super::vpc::flat::bars_subnets_in_txn;
use super::vpc::parts::part_id;
use crate::store::cluster::{cluster_list_in_txn, cluster_put_in_txn};
use crate::store::dhcp_options::default_dhcp_options_in_txn;
use crate::store::network::{SecurityGroup, security_group_insert_in_txn};
use crate::store::network_change::{network_touch_in_txn, networks_turn_in_txn};
use crate::store::security_group::{rule_insert_in_txn, rules_turn_in_txn};
use crate::store::segment_tag::subnets_beside_in_txn;
use crate::store::subnet::{Subnet, subnet_insert_in_txn, subnets_of_zone_update_in_txn};
use crate::store::vpc::{Vpc, default_vpcs_in_txn, vpc_insert_in_txn};
use crate::store::vpc_parts::{
    account_dhcp_options_insert_in_txn, subnet_parts_insert_in_txn, vpc_parts_insert_in_txn,
};
use crate::store::{StoreError, Tx};
use karri_proto::ids::{SecurityGroupId, SubnetId, VpcId};
use karri_proto::internal::ApiError;
use karri_proto::internal::clusters::ClusterHello;
use karri_proto::network::ShapeKey;
use std::collections::BTreeSet;

pub const DEFAULT_VPC_CIDR: &str = "172.31.0.0/16";

/// `public`: its instances get public addresses at launch.
pub fn default_subnet(account: &str, vpc_id: &str, hello: &ClusterHello, public: bool) -> Subnet {
    Subnet {
        id: SubnetId::random(&mut rand::thread_rng()).to_string(),
        account: account.to_owned(),
        vpc_id: vpc_id.to_owned(),
        zone: hello.zone.clone(),
        cidr: hello.subnet_cidr.clone(),
        gateway: hello.gateway,
        is_default: true,
        tag: 0,
        map_public_ip: public,
    }
}

/// A VPC with its default group and what else it has from its beginning. `rules` and `networks` are the numbers of the
/// two turns.
pub async fn vpc_with_parts_insert_in_txn(
    tx: &mut Tx,
    rules: i64,
    networks: i64,
    vpc: &Vpc,
) -> Result<(), StoreError> {
    vpc_insert_in_txn(tx, vpc).await?;
    vpc_parts_insert_in_txn(tx, networks, &vpc.id, &vpc.account, vpc.is_default).await?;
    let corrupt = |_| StoreError::corrupt("id of a VPC", &vpc.id);
    let id: SecurityGroupId = part_id(SecurityGroupId::PREFIX, &vpc.id).parse().map_err(corrupt)?;
    let group = SecurityGroup {
        id: id.to_string(),
        account: vpc.account.clone(),
        vpc_id: vpc.id.clone(),
        name: DEFAULT.to_owned(),
        description: "default VPC security group".to_owned(),
    };
    security_group_insert_in_txn(tx, &group).await?;
    for rule in default_rules(&id, &vpc.account) {
        rule_insert_in_txn(tx, rules, &rule).await?;
    }
    Ok(())
}

pub async fn subnet_with_parts_insert_in_txn(
    tx: &mut Tx,
    networks: i64,
    subnet: &Subnet,
) -> Result<(), StoreError> {
    subnet_insert_in_txn(tx, subnet).await?;
    subnet_parts_insert_in_txn(tx, networks, &subnet.id, &subnet.vpc_id).await
}

/// The account's default VPC, with a subnet in every zone.
pub async fn default_vpc_insert_in_txn(
    tx: &mut Tx,
    rules: i64,
    networks: i64,
    account: &str,
    public: bool,
) -> Result<Vpc, StoreError> {
    let id = VpcId::random(&mut rand::thread_rng()).to_string();
    let vpc = Vpc {
        is_default: true,
        dns_hostnames: true,
        dhcp_options_id: default_dhcp_options_in_txn(tx, account).await?,
        ..Vpc::plain(&id, account, DEFAULT_VPC_CIDR)
    };
    vpc_with_parts_insert_in_txn(tx, rules, networks, &vpc).await?;
    for cluster in cluster_list_in_txn(tx).await?.iter().filter(|cluster| !cluster.hello.extends) {
        let subnet = default_subnet(account, &vpc.id, &cluster.hello, public);
        subnet_with_parts_insert_in_txn(tx, networks, &subnet).await?;
    }
    Ok(vpc)
}

/// A new account's network.
pub async fn account_defaults_in_txn(tx: &mut Tx, account: &str, public: bool) -> Result<(), StoreError> {
    let rules = rules_turn_in_txn(tx).await?;
    let networks = networks_turn_in_txn(tx).await?;
    account_dhcp_options_insert_in_txn(tx, account).await?;
    default_vpc_insert_in_txn(tx, rules, networks, account, public).await.map(drop)
}

/// The subnets of a zone's flat network follow what its cluster says, and with them the ranges of their VPCs.
async fn flat_subnets_follow_in_txn(
    tx: &mut Tx,
    networks: i64,
    hello: &ClusterHello,
) -> Result<(), StoreError> {
    let moved = subnets_of_zone_update_in_txn(tx, &hello.zone, &hello.subnet_cidr, hello.gateway).await?;
    let corrupt = |_| StoreError::corrupt("id of a network", &hello.zone);
    for subnet in &moved {
        let key = ShapeKey::Subnet(subnet.id.parse().map_err(corrupt)?);
        network_touch_in_txn(tx, networks, &key).await?;
    }
    let vpcs: BTreeSet<&str> = moved.iter().map(|subnet| subnet.vpc_id.as_str()).collect();
    for vpc in vpcs {
        let key = ShapeKey::Vpc(vpc.parse().map_err(corrupt)?);
        network_touch_in_txn(tx, networks, &key).await?;
    }
    Ok(())
}

/// A subnet keeps its tag: a cluster for which it is no VLAN could not carry it.
async fn check_vlans_in_txn(tx: &mut Tx, hello: &ClusterHello) -> Result<(), ApiError> {
    let Some(vlans) = hello.vlans else { return Ok(()) };
    let beside = subnets_beside_in_txn(tx, &hello.zone, vlans).await?;
    if beside == 0 {
        return Ok(());
    }
    Err(ApiError::conflict(format!(
        "network.vlan_first, vlan_last: zone {} has {beside} subnets whose tags are not within {vlans}; delete them \
         before they are changed, or set them back",
        hello.zone
    )))
}

impl App {
    /// A cluster says where it is. A zone that is new gets a subnet in every account's default VPC.
    pub async fn cluster_hello(&self, name: &str, hello: ClusterHello) -> Result<(), ApiError> {
        if let Some(link) = self.clusters.get(name) {
            link.saw(super::steady_ms());
            if link.hello() == hello {
                return Ok(());
            }
        }
        self.check_hello(name, &hello)?;
        let mut tx = self.store.begin().await?;
        let networks = networks_turn_in_txn(&mut tx).await?;
        let known = cluster_list_in_txn(&mut tx).await?;
        let is_new = !hello.extends && !known.iter().any(|cluster| cluster.hello.zone == hello.zone);
        check_vlans_in_txn(&mut tx, &hello).await?;
        cluster_put_in_txn(&mut tx, name, &hello).await?;
        if !hello.extends {
            flat_subnets_follow_in_txn(&mut tx, networks, &hello).await?;
        }
        if is_new {
            for (vpc, account) in default_vpcs_in_txn(&mut tx).await? {
                // It has no subnets, and is not as one with subnets has to be: its gateway is detached, perhaps to delete it.
                // Its account can ask for this subnet when it is put right.
                if let Some(why) = bars_subnets_in_txn(&mut tx, &vpc).await? {
                    tracing::info!(vpc, account, zone = hello.zone, why, "no default subnet in the new zone");
                    continue;
                }
                let subnet = default_subnet(&account, &vpc, &hello, self.default_subnets_public);
                subnet_with_parts_insert_in_txn(&mut tx, networks, &subnet).await?;
                // Its range is to have this one, too.
                let corrupt = |_| StoreError::corrupt("id of a VPC", &vpc);
                let key = ShapeKey::Vpc(vpc.parse().map_err(corrupt)?);
                network_touch_in_txn(&mut tx, networks, &key).await?;
            }
        }
        self.store.commit_and_forget(tx).await?;
        tracing::info!(cluster = name, zone = hello.zone, url = hello.url, "cluster made itself known");
        self.cluster_link(name, hello)?;
        self.sites_follow();
        self.networks_changed();
        if let Some(link) = self.clusters.get(name) {
            link.saw(super::steady_ms());
        }
        Ok(())
    }

    fn check_hello(&self, name: &str, hello: &ClusterHello) -> Result<(), ApiError> {
        if super::address::Cidr::parse(&hello.subnet_cidr).is_none() {
            return Err(ApiError::invalid(format!("{} is not a usable range", hello.subnet_cidr)));
        }
        self.check_mode(name, hello)?;
        self.check_zone(name, hello)
    }
}
