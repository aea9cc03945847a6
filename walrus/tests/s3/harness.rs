//! A server, its users, and signed requests.

use crate::pen::encoded;
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use karri_proto::checksum::{Algorithm, Hasher};
use karri_proto::runtime::server::{self, ShutdownTrigger, shutdown_pair};
use karri_walrus::api::s3::{S3, S3Options, router};
use karri_walrus::drive::signers::{Authenticator, Entry, Fixed};
use karri_walrus::drive::webhooks::{WebhookConfig, Webhooks};
use karri_walrus::reconcile::access_logs::AccessLogs;
use karri_walrus::store::keeper::Keeper;
use karri_walrus::store::keeper::local::LocalKeeper;
use karri_walrus::store::keeper::seal::MasterKeys;
use karri_walrus::store::objects::{Objects, ObjectsConfig};
use reqwest::{Method, Response};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use tokio::net::TcpListener;

/// What the golden vector is signed with.
const ANNS_CERTIFICATE: &str = include_str!("../vectors/bundle/user-cert.pem");
pub const REGION: &str = "karri-1";

#[derive(Clone, Copy)]
pub enum User {
    Ann,
    Bob,
    /// Of Ann's account, and may make buckets from here.
    Cat,
    Nobody,
}

impl User {
    pub fn key(self) -> &'static str {
        match self {
            User::Ann => "AKIAANN0000000000000",
            User::Bob => "AKIABOB0000000000000",
            User::Cat => "AKIACAT0000000000000",
            User::Nobody => "",
        }
    }
}

pub struct Server {
    pub url: String,
    pub s3: Arc<S3>,
    http: reqwest::Client,
    dir: TempDir,
    trigger: ShutdownTrigger,
}

fn entry(account: &str, user: User, name: &str) -> Entry {
    Entry {
        account: account.into(),
        account_name: name.into(),
        email: Some(format!("{name}@example.org")),
        user: name.into(),
        access_key_id: user.key().into(),
        secret_access_key: "secret".into(),
        administrator: false,
        policies: vec!["AdministratorAccess".into()],
        certificates: if name == "ann" { vec![ANNS_CERTIFICATE.into()] } else { Vec::new() },
    }
}

fn cat() -> Entry {
    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:CreateBucket","Resource":"*",
        "Condition":{"IpAddress":{"aws:SourceIp":"127.0.0.1/32"}}}]}"#;
    Entry {
        user: "cat".into(),
        access_key_id: User::Cat.key().into(),
        policies: vec![policy.into()],
        certificates: Vec::new(),
        ..entry("111111111111", User::Ann, "ann")
    }
}

/// As AWS is today.
pub async fn server() -> Server {
    server_with(S3Options { region: REGION.into(), ..S3Options::default() }).await
}

/// As AWS was: buckets take lists, and may be public.
pub async fn open_server() -> Server {
    let options = S3Options {
        region: REGION.into(),
        block_public_access_default: false,
        object_ownership_default: None,
        ..S3Options::default()
    };
    server_with(options).await
}

pub async fn server_with(options: S3Options) -> Server {
    server_with_webhooks(options, BTreeMap::new()).await
}

pub async fn server_with_webhooks(options: S3Options, webhooks: BTreeMap<String, WebhookConfig>) -> Server {
    server_whole(options, webhooks, users(), |dir| Arc::new(LocalKeeper::open(dir).unwrap())).await
}

/// With its larger objects where `keeper` puts them.
pub async fn server_over(
    options: S3Options,
    webhooks: BTreeMap<String, WebhookConfig>,
    keeper: impl FnOnce(&Path) -> Arc<dyn Keeper>,
) -> Server {
    server_whole(options, webhooks, users(), keeper).await
}

pub fn users() -> Arc<Fixed> {
    let users = vec![entry("111111111111", User::Ann, "ann"), entry("222222222222", User::Bob, "bob"), cat()];
    Fixed::new(users).unwrap()
}

pub async fn server_of(
    options: S3Options,
    webhooks: BTreeMap<String, WebhookConfig>,
    authenticator: Arc<dyn Authenticator>,
) -> Server {
    server_whole(options, webhooks, authenticator, |dir| Arc::new(LocalKeeper::open(dir).unwrap())).await
}

async fn server_whole(
    options: S3Options,
    webhooks: BTreeMap<String, WebhookConfig>,
    authenticator: Arc<dyn Authenticator>,
    keeper: impl FnOnce(&Path) -> Arc<dyn Keeper>,
) -> Server {
    server_in(tempfile::tempdir().unwrap(), 0, options, webhooks, authenticator, keeper).await
}

/// On its store, once more, where the disk has no room.
pub async fn without_room(server: Server) -> Server {
    server.stop().await;
    let Server { s3, dir, .. } = server;
    s3.objects.close().await;
    let keeper = |dir: &Path| -> Arc<dyn Keeper> { Arc::new(LocalKeeper::open(dir).unwrap()) };
    server_in(dir, u64::MAX, s3.options.clone(), BTreeMap::new(), users(), keeper).await
}

async fn server_in(
    dir: TempDir,
    reserve_bytes: u64,
    options: S3Options,
    webhooks: BTreeMap<String, WebhookConfig>,
    authenticator: Arc<dyn Authenticator>,
    keeper: impl FnOnce(&Path) -> Arc<dyn Keeper>,
) -> Server {
    let master_keys = MasterKeys::of(&[(1, [7; 32])]);
    let config = ObjectsConfig { reserve_bytes, master_keys, ..ObjectsConfig::new(dir.path()) };
    // Another test may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let objects = Objects::open(config, keeper(dir.path()), Arc::default()).await.unwrap();
    let logs = Arc::new(AccessLogs::new(Duration::from_secs(300), Arc::default()));
    let webhooks = Arc::new(Webhooks::open(&webhooks).unwrap());
    let s3 = S3 { objects, authenticator, metrics: Arc::default(), options, cloud: None, logs, webhooks };
    let s3 = Arc::new(s3);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (trigger, shutdown) = shutdown_pair();
    tokio::spawn(server::serve(listener, None, router(s3.clone()), shutdown));
    let unfollowing = reqwest::redirect::Policy::none();
    let http = reqwest::Client::builder().no_proxy().redirect(unfollowing).build().unwrap();
    Server { url, s3, http, dir, trigger }
}

/// The document that completes an upload.
pub fn listed(parts: &[(u16, &str)]) -> Vec<u8> {
    let part = |(number, etag): &(u16, &str)| {
        format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
    };
    let parts: String = parts.iter().map(part).collect();
    format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>").into_bytes()
}

fn settings() -> SigningSettings {
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings
}

/// A request in the making.
pub struct Call<'a> {
    server: &'a Server,
    user: User,
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Of temporary credentials, in place of the user's.
    key: Option<String>,
    token: Option<String>,
}

impl Server {
    /// `path` is `/bucket/key?query`, encoded.
    pub fn call(&self, method: &str, path: &str) -> Call<'_> {
        Call {
            server: self,
            user: User::Ann,
            method: method.parse().unwrap(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            key: None,
            token: None,
        }
    }

    /// Nobody listens when it returns.
    pub async fn stop(&self) {
        self.trigger.fire();
        let address = self.url.trim_start_matches("http://");
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn bucket(&self, name: &str) {
        self.call("PUT", &format!("/{name}")).expect(200).await;
    }

    /// From now on the bucket keeps old versions.
    pub async fn keep_versions(&self, bucket: &str) {
        let enabled = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
        self.call("PUT", &format!("/{bucket}?versioning")).body(enabled).expect(200).await;
    }

    pub async fn put(&self, path: &str, body: &[u8]) -> Answer {
        self.call("PUT", path).body(body).expect(200).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path).send().await
    }
}

impl Call<'_> {
    pub fn by(mut self, user: User) -> Self {
        self.user = user;
        self
    }

    /// With this key and session token; the secret is everybody's.
    pub fn with_token(mut self, key: &str, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self.with_key(key)
    }

    pub fn with_key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What names the client's own key: behind `x-amz-` that of the object, behind `x-amz-copy-source-` its source's.
    pub fn client_key(self, prefix: &str, key: &[u8]) -> Self {
        let name = |rest: &str| format!("{prefix}server-side-encryption-customer-{rest}");
        let md5 = Hasher::digest(Algorithm::Md5, key).to_base64();
        let call = self.header(&name("algorithm"), "AES256").header(&name("key"), &encoded(key));
        call.header(&name("key-md5"), &md5)
    }

    pub fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    pub async fn expect(self, status: u16) -> Answer {
        let what = format!("{} {}", self.method, self.path);
        let answer = self.send().await;
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        answer
    }

    pub async fn send(self) -> Answer {
        let url = format!("{}{}", self.server.url, self.path);
        let mut request = self.server.http.request(self.method.clone(), &url);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if self.body.is_empty() && matches!(self.method, Method::PUT | Method::POST) {
            request = request.header("content-length", "0");
        }
        if !matches!(self.user, User::Nobody) {
            for (name, value) in self.signature(&url) {
                request = request.header(name, value);
            }
        }
        Answer::of(request.body(self.body).send().await.unwrap()).await
    }

    fn signature(&self, url: &str) -> Vec<(String, String)> {
        let key = self.key.as_deref().unwrap_or(self.user.key());
        let identity = Credentials::new(key, "secret", self.token.clone(), None, "test").into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(REGION)
            .name("s3")
            .time(SystemTime::now())
            .settings(settings())
            .build()
            .unwrap()
            .into();
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let body = SignableBody::Bytes(&self.body);
        let signable = SignableRequest::new(self.method.as_str(), url, headers, body).unwrap();
        let (out, _) = sign(signable, &params).unwrap().into_parts();
        let (headers, _) = out.into_parts();
        headers.iter().map(|header| (header.name().to_owned(), header.value().to_owned())).collect()
    }
}

pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    async fn of(response: Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, body: response.bytes().await.unwrap().to_vec() }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// The text of the first element of that name.
    pub fn element(&self, name: &str) -> String {
        let (text, open) = (self.text(), format!("<{name}>"));
        let Some((_, rest)) = text.split_once(&open) else { return String::new() };
        rest.split("</").next().unwrap_or_default().to_owned()
    }

    pub fn code(&self) -> String {
        self.element("Code")
    }
}
