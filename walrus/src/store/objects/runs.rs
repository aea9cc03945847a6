//! Listings in which a key has several entries (versions, uploads): keys and common prefixes are walked over
//! first, then the entries of each run of keys between two prefixes are read.

use super::error::StoreError;
use super::ids::BucketId;
use super::list::Spare;
use super::page::{Item, behind, common_prefix};
use super::row::key_of;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, Sqlite, Transaction};
use std::ops::Range;

/// One page being read, in one snapshot.
pub(super) struct Runs<'q, T> {
    pub tx: Transaction<'q, Sqlite>,
    pub bucket: BucketId,
    /// Entries of bucket ?1 with keys from ?2 up to ?3, ?4 at most.
    pub flat: &'static str,
    /// Keys and common prefixes (`page::walk`).
    pub walk: &'static str,
    pub read: fn(&[SqliteRow]) -> Result<Vec<T>, StoreError>,
    pub prefix: &'q str,
    pub delimiter: Option<&'q str>,
    /// How many items.
    pub wanted: usize,
    pub items: Vec<Item<T>>,
}

impl<T> Runs<'_, T> {
    fn missing(&self) -> i64 {
        self.wanted.saturating_sub(self.items.len()) as i64
    }

    /// How many of them are left out, as they cannot be read.
    pub fn add(&mut self, rows: &[SqliteRow]) -> Result<usize, StoreError> {
        let read = (self.read)(rows)?;
        let left_out = rows.len() - read.len();
        self.items.extend(read.into_iter().map(Item::Entry));
        self.items.truncate(self.wanted);
        Ok(left_out)
    }

    /// What is in `range`.
    pub async fn fill(&mut self, range: Range<Vec<u8>>) -> Result<(), StoreError> {
        match self.delimiter {
            None => self.flat(range).await,
            Some(delimiter) => self.rolled_up(delimiter, range).await,
        }
    }

    async fn flat(&mut self, range: Range<Vec<u8>>) -> Result<(), StoreError> {
        let (before, mut spare) = (self.items.len(), Spare::default());
        while self.missing() > 0 {
            let (start, end) = (&range.start[..], &range.end[..]);
            let query = sqlx::query(self.flat).bind(self.bucket.0).bind(start).bind(end);
            let most = spare.rows(self.wanted - before);
            let rows = query.bind(most).fetch_all(&mut *self.tx).await?;
            let left_out = self.add(&rows)?;
            if spare.is_enough(left_out) {
                break;
            }
            self.items.truncate(before);
        }
        Ok(())
    }

    async fn rolled_up(&mut self, delimiter: &str, mut range: Range<Vec<u8>>) -> Result<(), StoreError> {
        // Once more only where keys were left out that were walked over.
        while self.missing() > 0 {
            let Some(next) = self.walked(delimiter, &range).await? else { break };
            range.start = next;
        }
        Ok(())
    }

    /// Walks over as many keys and prefixes as are missing; where to go on if there were so many.
    async fn walked(
        &mut self,
        delimiter: &str,
        range: &Range<Vec<u8>>,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let missing = self.missing();
        let walk = sqlx::query(self.walk).bind(self.bucket.0).bind(&range.start[..]).bind(&range.end[..]);
        let walk = walk.bind(self.prefix.len() as i64).bind(delimiter.as_bytes()).bind(missing);
        let rows = walk.fetch_all(&mut *self.tx).await?;
        let is_full = rows.len() as i64 == missing;
        let (mut run, mut next): (Option<Range<Vec<u8>>>, _) = (None, None);
        for row in rows {
            let key = key_of(row.try_get(0)?)?;
            let Some(rolled) = common_prefix(&key, self.prefix, Some(delimiter)) else {
                let from = run.map_or_else(|| key.as_bytes().to_vec(), |run| run.start);
                let behind = [key.as_bytes(), &[0]].concat();
                next = Some(behind.clone());
                run = Some(from..behind);
                continue;
            };
            if let Some(run) = run.take() {
                self.flat(run).await?;
            }
            self.items.push(Item::Prefix(rolled.to_owned()));
            next = Some(behind(rolled));
            if self.missing() == 0 {
                return Ok(None);
            }
        }
        if let Some(run) = run {
            self.flat(run).await?;
        }
        Ok(next.filter(|_| is_full))
    }
}
