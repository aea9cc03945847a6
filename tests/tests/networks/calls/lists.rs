//! Managed prefix lists, which rules name.

use super::{Caller, LISTS_MAX, Words};
use crate::model::{List, Peer};
use crate::world::list;
use rand::Rng;
use std::collections::BTreeSet;

const ENTRIES_MAX: usize = 3;

impl Caller<'_> {
    pub(super) async fn list_create(&mut self) -> Option<()> {
        if self.model.lists.len() == LISTS_MAX {
            return None;
        }
        let entries: BTreeSet<_> = (0..self.rng.gen_range(0..ENTRIES_MAX)).map(|_| self.range()).collect();
        let mut words: Words = vec![
            ("PrefixListName", "list".into()),
            ("AddressFamily", "IPv4".into()),
            ("MaxEntries", ENTRIES_MAX.to_string()),
        ];
        let names = ["Entry.1.Cidr", "Entry.2.Cidr", "Entry.3.Cidr"];
        words.extend(names.into_iter().zip(entries.iter().map(ToString::to_string)));
        let answer = self.call("CreateManagedPrefixList", words, Ok(())).await?;
        self.model.lists.insert(answer.one("prefixListId"), List { version: 1, entries });
        Some(())
    }

    /// An entry comes, or goes, or one goes as another comes.
    pub(super) async fn list_modify(&mut self) -> Option<()> {
        let (id, mut after) = self.any(self.model.lists.clone().into_iter())?;
        let goes = self.any(after.entries.clone().into_iter()).filter(|_| self.rng.gen_bool(0.6));
        let comes = Some(self.range()).filter(|comes| !after.entries.contains(comes));
        let comes = comes.filter(|_| after.entries.len() < ENTRIES_MAX && self.rng.gen_bool(0.7));
        if goes.is_none() && comes.is_none() {
            return None;
        }
        let stale = self.rng.gen_bool(0.1);
        let expected = if stale { Err("PrefixListVersionMismatch") } else { Ok(()) };
        let version = if stale { after.version + 1 } else { after.version };
        let mut words: Words = vec![("PrefixListId", id.clone()), ("CurrentVersion", version.to_string())];
        words.extend(goes.map(|goes| ("RemoveEntry.1.Cidr", goes.to_string())));
        words.extend(comes.map(|comes| ("AddEntry.1.Cidr", comes.to_string())));
        self.call("ModifyManagedPrefixList", words, expected).await?;
        after.version += 1;
        after.entries.retain(|entry| Some(*entry) != goes);
        after.entries.extend(comes);
        assert_eq!(list(&self.client, &id, after.version).await.entries, after.entries);
        self.model.lists.insert(id, after);
        Some(())
    }

    pub(super) async fn list_delete(&mut self) -> Option<()> {
        let id = self.any(self.model.lists.clone().into_keys())?;
        let mut rules = self.model.groups.values().flat_map(|group| group.rules.values());
        let used = rules.any(|rule| rule.peer == Peer::List(id.clone()));
        let expected = if used { Err("DependencyViolation") } else { Ok(()) };
        self.call("DeleteManagedPrefixList", vec![("PrefixListId", id.clone())], expected).await?;
        self.model.lists.remove(&id);
        Some(())
    }
}
