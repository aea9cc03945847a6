//! Internet gateways, route tables, and which subnets go by them.

use super::{Caller, PUBLIC, TABLES_MAX, net};
use crate::model::Table;
use crate::support::vpc::told;
use crate::world::associations;
use crate::xml::Element;
use karri_proto::network::Net4;
use rand::Rng;
use rand::seq::{IteratorRandom, SliceRandom};

/// Everything, and parts of what the cloud's public addresses are in.
const DESTINATIONS: [&str; 5] = ["0.0.0.0/0", "0.0.0.0/0", "0.0.0.0/0", PUBLIC, "198.18.0.0/30"];

impl Caller<'_> {
    pub(super) async fn gateway_attach(&mut self) -> Option<()> {
        let (id, vpc) = self.any(self.model.vpcs.clone().into_iter())?;
        let loose = self.any(self.model.loose.clone().into_iter()).filter(|_| self.rng.gen_bool(0.7));
        let gateway = match loose {
            Some(gateway) => gateway,
            None => told(&self.client, "CreateInternetGateway", &[], "internetGatewayId").await,
        };
        self.model.loose.insert(gateway.clone());
        let words = vec![("InternetGatewayId", gateway.clone()), ("VpcId", id.clone())];
        let expected = if vpc.gateway.is_some() { Err("InvalidParameterValue") } else { Ok(()) };
        self.call("AttachInternetGateway", words, expected).await?;
        self.model.loose.remove(&gateway);
        self.model.vpcs.get_mut(&id)?.gateway = Some(gateway);
        Some(())
    }

    pub(super) async fn gateway_detach(&mut self) -> Option<()> {
        let (id, vpc) = self.any(self.model.vpcs.clone().into_iter())?;
        let gateway = vpc.gateway?;
        let expected = if self.model.is_mapped(&id) { Err("DependencyViolation") } else { Ok(()) };
        let words = vec![("InternetGatewayId", gateway.clone()), ("VpcId", id.clone())];
        self.call("DetachInternetGateway", words, expected).await?;
        self.model.vpcs.get_mut(&id)?.gateway = None;
        self.model.loose.insert(gateway);
        Some(())
    }

    pub(super) async fn table_create(&mut self) -> Option<()> {
        let vpc = self.any(self.model.vpcs.clone().into_keys())?;
        if self.model.tables.len() >= TABLES_MAX {
            return None;
        }
        let answer = self.call("CreateRouteTable", vec![("VpcId", vpc.clone())], Ok(())).await?;
        self.model.tables.insert(answer.one("routeTableId"), Table { vpc, routes: Default::default() });
        Some(())
    }

    pub(super) async fn table_delete(&mut self) -> Option<()> {
        let (id, table) = self.any(self.model.tables.clone().into_iter())?;
        let goes = |own: &Option<(String, String)>| own.as_ref().is_some_and(|(own, _)| *own == id);
        let main = self.model.vpcs[&table.vpc].main_table == id;
        let used = main || self.model.subnets.values().any(|subnet| goes(&subnet.table));
        let expected = if used { Err("DependencyViolation") } else { Ok(()) };
        self.call("DeleteRouteTable", vec![("RouteTableId", id.clone())], expected).await?;
        self.model.tables.remove(&id);
        Some(())
    }

    pub(super) async fn table_associate(&mut self) -> Option<()> {
        let (id, subnet) = self.any(self.model.subnets.clone().into_iter())?;
        let (table, of) = self.any(self.model.tables.clone().into_iter())?;
        let has = subnet.table.as_ref().map(|(own, _)| own);
        let expected = if of.vpc != subnet.vpc {
            Err("InvalidParameterValue")
        } else if has.is_some_and(|own| *own != table) {
            Err("Resource.AlreadyAssociated")
        } else {
            Ok(())
        };
        let words = vec![("RouteTableId", table.clone()), ("SubnetId", id.clone())];
        let association = self.call("AssociateRouteTable", words, expected).await?.one("associationId");
        self.model.subnets.get_mut(&id)?.table = Some((table, association));
        Some(())
    }

    pub(super) async fn table_disassociate(&mut self) -> Option<()> {
        let (id, subnet) = self.any(self.model.subnets.clone().into_iter())?;
        let (_, association) = subnet.table?;
        let words = vec![("AssociationId", association)];
        self.call("DisassociateRouteTable", words.clone(), Ok(())).await?;
        self.model.subnets.get_mut(&id)?.table = None;
        self.call("DisassociateRouteTable", words, Err("InvalidAssociationID.NotFound")).await;
        Some(())
    }

    /// Of a subnet, or of the VPC itself: then that has another main table.
    pub(super) async fn table_replace(&mut self) -> Option<()> {
        let (table, of) = self.any(self.model.tables.clone().into_iter())?;
        let subnet = self.any(self.model.subnets.clone().into_iter()).filter(|_| self.rng.gen_bool(0.6));
        match subnet {
            Some((id, subnet)) => {
                let (before, association) = subnet.table.filter(|(own, _)| *own != table)?;
                assert_ne!(before, table);
                let expected = if of.vpc == subnet.vpc { Ok(()) } else { Err("InvalidParameterValue") };
                let new = self.replaced(&table, association, expected).await?;
                self.model.subnets.get_mut(&id)?.table = Some((table, new));
            }
            None => {
                let main = self.model.vpcs[&of.vpc].main_table.clone();
                let words = [("RouteTableId.1", main.as_str())];
                let told = self.client.ec2("DescribeRouteTables", &words).await.ok();
                let told = Element::parse(&told.text);
                let all = associations(told.items("routeTableSet").first()?, "routeTable");
                let (_, association) = all.into_iter().find(|(subnet, _)| subnet.is_none())?;
                self.replaced(&table, association, Ok(())).await?;
                self.model.vpcs.get_mut(&of.vpc)?.main_table = table;
            }
        }
        Some(())
    }

    async fn replaced(
        &mut self,
        table: &str,
        association: String,
        expected: super::Expected,
    ) -> Option<String> {
        let words = vec![("AssociationId", association), ("RouteTableId", table.to_owned())];
        Some(self.call("ReplaceRouteTableAssociation", words, expected).await?.one("newAssociationId"))
    }

    fn destination(&mut self) -> Net4 {
        net(DESTINATIONS.choose(&mut self.rng).unwrap_or(&DESTINATIONS[0]))
    }

    /// The VPC's internet gateway, or one of its NAT gateways.
    fn gateway(&mut self, vpc: &str) -> Option<String> {
        let nats = self.model.nats.iter().filter(|(_, nat)| self.model.subnets[&nat.subnet].vpc == vpc);
        let nat = nats.map(|(id, _)| id.clone()).choose(&mut self.rng);
        let internet = self.model.vpcs[vpc].gateway.clone();
        nat.filter(|_| internet.is_none() || self.rng.gen_bool(0.5)).or(internet)
    }

    pub(super) async fn route_create(&mut self) -> Option<()> {
        let (id, table) = self.any(self.model.tables.clone().into_iter())?;
        let gateway = self.gateway(&table.vpc)?;
        let to = self.destination();
        let expected = if table.routes.contains_key(&to) { Err("RouteAlreadyExists") } else { Ok(()) };
        self.route("CreateRoute", id, to, gateway, expected).await
    }

    /// One that leads to what is no more leads out again.
    pub(super) async fn route_replace(&mut self) -> Option<()> {
        let (id, table) = self.any(self.model.tables.clone().into_iter())?;
        let gateway = self.gateway(&table.vpc)?;
        let to = self.destination();
        let expected = if table.routes.contains_key(&to) { Ok(()) } else { Err("InvalidParameterValue") };
        self.route("ReplaceRoute", id, to, gateway, expected).await
    }

    async fn route(
        &mut self,
        action: &str,
        table: String,
        to: Net4,
        gateway: String,
        expected: super::Expected,
    ) -> Option<()> {
        let kind = if self.model.nats.contains_key(&gateway) { "NatGatewayId" } else { "GatewayId" };
        let words = vec![
            ("RouteTableId", table.clone()),
            ("DestinationCidrBlock", to.to_string()),
            (kind, gateway.clone()),
        ];
        self.call(action, words, expected).await?;
        self.model.tables.get_mut(&table)?.routes.insert(to, gateway);
        Some(())
    }

    pub(super) async fn route_delete(&mut self) -> Option<()> {
        let (id, table) = self.any(self.model.tables.clone().into_iter())?;
        let to = self.destination();
        let expected = if table.routes.contains_key(&to) { Ok(()) } else { Err("InvalidRoute.NotFound") };
        let words = vec![("RouteTableId", id.clone()), ("DestinationCidrBlock", to.to_string())];
        self.call("DeleteRoute", words, expected).await?;
        self.model.tables.get_mut(&id)?.routes.remove(&to);
        Some(())
    }
}
