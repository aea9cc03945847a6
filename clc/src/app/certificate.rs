//! Certificates that users sign image bundles with. Made where their private keys stay; here they are only kept,
//! so that Walrus can check a manifest against them.

use super::App;
use super::account::{BASE32, random_text};
use crate::store::account::identities_touch_in_txn;
use crate::store::certificate::{
    certificate_count_in_txn, certificate_delete_in_txn, certificate_find_in_txn, certificate_insert_in_txn,
};
use karri_proto::internal::ApiError;
use karri_proto::internal::admin::{Certificate, NewCertificate};
use karri_proto::runtime::rsa_pair::check_rsa_certificate;

/// As IAM has it: one in use, and one to change over to.
const CERTIFICATES_PER_USER_MAX: i64 = 2;
const ID_CHARS: usize = 32;

impl App {
    /// A user may bring a certificate again: `karri up` does.
    pub async fn certificate_create(&self, new: NewCertificate) -> Result<Certificate, ApiError> {
        let account = self.account_with_user(&new.account, &new.user).await?;
        let fingerprint = check_rsa_certificate(&new.pem).map_err(ApiError::invalid)?;
        let mut tx = self.store.begin().await?;
        identities_touch_in_txn(&mut tx).await?;
        match certificate_find_in_txn(&mut tx, &fingerprint).await? {
            Some(known) if known.account == account.id && known.user == new.user => return Ok(known),
            Some(_) => return Err(ApiError::conflict("the certificate belongs to another user")),
            None => {}
        }
        if certificate_count_in_txn(&mut tx, &account.id, &new.user).await? >= CERTIFICATES_PER_USER_MAX {
            let sentence = format!("a user has at most {CERTIFICATES_PER_USER_MAX} certificates");
            return Err(ApiError::conflict(sentence));
        }
        let certificate = Certificate {
            id: random_text(BASE32, ID_CHARS),
            account: account.id,
            user: new.user,
            fingerprint,
            pem: new.pem,
            created_at_unix_ms: super::now_ms(),
        };
        certificate_insert_in_txn(&mut tx, &certificate).await?;
        self.identities.commit(&self.store, tx).await?;
        let Certificate { id, account, user, .. } = &certificate;
        tracing::info!(account, user, certificate = id, "signing certificate added");
        Ok(certificate)
    }

    pub async fn certificate_delete(&self, id: &str) -> Result<(), ApiError> {
        let mut tx = self.store.begin().await?;
        identities_touch_in_txn(&mut tx).await?;
        if !certificate_delete_in_txn(&mut tx, id).await? {
            return Err(ApiError::not_found(format!("there is no certificate \"{id}\"")));
        }
        self.identities.commit(&self.store, tx).await?;
        tracing::info!(certificate = id, "signing certificate deleted");
        Ok(())
    }
}
