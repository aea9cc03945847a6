//! What a VPC has that may be changed.

use super::{NO_DHCP_OPTIONS, not_in_default_vpc};
use crate::app::App;
use crate::app::instance::control::Caller;
use crate::store::dhcp_options::dhcp_options_fetch_in_txn;
use crate::store::network_change::{network_touch_in_txn, networks_turn_in_txn};
use crate::store::vpc::{Vpc, vpc_attributes_update_in_txn, vpc_fetch_in_txn};
use crate::store::{StoreError, Tx};
use karri_proto::fault::Fault;
use karri_proto::ids::{DhcpOptionsId, VpcId};
use karri_proto::network::ShapeKey;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute {
    DnsSupport(bool),
    DnsHostnames(bool),
    UsageMetrics(bool),
}

/// The VPC as it is to be. Pure.
fn changed(vpc: &Vpc, attribute: Attribute) -> Result<Vpc, Fault> {
    let mut vpc = vpc.clone();
    match attribute {
        Attribute::DnsSupport(false) if vpc.is_default => {
            return Err(not_in_default_vpc("A network without DNS"));
        }
        Attribute::DnsHostnames(true) if !vpc.dns_support => {
            let sentence = "DNS hostnames can be enabled only while DNS support is enabled";
            return Err(Fault::invalid_parameter(sentence));
        }
        Attribute::DnsSupport(value) => vpc.dns_support = value,
        Attribute::DnsHostnames(value) => vpc.dns_hostnames = value,
        Attribute::UsageMetrics(value) => vpc.usage_metrics = value,
    }
    Ok(vpc)
}

impl App {
    pub async fn vpc_modify(&self, caller: Caller<'_>, id: &str, attribute: Attribute) -> Result<(), Fault> {
        let seen = self.vpc_named(caller, id).await?;
        let mut tx = self.store.begin().await?;
        let networks = networks_turn_in_txn(&mut tx).await?;
        let vpc = vpc_in_txn(&mut tx, &seen.id).await?;
        self.vpc_put(tx, networks, &changed(&vpc, attribute)?, false).await
    }

    /// `dry`: not after all.
    pub async fn dhcp_options_associate(
        &self,
        caller: Caller<'_>,
        vpc: &str,
        options: &str,
        dry: bool,
    ) -> Result<(), Fault> {
        let wanted: Option<DhcpOptionsId> = match options {
            NO_DHCP_OPTIONS => None,
            id => Some(id.parse()?),
        };
        let seen = self.vpc_named(caller, vpc).await?;
        let mut tx = self.store.begin().await?;
        let networks = networks_turn_in_txn(&mut tx).await?;
        let mut vpc = vpc_in_txn(&mut tx, &seen.id).await?;
        if let Some(id) = &wanted {
            let found = dhcp_options_fetch_in_txn(&mut tx, id.as_str()).await?;
            let own = found.filter(|set| set.account == vpc.account).ok_or_else(|| id.not_found())?;
            if vpc.is_default && !own.is_default {
                return Err(not_in_default_vpc("A set of DHCP options of one's own"));
            }
        }
        vpc.dhcp_options_id = wanted.map(String::from);
        self.vpc_put(tx, networks, &vpc, dry).await
    }

    async fn vpc_put(&self, mut tx: Tx, networks: i64, vpc: &Vpc, dry: bool) -> Result<(), Fault> {
        vpc_attributes_update_in_txn(&mut tx, vpc).await?;
        network_touch_in_txn(&mut tx, networks, &ShapeKey::Vpc(vpc.id.parse()?)).await?;
        if !dry {
            self.store.commit_and_forget(tx).await?;
            self.networks_changed();
        }
        Ok(())
    }
}

async fn vpc_in_txn(tx: &mut Tx, id: &str) -> Result<Vpc, Fault> {
    let found: Result<Option<Vpc>, StoreError> = vpc_fetch_in_txn(tx, id).await;
    let id: VpcId = id.parse()?;
    found?.ok_or_else(|| id.not_found())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_need_a_server_of_names() {
        let vpc = Vpc::plain("vpc-00000001", "000000000001", "10.0.0.0/16");
        let named = changed(&vpc, Attribute::DnsHostnames(true)).unwrap();
        assert!(named.dns_support && named.dns_hostnames);
        let mute = changed(&vpc, Attribute::DnsSupport(false)).unwrap();
        let fault = changed(&mute, Attribute::DnsHostnames(true)).unwrap_err();
        assert_eq!(fault.code(), "InvalidParameterValue");
        assert!(changed(&mute, Attribute::DnsHostnames(false)).is_ok());
        assert!(changed(&vpc, Attribute::UsageMetrics(true)).unwrap().usage_metrics);
        let default = Vpc { is_default: true, ..vpc };
        let fault = changed(&default, Attribute::DnsSupport(false)).unwrap_err();
        assert_eq!(fault.code(), "UnsupportedOperation");
        assert_eq!(changed(&default, Attribute::DnsSupport(true)).unwrap(), default);
    }
}
