//! Managed prefix lists: ranges under one id. A change of entries is a new version; older ones can be read, and come
//! back. What counts wherever a list is named is how many entries it may have, not how many it has.

mod entries;

pub use entries::{Entry, Family};

use super::App;
use super::creation::{made_before_in_txn, made_in_txn};
use super::image::task::Token;
use super::instance::control::Caller;
use super::tag::{Taggable, Tags};
use super::text::is_plain;
use super::vpc::has_dependencies;
use crate::store::creation_token::creation_token_drop_in_txn;
use crate::store::network_change::networks_turn_in_txn;
use crate::store::prefix_list::{
    PrefixList, prefix_list_count_in_txn, prefix_list_delete_in_txn, prefix_list_entries_in_txn,
    prefix_list_entry_begin_in_txn, prefix_list_entry_end_in_txn, prefix_list_fetch_in_txn,
    prefix_list_groups_in_txn, prefix_list_insert_in_txn, prefix_list_tables_in_txn,
    prefix_list_touch_in_txn, prefix_list_update_in_txn,
};
use crate::store::route_table::routes_weigh_in_txn;
use crate::store::security_group::{rules_exceed_in_txn, rules_turn_in_txn};
use crate::store::tag::{tags_drop_in_txn, tags_put_in_txn};
use crate::store::{StoreError, Tx, counter_next_in_txn};
use entries::{Change, added, check_room, leading_to};
use karri_proto::fault::{Fault, FaultCode};
use karri_proto::ids::PrefixListId;

/// EC2's own, which nobody can have raised.
const MAX_ENTRIES_MOST: i32 = 1000;
/// EC2's own: with one more, the oldest is forgotten.
const VERSIONS_MAX: i64 = 1000;
const NAME_CHARS_MAX: usize = 255;
/// Names of lists that are EC2's own begin so.
const RESERVED: &str = "com.amazonaws";
const CREATED: &str = "create-complete";
const MODIFIED: &str = "modify-complete";
const RESTORED: &str = "restore-complete";

/// A list to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewList {
    pub name: String,
    pub family: Family,
    pub max_entries: i32,
    pub entries: Vec<Entry>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Modification {
    /// The version that is to be changed, if that was said.
    pub current_version: Option<i64>,
    pub name: Option<String>,
    pub max_entries: Option<i32>,
    pub add: Vec<Entry>,
    pub remove: Vec<String>,
}

impl Modification {
    fn check(&self) -> Result<(), Fault> {
        let entries = !self.add.is_empty() || !self.remove.is_empty();
        if !entries && self.name.is_none() && self.max_entries.is_none() {
            return Err(Fault::new(FaultCode::InvalidRequest, "The request received was invalid."));
        }
        if entries && self.max_entries.is_some() {
            let sentence = "You cannot modify the entries and the maximum entries for the prefix list in the same \
                            request.";
            return Err(Fault::new(FaultCode::InvalidParameterCombination, sentence));
        }
        self.name.as_deref().map_or(Ok(()), check_name)?;
        self.max_entries.map_or(Ok(()), check_max_entries)
    }
}

fn check_name(name: &str) -> Result<(), Fault> {
    let wrong = |why: &str| {
        Err(Fault::invalid_parameter(format!("Invalid value for parameter PrefixListName. {why}")))
    };
    if name.is_empty() || name.chars().count() > NAME_CHARS_MAX {
        return wrong(&format!("A name has from 1 to {NAME_CHARS_MAX} characters."));
    }
    if name.starts_with(RESERVED) {
        return wrong(&format!("The name cannot start with {RESERVED}."));
    }
    if is_plain(name) { Ok(()) } else { wrong("A name has no control characters.") }
}

fn check_max_entries(count: i32) -> Result<(), Fault> {
    if (1..=MAX_ENTRIES_MOST).contains(&count) {
        return Ok(());
    }
    Err(Fault::invalid_parameter(format!("Must specify a max size between 1 and {MAX_ENTRIES_MOST}")))
}

fn check_version(list: &PrefixList, said: Option<i64>) -> Result<(), Fault> {
    match said {
        Some(version) if version < 1 => Err(wrong_version("The value must be greater than 0.")),
        Some(version) if version != list.version => {
            let sentence = "The prefix list has the incorrect version number.";
            Err(Fault::new(FaultCode::PrefixListVersionMismatch, sentence))
        }
        _ => Ok(()),
    }
}

fn wrong_version(why: &str) -> Fault {
    Fault::invalid_parameter(format!("The specified value for version is not valid. {why}"))
}

/// One that is kept.
pub fn check_kept(list: &PrefixList, version: i64) -> Result<(), Fault> {
    if (list.oldest_version..=list.version).contains(&version) {
        return Ok(());
    }
    Err(wrong_version(&format!(
        "The prefix list {} has versions {} to {}.",
        list.id, list.oldest_version, list.version
    )))
}

/// The two turns that a change of entries takes.
struct Turns {
    rules: i64,
    networks: i64,
}

async fn turns_in_txn(tx: &mut Tx) -> Result<Turns, StoreError> {
    let rules = rules_turn_in_txn(tx).await?;
    Ok(Turns { rules, networks: networks_turn_in_txn(tx).await? })
}

/// A new version with these changes, told to who follows.
async fn advance_in_txn(
    tx: &mut Tx,
    turns: &Turns,
    list: &mut PrefixList,
    change: &Change,
) -> Result<(), StoreError> {
    list.version += 1;
    list.oldest_version = list.oldest_version.max(list.version - VERSIONS_MAX + 1);
    for cidr in &change.ended {
        prefix_list_entry_end_in_txn(tx, &list.id, list.version, cidr).await?;
    }
    for entry in &change.begun {
        prefix_list_entry_begin_in_txn(tx, &list.id, list.version, entry).await?;
    }
    prefix_list_touch_in_txn(tx, turns.rules, turns.networks, &list.id).await
}

impl App {
    async fn prefix_list_seen_in_txn(
        &self,
        tx: &mut Tx,
        caller: Caller<'_>,
        id: &str,
    ) -> Result<PrefixList, Fault> {
        let id: PrefixListId = id.parse()?;
        let found = prefix_list_fetch_in_txn(tx, id.as_str()).await?;
        found.filter(|list| caller.may_touch_of(&list.account)).ok_or_else(|| id.not_found())
    }

    pub async fn prefix_list_seen(&self, caller: Caller<'_>, id: &str) -> Result<PrefixList, Fault> {
        let id: PrefixListId = id.parse()?;
        let found = self.store.prefix_list_fetch(id.as_str()).await?;
        found.filter(|list| caller.may_touch_of(&list.account)).ok_or_else(|| id.not_found())
    }

    /// `dry`: nothing is done after all.
    pub async fn prefix_list_create(
        &self,
        caller: Caller<'_>,
        new: &NewList,
        token: &Token,
        tags: &Tags,
        dry: bool,
    ) -> Result<PrefixList, Fault> {
        check_name(&new.name)?;
        check_max_entries(new.max_entries)?;
        let entries = added(new.family, &[], &new.entries)?;
        check_room(entries.len(), new.max_entries)?;
        let mut tx = self.store.begin().await?;
        turns_in_txn(&mut tx).await?;
        if let Some(earlier) = made_before_in_txn(&mut tx, caller.account, token).await? {
            return self.prefix_list_seen_in_txn(&mut tx, caller, &earlier).await;
        }
        let limit = self.limits.prefix_lists_per_account;
        if prefix_list_count_in_txn(&mut tx, caller.account).await? >= limit {
            let sentence = format!("The maximum number of prefix lists has been reached ({limit}).");
            return Err(Fault::new(FaultCode::PrefixListLimitExceeded, sentence));
        }
        let list = PrefixList {
            id: PrefixListId::random(&mut rand::thread_rng()).to_string(),
            account: caller.account.to_owned(),
            name: new.name.clone(),
            family: new.family,
            max_entries: new.max_entries,
            version: 1,
            oldest_version: 1,
            state: CREATED.to_owned(),
        };
        prefix_list_insert_in_txn(&mut tx, &list).await?;
        for entry in &entries {
            prefix_list_entry_begin_in_txn(&mut tx, &list.id, list.version, entry).await?;
        }
        tags_put_in_txn(&mut tx, &list.account, Taggable::PrefixList, &list.id, tags).await?;
        made_in_txn(&mut tx, caller.account, token, &list.id).await?;
        self.networks_commit(tx, dry).await?;
        Ok(list)
    }

    /// A name and a size are none of a version's.
    pub async fn prefix_list_modify(
        &self,
        caller: Caller<'_>,
        id: &str,
        wanted: &Modification,
        dry: bool,
    ) -> Result<PrefixList, Fault> {
        wanted.check()?;
        let mut tx = self.store.begin().await?;
        let turns = turns_in_txn(&mut tx).await?;
        let mut list = self.prefix_list_seen_in_txn(&mut tx, caller, id).await?;
        check_version(&list, wanted.current_version)?;
        let entries = prefix_list_entries_in_txn(&mut tx, &list.id, list.version).await?;
        if let Some(name) = &wanted.name {
            list.name.clone_from(name);
        }
        let change = Change::of(list.family, &entries, &wanted.add, &wanted.remove)?;
        check_room(entries.len() + change.begun.len() - change.ended.len(), list.max_entries)?;
        if !change.is_empty() {
            advance_in_txn(&mut tx, &turns, &mut list, &change).await?;
        }
        let larger = wanted.max_entries.is_some_and(|count| count > list.max_entries);
        if let Some(count) = wanted.max_entries {
            check_room(entries.len(), count)?;
            list.max_entries = count;
        }
        list.state = MODIFIED.to_owned();
        prefix_list_update_in_txn(&mut tx, &list).await?;
        if larger {
            self.room_where_named_in_txn(&mut tx, &list).await?;
        }
        self.networks_commit(tx, dry).await?;
        Ok(list)
    }

    /// What names the list has room for as many entries as it may have.
    async fn room_where_named_in_txn(&self, tx: &mut Tx, list: &PrefixList) -> Result<(), Fault> {
        let limit = self.limits.rules_per_security_group;
        for (group, direction) in prefix_list_groups_in_txn(tx, &list.id).await? {
            if rules_exceed_in_txn(tx, &group, direction, limit).await? {
                let sentence = format!(
                    "The maximum number of rules per security group has been reached: {group} names {}.",
                    list.id
                );
                return Err(Fault::new(FaultCode::RulesPerSecurityGroupLimitExceeded, sentence));
            }
        }
        let limit = self.limits.routes_per_table;
        for table in prefix_list_tables_in_txn(tx, &list.id).await? {
            if routes_weigh_in_txn(tx, &table).await? > limit {
                let sentence = format!(
                    "The maximum number of routes has been reached ({limit}): {table} has a route to {}.",
                    list.id
                );
                return Err(Fault::new(FaultCode::RouteLimitExceeded, sentence));
            }
        }
        Ok(())
    }

    /// An earlier version's entries become those of a new one.
    pub async fn prefix_list_restore(
        &self,
        caller: Caller<'_>,
        id: &str,
        current: i64,
        previous: i64,
        dry: bool,
    ) -> Result<PrefixList, Fault> {
        let mut tx = self.store.begin().await?;
        let turns = turns_in_txn(&mut tx).await?;
        let mut list = self.prefix_list_seen_in_txn(&mut tx, caller, id).await?;
        check_version(&list, Some(current))?;
        check_kept(&list, previous)?;
        let now = prefix_list_entries_in_txn(&mut tx, &list.id, list.version).await?;
        let then = prefix_list_entries_in_txn(&mut tx, &list.id, previous).await?;
        check_room(then.len(), list.max_entries)?;
        advance_in_txn(&mut tx, &turns, &mut list, &leading_to(&now, &then)).await?;
        list.state = RESTORED.to_owned();
        prefix_list_update_in_txn(&mut tx, &list).await?;
        self.networks_commit(tx, dry).await?;
        Ok(list)
    }

    /// Not while something names it. What it was.
    pub async fn prefix_list_delete(
        &self,
        caller: Caller<'_>,
        id: &str,
        dry: bool,
    ) -> Result<PrefixList, Fault> {
        let mut tx = self.store.begin().await?;
        counter_next_in_txn(&mut tx, "instances").await?; // whoever tags it takes this turn, too
        turns_in_txn(&mut tx).await?;
        let list = self.prefix_list_seen_in_txn(&mut tx, caller, id).await?;
        if let Some((group, _)) = prefix_list_groups_in_txn(&mut tx, &list.id).await?.first() {
            return Err(has_dependencies("prefixList", &list.id, &format!("security group '{group}'")));
        }
        if let Some(table) = prefix_list_tables_in_txn(&mut tx, &list.id).await?.first() {
            return Err(has_dependencies("prefixList", &list.id, &format!("route table '{table}'")));
        }
        tags_drop_in_txn(&mut tx, &list.id).await?;
        creation_token_drop_in_txn(&mut tx, &list.id).await?;
        prefix_list_delete_in_txn(&mut tx, &list.id).await?;
        if !dry {
            self.store.commit_and_forget(tx).await?;
        }
        Ok(list)
    }
}
