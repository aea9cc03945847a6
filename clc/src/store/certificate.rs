//! Certificates that users sign image bundles with.

use super::{Store, StoreError, Tx};
use karri_proto::internal::admin::Certificate;
use sqlx::Row as _;
use sqlx::any::AnyRow;

fn certificate_of(row: &AnyRow) -> Result<Certificate, StoreError> {
    Ok(Certificate {
        id: row.try_get("id")?,
        account: row.try_get("account")?,
        user: row.try_get("user_name")?,
        fingerprint: row.try_get("fingerprint")?,
        pem: row.try_get("pem")?,
        created_at_unix_ms: row.try_get("created_at")?,
    })
}

pub async fn certificate_insert_in_txn(tx: &mut Tx, new: &Certificate) -> Result<(), StoreError> {
    let statement = "INSERT INTO signing_certificates (id, account, user_name, fingerprint, pem, created_at) \
                     VALUES ($1, $2, $3, $4, $5, $6)";
    sqlx::query(statement)
        .bind(&new.id)
        .bind(&new.account)
        .bind(&new.user)
        .bind(&new.fingerprint)
        .bind(&new.pem)
        .bind(new.created_at_unix_ms)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// By its fingerprint, whose ever it is.
pub async fn certificate_find_in_txn(
    tx: &mut Tx,
    fingerprint: &str,
) -> Result<Option<Certificate>, StoreError> {
    let statement = "SELECT * FROM signing_certificates WHERE fingerprint = $1";
    let row = sqlx::query(statement).bind(fingerprint).fetch_optional(&mut **tx).await?;
    row.as_ref().map(certificate_of).transpose()
}

pub async fn certificate_count_in_txn(tx: &mut Tx, account: &str, user: &str) -> Result<i64, StoreError> {
    let statement = "SELECT COUNT(*) FROM signing_certificates WHERE account = $1 AND user_name = $2";
    Ok(sqlx::query_scalar(statement).bind(account).bind(user).fetch_one(&mut **tx).await?)
}

pub async fn certificate_delete_in_txn(tx: &mut Tx, id: &str) -> Result<bool, StoreError> {
    let statement = "DELETE FROM signing_certificates WHERE id = $1";
    Ok(sqlx::query(statement).bind(id).execute(&mut **tx).await?.rows_affected() > 0)
}

impl Store {
    pub async fn certificate_list(&self, account: &str) -> Result<Vec<Certificate>, StoreError> {
        let statement =
            "SELECT * FROM signing_certificates WHERE account = $1 ORDER BY user_name, created_at, id";
        let rows = sqlx::query(statement).bind(account).fetch_all(self.reader()).await?;
        rows.iter().map(certificate_of).collect()
    }
}
