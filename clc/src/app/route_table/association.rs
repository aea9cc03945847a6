//! Which subnets go by which table. A VPC's main one is for every subnet that has none of its own.

use crate::app::App;
use crate::app::instance::control::Caller;
use crate::app::vpc::flat::Flat;
use crate::store::Tx;
use crate::store::network_change::networks_turn_in_txn;
use crate::store::route_table::{
    RouteTableAssociation, route_table_association_delete_in_txn, route_table_association_fetch_in_txn,
    route_table_association_insert_in_txn, route_table_association_of_subnet_in_txn,
    route_table_fetch_in_txn, subnets_by_main_table_in_txn,
};
use crate::store::subnet::{Subnet, subnet_fetch_in_txn};
use crate::store::told::touched_in_txn;
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::{RouteTableAssociationId, SubnetId};
use karri_proto::network::ShapeKey;

fn elsewhere(table: &str, what: &str) -> Fault {
    Fault::invalid_parameter(format!("Route table {table} and {what} belong to different networks"))
}

impl App {
    /// A subnet that the caller may act on.
    pub async fn subnet_seen_in_txn(
        &self,
        tx: &mut Tx,
        caller: Caller<'_>,
        id: &str,
    ) -> Result<Subnet, Fault> {
        let id: SubnetId = id.parse()?;
        let found = subnet_fetch_in_txn(tx, id.as_str()).await?;
        found.filter(|subnet| caller.may_touch_of(&subnet.account)).ok_or_else(|| id.not_found())
    }

    /// With the id of the association. Told once more of the same table, nothing is changed.
    pub async fn route_table_associate(
        &self,
        caller: Caller<'_>,
        table: &str,
        subnet: &str,
        dry: bool,
    ) -> Result<String, Fault> {
        let mut tx = self.store.begin().await?;
        let change = networks_turn_in_txn(&mut tx).await?;
        let table = self.route_table_seen_in_txn(&mut tx, caller, table).await?;
        let subnet = self.subnet_seen_in_txn(&mut tx, caller, subnet).await?;
        if table.vpc_id != subnet.vpc_id {
            return Err(elsewhere(&table.id, &format!("subnet {}", subnet.id)));
        }
        if let Some(present) = route_table_association_of_subnet_in_txn(&mut tx, &subnet.id).await? {
            if present.route_table_id == table.id {
                return Ok(present.id);
            }
            let sentence = format!(
                "the specified association for route table {} conflicts with an existing association",
                table.id
            );
            return Err(Fault::new(FaultCode::ResourceAlreadyAssociated, sentence));
        }
        let association = RouteTableAssociation {
            id: RouteTableAssociationId::random(&mut rand::thread_rng()).to_string(),
            route_table_id: table.id,
            vpc_id: table.vpc_id,
            subnet_id: Some(subnet.id.clone()),
        };
        let flat = Flat::before_in_txn(&mut tx, &subnet.vpc_id).await?;
        route_table_association_insert_in_txn(&mut tx, &association).await?;
        flat.check_in_txn(&mut tx).await?;
        touched_in_txn(&mut tx, change, ShapeKey::Subnet, &subnet.id).await?;
        self.networks_commit(tx, dry).await?;
        Ok(association.id)
    }

    async fn association_seen_in_txn(
        &self,
        tx: &mut Tx,
        caller: Caller<'_>,
        id: &str,
    ) -> Result<RouteTableAssociation, Fault> {
        let id: RouteTableAssociationId = id.parse()?;
        let found = route_table_association_fetch_in_txn(tx, id.as_str()).await?;
        let found = found.ok_or_else(|| id.not_found())?;
        let table = route_table_fetch_in_txn(tx, &found.route_table_id).await?;
        let seen = table.is_some_and(|table| caller.may_touch_of(&table.account));
        if seen { Ok(found) } else { Err(id.not_found()) }
    }

    /// The table of an association.
    pub async fn route_table_of_association(&self, caller: Caller<'_>, id: &str) -> Result<String, Fault> {
        let mut tx = self.store.begin().await?;
        Ok(self.association_seen_in_txn(&mut tx, caller, id).await?.route_table_id)
    }

    /// The subnet goes by the main table then, which itself cannot be let go of.
    pub async fn route_table_disassociate(
        &self,
        caller: Caller<'_>,
        id: &str,
        dry: bool,
    ) -> Result<(), Fault> {
        let mut tx = self.store.begin().await?;
        let change = networks_turn_in_txn(&mut tx).await?;
        let association = self.association_seen_in_txn(&mut tx, caller, id).await?;
        let Some(subnet) = &association.subnet_id else {
            let sentence = format!("cannot disassociate the main route table association {id}");
            return Err(Fault::invalid_parameter(sentence));
        };
        let flat = Flat::before_in_txn(&mut tx, &association.vpc_id).await?;
        route_table_association_delete_in_txn(&mut tx, id).await?;
        flat.check_in_txn(&mut tx).await?;
        touched_in_txn(&mut tx, change, ShapeKey::Subnet, subnet).await?;
        self.networks_commit(tx, dry).await
    }

    /// With the id of the new association. That of the main table is how a VPC gets another one.
    pub async fn route_table_association_replace(
        &self,
        caller: Caller<'_>,
        id: &str,
        table: &str,
        dry: bool,
    ) -> Result<String, Fault> {
        let mut tx = self.store.begin().await?;
        let change = networks_turn_in_txn(&mut tx).await?;
        let old = self.association_seen_in_txn(&mut tx, caller, id).await?;
        let table = self.route_table_seen_in_txn(&mut tx, caller, table).await?;
        if table.vpc_id != old.vpc_id {
            return Err(elsewhere(&table.id, &format!("association {id}")));
        }
        let new = RouteTableAssociation {
            id: RouteTableAssociationId::random(&mut rand::thread_rng()).to_string(),
            route_table_id: table.id,
            ..old.clone()
        };
        let flat = Flat::before_in_txn(&mut tx, &old.vpc_id).await?;
        route_table_association_delete_in_txn(&mut tx, &old.id).await?;
        route_table_association_insert_in_txn(&mut tx, &new).await?;
        flat.check_in_txn(&mut tx).await?;
        let subnets = match &new.subnet_id {
            Some(subnet) => vec![subnet.clone()],
            None => subnets_by_main_table_in_txn(&mut tx, &new.vpc_id).await?,
        };
        for subnet in &subnets {
            touched_in_txn(&mut tx, change, ShapeKey::Subnet, subnet).await?;
        }
        self.networks_commit(tx, dry).await?;
        Ok(new.id)
    }
}
