//! Databases that somebody has opened before: to bring an empty one up to date takes longer than most tests, and has tests
//! of its own.

use super::postgres::{self, NewDatabase};
use super::{Database, database, memory};
use karri_clc::config::DatabaseConfig;
use karri_clc::store::Store;
use std::path::Path;
use tokio::sync::OnceCell;

/// What the file of one holds that nobody has open.
static FILE: OnceCell<Vec<u8>> = OnceCell::const_new();
/// It lives as long as the tests do.
static TEMPLATE: OnceCell<NewDatabase> = OnceCell::const_new();

/// With what keeps it.
pub async fn migrated(directory: &Path, engine: Database) -> (DatabaseConfig, Option<NewDatabase>) {
    match engine {
        Database::Sqlite => {
            let content = FILE.get_or_init(file).await;
            let new = database(directory, engine).await;
            std::fs::write(directory.join(super::SQLITE_FILE), content).unwrap();
            new
        }
        Database::Postgres => {
            let new = postgres::copy_of(TEMPLATE.get_or_init(template).await).await;
            (super::config_of(&new), Some(new))
        }
    }
}

async fn file() -> Vec<u8> {
    let directory = memory::directory("karri-clc-");
    let (config, _) = database(directory.path(), Database::Sqlite).await;
    Store::open(&config).await.unwrap().close().await;
    std::fs::read(directory.path().join(super::SQLITE_FILE)).unwrap()
}

async fn template() -> NewDatabase {
    let new = postgres::new_database().await;
    Store::open(&super::config_of(&new)).await.unwrap().close().await;
    new
}
