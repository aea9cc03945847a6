//! Listings in which a key has several entries (versions, uploads): keys and common prefixes are walked over
//! first, then the entries of each run of keys between two prefixes are read.

use super::error::StoreError;
use super::ids::BucketId;
use super::page::{Item, common_prefix};
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

    pub fn add(&mut self, rows: &[SqliteRow]) -> Result<(), StoreError> {
        self.items.extend((self.read)(rows)?.into_iter().map(Item::Entry));
        Ok(())
    }

    /// What is in `range`.
    pub async fn fill(&mut self, range: Range<Vec<u8>>) -> Result<(), StoreError> {
        match self.delimiter {
            None => self.flat(range).await,
            Some(delimiter) => self.rolled_up(delimiter, range).await,
        }
    }

    async fn flat(&mut self, range: Range<Vec<u8>>) -> Result<(), StoreError> {
        if self.missing() > 0 {
            let query = sqlx::query(self.flat).bind(self.bucket.0).bind(range.start).bind(range.end);
            let rows = query.bind(self.missing()).fetch_all(&mut *self.tx).await?;
            self.add(&rows)?;
        }
        Ok(())
    }

    async fn rolled_up(&mut self, delimiter: &str, range: Range<Vec<u8>>) -> Result<(), StoreError> {
        let walk = sqlx::query(self.walk).bind(self.bucket.0).bind(range.start).bind(range.end);
        let walk = walk.bind(self.prefix.len() as i64).bind(delimiter.as_bytes()).bind(self.missing());
        let mut run: Option<Range<Vec<u8>>> = None;
        for row in walk.fetch_all(&mut *self.tx).await? {
            let key = key_of(row.try_get(0)?)?;
            let Some(rolled) = common_prefix(&key, self.prefix, Some(delimiter)) else {
                let from = run.map_or_else(|| key.as_bytes().to_vec(), |run| run.start);
                run = Some(from..[key.as_bytes(), &[0]].concat());
                continue;
            };
            if let Some(run) = run.take() {
                self.flat(run).await?;
            }
            self.items.push(Item::Prefix(rolled.to_owned()));
            if self.missing() == 0 {
                return Ok(());
            }
        }
        match run {
            Some(run) => self.flat(run).await,
            None => Ok(()),
        }
    }
}
