//! SignerService: what Walrus checks S3's signatures with.

use super::Internal;
use crate::app::now_ms;
use async_trait::async_trait;
use karri_proto::internal::signers::{
    AccountFacts, AccountName, SessionAsked, SignerRecord, SignerService, SignersVersion, Told,
    UserCertificate,
};
use karri_proto::internal::{ApiError, Caller};
use std::time::Duration;

#[async_trait]
impl SignerService for Internal {
    async fn signer(&self, _: &Caller, access_key_id: &str) -> Result<Told<SignerRecord>, ApiError> {
        self.app.signer_record(access_key_id).await
    }

    async fn signer_session(&self, _: &Caller, asked: &SessionAsked) -> Result<Told<SignerRecord>, ApiError> {
        self.app.session_record(asked).await
    }

    async fn signer_account(&self, _: &Caller, name: &AccountName) -> Result<Told<AccountFacts>, ApiError> {
        self.app.signer_account(name).await
    }

    async fn signer_certificates(
        &self,
        _: &Caller,
        account: &str,
    ) -> Result<Told<Vec<UserCertificate>>, ApiError> {
        self.app.signer_certificates(account).await
    }

    async fn signer_user(&self, _: &Caller, account: &str, user: &str) -> Result<Told<String>, ApiError> {
        self.app.signer_user(account, user).await
    }

    async fn signers_version(
        &self,
        _: &Caller,
        known: i64,
        wait: Duration,
    ) -> Result<SignersVersion, ApiError> {
        let version = self.app.signers_version(known, wait).await?;
        let revoked = self.app.store.node_certificates_revoked(None, now_ms()).await?;
        Ok(SignersVersion { version, revoked: Some(revoked) })
    }
}
