//! Statements that are made first and executed then: one by one, or in one go where the engine takes that.
//!
//! Each statement on its own costs a way to the engine's thread and back, which is a good part of what a
//! small transaction costs on SQLite.

use super::{StoreError, Tx};
use futures_util::TryStreamExt as _;
use sqlx::any::AnyArguments;
use sqlx::{Any, Arguments as _, AssertSqlSafe, Either, Encode, Executor as _, Type};

/// More would push other statements out of the engine's cache of prepared ones.
const TOGETHER_MAX: usize = 16;

/// A statement with what is bound to its `$1`, `$2`, ….
pub(super) struct Statement {
    text: &'static str,
    values: Result<AnyArguments, StoreError>,
}

impl Statement {
    pub(super) fn new(text: &'static str) -> Self {
        Self { text, values: Ok(AnyArguments::default()) }
    }

    pub(super) fn bind<'v, T: Encode<'v, Any> + Type<Any>>(mut self, value: T) -> Self {
        if let Ok(values) = &mut self.values
            && let Err(error) = values.add(value)
        {
            self.values = Err(sqlx::Error::Encode(error).into());
        }
        self
    }

    /// The number of rows that it touched.
    pub(super) async fn execute(self, tx: &mut Tx) -> Result<u64, StoreError> {
        Ok(sqlx::query_with(self.text, self.values?).execute(&mut **tx).await?.rows_affected())
    }
}

/// Executes all of them in one go on SQLite. False: one of them did not touch exactly one row, or broke a
/// constraint, and nothing is done.
pub(super) async fn each_touched_one_row(
    tx: &mut Tx,
    statements: Vec<Statement>,
) -> Result<bool, StoreError> {
    if statements.len() > TOGETHER_MAX {
        return Ok(false);
    }
    let count = statements.len();
    // The commit ends it.
    let mut text = String::from("SAVEPOINT together");
    let mut values = AnyArguments::default();
    for statement in statements {
        text.push_str("; ");
        // The engine binds by number over all of the text.
        shift(&mut text, statement.text, values.len());
        values.values.0.append(&mut statement.values?.values.0);
    }
    let query = sqlx::query_with(AssertSqlSafe(text), values);
    let done: Result<Vec<_>, _> = (&mut **tx).fetch_many(query).try_collect().await;
    let all = match done {
        Ok(done) => {
            let rows = done.iter().filter_map(|done| match done {
                Either::Left(done) => Some(done.rows_affected()),
                Either::Right(_) => None,
            });
            // The first is of the savepoint.
            rows.skip(1).filter(|rows| *rows == 1).count() == count
        }
        Err(sqlx::Error::Database(error)) if is_constraint(&*error) => false,
        Err(error) => return Err(error.into()),
    };
    if !all {
        (&mut **tx).execute("ROLLBACK TO together").await?;
    }
    Ok(all)
}

fn is_constraint(error: &dyn sqlx::error::DatabaseError) -> bool {
    error.is_unique_violation() || error.is_foreign_key_violation()
}

/// Appends a statement whose `$1` becomes `$` and the number after `before`, and so on.
fn shift(text: &mut String, statement: &str, before: usize) {
    let mut parts = statement.split('$');
    text.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = part.split_at(digits);
        let number: usize = number.parse().unwrap_or_default();
        text.push_str(&format!("${}{rest}", number + before));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_on_where_the_statement_before_ended() {
        let mut text = String::from("A; ");
        shift(&mut text, "INSERT INTO t (a, b) VALUES ($1, $12) ON CONFLICT (a) DO NOTHING", 25);
        assert_eq!(text, "A; INSERT INTO t (a, b) VALUES ($26, $37) ON CONFLICT (a) DO NOTHING");
    }
}
