//! Who signs S3 requests: the cloud controller's one truth about credentials, for Walrus.
//!
//! Walrus keeps what it was told (`version` says as of when) and hears of changes by waiting for the next
//! version, so that a request costs no call. Secrets travel over mutual TLS only, to a certificate of role
//! `walrus` only, and are never printed.

use super::openapi::named;
use super::{ApiError, Caller};
use crate::runtime::client::InternalClient;
use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, post_with};
use async_trait::async_trait;
use axum::extract::{Path, Query, State};
use axum::{Json, Router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A server answers by then, whatever is asked for.
pub const VERSION_WAIT_MAX: Duration = Duration::from_secs(20);

/// An account as S3 shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountFacts {
    /// Twelve digits.
    pub id: String,
    /// S3's display name.
    pub name: String,
    pub email: Option<String>,
    /// See [`canonical_id`].
    pub canonical_id: String,
}

impl AccountFacts {
    pub fn new(id: &str, name: &str, email: Option<&str>) -> Self {
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            email: email.map(str::to_owned),
            canonical_id: canonical_id(id),
        }
    }
}

/// What S3's access control lists call an account: 64 lower-case hex digits, the same in every database.
pub fn canonical_id(account: &str) -> String {
    hex::encode(Sha256::digest(format!("karri-canonical:{account}")))
}

/// A user of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Who {
    pub account: AccountFacts,
    pub user: String,
    /// `AIDA…`
    pub user_id: String,
    pub arn: String,
    /// Of the cloud: acts on every account's resources, as far as the user's policies go.
    pub administrator: bool,
    /// The user's policies allow everything: what AWS calls an account's root user.
    pub root: bool,
}

/// A secret access key or a session token on its way.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SecretText(pub String);

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(…)")
    }
}

/// All that a signature leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SignerRecord {
    pub access_key_id: String,
    pub who: Who,
    pub secret_access_key: SecretText,
    /// Of temporary credentials.
    #[serde(default)]
    pub session: Option<SessionFacts>,
    /// The user's policy documents.
    pub policies: Vec<String>,
}

/// What a session token says of the credentials that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionFacts {
    pub issued_unix_ms: i64,
    /// They are good until then.
    pub expires_unix_ms: i64,
    /// Whose name is the federated user's, who is no user of the account.
    pub federated: bool,
    /// Documents that narrow the user's policies: what both allow is allowed. Nothing: the user's count alone.
    pub policies: Option<Vec<String>>,
}

/// Temporary credentials as a request shows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionAsked {
    pub access_key_id: String,
    pub session_token: SecretText,
}

/// What an account is looked up by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AccountName {
    Id(String),
    Canonical(String),
    Email(String),
}

impl AccountName {
    pub fn text(&self) -> &str {
        self.parts().1
    }

    /// Addresses have no case.
    #[must_use]
    pub fn folded(&self) -> Self {
        match self {
            AccountName::Email(email) => AccountName::Email(email.to_lowercase()),
            AccountName::Id(_) | AccountName::Canonical(_) => self.clone(),
        }
    }

    fn parts(&self) -> (&'static str, &str) {
        match self {
            AccountName::Id(text) => ("id", text),
            AccountName::Canonical(text) => ("canonical", text),
            AccountName::Email(text) => ("email", text),
        }
    }

    fn parse(kind: &str, text: String) -> Option<Self> {
        match kind {
            "id" => Some(AccountName::Id(text)),
            "canonical" => Some(AccountName::Canonical(text)),
            "email" => Some(AccountName::Email(text)),
            _ => None,
        }
    }
}

/// A certificate that a user signs image bundles with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserCertificate {
    pub id: String,
    pub user: String,
    pub pem: String,
}

/// An answer, at least as new as `version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Told<T> {
    pub version: i64,
    /// Nothing: there is no such thing.
    pub found: Option<T>,
}

/// A number that every change of accounts, users, keys, policies and certificates makes another one, and every node
/// that is forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SignersVersion {
    pub version: i64,
    /// Certificates of nodes that are refused from now on, by their fingerprints. None: as before.
    #[serde(default)]
    pub revoked: Option<Vec<String>>,
}

#[async_trait]
pub trait SignerService: Send + Sync + 'static {
    async fn signer(&self, caller: &Caller, access_key_id: &str) -> Result<Told<SignerRecord>, ApiError>;
    /// Nothing: the token is not this key's, or the key that it was asked for with is gone. Credentials that are past
    /// their time are told like others.
    async fn signer_session(
        &self,
        caller: &Caller,
        asked: &SessionAsked,
    ) -> Result<Told<SignerRecord>, ApiError>;
    async fn signer_account(
        &self,
        caller: &Caller,
        name: &AccountName,
    ) -> Result<Told<AccountFacts>, ApiError>;
    /// Nothing: there is no such account.
    async fn signer_certificates(
        &self,
        caller: &Caller,
        account: &str,
    ) -> Result<Told<Vec<UserCertificate>>, ApiError>;
    /// The id (`AIDA…`) of a user. Nothing: there is no such account, or user in it.
    async fn signer_user(&self, caller: &Caller, account: &str, user: &str)
    -> Result<Told<String>, ApiError>;
    /// Answers once the version is another than `known`, or after `wait`.
    async fn signers_version(
        &self,
        caller: &Caller,
        known: i64,
        wait: Duration,
    ) -> Result<SignersVersion, ApiError>;
}

type Service = State<Arc<dyn SignerService>>;
type Answer<T> = Result<Json<T>, ApiError>;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct VersionQuery {
    known: i64,
    wait_ms: u64,
}

pub fn router(service: Arc<dyn SignerService>) -> Router {
    api().with_state(service).into()
}

pub(super) fn api() -> ApiRouter<Arc<dyn SignerService>> {
    ApiRouter::new()
        .api_route("/v1/signers/version", get_with(handle_version, named("signers_version")))
        .api_route("/v1/signers/keys/{key}", get_with(handle_signer, named("signer")))
        .api_route("/v1/signers/sessions", post_with(handle_session, named("signer_session")))
        .api_route("/v1/signers/accounts/{kind}/{name}", get_with(handle_account, named("signer_account")))
        .api_route("/v1/signers/users/{account}/{user}", get_with(handle_user, named("signer_user")))
        .api_route(
            "/v1/signers/certificates/{account}",
            get_with(handle_certificates, named("signer_certificates")),
        )
}

async fn handle_version(
    State(service): Service,
    caller: Caller,
    Query(query): Query<VersionQuery>,
) -> Answer<SignersVersion> {
    let wait = Duration::from_millis(query.wait_ms).min(VERSION_WAIT_MAX);
    service.signers_version(&caller, query.known, wait).await.map(Json)
}

async fn handle_signer(
    State(service): Service,
    caller: Caller,
    Path(key): Path<String>,
) -> Answer<Told<SignerRecord>> {
    service.signer(&caller, &key).await.map(Json)
}

async fn handle_session(
    State(service): Service,
    caller: Caller,
    Json(asked): Json<SessionAsked>,
) -> Answer<Told<SignerRecord>> {
    service.signer_session(&caller, &asked).await.map(Json)
}

async fn handle_account(
    State(service): Service,
    caller: Caller,
    Path((kind, name)): Path<(String, String)>,
) -> Answer<Told<AccountFacts>> {
    let unknown = || ApiError::invalid(format!("an account is not looked up by \"{kind}\""));
    let name = AccountName::parse(&kind, name).ok_or_else(unknown)?;
    service.signer_account(&caller, &name).await.map(Json)
}

async fn handle_user(
    State(service): Service,
    caller: Caller,
    Path((account, user)): Path<(String, String)>,
) -> Answer<Told<String>> {
    service.signer_user(&caller, &account, &user).await.map(Json)
}

async fn handle_certificates(
    State(service): Service,
    caller: Caller,
    Path(account): Path<String>,
) -> Answer<Told<Vec<UserCertificate>>> {
    service.signer_certificates(&caller, &account).await.map(Json)
}

#[async_trait]
impl SignerService for InternalClient {
    async fn signer(&self, caller: &Caller, access_key_id: &str) -> Result<Told<SignerRecord>, ApiError> {
        self.get(&self.path(&["v1", "signers", "keys", access_key_id]), &caller.request_id).await
    }

    /// Posted, not named in the path: paths are logged.
    async fn signer_session(
        &self,
        caller: &Caller,
        asked: &SessionAsked,
    ) -> Result<Told<SignerRecord>, ApiError> {
        self.post("/v1/signers/sessions", &caller.request_id, asked).await
    }

    async fn signer_account(
        &self,
        caller: &Caller,
        name: &AccountName,
    ) -> Result<Told<AccountFacts>, ApiError> {
        let (kind, name) = name.parts();
        self.get(&self.path(&["v1", "signers", "accounts", kind, name]), &caller.request_id).await
    }

    async fn signer_certificates(
        &self,
        caller: &Caller,
        account: &str,
    ) -> Result<Told<Vec<UserCertificate>>, ApiError> {
        self.get(&self.path(&["v1", "signers", "certificates", account]), &caller.request_id).await
    }

    async fn signer_user(
        &self,
        caller: &Caller,
        account: &str,
        user: &str,
    ) -> Result<Told<String>, ApiError> {
        self.get(&self.path(&["v1", "signers", "users", account, user]), &caller.request_id).await
    }

    async fn signers_version(
        &self,
        caller: &Caller,
        known: i64,
        wait: Duration,
    ) -> Result<SignersVersion, ApiError> {
        let path = format!("/v1/signers/version?known={known}&wait_ms={}", wait.as_millis());
        self.get_waiting(&path, &caller.request_id, wait).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canonical_id_depends_on_the_account_alone() {
        let id = canonical_id("111122223333");
        assert_eq!(id, "351a153eb014bf43e3a8d801d61f6ca2cb757a2b11e2d4a42607fbe4090cf28f");
        assert_eq!(AccountFacts::new("111122223333", "a", None).canonical_id, id);
    }

    #[test]
    fn a_secret_is_not_debugged() {
        assert_eq!(format!("{:?}", SecretText("hunter2".into())), "SecretText(…)");
    }

    #[test]
    fn an_accounts_name_survives_its_path() {
        for name in
            [AccountName::Id("1".into()), AccountName::Canonical("a".into()), AccountName::Email("@".into())]
        {
            let (kind, text) = name.parts();
            assert_eq!(AccountName::parse(kind, text.to_owned()), Some(name.clone()));
        }
        assert_eq!(AccountName::parse("name", "x".into()), None);
    }
}
