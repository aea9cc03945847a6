//! Network ACLs: ordered entries, without memory of what passed before, at the edge of a subnet.

use super::App;
use super::creation::{made_before_in_txn, made_in_txn};
use super::image::task::Token;
use super::instance::control::Caller;
use super::tag::{Taggable, Tags};
use super::vpc::flat::Flat;
use crate::store::Tx;
use crate::store::creation_token::creation_token_drop_in_txn;
use crate::store::network_acl::{
    NetworkAcl, NetworkAclAssociation, NetworkAclEntry, network_acl_association_delete_in_txn,
    network_acl_association_fetch_in_txn, network_acl_association_insert_in_txn, network_acl_delete_in_txn,
    network_acl_entry_count_in_txn, network_acl_entry_delete_in_txn, network_acl_entry_insert_in_txn,
    network_acl_fetch_in_txn, network_acl_insert_in_txn, network_acl_user_in_txn, network_acls_of_vpc_in_txn,
};
use crate::store::network_change::networks_turn_in_txn;
use crate::store::tag::tags_put_in_txn;
use crate::store::told::{gone_in_txn, touched_in_txn};
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::{AclAssociationId, NetworkAclId};
use karri_proto::network::{AclEntry, ShapeKey};

/// The last entry of every ACL, which refuses what is left; nobody writes or removes it.
pub const LAST_NUMBER: u16 = 32_767;

/// Whether there is to be an entry of that number already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    New,
    InPlace,
}

fn no_entry(number: u16) -> Fault {
    let sentence = format!("The network acl entry identified by {number} does not exist.");
    Fault::new(FaultCode::InvalidNetworkAclEntryNotFound, sentence)
}

impl App {
    pub async fn network_acl_seen_in_txn(
        &self,
        tx: &mut Tx,
        caller: Caller<'_>,
        id: &str,
    ) -> Result<NetworkAcl, Fault> {
        let id: NetworkAclId = id.parse()?;
        let found = network_acl_fetch_in_txn(tx, id.as_str()).await?;
        found.filter(|acl| caller.may_touch_of(&acl.account)).ok_or_else(|| id.not_found())
    }

    /// Without entries: nothing passes.
    pub async fn network_acl_create(
        &self,
        caller: Caller<'_>,
        vpc: &str,
        token: &Token,
        tags: &Tags,
        dry: bool,
    ) -> Result<NetworkAcl, Fault> {
        let mut tx = self.store.begin().await?;
        let change = networks_turn_in_txn(&mut tx).await?;
        if let Some(earlier) = made_before_in_txn(&mut tx, caller.account, token).await? {
            return self.network_acl_seen_in_txn(&mut tx, caller, &earlier).await;
        }
        let vpc = self.vpc_seen_in_txn(&mut tx, caller, vpc).await?;
        let limit = self.limits.network_acls_per_vpc;
        if network_acls_of_vpc_in_txn(&mut tx, &vpc.id).await?.len() >= limit {
            let sentence = format!("The maximum number of network ACLs has been reached ({limit}).");
            return Err(Fault::new(FaultCode::NetworkAclLimitExceeded, sentence));
        }
        let id = NetworkAclId::random(&mut rand::thread_rng()).to_string();
        let acl = NetworkAcl { id, account: vpc.account, vpc_id: vpc.id, is_default: false };
        network_acl_insert_in_txn(&mut tx, &acl).await?;
        tags_put_in_txn(&mut tx, &acl.account, Taggable::NetworkAcl, &acl.id, tags).await?;
        made_in_txn(&mut tx, caller.account, token, &acl.id).await?;
        touched_in_txn(&mut tx, change, ShapeKey::Acl, &acl.id).await?;
        self.networks_commit(tx, dry).await?;
        Ok(acl)
    }

    pub async fn network_acl_delete(&self, caller: Caller<'_>, id: &str, dry: bool) -> Result<(), Fault> {
        let mut tx = self.store.begin().await?;
        let change = networks_turn_in_txn(&mut tx).await?;
        let acl = self.network_acl_seen_in_txn(&mut tx, caller, id).await?;
        if acl.is_default {
            return Err(Fault::invalid_parameter(format!("cannot delete default network ACL {id}")));
        }
        if network_acl_user_in_txn(&mut tx, id).await?.is_some() {
            let sentence = format!("The networkAcl '{id}' has dependencies and cannot be deleted.");
            return Err(Fault::new(FaultCode::DependencyViolation, sentence));
        }
        network_acl_delete_in_txn(&mut tx, id).await?;
        creation_token_drop_in_txn(&mut tx, id).await?;
        gone_in_txn(&mut tx, change, ShapeKey::Acl, id).await?;
        self.networks_commit(tx, dry).await
    }

    pub async fn network_acl_entry_put(
        &self,
        caller: Caller<'_>,
        acl: &str,
        egress: bool,
        entry: AclEntry,
        put: Put,
        dry: bool,
    ) -> Result<(), Fault> {
        let mut tx = self.store.begin().await?;
        let change = networks_turn_in_txn(&mut tx).await?;
        let acl = self.network_acl_seen_in_txn(&mut tx, caller, acl).await?;
        let flat = Flat::before_in_txn(&mut tx, &acl.vpc_id).await?;
        let number = entry.number;
        let there = network_acl_entry_delete_in_txn(&mut tx, &acl.id, egress, number).await?;
        match (put, there) {
            (Put::New, true) => {
                let sentence = format!("The network acl entry identified by {number} already exists.");
                return Err(Fault::new(FaultCode::NetworkAclEntryAlreadyExists, sentence));
            }
            (Put::InPlace, false) => return Err(no_entry(number)),
            (Put::New, false) | (Put::InPlace, true) => {}
        }
        let limit = self.limits.entries_per_network_acl;
        if network_acl_entry_count_in_txn(&mut tx, &acl.id, egress).await? >= limit {
            let sentence = format!("The maximum number of network ACL entries has been reached ({limit}).");
            return Err(Fault::new(FaultCode::NetworkAclEntryLimitExceeded, sentence));
        }
        let row = NetworkAclEntry { acl_id: acl.id, egress, entry };
        network_acl_entry_insert_in_txn(&mut tx, &row).await?;
        flat.check_in_txn(&mut tx).await?;
        touched_in_txn(&mut tx, change, ShapeKey::Acl, &row.acl_id).await?;
        self.networks_commit(tx, dry).await
    }

    pub async fn network_acl_entry_delete(
        &self,
        caller: Caller<'_>,
        acl: &str,
        egress: bool,
        number: u16,
        dry: bool,
    ) -> Result<(), Fault> {
        let mut tx = self.store.begin().await?;
        let change = networks_turn_in_txn(&mut tx).await?;
        let acl = self.network_acl_seen_in_txn(&mut tx, caller, acl).await?;
        let flat = Flat::before_in_txn(&mut tx, &acl.vpc_id).await?;
        if !network_acl_entry_delete_in_txn(&mut tx, &acl.id, egress, number).await? {
            return Err(no_entry(number));
        }
        flat.check_in_txn(&mut tx).await?;
        touched_in_txn(&mut tx, change, ShapeKey::Acl, &acl.id).await?;
        self.networks_commit(tx, dry).await
    }

    /// A subnet goes by another ACL. With the id of the new association.
    pub async fn network_acl_association_replace(
        &self,
        caller: Caller<'_>,
        id: &str,
        acl: &str,
        dry: bool,
    ) -> Result<String, Fault> {
        let mut tx = self.store.begin().await?;
        let change = networks_turn_in_txn(&mut tx).await?;
        let id: AclAssociationId = id.parse()?;
        let old = network_acl_association_fetch_in_txn(&mut tx, id.as_str()).await?;
        let old = old.ok_or_else(|| id.not_found())?;
        let before = network_acl_fetch_in_txn(&mut tx, &old.acl_id).await?;
        let before = before.filter(|acl| caller.may_touch_of(&acl.account)).ok_or_else(|| id.not_found())?;
        let acl = self.network_acl_seen_in_txn(&mut tx, caller, acl).await?;
        if acl.vpc_id != before.vpc_id {
            let sentence =
                format!("Network ACL {} and subnet {} belong to different networks", acl.id, old.subnet_id);
            return Err(Fault::invalid_parameter(sentence));
        }
        let new = NetworkAclAssociation {
            id: AclAssociationId::random(&mut rand::thread_rng()).to_string(),
            acl_id: acl.id,
            subnet_id: old.subnet_id,
        };
        let flat = Flat::before_in_txn(&mut tx, &before.vpc_id).await?;
        network_acl_association_delete_in_txn(&mut tx, &old.id).await?;
        network_acl_association_insert_in_txn(&mut tx, &new).await?;
        flat.check_in_txn(&mut tx).await?;
        touched_in_txn(&mut tx, change, ShapeKey::Subnet, &new.subnet_id).await?;
        self.networks_commit(tx, dry).await?;
        Ok(new.id)
    }
}
