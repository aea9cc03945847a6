//! Internet gateways: what makes a VPC's routes to the internet lead somewhere.

use super::App;
use super::instance::control::Caller;
use super::tag::{Taggable, Tags};
use super::vpc::flat::Flat;
use crate::store::internet_gateway::{
    InternetGateway, internet_gateway_attach_in_txn, internet_gateway_count_in_txn,
    internet_gateway_delete_in_txn, internet_gateway_fetch_in_txn, internet_gateway_insert_in_txn,
    internet_gateway_of_vpc_in_txn,
};
use crate::store::network_change::networks_turn_in_txn;
use crate::store::public_address::vpc_has_public_address_in_txn;
use crate::store::tag::tags_put_in_txn;
use crate::store::told::{routes_to_touched_in_txn, touched_in_txn};
use crate::store::vpc::{Vpc, vpc_fetch_in_txn};
use crate::store::{StoreError, Tx};
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::{InternetGatewayId, VpcId};
use karri_proto::network::ShapeKey;

pub fn not_attached(gateway: &str, vpc: &str) -> Fault {
    let sentence = format!("resource {gateway} is not attached to network {vpc}");
    Fault::new(FaultCode::GatewayNotAttached, sentence)
}

impl App {
    /// Ends a change of networks. `dry`: it is not made after all.
    pub async fn networks_commit(&self, tx: Tx, dry: bool) -> Result<(), Fault> {
        if !dry {
            tx.commit().await.map_err(StoreError::from)?;
            self.networks_changed();
        }
        Ok(())
    }

    /// A VPC that the caller may act on.
    pub async fn vpc_seen_in_txn(&self, tx: &mut Tx, caller: Caller<'_>, id: &str) -> Result<Vpc, Fault> {
        let id: VpcId = id.parse()?;
        let found = vpc_fetch_in_txn(tx, id.as_str()).await?;
        found.filter(|vpc| caller.may_touch_of(&vpc.account)).ok_or_else(|| id.not_found())
    }

    pub async fn internet_gateway_seen_in_txn(
        &self,
        tx: &mut Tx,
        caller: Caller<'_>,
        id: &str,
    ) -> Result<InternetGateway, Fault> {
        let id: InternetGatewayId = id.parse()?;
        let found = internet_gateway_fetch_in_txn(tx, id.as_str()).await?;
        found.filter(|gateway| caller.may_touch_of(&gateway.account)).ok_or_else(|| id.not_found())
    }

    pub async fn internet_gateway_create(
        &self,
        account: &str,
        tags: &Tags,
        dry: bool,
    ) -> Result<InternetGateway, Fault> {
        let id = InternetGatewayId::random(&mut rand::thread_rng()).to_string();
        let gateway = InternetGateway { id, account: account.to_owned(), vpc_id: None };
        let mut tx = self.store.begin().await?;
        networks_turn_in_txn(&mut tx).await?;
        let limit = self.limits.internet_gateways_per_account;
        if internet_gateway_count_in_txn(&mut tx, account).await? >= limit {
            let sentence = format!("The maximum number of internet gateways has been reached ({limit}).");
            return Err(Fault::new(FaultCode::InternetGatewayLimitExceeded, sentence));
        }
        internet_gateway_insert_in_txn(&mut tx, &gateway).await?;
        tags_put_in_txn(&mut tx, account, Taggable::InternetGateway, &gateway.id, tags).await?;
        self.networks_commit(tx, dry).await?;
        Ok(gateway)
    }

    pub async fn internet_gateway_attach(
        &self,
        caller: Caller<'_>,
        id: &str,
        vpc: &str,
        dry: bool,
    ) -> Result<(), Fault> {
        let mut tx = self.store.begin().await?;
        let change = networks_turn_in_txn(&mut tx).await?;
        let gateway = self.internet_gateway_seen_in_txn(&mut tx, caller, id).await?;
        let vpc = self.vpc_seen_in_txn(&mut tx, caller, vpc).await?;
        if let Some(other) = &gateway.vpc_id {
            let sentence = format!("resource {id} is already attached to network {other}");
            return Err(Fault::new(FaultCode::ResourceAlreadyAssociated, sentence));
        }
        if internet_gateway_of_vpc_in_txn(&mut tx, &vpc.id).await?.is_some() {
            let sentence = format!("Network {} already has an internet gateway attached", vpc.id);
            return Err(Fault::invalid_parameter(sentence));
        }
        if gateway.account != vpc.account {
            return Err(Fault::invalid_parameter(format!(
                "{id} and {} belong to different accounts",
                vpc.id
            )));
        }
        internet_gateway_attach_in_txn(&mut tx, id, Some(&vpc.id)).await?;
        touched_in_txn(&mut tx, change, ShapeKey::Vpc, &vpc.id).await?;
        routes_to_touched_in_txn(&mut tx, change, id).await?;
        self.networks_commit(tx, dry).await
    }

    /// Not while public addresses lead into the VPC.
    pub async fn internet_gateway_detach(
        &self,
        caller: Caller<'_>,
        id: &str,
        vpc: &str,
        dry: bool,
    ) -> Result<(), Fault> {
        let mut tx = self.store.begin().await?;
        let change = networks_turn_in_txn(&mut tx).await?;
        let gateway = self.internet_gateway_seen_in_txn(&mut tx, caller, id).await?;
        let vpc = self.vpc_seen_in_txn(&mut tx, caller, vpc).await?;
        if gateway.vpc_id.as_ref() != Some(&vpc.id) {
            return Err(not_attached(id, &vpc.id));
        }
        if vpc_has_public_address_in_txn(&mut tx, &vpc.id).await? {
            let sentence = format!(
                "Network {} has some mapped public address(es). Please unmap those public address(es) before \
                 detaching the gateway.",
                vpc.id
            );
            return Err(Fault::new(FaultCode::DependencyViolation, sentence));
        }
        let flat = Flat::before_in_txn(&mut tx, &vpc.id).await?;
        internet_gateway_attach_in_txn(&mut tx, id, None).await?;
        flat.check_in_txn(&mut tx).await?;
        touched_in_txn(&mut tx, change, ShapeKey::Vpc, &vpc.id).await?;
        routes_to_touched_in_txn(&mut tx, change, id).await?;
        self.networks_commit(tx, dry).await
    }

    pub async fn internet_gateway_delete(
        &self,
        caller: Caller<'_>,
        id: &str,
        dry: bool,
    ) -> Result<(), Fault> {
        let mut tx = self.store.begin().await?;
        networks_turn_in_txn(&mut tx).await?;
        let gateway = self.internet_gateway_seen_in_txn(&mut tx, caller, id).await?;
        if gateway.vpc_id.is_some() {
            let sentence = format!("The internetGateway '{id}' has dependencies and cannot be deleted.");
            return Err(Fault::new(FaultCode::DependencyViolation, sentence));
        }
        internet_gateway_delete_in_txn(&mut tx, id).await?;
        self.networks_commit(tx, dry).await
    }
}
