//! A yardstick for `make bench`: one durable commit of one row, as the cloud controller's store commits
//! (same engine, same pragmas). One commit per line of standard input; the answer is its microseconds.

use anyhow::Context;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection, Executor};
use std::io::{BufRead, stdin};
use std::time::Instant;

const ROW_BYTES: usize = 1000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let file = std::env::args_os().nth(1).context("usage: commit_loop FILE")?;
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    connection
        .execute("CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, body TEXT NOT NULL)")
        .await?;
    let body = "x".repeat(ROW_BYTES);
    for line in stdin().lock().lines() {
        line?;
        let began = Instant::now();
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let insert = sqlx::query("INSERT INTO rows (body) VALUES ($1)").bind(body.as_str());
        insert.execute(&mut *transaction).await?;
        transaction.commit().await?;
        println!("{}", began.elapsed().as_micros());
    }
    Ok(())
}
