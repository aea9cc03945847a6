//! Rules: given, taken, replaced, described. All that one request names, or nothing.

use super::terms::Terms;
use super::{Peer, Rule, group_not_found};
use crate::app::App;
use crate::app::tag::{Taggable, Tags};
use crate::store::network::SecurityGroup;
use crate::store::prefix_list::prefix_list_fetch_in_txn;
use crate::store::security_group::{
    group_fetch_in_txn, rule_by_id_in_txn, rule_by_terms_in_txn, rule_delete_in_txn, rule_describe_in_txn,
    rule_insert_in_txn, rule_remove_in_txn, rules_exceed_in_txn, rules_turn_in_txn,
};
use crate::store::tag::tags_put_in_txn;
use crate::store::{StoreError, Tx};
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::SecurityGroupRuleId;
use karri_proto::network::Direction;
use std::collections::HashSet;

/// A rule to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRule {
    pub terms: Terms,
    /// Whose group the peer is.
    pub peer_account: Option<String>,
    pub description: Option<String>,
}

/// A rule that is there: by its id or by what it says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Selection {
    Id(SecurityGroupRuleId),
    Terms(Terms),
}

impl App {
    /// `dry`: nothing is done after all.
    pub async fn rules_authorize(
        &self,
        group: &SecurityGroup,
        rules: Vec<NewRule>,
        tags: &Tags,
        dry: bool,
    ) -> Result<Vec<Rule>, Fault> {
        once_each(rules.iter().map(|rule| &rule.terms))?;
        let mut tx = self.store.begin().await?;
        let change = rules_turn_in_txn(&mut tx).await?;
        groups_there_in_txn(&mut tx, group, &rules).await?;
        let mut written = Vec::with_capacity(rules.len());
        for NewRule { terms, peer_account, description } in rules {
            let rule = Rule {
                id: SecurityGroupRuleId::random(&mut rand::thread_rng()),
                group: group.id.parse()?,
                account: group.account.clone(),
                terms,
                peer_account,
                description,
            };
            if !rule_insert_in_txn(&mut tx, change, &rule).await? {
                return Err(duplicate(&rule.terms));
            }
            let kind = Taggable::SecurityGroupRule;
            tags_put_in_txn(&mut tx, &group.account, kind, rule.id.as_str(), tags).await?;
            written.push(rule);
        }
        self.within_limit_in_txn(&mut tx, group, &written).await?;
        self.rules_commit(tx, dry).await?;
        Ok(written)
    }

    /// Those that are no more.
    pub async fn rules_revoke(
        &self,
        group: &SecurityGroup,
        direction: Direction,
        selected: &[Selection],
        dry: bool,
    ) -> Result<Vec<Rule>, Fault> {
        let mut tx = self.store.begin().await?;
        let change = rules_turn_in_txn(&mut tx).await?;
        let mut gone = Vec::with_capacity(selected.len());
        let mut seen = HashSet::new();
        for selection in selected.iter().filter(|selection| seen.insert(*selection)) {
            let rule = selected_in_txn(&mut tx, group, direction, selection).await?;
            rule_delete_in_txn(&mut tx, change, &rule).await?;
            gone.push(rule);
        }
        self.rules_commit(tx, dry).await?;
        Ok(gone)
    }

    /// Rules keep their ids and their side. Those that change places with each other do so at once.
    pub async fn rules_replace(
        &self,
        group: &SecurityGroup,
        wanted: Vec<(SecurityGroupRuleId, NewRule)>,
        dry: bool,
    ) -> Result<(), Fault> {
        let mut tx = self.store.begin().await?;
        let change = rules_turn_in_txn(&mut tx).await?;
        let mut rules = Vec::with_capacity(wanted.len());
        let mut seen = HashSet::new();
        for (id, new) in wanted {
            if !seen.insert(id.clone()) {
                let sentence = format!("The security group rule ID '{id}' is given twice");
                return Err(Fault::invalid_parameter(sentence));
            }
            let old =
                rule_by_id_in_txn(&mut tx, &group.id, None, &id).await?.ok_or_else(|| id.not_found())?;
            rule_remove_in_txn(&mut tx, &id).await?;
            let direction = old.terms.direction;
            let NewRule { terms, peer_account, description } = new;
            rules.push(Rule { terms: Terms { direction, ..terms }, peer_account, description, ..old });
        }
        once_each(rules.iter().map(|rule| &rule.terms))?;
        peers_there_in_txn(&mut tx, rules.iter().map(|rule| &rule.terms.peer)).await?;
        for rule in &rules {
            if !rule_insert_in_txn(&mut tx, change, rule).await? {
                return Err(duplicate(&rule.terms));
            }
        }
        self.within_limit_in_txn(&mut tx, group, &rules).await?;
        self.rules_commit(tx, dry).await
    }

    /// A description that is None is taken away.
    pub async fn rules_describe(
        &self,
        group: &SecurityGroup,
        direction: Direction,
        described: &[(Selection, Option<String>)],
        dry: bool,
    ) -> Result<(), Fault> {
        let mut tx = self.store.begin().await?;
        rules_turn_in_txn(&mut tx).await?;
        for (selection, description) in described {
            let rule = selected_in_txn(&mut tx, group, direction, selection).await?;
            rule_describe_in_txn(&mut tx, &rule.id, description.as_deref()).await?;
        }
        self.rules_commit(tx, dry).await
    }

    async fn rules_commit(&self, tx: Tx, dry: bool) -> Result<(), Fault> {
        if !dry {
            tx.commit().await.map_err(StoreError::from)?;
            self.networks_changed();
        }
        Ok(())
    }

    /// Of the sides that were added to.
    async fn within_limit_in_txn(
        &self,
        tx: &mut Tx,
        group: &SecurityGroup,
        added: &[Rule],
    ) -> Result<(), Fault> {
        let limit = self.limits.rules_per_security_group;
        for direction in [Direction::Ingress, Direction::Egress] {
            if !added.iter().any(|rule| rule.terms.direction == direction) {
                continue;
            }
            if rules_exceed_in_txn(tx, &group.id, direction, limit).await? {
                let sentence = "The maximum number of rules per security group has been reached.";
                return Err(Fault::new(FaultCode::RulesPerSecurityGroupLimitExceeded, sentence));
            }
        }
        Ok(())
    }
}

fn once_each<'a>(terms: impl Iterator<Item = &'a Terms>) -> Result<(), Fault> {
    let mut seen = HashSet::new();
    for terms in terms {
        if !seen.insert(terms) {
            return Err(Fault::invalid_parameter("The same permission must not appear multiple times"));
        }
    }
    Ok(())
}

fn duplicate(terms: &Terms) -> Fault {
    let sentence = format!("the specified rule \"{terms}\" already exists");
    Fault::new(FaultCode::InvalidPermissionDuplicate, sentence)
}

/// Groups and lists may have gone since they were looked up.
async fn groups_there_in_txn(tx: &mut Tx, group: &SecurityGroup, rules: &[NewRule]) -> Result<(), Fault> {
    if group_fetch_in_txn(tx, &group.id).await?.is_none() {
        return Err(group_not_found(&group.id));
    }
    peers_there_in_txn(tx, rules.iter().map(|rule| &rule.terms.peer)).await
}

async fn peers_there_in_txn(tx: &mut Tx, peers: impl Iterator<Item = &Peer>) -> Result<(), Fault> {
    for peer in peers.collect::<HashSet<_>>() {
        match peer {
            Peer::Group(group) if group_fetch_in_txn(tx, group.as_str()).await?.is_none() => {
                return Err(group.not_found());
            }
            Peer::List(list) if prefix_list_fetch_in_txn(tx, list.as_str()).await?.is_none() => {
                return Err(list.not_found());
            }
            Peer::Group(_) | Peer::List(_) | Peer::V4(_) | Peer::V6(_) => {}
        }
    }
    Ok(())
}

async fn selected_in_txn(
    tx: &mut Tx,
    group: &SecurityGroup,
    direction: Direction,
    selection: &Selection,
) -> Result<Rule, Fault> {
    match selection {
        Selection::Id(id) => {
            let rule = rule_by_id_in_txn(tx, &group.id, Some(direction), id).await?;
            rule.ok_or_else(|| id.not_found())
        }
        Selection::Terms(terms) => rule_by_terms_in_txn(tx, &group.id, terms).await?.ok_or_else(|| {
            let sentence = "The specified rule does not exist in this security group.";
            Fault::new(FaultCode::InvalidPermissionNotFound, sentence)
        }),
    }
}
