//! Proves a store that nobody uses consistent: every row verifies, every row's bytes are there and verify,
//! everything that is kept is named exactly once, and the counts agree.
//!
//! ```text
//!   open.rs    the database as it lies there, changing nothing
//!   rows.rs    what rows say of themselves and of one another
//!   bytes.rs   what rows name: manifests, small contents, blobs
//!   owner.rs   which object a damaged thing belongs to
//!   report.rs  what was found
//! ```

mod bytes;
mod open;
mod owner;
mod report;
mod rows;

pub use report::{CheckProgress, CheckReport, Problem};

use super::DATABASE;
use super::error::StoreError;
use super::object::Content;
use crate::store::keeper::Keeper;
use owner::Thing;
use sqlx::{Connection, SqliteConnection};
use std::collections::BTreeMap;
use std::path::Path;

/// What rows name. Ids only: eight bytes for each blob of a store.
#[derive(Default)]
struct Named {
    blobs: Vec<u64>,
    inline: Vec<u64>,
    manifests: Vec<u64>,
    /// Versions and bytes, by bucket.
    usage: BTreeMap<i64, (i64, i64)>,
}

impl Named {
    fn content(&mut self, seq: u64, content: &Content) {
        match content {
            Content::Empty => {}
            Content::Inline(_) => self.inline.push(seq),
            Content::Blob(id, _) => self.blobs.push(id.0),
            Content::Manifest(..) => self.manifests.push(seq),
        }
    }
}

/// What a step of the check works with.
struct Checking<'a> {
    connection: SqliteConnection,
    keeper: &'a dyn Keeper,
    tell: &'a (dyn Fn(CheckProgress) + Sync),
    report: CheckReport,
    named: Named,
}

/// Changes nothing, and needs no free byte on the disk. `tell` hears how far it is.
pub async fn check(
    dir: &Path,
    keeper: &dyn Keeper,
    tell: &(dyn Fn(CheckProgress) + Sync),
) -> Result<CheckReport, StoreError> {
    let connection = open::database(&dir.join(DATABASE)).await?;
    let mut checking =
        Checking { connection, keeper, tell, report: CheckReport::default(), named: Named::default() };
    checking.integrity().await?;
    checking.rows().await?;
    checking.bytes().await?;
    checking.name_owners().await?;
    checking.connection.close().await?;
    Ok(checking.report)
}

impl Checking<'_> {
    async fn integrity(&mut self) -> Result<(), StoreError> {
        (self.tell)(CheckProgress::at("the database's own structure"));
        let words = sqlx::query_scalar("PRAGMA integrity_check").fetch_all(&mut self.connection).await?;
        for word in words.into_iter().filter(|word: &String| word != "ok") {
            self.report.tell(Thing::None, format!("database: {word}"));
        }
        Ok(())
    }
}
