//! AdminService: the operator's verbs.

use super::Internal;
use async_trait::async_trait;
use karri_proto::internal::admin::{
    AccessKey, Account, AdminService, Certificate, CloudStatus, ImageDeleted, NewAccount, NewCertificate,
    NewKey, NewToken, NewUser, Token, User,
};
use karri_proto::internal::path::{PathAsked, Station};
use karri_proto::internal::{ApiError, Caller};

#[async_trait]
impl AdminService for Internal {
    async fn account_create(&self, _: &Caller, new: NewAccount) -> Result<Account, ApiError> {
        self.app.account_create(new).await
    }

    async fn account_list(&self, _: &Caller) -> Result<Vec<Account>, ApiError> {
        Ok(self.app.store.account_list().await?)
    }

    async fn account_delete(&self, _: &Caller, account: &str, force: bool) -> Result<(), ApiError> {
        self.app.account_delete(account, force).await
    }

    async fn user_create(&self, _: &Caller, new: NewUser) -> Result<User, ApiError> {
        self.app.user_create(new).await
    }

    async fn user_list(&self, _: &Caller, account: &str) -> Result<Vec<User>, ApiError> {
        let account = self.app.account_find(account).await?;
        Ok(self.app.store.user_list(&account.id).await?)
    }

    async fn user_delete(&self, _: &Caller, account: &str, user: &str) -> Result<(), ApiError> {
        self.app.user_delete(account, user).await
    }

    async fn key_create(&self, _: &Caller, new: NewKey) -> Result<AccessKey, ApiError> {
        self.app.key_create(new).await
    }

    async fn key_list(&self, _: &Caller, account: &str) -> Result<Vec<AccessKey>, ApiError> {
        let account = self.app.account_find(account).await?;
        Ok(self.app.store.key_list(&account.id).await?)
    }

    async fn key_delete(&self, _: &Caller, access_key_id: &str) -> Result<(), ApiError> {
        self.app.key_delete(access_key_id).await
    }

    async fn certificate_create(&self, _: &Caller, new: NewCertificate) -> Result<Certificate, ApiError> {
        self.app.certificate_create(new).await
    }

    async fn certificate_list(&self, _: &Caller, account: &str) -> Result<Vec<Certificate>, ApiError> {
        let account = self.app.account_find(account).await?;
        Ok(self.app.store.certificate_list(&account.id).await?)
    }

    async fn certificate_delete(&self, _: &Caller, id: &str) -> Result<(), ApiError> {
        self.app.certificate_delete(id).await
    }

    async fn image_delete(&self, _: &Caller, id: &str) -> Result<ImageDeleted, ApiError> {
        self.app.image_delete(id).await
    }

    async fn token_create(&self, _: &Caller, new: NewToken) -> Result<Token, ApiError> {
        self.app.token_create(new).await
    }

    async fn node_forget(
        &self,
        caller: &Caller,
        zone: &str,
        node: &str,
        force: bool,
    ) -> Result<(), ApiError> {
        self.app.node_forget(caller, zone, node, force).await
    }

    async fn cloud_status(&self, caller: &Caller) -> Result<CloudStatus, ApiError> {
        self.app.cloud_status(caller).await
    }

    async fn packet_path(&self, caller: &Caller, asked: PathAsked) -> Result<Vec<Station>, ApiError> {
        self.app.packet_path(caller, &asked).await
    }
}
