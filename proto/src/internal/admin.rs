//! The operator's verbs at the cloud controller. Only a certificate of role `admin` may use them.

use super::openapi::named;
use super::path::{PathAsked, Station};
use super::{ApiError, Caller};
use crate::instance::Digest;
use crate::network::NetworkMode;
use crate::resources::ClusterResources;
use crate::runtime::client::InternalClient;
use aide::axum::ApiRouter;
use aide::axum::routing::{delete_with, get_with, post_with};
use async_trait::async_trait;
use axum::extract::{Path, Query, State};
use axum::{Json, Router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Account {
    /// Twelve digits.
    pub id: String,
    pub name: String,
    /// Its users may act on every account's resources.
    pub administrator: bool,
    /// What S3's access control lists may name it by.
    #[serde(default)]
    pub email: Option<String>,
    pub created_at_unix_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct User {
    pub account: String,
    pub name: String,
    pub arn: String,
    /// IAM policy documents, by name.
    pub policies: Vec<(String, String)>,
    pub created_at_unix_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccessKey {
    pub access_key_id: String,
    /// Only in the answer that creates it.
    pub secret_access_key: Option<String>,
    pub account: String,
    pub user: String,
    pub created_at_unix_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewAccount {
    pub name: String,
    pub administrator: bool,
    #[serde(default)]
    pub email: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewUser {
    /// Account id or name.
    pub account: String,
    pub name: String,
    /// None: the user may do nothing.
    pub policies: Vec<NewPolicy>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewPolicy {
    /// What the document is called; else `policy-` and its place. A built-in policy has its own name.
    pub name: Option<String>,
    /// The name of a built-in policy, or a JSON document.
    pub policy: String,
}

impl From<&str> for NewPolicy {
    fn from(policy: &str) -> Self {
        Self { name: None, policy: policy.to_owned() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewKey {
    pub account: String,
    pub user: String,
    /// Given by `karri up` so that the same keys outlive a rebuilt database; else made up.
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<String>,
}

/// What a user signs image bundles with. The private key is the user's alone: it is made where it stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Certificate {
    pub id: String,
    pub account: String,
    pub user: String,
    /// SHA-256 of the certificate, in hex.
    pub fingerprint: String,
    pub pem: String,
    pub created_at_unix_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewCertificate {
    pub account: String,
    pub user: String,
    /// X.509 with an RSA key.
    pub pem: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewToken {
    pub cluster: String,
    pub valid_secs: u32,
    /// The node may take the name of one that the cluster has: the same machine once more, or its successor.
    #[serde(default)]
    pub replace: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Token {
    pub token: String,
    pub expires_at_unix_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ControllerStatus {
    pub role: String,
    pub name: String,
    pub url: String,
    pub healthy: bool,
    pub version: String,
    pub detail: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TypeSlots {
    pub instance_type: String,
    pub vcpus: u32,
    pub memory_mib: u64,
    pub disk_gib: u64,
    pub free: u64,
    pub total: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ZoneStatus {
    pub zone: String,
    pub cluster: String,
    /// How its instances are joined to networks.
    #[serde(default)]
    pub mode: NetworkMode,
    pub resources: ClusterResources,
    pub slots: Vec<TypeSlots>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CloudStatus {
    pub controllers: Vec<ControllerStatus>,
    pub zones: Vec<ZoneStatus>,
    /// Instances by EC2 state name.
    pub instances: std::collections::BTreeMap<String, u64>,
}

/// An image that is gone for users, and what of it goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageDeleted {
    pub image_id: String,
    pub name: String,
    pub account: String,
    /// Of its blob, which the image store deletes once none of the following is there. None: it never had one.
    pub digest: Option<Digest>,
    /// That were started from the blob and are not terminated.
    pub instances: Vec<String>,
    pub images_on_its_blob: Vec<String>,
    #[serde(default)]
    pub snapshots_on_its_blob: Vec<String>,
    /// That named it as their kernel or ramdisk: nothing starts from them any more.
    pub images_it_booted: Vec<String>,
}

/// How something is deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Deletion {
    /// Also what hangs on it.
    pub force: bool,
}

#[async_trait]
pub trait AdminService: Send + Sync + 'static {
    async fn account_create(&self, caller: &Caller, new: NewAccount) -> Result<Account, ApiError>;
    async fn account_list(&self, caller: &Caller) -> Result<Vec<Account>, ApiError>;
    /// Refused while it has instances or buckets, and while it has images or key pairs unless forced.
    async fn account_delete(&self, caller: &Caller, account: &str, force: bool) -> Result<(), ApiError>;
    async fn user_create(&self, caller: &Caller, new: NewUser) -> Result<User, ApiError>;
    async fn user_list(&self, caller: &Caller, account: &str) -> Result<Vec<User>, ApiError>;
    async fn user_delete(&self, caller: &Caller, account: &str, user: &str) -> Result<(), ApiError>;
    async fn key_create(&self, caller: &Caller, new: NewKey) -> Result<AccessKey, ApiError>;
    async fn key_list(&self, caller: &Caller, account: &str) -> Result<Vec<AccessKey>, ApiError>;
    async fn key_delete(&self, caller: &Caller, access_key_id: &str) -> Result<(), ApiError>;
    /// The same certificate of the same user may be brought again.
    async fn certificate_create(&self, caller: &Caller, new: NewCertificate)
    -> Result<Certificate, ApiError>;
    async fn certificate_list(&self, caller: &Caller, account: &str) -> Result<Vec<Certificate>, ApiError>;
    async fn certificate_delete(&self, caller: &Caller, id: &str) -> Result<(), ApiError>;
    /// Deregisters an image, whoever's it is, and has its blob deleted once nothing needs that.
    async fn image_delete(&self, caller: &Caller, id: &str) -> Result<ImageDeleted, ApiError>;
    async fn token_create(&self, caller: &Caller, new: NewToken) -> Result<Token, ApiError>;
    /// As [`super::fleet::FleetService`] has it.
    async fn node_forget(&self, caller: &Caller, zone: &str, node: &str, force: bool)
    -> Result<(), ApiError>;
    async fn cloud_status(&self, caller: &Caller) -> Result<CloudStatus, ApiError>;
    /// The way of packets of a subnet or an interface, as what was decided has it.
    async fn packet_path(&self, caller: &Caller, asked: PathAsked) -> Result<Vec<Station>, ApiError>;
}

type Service = State<Arc<dyn AdminService>>;
type Answer<T> = Result<Json<T>, ApiError>;

pub fn router(service: Arc<dyn AdminService>) -> Router {
    api().with_state(service).into()
}

pub(super) fn api() -> ApiRouter<Arc<dyn AdminService>> {
    ApiRouter::new()
        .api_route(
            "/v1/admin/accounts",
            get_with(account_list, named("account_list")).post_with(account_create, named("account_create")),
        )
        .api_route("/v1/admin/accounts/{account}", delete_with(account_delete, named("account_delete")))
        .api_route("/v1/admin/users", post_with(user_create, named("user_create")))
        .api_route("/v1/admin/accounts/{account}/users", get_with(user_list, named("user_list")))
        .api_route(
            "/v1/admin/accounts/{account}/users/{user}",
            delete_with(user_delete, named("user_delete")),
        )
        .api_route("/v1/admin/keys", post_with(key_create, named("key_create")))
        .api_route("/v1/admin/accounts/{account}/keys", get_with(key_list, named("key_list")))
        .api_route("/v1/admin/keys/{key}", delete_with(key_delete, named("key_delete")))
        .api_route("/v1/admin/certificates", post_with(certificate_create, named("certificate_create")))
        .api_route(
            "/v1/admin/accounts/{account}/certificates",
            get_with(certificate_list, named("certificate_list")),
        )
        .api_route(
            "/v1/admin/certificates/{id}",
            delete_with(certificate_delete, named("certificate_delete")),
        )
        .api_route("/v1/admin/images/{id}", delete_with(image_delete, named("image_delete")))
        .api_route("/v1/admin/tokens", post_with(token_create, named("token_create")))
        .api_route("/v1/admin/zones/{zone}/nodes/{node}", delete_with(node_forget, named("node_forget")))
        .api_route("/v1/admin/status", get_with(cloud_status, named("cloud_status")))
        .api_route("/v1/admin/packet-path", post_with(packet_path, named("packet_path")))
}

async fn account_create(State(s): Service, caller: Caller, Json(new): Json<NewAccount>) -> Answer<Account> {
    s.account_create(&caller, new).await.map(Json)
}

async fn account_list(State(s): Service, caller: Caller) -> Answer<Vec<Account>> {
    s.account_list(&caller).await.map(Json)
}

async fn account_delete(
    State(s): Service,
    caller: Caller,
    Path(account): Path<String>,
    Query(deletion): Query<Deletion>,
) -> Result<(), ApiError> {
    s.account_delete(&caller, &account, deletion.force).await
}

async fn user_create(State(s): Service, caller: Caller, Json(new): Json<NewUser>) -> Answer<User> {
    s.user_create(&caller, new).await.map(Json)
}

async fn user_list(State(s): Service, caller: Caller, Path(account): Path<String>) -> Answer<Vec<User>> {
    s.user_list(&caller, &account).await.map(Json)
}

async fn user_delete(
    State(s): Service,
    caller: Caller,
    Path((account, user)): Path<(String, String)>,
) -> Result<(), ApiError> {
    s.user_delete(&caller, &account, &user).await
}

async fn key_create(State(s): Service, caller: Caller, Json(new): Json<NewKey>) -> Answer<AccessKey> {
    s.key_create(&caller, new).await.map(Json)
}

async fn key_list(State(s): Service, caller: Caller, Path(account): Path<String>) -> Answer<Vec<AccessKey>> {
    s.key_list(&caller, &account).await.map(Json)
}

async fn key_delete(State(s): Service, caller: Caller, Path(key): Path<String>) -> Result<(), ApiError> {
    s.key_delete(&caller, &key).await
}

async fn certificate_create(
    State(s): Service,
    caller: Caller,
    Json(new): Json<NewCertificate>,
) -> Answer<Certificate> {
    s.certificate_create(&caller, new).await.map(Json)
}

async fn certificate_list(
    State(s): Service,
    caller: Caller,
    Path(account): Path<String>,
) -> Answer<Vec<Certificate>> {
    s.certificate_list(&caller, &account).await.map(Json)
}

async fn certificate_delete(
    State(s): Service,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<(), ApiError> {
    s.certificate_delete(&caller, &id).await
}

async fn image_delete(State(s): Service, caller: Caller, Path(id): Path<String>) -> Answer<ImageDeleted> {
    s.image_delete(&caller, &id).await.map(Json)
}

async fn token_create(State(s): Service, caller: Caller, Json(new): Json<NewToken>) -> Answer<Token> {
    s.token_create(&caller, new).await.map(Json)
}

async fn node_forget(
    State(s): Service,
    caller: Caller,
    Path((zone, node)): Path<(String, String)>,
    Query(deletion): Query<Deletion>,
) -> Result<(), ApiError> {
    s.node_forget(&caller, &zone, &node, deletion.force).await
}

async fn cloud_status(State(s): Service, caller: Caller) -> Answer<CloudStatus> {
    s.cloud_status(&caller).await.map(Json)
}

async fn packet_path(
    State(s): Service,
    caller: Caller,
    Json(asked): Json<PathAsked>,
) -> Answer<Vec<Station>> {
    s.packet_path(&caller, asked).await.map(Json)
}

#[async_trait]
impl AdminService for InternalClient {
    async fn account_create(&self, caller: &Caller, new: NewAccount) -> Result<Account, ApiError> {
        self.post("/v1/admin/accounts", &caller.request_id, &new).await
    }

    async fn account_list(&self, caller: &Caller) -> Result<Vec<Account>, ApiError> {
        self.get("/v1/admin/accounts", &caller.request_id).await
    }

    async fn account_delete(&self, caller: &Caller, account: &str, force: bool) -> Result<(), ApiError> {
        let path = self.path(&["v1", "admin", "accounts", account]);
        self.delete(&format!("{path}?force={force}"), &caller.request_id).await
    }

    async fn user_create(&self, caller: &Caller, new: NewUser) -> Result<User, ApiError> {
        self.post("/v1/admin/users", &caller.request_id, &new).await
    }

    async fn user_list(&self, caller: &Caller, account: &str) -> Result<Vec<User>, ApiError> {
        self.get(&self.path(&["v1", "admin", "accounts", account, "users"]), &caller.request_id).await
    }

    async fn user_delete(&self, caller: &Caller, account: &str, user: &str) -> Result<(), ApiError> {
        self.delete(&self.path(&["v1", "admin", "accounts", account, "users", user]), &caller.request_id)
            .await
    }

    async fn key_create(&self, caller: &Caller, new: NewKey) -> Result<AccessKey, ApiError> {
        self.post("/v1/admin/keys", &caller.request_id, &new).await
    }

    async fn key_list(&self, caller: &Caller, account: &str) -> Result<Vec<AccessKey>, ApiError> {
        self.get(&self.path(&["v1", "admin", "accounts", account, "keys"]), &caller.request_id).await
    }

    async fn key_delete(&self, caller: &Caller, access_key_id: &str) -> Result<(), ApiError> {
        self.delete(&self.path(&["v1", "admin", "keys", access_key_id]), &caller.request_id).await
    }

    async fn certificate_create(
        &self,
        caller: &Caller,
        new: NewCertificate,
    ) -> Result<Certificate, ApiError> {
        self.post("/v1/admin/certificates", &caller.request_id, &new).await
    }

    async fn certificate_list(&self, caller: &Caller, account: &str) -> Result<Vec<Certificate>, ApiError> {
        self.get(&self.path(&["v1", "admin", "accounts", account, "certificates"]), &caller.request_id).await
    }

    async fn certificate_delete(&self, caller: &Caller, id: &str) -> Result<(), ApiError> {
        self.delete(&self.path(&["v1", "admin", "certificates", id]), &caller.request_id).await
    }

    async fn image_delete(&self, caller: &Caller, id: &str) -> Result<ImageDeleted, ApiError> {
        self.delete_told(&self.path(&["v1", "admin", "images", id]), &caller.request_id).await
    }

    async fn token_create(&self, caller: &Caller, new: NewToken) -> Result<Token, ApiError> {
        self.post("/v1/admin/tokens", &caller.request_id, &new).await
    }

    async fn node_forget(
        &self,
        caller: &Caller,
        zone: &str,
        node: &str,
        force: bool,
    ) -> Result<(), ApiError> {
        let path = self.path(&["v1", "admin", "zones", zone, "nodes", node]);
        self.delete(&format!("{path}?force={force}"), &caller.request_id).await
    }

    async fn cloud_status(&self, caller: &Caller) -> Result<CloudStatus, ApiError> {
        self.get("/v1/admin/status", &caller.request_id).await
    }

    async fn packet_path(&self, caller: &Caller, asked: PathAsked) -> Result<Vec<Station>, ApiError> {
        self.post("/v1/admin/packet-path", &caller.request_id, &asked).await
    }
}
