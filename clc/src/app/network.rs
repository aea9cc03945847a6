//! Default networks: each account has a VPC, a subnet in every zone and a security group, as EC2 gives
//! them, so that users who never say VPC need not.
//!
//! Behind a zone there is one flat bridge for now, so the accounts' subnets of a zone share one range.

use super::App;
use super::cluster::ClusterLink;
use super::security_group::{DEFAULT, default_rules};
use crate::store::cluster::cluster_put_in_txn;
use crate::store::network::{
    SecurityGroup, Subnet, Vpc, default_subnets_in_txn, default_vpcs_in_txn, security_group_insert_in_txn,
    subnet_insert_in_txn, subnets_of_zone_update_in_txn, vpc_insert_in_txn,
};
use crate::store::security_group::{rule_insert_in_txn, rules_turn_in_txn};
use crate::store::{StoreError, Tx};
use karri_proto::ids::{SecurityGroupId, SubnetId, VpcId};
use karri_proto::internal::ApiError;
use karri_proto::internal::clusters::ClusterHello;
use std::collections::HashSet;
use std::sync::Arc;

pub const DEFAULT_VPC_CIDR: &str = "172.31.0.0/16";

fn default_subnet(account: &str, vpc_id: &str, hello: &ClusterHello) -> Subnet {
    Subnet {
        id: SubnetId::random(&mut rand::thread_rng()).to_string(),
        account: account.to_owned(),
        vpc_id: vpc_id.to_owned(),
        zone: hello.zone.clone(),
        cidr: hello.subnet_cidr.clone(),
        gateway: hello.gateway,
        is_default: true,
    }
}

/// A new account's network.
pub async fn account_defaults_in_txn(
    tx: &mut Tx,
    account: &str,
    clusters: &[Arc<ClusterLink>],
) -> Result<(), StoreError> {
    let vpc = Vpc {
        id: VpcId::random(&mut rand::thread_rng()).to_string(),
        account: account.to_owned(),
        cidr: DEFAULT_VPC_CIDR.to_owned(),
        is_default: true,
    };
    vpc_insert_in_txn(tx, &vpc).await?;
    let id = SecurityGroupId::random(&mut rand::thread_rng());
    let group = SecurityGroup {
        id: id.to_string(),
        account: account.to_owned(),
        vpc_id: vpc.id.clone(),
        name: DEFAULT.to_owned(),
        description: "default VPC security group".to_owned(),
    };
    let change = rules_turn_in_txn(tx).await?;
    security_group_insert_in_txn(tx, &group).await?;
    for rule in default_rules(&id, account) {
        rule_insert_in_txn(tx, change, &rule).await?;
    }
    for cluster in clusters {
        subnet_insert_in_txn(tx, &default_subnet(account, &vpc.id, &cluster.hello())).await?;
    }
    Ok(())
}

impl App {
    /// A cluster says where it is. A zone that is new gets a subnet in every account.
    pub async fn cluster_hello(&self, name: &str, hello: ClusterHello) -> Result<(), ApiError> {
        if let Some(link) = self.clusters.get(name) {
            link.saw(super::steady_ms());
            if link.hello() == hello {
                return Ok(());
            }
        }
        self.check_hello(name, &hello)?;
        let mut tx = self.store.begin().await?;
        cluster_put_in_txn(&mut tx, name, &hello).await?;
        subnets_of_zone_update_in_txn(&mut tx, &hello.zone, &hello.subnet_cidr, hello.gateway).await?;
        let present = default_subnets_in_txn(&mut tx, &hello.zone).await?;
        let present: HashSet<&str> = present.iter().map(|subnet| subnet.vpc_id.as_str()).collect();
        for vpc in default_vpcs_in_txn(&mut tx).await? {
            if !present.contains(vpc.id.as_str()) {
                subnet_insert_in_txn(&mut tx, &default_subnet(&vpc.account, &vpc.id, &hello)).await?;
            }
        }
        self.store.commit_and_forget(tx).await?;
        tracing::info!(cluster = name, zone = hello.zone, url = hello.url, "cluster made itself known");
        self.cluster_link(name, hello)?;
        if let Some(link) = self.clusters.get(name) {
            link.saw(super::steady_ms());
        }
        Ok(())
    }

    fn check_hello(&self, name: &str, hello: &ClusterHello) -> Result<(), ApiError> {
        if super::address::Cidr::parse(&hello.subnet_cidr).is_none() {
            return Err(ApiError::invalid(format!("{} is not a usable range", hello.subnet_cidr)));
        }
        match self.clusters.by_zone(&hello.zone) {
            Some(other) if other.name != name => {
                Err(ApiError::conflict(format!("zone {} is cluster {}", hello.zone, other.name)))
            }
            _ => Ok(()),
        }
    }
}
