//! Rules of security groups, and the numbers of their changes.
//!
//! Who changes rules takes the next number of the counter `group_rules` first: that makes writers wait for each other,
//! and numbers stand in the order of the commits. A rule that goes leaves its number behind for a while, so that who
//! follows the numbers misses nothing.

use super::network::{SecurityGroup, security_group_of};
use super::prefix_list::lists_read;
use super::tag::tags_drop_in_txn;
use super::{Store, StoreError, Tx, counter_next_in_txn};
use crate::app::security_group::terms::{ALL, Terms, peer_of, peer_text, ports_of, protocol_text, traffic};
use crate::app::security_group::{DEFAULT, Lists, Peer, Rule, default_rules};
use karri_proto::ids::{SecurityGroupId, SecurityGroupRuleId};
use karri_proto::network::{Direction, FactKey};
use sqlx::Row as _;
use sqlx::any::AnyRow;
use std::collections::BTreeSet;

pub const RULES: &str = "group_rules";
const SWEPT: &str = "group_rules_swept";
/// So many numbers back one may still follow; who is further behind reads everything.
const GONE_KEPT: i64 = 100_000;

fn rule_of(row: &AnyRow) -> Result<Rule, StoreError> {
    let text = |column| row.try_get::<String, _>(column);
    let corrupt = |text: &dyn std::fmt::Display| StoreError::corrupt("rule of a security group", text);
    let port = |column| {
        let value: i64 = row.try_get(column)?;
        i32::try_from(value).map_err(|_| corrupt(&value))
    };
    let (protocol, peer) = (text("protocol")?, text("peer")?);
    let traffic = traffic(&protocol, Some(port("from_port")?), Some(port("to_port")?));
    let egress = row.try_get::<i64, _>("egress")? != 0;
    let (id, group) = (text("id")?, text("group_id")?);
    Ok(Rule {
        terms: Terms {
            direction: if egress { Direction::Egress } else { Direction::Ingress },
            traffic: traffic.map_err(|fault| corrupt(&fault))?,
            peer: peer_of(&peer).ok_or_else(|| corrupt(&peer))?,
        },
        id: id.parse().map_err(|fault| corrupt(&fault))?,
        group: group.parse().map_err(|fault| corrupt(&fault))?,
        account: text("account")?,
        peer_account: row.try_get("peer_account")?,
        description: row.try_get("description")?,
    })
}

fn egress(direction: Direction) -> i64 {
    i64::from(direction == Direction::Egress)
}

/// Everything that changes rules or groups begins with this.
pub async fn rules_turn_in_txn(tx: &mut Tx) -> Result<i64, StoreError> {
    counter_next_in_txn(tx, RULES).await
}

/// False: the group has a rule of these terms. `change` is the number that `rules_turn_in_txn` gave.
pub async fn rule_insert_in_txn(tx: &mut Tx, change: i64, rule: &Rule) -> Result<bool, StoreError> {
    let statement = "INSERT INTO security_group_rules (id, change_number, group_id, account, egress, protocol, \
         from_port, to_port, peer, peer_account, description) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
         ON CONFLICT (group_id, egress, protocol, from_port, to_port, peer) DO NOTHING";
    let terms = &rule.terms;
    let (from, to) = ports_of(terms.traffic).unwrap_or((ALL, ALL));
    let done = sqlx::query(statement)
        .bind(rule.id.as_str())
        .bind(change)
        .bind(rule.group.as_str())
        .bind(&rule.account)
        .bind(egress(terms.direction))
        .bind(protocol_text(terms.traffic))
        .bind(i64::from(from))
        .bind(i64::from(to))
        .bind(peer_text(&terms.peer))
        .bind(&rule.peer_account)
        .bind(&rule.description)
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected() == 1)
}

pub async fn rule_by_id_in_txn(
    tx: &mut Tx,
    group: &str,
    direction: Option<Direction>,
    id: &SecurityGroupRuleId,
) -> Result<Option<Rule>, StoreError> {
    let statement = "SELECT * FROM security_group_rules WHERE id = $1 AND group_id = $2";
    let row = sqlx::query(statement).bind(id.as_str()).bind(group).fetch_optional(&mut **tx).await?;
    let rule = row.as_ref().map(rule_of).transpose()?;
    Ok(rule.filter(|rule| direction.is_none_or(|wanted| wanted == rule.terms.direction)))
}

pub async fn rule_by_terms_in_txn(
    tx: &mut Tx,
    group: &str,
    terms: &Terms,
) -> Result<Option<Rule>, StoreError> {
    let statement = "SELECT * FROM security_group_rules WHERE group_id = $1 AND egress = $2 AND protocol = $3 \
         AND from_port = $4 AND to_port = $5 AND peer = $6";
    let (from, to) = ports_of(terms.traffic).unwrap_or((ALL, ALL));
    let row = sqlx::query(statement)
        .bind(group)
        .bind(egress(terms.direction))
        .bind(protocol_text(terms.traffic))
        .bind(i64::from(from))
        .bind(i64::from(to))
        .bind(peer_text(&terms.peer))
        .fetch_optional(&mut **tx)
        .await?;
    row.as_ref().map(rule_of).transpose()
}

/// With its tags.
pub async fn rule_delete_in_txn(tx: &mut Tx, change: i64, rule: &Rule) -> Result<(), StoreError> {
    rule_remove_in_txn(tx, &rule.id).await?;
    tags_drop_in_txn(tx, rule.id.as_str()).await?;
    let gone = "INSERT INTO security_group_rules_gone (id, group_id, change_number) VALUES ($1, $2, $3)";
    let query = sqlx::query(gone).bind(rule.id.as_str()).bind(rule.group.as_str()).bind(change);
    query.execute(&mut **tx).await?;
    Ok(())
}

/// For one that comes back at once with other terms.
pub async fn rule_remove_in_txn(tx: &mut Tx, id: &SecurityGroupRuleId) -> Result<(), StoreError> {
    let statement = "DELETE FROM security_group_rules WHERE id = $1";
    sqlx::query(statement).bind(id.as_str()).execute(&mut **tx).await?;
    Ok(())
}

/// What a description says lets nothing through: nobody is told of it.
pub async fn rule_describe_in_txn(
    tx: &mut Tx,
    id: &SecurityGroupRuleId,
    description: Option<&str>,
) -> Result<(), StoreError> {
    let statement = "UPDATE security_group_rules SET description = $1 WHERE id = $2";
    sqlx::query(statement).bind(description).bind(id.as_str()).execute(&mut **tx).await?;
    Ok(())
}

/// Whether a group has more rules toward one side than may be: of those that let IPv4 through, or IPv6.
pub async fn rules_exceed_in_txn(
    tx: &mut Tx,
    group: &str,
    direction: Direction,
    limit: usize,
) -> Result<bool, StoreError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let egress = egress(direction);
    // The index alone answers this, and it is enough nearly always.
    let statement = "SELECT COUNT(*) FROM security_group_rules WHERE group_id = $1 AND egress = $2";
    let all: i64 = sqlx::query_scalar(statement).bind(group).bind(egress).fetch_one(&mut **tx).await?;
    let statement = "SELECT CAST(COALESCE(SUM(prefix_lists.max_entries), 0) AS BIGINT) FROM security_group_rules \
         JOIN prefix_lists ON prefix_lists.id = security_group_rules.peer \
         WHERE group_id = $1 AND egress = $2 AND peer LIKE 'pl-%'";
    let lists: i64 = sqlx::query_scalar(statement).bind(group).bind(egress).fetch_one(&mut **tx).await?;
    if all.saturating_add(lists) <= limit {
        return Ok(false);
    }
    // A rule that names a list counts as all that the list may have.
    let statement = "SELECT \
         CAST(COALESCE(SUM(CASE WHEN family = 'IPv4' THEN max_entries WHEN family = 'IPv6' OR peer LIKE '%:%' \
         THEN 0 ELSE 1 END), 0) AS BIGINT) AS four, \
         CAST(COALESCE(SUM(CASE WHEN family = 'IPv6' THEN max_entries WHEN family = 'IPv4' OR peer LIKE '%.%' \
         THEN 0 ELSE 1 END), 0) AS BIGINT) AS six \
         FROM security_group_rules LEFT JOIN prefix_lists ON prefix_lists.id = security_group_rules.peer \
         WHERE group_id = $1 AND egress = $2";
    let row = sqlx::query(statement).bind(group).bind(egress).fetch_one(&mut **tx).await?;
    let (four, six): (i64, i64) = (row.try_get("four")?, row.try_get("six")?);
    Ok(four.max(six) > limit)
}

/// Another group whose rules name this one.
pub async fn group_referrer_in_txn(tx: &mut Tx, group: &str) -> Result<Option<String>, StoreError> {
    let statement = "SELECT group_id FROM security_group_rules WHERE peer = $1 AND group_id <> $2 LIMIT 1";
    Ok(sqlx::query_scalar(statement).bind(group).bind(group).fetch_optional(&mut **tx).await?)
}

pub async fn group_fetch_in_txn(tx: &mut Tx, id: &str) -> Result<Option<SecurityGroup>, StoreError> {
    let row = sqlx::query("SELECT * FROM security_groups WHERE id = $1").bind(id);
    row.fetch_optional(&mut **tx).await?.as_ref().map(security_group_of).transpose()
}

pub async fn group_by_name_in_txn(
    tx: &mut Tx,
    vpc: &str,
    name: &str,
) -> Result<Option<SecurityGroup>, StoreError> {
    let row =
        sqlx::query("SELECT * FROM security_groups WHERE vpc_id = $1 AND name = $2").bind(vpc).bind(name);
    row.fetch_optional(&mut **tx).await?.as_ref().map(security_group_of).transpose()
}

pub async fn group_count_in_txn(tx: &mut Tx, vpc: &str) -> Result<usize, StoreError> {
    let statement = "SELECT COUNT(*) FROM security_groups WHERE vpc_id = $1";
    let count: i64 = sqlx::query_scalar(statement).bind(vpc).fetch_one(&mut **tx).await?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

/// With its rules, and the tags of both.
pub async fn group_delete_in_txn(tx: &mut Tx, change: i64, group: &str) -> Result<(), StoreError> {
    let statement = "SELECT * FROM security_group_rules WHERE group_id = $1";
    for row in &sqlx::query(statement).bind(group).fetch_all(&mut **tx).await? {
        rule_delete_in_txn(tx, change, &rule_of(row)?).await?;
    }
    tags_drop_in_txn(tx, group).await?;
    sqlx::query("DELETE FROM security_groups WHERE id = $1").bind(group).execute(&mut **tx).await?;
    Ok(())
}

/// An account goes: its rules, and what others' rules let through from its groups.
pub async fn rules_of_account_delete_in_txn(tx: &mut Tx, account: &str) -> Result<(), StoreError> {
    let change = rules_turn_in_txn(tx).await?;
    let statement = "SELECT * FROM security_group_rules WHERE account = $1 OR peer_account = $2";
    for row in &sqlx::query(statement).bind(account).bind(account).fetch_all(&mut **tx).await? {
        rule_delete_in_txn(tx, change, &rule_of(row)?).await?;
    }
    Ok(())
}

/// The rules of groups that are older than rules are.
pub async fn rules_of_default_groups_insert_in_txn(tx: &mut Tx) -> Result<(), StoreError> {
    let statement = "SELECT id, account FROM security_groups WHERE name = $1";
    let rows = sqlx::query(statement).bind(DEFAULT).fetch_all(&mut **tx).await?;
    let change = rules_turn_in_txn(tx).await?;
    for row in &rows {
        let (id, account): (String, String) = (row.try_get("id")?, row.try_get("account")?);
        let id: SecurityGroupId =
            id.parse().map_err(|_| StoreError::corrupt("id of a security group", &id))?;
        for rule in default_rules(&id, &account) {
            rule_insert_in_txn(tx, change, &rule).await?;
        }
    }
    Ok(())
}

/// What changed among rules between two numbers.
#[derive(Debug, Default)]
pub struct RuleChanges {
    /// Up to this number.
    pub to: i64,
    /// This is everything there is, and not only what changed.
    pub whole: bool,
    pub rules: Vec<Rule>,
    /// Those that these rules name.
    pub lists: Lists,
    pub gone: Vec<FactKey>,
}

impl Store {
    /// None: nothing changed after that number. `after` None asks for everything.
    pub async fn rules_changed_after(&self, after: Option<i64>) -> Result<Option<RuleChanges>, StoreError> {
        // First, so that what is read afterwards is not older.
        let to = self.counter_fetch(RULES).await?;
        if after == Some(to) {
            return Ok(None);
        }
        let after = after.filter(|after| *after <= to); // a number of another life of this database says nothing
        let changes = self.rules_read(to, after).await?;
        // Asked last: what was let go of meanwhile may have been missed.
        let swept = self.counter_fetch(SWEPT).await?;
        match after.is_some_and(|after| after < swept) {
            true => self.rules_read(to, None).await.map(Some),
            false => Ok(Some(changes)),
        }
    }

    async fn rules_read(&self, to: i64, after: Option<i64>) -> Result<RuleChanges, StoreError> {
        let from = after.unwrap_or(-1);
        let query = sqlx::query("SELECT * FROM security_group_rules WHERE change_number > $1").bind(from);
        let rows = query.fetch_all(self.reader()).await?;
        let rules = rows.iter().map(rule_of).collect::<Result<Vec<_>, _>>()?;
        let lists = self.lists_of(&rules).await?;
        let gone = match after {
            Some(after) => self.rules_gone_after(after).await?,
            None => Vec::new(),
        };
        Ok(RuleChanges { to, whole: after.is_none(), rules, lists, gone })
    }

    async fn lists_of(&self, rules: &[Rule]) -> Result<Lists, StoreError> {
        let named = rules.iter().filter_map(|rule| match &rule.terms.peer {
            Peer::List(list) => Some(list.clone()),
            Peer::V4(_) | Peer::V6(_) | Peer::Group(_) => None,
        });
        let named: Vec<_> = named.collect::<BTreeSet<_>>().into_iter().collect();
        if named.is_empty() {
            return Ok(Lists::new());
        }
        lists_read(&mut *self.reader().acquire().await?, &named).await
    }

    async fn rules_gone_after(&self, after: i64) -> Result<Vec<FactKey>, StoreError> {
        let statement = "SELECT id, group_id FROM security_group_rules_gone WHERE change_number > $1";
        let mut gone = Vec::new();
        for row in &sqlx::query(statement).bind(after).fetch_all(self.reader()).await? {
            let (id, group): (String, String) = (row.try_get("id")?, row.try_get("group_id")?);
            let corrupt = |text: &str| StoreError::corrupt("rule that is gone", text);
            let rule = id.parse().map_err(|_| corrupt(&id))?;
            gone.push(FactKey::Rule { group: group.parse().map_err(|_| corrupt(&group))?, rule });
        }
        Ok(gone)
    }

    /// Lets go of what nobody follows from that far back.
    pub async fn rules_sweep(&self) -> Result<(), StoreError> {
        let upto = self.counter_fetch(RULES).await?.saturating_sub(GONE_KEPT);
        if upto <= self.counter_fetch(SWEPT).await? {
            return Ok(());
        }
        let mut tx = self.begin().await?;
        let statement = "UPDATE counters SET value = $1 WHERE name = $2";
        sqlx::query(statement).bind(upto).bind(SWEPT).execute(&mut *tx).await?;
        let statement = "DELETE FROM security_group_rules_gone WHERE change_number <= $1";
        sqlx::query(statement).bind(upto).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }

    pub async fn rules_of_account(&self, account: &str) -> Result<Vec<Rule>, StoreError> {
        let query =
            sqlx::query("SELECT * FROM security_group_rules WHERE account = $1 ORDER BY id").bind(account);
        query.fetch_all(self.reader()).await?.iter().map(rule_of).collect()
    }

    pub async fn rule_fetch(
        &self,
        group: &str,
        id: &SecurityGroupRuleId,
    ) -> Result<Option<Rule>, StoreError> {
        let statement = "SELECT * FROM security_group_rules WHERE id = $1 AND group_id = $2";
        let row = sqlx::query(statement).bind(id.as_str()).bind(group).fetch_optional(self.reader()).await?;
        row.as_ref().map(rule_of).transpose()
    }

    pub async fn security_group_fetch(&self, id: &str) -> Result<Option<SecurityGroup>, StoreError> {
        let row = sqlx::query("SELECT * FROM security_groups WHERE id = $1").bind(id);
        row.fetch_optional(self.reader()).await?.as_ref().map(security_group_of).transpose()
    }

    /// A group of an account's default VPC.
    pub async fn security_group_by_name(
        &self,
        account: &str,
        name: &str,
    ) -> Result<Option<SecurityGroup>, StoreError> {
        let statement = "SELECT security_groups.* FROM security_groups JOIN vpcs \
             ON vpcs.id = security_groups.vpc_id AND vpcs.is_default = 1 \
             WHERE security_groups.account = $1 AND security_groups.name = $2";
        let row = sqlx::query(statement).bind(account).bind(name);
        row.fetch_optional(self.reader()).await?.as_ref().map(security_group_of).transpose()
    }

    /// Which VPCs have groups whose rules name this one.
    pub async fn group_referrers(&self, group: &str) -> Result<Vec<String>, StoreError> {
        let statement = "SELECT DISTINCT security_groups.vpc_id FROM security_group_rules JOIN security_groups \
             ON security_groups.id = security_group_rules.group_id WHERE security_group_rules.peer = $1 \
             AND security_group_rules.group_id <> $2 ORDER BY security_groups.vpc_id";
        Ok(sqlx::query_scalar(statement).bind(group).bind(group).fetch_all(self.reader()).await?)
    }
}

/// Of these groups, one that is not there, for who holds back those that would remove them.
pub async fn group_missing_in_txn(
    tx: &mut Tx,
    groups: &[SecurityGroup],
) -> Result<Option<String>, StoreError> {
    for group in groups {
        if group_fetch_in_txn(tx, &group.id).await?.is_none() {
            return Ok(Some(group.id.clone()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::security_group::everything_out;
    use crate::config::DatabaseConfig;
    use crate::store::network::security_group_insert_in_txn;
    use crate::store::vpc::{Vpc, vpc_insert_in_txn};

    const GROUP: &str = "sg-00000001";

    async fn store(directory: &std::path::Path) -> Store {
        let url = format!("sqlite://{}/clc.sqlite", directory.display());
        let store = Store::open(&DatabaseConfig { url, connections: 2 }).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        let (account, vpc_id) = ("000000000001".to_owned(), "vpc-00000001".to_owned());
        let vpc = Vpc::plain(&vpc_id, &account, "10.0.0.0/16");
        vpc_insert_in_txn(&mut tx, &vpc).await.unwrap();
        let (name, description) = ("web".to_owned(), String::new());
        let group = SecurityGroup { id: GROUP.to_owned(), account, vpc_id, name, description };
        security_group_insert_in_txn(&mut tx, &group).await.unwrap();
        tx.commit().await.unwrap();
        store
    }

    fn rule(number: u8) -> Rule {
        Rule {
            id: format!("sgr-{number:08x}").parse().unwrap(),
            group: GROUP.parse().unwrap(),
            account: "000000000001".to_owned(),
            terms: Terms { peer: peer_of(&format!("10.0.0.{number}/32")).unwrap(), ..everything_out() },
            peer_account: None,
            description: None,
        }
    }

    #[tokio::test]
    async fn who_follows_hears_of_what_comes_and_goes_and_who_is_too_late_reads_everything() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path()).await;
        let start = store.rules_changed_after(None).await.unwrap().unwrap();
        assert!(start.whole && start.rules.is_empty());
        let mut tx = store.begin().await.unwrap();
        let change = rules_turn_in_txn(&mut tx).await.unwrap();
        for number in 1..=2 {
            assert!(rule_insert_in_txn(&mut tx, change, &rule(number)).await.unwrap());
            assert!(!rule_insert_in_txn(&mut tx, change, &rule(number)).await.unwrap());
        }
        tx.commit().await.unwrap();
        let news = store.rules_changed_after(Some(start.to)).await.unwrap().unwrap();
        assert_eq!((news.whole, news.rules.len(), news.gone.len()), (false, 2, 0));
        let mut tx = store.begin().await.unwrap();
        let change = rules_turn_in_txn(&mut tx).await.unwrap();
        rule_delete_in_txn(&mut tx, change, &rule(1)).await.unwrap();
        tx.commit().await.unwrap();
        let next = store.rules_changed_after(Some(news.to)).await.unwrap().unwrap();
        assert_eq!((next.rules.len(), next.gone.len()), (0, 1));
        assert!(store.rules_changed_after(Some(next.to)).await.unwrap().is_none());

        // So many changes later, what is gone is let go of.
        let mut tx = store.begin().await.unwrap();
        let later = next.to + GONE_KEPT + 1;
        let query = sqlx::query("UPDATE counters SET value = $1 WHERE name = $2").bind(later).bind(RULES);
        query.execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        store.rules_sweep().await.unwrap();
        assert!(store.rules_gone_after(0).await.unwrap().is_empty());
        let whole = store.rules_changed_after(Some(news.to)).await.unwrap().unwrap();
        assert_eq!((whole.whole, whole.rules, whole.to), (true, vec![rule(2)], later));
    }
}
