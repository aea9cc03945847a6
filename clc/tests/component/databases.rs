//! Of the tests' own databases: they would fill the memory that they are in.

use crate::support::{Cloud, Database, until};
use sqlx::{AnyConnection, Connection};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_goes_with_its_cloud() {
    let cloud = Cloud::start(Database::Postgres).await;
    let url = cloud.config.database.url.clone();
    sqlx::any::install_default_drivers();
    AnyConnection::connect(&url).await.unwrap().close().await.unwrap();
    drop(cloud);
    let is_gone = |error: sqlx::Error| error.to_string().contains("does not exist");
    until("it is gone", || async { AnyConnection::connect(&url).await.is_err_and(is_gone).then_some(()) })
        .await;
}
