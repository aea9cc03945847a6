//! Groups: found, made, deleted.

use super::name::{check_group_description, group_name};
use super::{DEFAULT, Rule, different_networks, everything_out, group_not_found};
use crate::app::instance::control::Caller;
use crate::app::network_interface::several_interfaces;
use crate::app::tag::{Taggable, Tags};
use crate::app::{App, instance::Instance};
use crate::store::Tx;
use crate::store::network::{SecurityGroup, security_group_insert_in_txn};
use crate::store::network_interface::network_interfaces_in_txn;
use crate::store::security_group::{
    group_count_in_txn, group_delete_in_txn, group_fetch_in_txn, group_referrer_in_txn, rule_insert_in_txn,
    rules_turn_in_txn,
};
use crate::store::tag::tags_put_in_txn;
use crate::store::vpc::{Vpc, vpc_is_there_in_txn};
use karri_proto::fault::{Fault, FaultCode, shown};
use karri_proto::ids::{SecurityGroupId, SecurityGroupRuleId, VpcId};

/// How a request names the group that it is to delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    ById,
    /// As EC2-Classic had it: then what is in the way has the old code, too.
    ByName,
}

impl App {
    pub async fn group_by_id(&self, caller: Caller<'_>, id: &str) -> Result<SecurityGroup, Fault> {
        let id: SecurityGroupId = id.parse()?;
        let found = self.store.security_group_fetch(id.as_str()).await?;
        let seen = found.filter(|group| caller.administrator || group.account == caller.account);
        seen.ok_or_else(|| id.not_found())
    }

    /// In the account's default VPC.
    pub async fn group_by_name(&self, account: &str, name: &str) -> Result<SecurityGroup, Fault> {
        let found = self.store.security_group_by_name(account, name).await?;
        found.ok_or_else(|| group_not_found(name))
    }

    /// Whether rules of one VPC's groups may name groups of the other. A member counts by its addresses, which are one's
    /// own only within a VPC, or among all default VPCs.
    pub async fn may_meet(&self, one: &str, other: &str) -> Result<bool, Fault> {
        if one == other {
            return Ok(true);
        }
        let flat =
            async |vpc| Ok::<_, Fault>(self.store.vpc_fetch(vpc).await?.is_some_and(|vpc| vpc.is_default));
        Ok(flat(one).await? && flat(other).await?)
    }

    /// The VPC that is named, or the default one.
    async fn vpc_for_group(&self, account: &str, id: Option<&str>) -> Result<Vpc, Fault> {
        let vpcs = self.store.vpc_list(account).await?;
        match id {
            None => vpcs
                .into_iter()
                .find(|vpc| vpc.is_default)
                .ok_or_else(|| Fault::new(FaultCode::VpcIdNotSpecified, "No default VPC for this user")),
            Some(id) => {
                let id: VpcId = id.parse()?;
                vpcs.into_iter().find(|vpc| vpc.id == id.as_str()).ok_or_else(|| id.not_found())
            }
        }
    }

    /// `dry`: nothing is done after all.
    pub async fn group_create(
        &self,
        account: &str,
        vpc_id: Option<&str>,
        name: &str,
        description: &str,
        tags: &Tags,
        dry: bool,
    ) -> Result<SecurityGroup, Fault> {
        let name = group_name(name)?;
        check_group_description(description)?;
        let vpc = self.vpc_for_group(account, vpc_id).await?;
        let id = SecurityGroupId::random(&mut rand::thread_rng());
        let group = SecurityGroup {
            id: id.to_string(),
            account: account.to_owned(),
            vpc_id: vpc.id,
            name,
            description: description.to_owned(),
        };
        let mut tx = self.store.begin().await?;
        let change = rules_turn_in_txn(&mut tx).await?;
        // It may have gone since it was looked up; who removes one takes this turn, too.
        if !vpc_is_there_in_txn(&mut tx, &group.vpc_id).await? {
            return Err(group.vpc_id.parse::<VpcId>()?.not_found());
        }
        let limit = self.limits.security_groups_per_vpc;
        let count = group_count_in_txn(&mut tx, &group.vpc_id).await?;
        match security_group_insert_in_txn(&mut tx, &group).await {
            Err(error) if error.is_unique_violation() => return Err(duplicate(&group)),
            inserted => inserted?,
        }
        if count >= limit {
            let sentence =
                format!("The maximum number of security groups for this VPC has been reached ({limit}).");
            return Err(Fault::new(FaultCode::SecurityGroupLimitExceeded, sentence));
        }
        let rule = Rule {
            id: SecurityGroupRuleId::random(&mut rand::thread_rng()),
            group: id,
            account: account.to_owned(),
            terms: everything_out(),
            peer_account: None,
            description: None,
        };
        rule_insert_in_txn(&mut tx, change, &rule).await?;
        tags_put_in_txn(&mut tx, account, Taggable::SecurityGroup, &group.id, tags).await?;
        if dry {
            return Ok(group);
        }
        self.store.commit_and_forget(tx).await?;
        self.networks_changed();
        tracing::info!(group = group.id, account, name = group.name, "security group created");
        Ok(group)
    }

    /// Not while an instance is in it or another group's rules name it. `dry`: not at all.
    pub async fn group_delete(&self, group: &SecurityGroup, named: Named, dry: bool) -> Result<(), Fault> {
        // Launches that have looked it up are in the books before anybody looks there for its members.
        let _alone = self.networks_held.write().await;
        let (mut tx, number) = self.store.begin_numbered().await?;
        self.catch_up_in_txn(&mut tx, number).await?;
        let change = rules_turn_in_txn(&mut tx).await?;
        if group_fetch_in_txn(&mut tx, &group.id).await?.is_none() {
            return Err(group_not_found(&group.id));
        }
        if group.name == DEFAULT {
            let sentence = format!(
                "the specified group: \"{}\" name: \"{DEFAULT}\" cannot be deleted by a user",
                group.id
            );
            return Err(Fault::new(FaultCode::CannotDelete, sentence));
        }
        if self.facts.has_members(&group.id.parse()?) {
            return Err(in_use(group, named, None));
        }
        let alone = network_interfaces_in_txn(&mut tx, &group.account).await?;
        if alone.iter().any(|one| one.port.groups.iter().any(|(id, _)| id.as_str() == group.id)) {
            return Err(in_use(group, named, None));
        }
        if let Some(other) = group_referrer_in_txn(&mut tx, &group.id).await? {
            return Err(in_use(group, named, Some(&other)));
        }
        group_delete_in_txn(&mut tx, change, &group.id).await?;
        if dry {
            return Ok(());
        }
        self.store.commit_and_forget(tx).await?;
        self.networks_changed();
        tracing::info!(group = group.id, account = group.account, "security group deleted");
        Ok(())
    }

    /// What those groups are called: the account's, of the VPC that the interface is in. In the turn of whoever removes
    /// groups.
    pub async fn groups_of_port_in_txn(
        &self,
        tx: &mut Tx,
        account: &str,
        vpc: &str,
        ids: &[String],
    ) -> Result<Vec<(SecurityGroupId, String)>, Fault> {
        let mut groups: Vec<(SecurityGroupId, String)> = Vec::with_capacity(ids.len());
        for text in ids {
            let id: SecurityGroupId = text.parse()?;
            let found = group_fetch_in_txn(tx, id.as_str()).await?;
            let own = found.filter(|group| group.account == account);
            let group = own.ok_or_else(|| id.not_found())?;
            if vpc != group.vpc_id {
                return Err(different_networks());
            }
            if !groups.iter().any(|(have, _)| *have == id) {
                groups.push((id, group.name));
            }
        }
        super::check_interface_groups(groups.len(), self.limits.security_groups_per_interface)?;
        Ok(groups)
    }

    /// The groups that an instance's one interface is to have. In the turn of whoever removes groups.
    pub async fn groups_of_instance_in_txn(
        &self,
        tx: &mut Tx,
        instance: &Instance,
        ids: &[String],
    ) -> Result<Vec<(SecurityGroupId, String)>, Fault> {
        match instance.spec.ports.as_slice() {
            [port] => self.groups_of_port_in_txn(tx, &instance.account, port.vpc_id.as_str(), ids).await,
            _ => Err(several_interfaces(&instance.id)),
        }
    }

    /// Whether an instance may have these groups.
    pub async fn instance_groups_check(&self, instance: &Instance, ids: &[String]) -> Result<(), Fault> {
        let mut tx = self.store.begin().await?;
        self.groups_of_instance_in_txn(&mut tx, instance, ids).await.map(drop)
    }
}

fn duplicate(group: &SecurityGroup) -> Fault {
    let sentence =
        format!("The security group '{}' already exists for VPC '{}'", shown(&group.name), group.vpc_id);
    Fault::new(FaultCode::InvalidGroupDuplicate, sentence)
}

fn in_use(group: &SecurityGroup, named: Named, by: Option<&str>) -> Fault {
    match (named, by) {
        (Named::ById, _) => {
            let sentence = format!("resource {} has a dependent object", group.id);
            Fault::new(FaultCode::DependencyViolation, sentence)
        }
        (Named::ByName, None) => {
            let sentence =
                format!("There are active instances using security group '{}'", shown(&group.name));
            Fault::new(FaultCode::InvalidGroupInUse, sentence)
        }
        (Named::ByName, Some(other)) => {
            let sentence = format!("Group {} is used by groups: {other}", shown(&group.name));
            Fault::new(FaultCode::InvalidGroupInUse, sentence)
        }
    }
}
