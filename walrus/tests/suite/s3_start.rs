//! The S3 side of Walrus as it starts: its keys, who may sign, what is answered.

use crate::harness::{config, files};
use karri_proto::internal::Role;
use karri_proto::runtime::process::{Base, Controller};
use karri_proto::runtime::rsa_pair::check_rsa_certificate;
use karri_walrus::config::{Backend, BlobsConfig, S3Config, StoreConfig};
use karri_walrus::store::keeper::local::LocalKeeper;
use karri_walrus::store::keeper::seal::{MasterKeys, SealWith};
use karri_walrus::store::objects::{ETag, Facts, NewBucket, ObjectPut, Objects, ObjectsConfig};
use karri_walrus::{Config, Walrus};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

pub const USERS: &str = r#"
[[users]]
account = "111122223333"
account_name = "main"
user = "ann"
access_key_id = "AKIAANN0000000000000"
secret_access_key = "secret"
policies = ["AdministratorAccess"]
"#;

pub fn with_s3(cloud: &Path) -> Config {
    std::fs::write(cloud.join("credentials.toml"), USERS).unwrap();
    let section = format!(
        "listen = \"127.0.0.1:0\"\nregion = \"karri-1\"\ncredentials_file = \"{0}/credentials.toml\"\n\
         key_file = \"{0}/keys/s3.keys\"\ncloud_key_file = \"{0}/keys/cloud-pk.pem\"\n\
         cloud_certificate_file = \"{0}/keys/cloud-cert.pem\"\n",
        cloud.display()
    );
    let s3: S3Config = toml::from_str(&section).unwrap();
    let config =
        Config { s3: Some(s3), ..config(cloud, &cloud.join("walrus-state"), BlobsConfig::default()) };
    config.check().unwrap();
    config
}

#[tokio::test]
async fn an_engine_that_is_away_is_told_by_health_and_holds_up_no_start() {
    let cloud = tempfile::tempdir().unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let keys = cloud.path().join("engine.toml");
    std::fs::write(&keys, "access_key_id = \"a\"\nsecret_access_key = \"b\"\n").unwrap();
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o600)).unwrap();
    let store = StoreConfig {
        backend: Backend::S3,
        endpoint: Some(format!("http://{nobody}")),
        bucket: Some("engine".into()),
        credentials_file: Some(keys.clone()),
        ..StoreConfig::default()
    };
    let config = Config { store, ..with_s3(cloud.path()) };
    config.check().unwrap();
    let (base, stopper) = Base::new(&config.controller, "walrus x").unwrap();
    let endpoint = Walrus::start(config.clone(), base).await.unwrap();
    let http = karri_walrus::drive::http::trusting(None, std::time::Duration::from_secs(5))
        .unwrap()
        .build()
        .unwrap();
    let answer = http.get(format!("{}/healthz", endpoint.observe_url.unwrap())).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 503);
    let text = answer.text().await.unwrap();
    assert!(text.starts_with("engine: ") && text.lines().count() == 1, "{text}");
    stopper.stop().await;

    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = config.check().unwrap_err();
    assert!(refused.starts_with("store.credentials_file"), "{refused}");
}

#[tokio::test]
async fn s3_answers_over_plain_http_and_the_clouds_key_stays_a_secret() {
    let cloud = tempfile::tempdir().unwrap();
    let config = with_s3(cloud.path());
    let (base, stopper) = Base::new(&config.controller, "walrus x").unwrap();
    let endpoint = Walrus::start(config.clone(), base).await.unwrap();
    let url = endpoint.public_url.unwrap();
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    let tls =
        karri_proto::runtime::tls::client_config(&files(cloud.path(), Role::Admin), Role::Walrus).unwrap();
    let http = reqwest::Client::builder().use_preconfigured_tls(tls).no_proxy().build().unwrap();
    let answer = http.get(format!("{url}/bucket/key")).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["content-type"].as_bytes()),
        (404, &b"application/xml"[..])
    );
    assert!(answer.text().await.unwrap().contains("<Code>NoSuchBucket</Code>"));
    stopper.stop().await;

    let key = cloud.path().join("keys/cloud-pk.pem");
    assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let certificate = std::fs::read_to_string(cloud.path().join("keys/cloud-cert.pem")).unwrap();
    check_rsa_certificate(&certificate).unwrap();
    let (base, stopper) = Base::new(&config.controller, "walrus x").unwrap();
    Walrus::start(config, base).await.unwrap();
    assert_eq!(std::fs::read_to_string(cloud.path().join("keys/cloud-cert.pem")).unwrap(), certificate);
    stopper.stop().await;
}

#[tokio::test]
async fn a_wrong_credentials_file_is_named() {
    let cloud = tempfile::tempdir().unwrap();
    let config = with_s3(cloud.path());
    std::fs::write(cloud.path().join("credentials.toml"), "users = 5").unwrap();
    let (base, _stopper) = Base::new(&config.controller, "walrus x").unwrap();
    let error = format!("{:#}", Walrus::start(config, base).await.unwrap_err());
    assert!(error.contains("s3.credentials_file") && error.contains("credentials.toml"), "{error}");
}

#[tokio::test]
async fn a_key_file_that_is_gone_is_not_replaced_while_something_needs_it() {
    let cloud = tempfile::tempdir().unwrap();
    let config = with_s3(cloud.path());
    let start = || async {
        let (base, stopper) = Base::new(&config.controller, "walrus x").unwrap();
        let started = Walrus::start(config.clone(), base).await.map(drop);
        stopper.stop().await;
        started.map_err(|error| format!("{error:#}"))
    };
    start().await.unwrap();
    let file = config.s3.as_ref().unwrap().key_file.clone();
    std::fs::remove_file(&file).unwrap();
    start().await.expect("nothing is encrypted with it");
    put_encrypted(&config.controller.state_dir.join("s3"), &file).await;
    let text = std::fs::read(&file).unwrap();
    for gone in [|file: &Path| std::fs::remove_file(file), |file: &Path| std::fs::write(file, "")] {
        gone(&file).unwrap();
        let refused = start().await.unwrap_err();
        assert!(refused.contains("s3.key_file") && refused.contains("master key 1"), "{refused}");
        assert_eq!(std::fs::read(&file).unwrap_or_default(), b"", "no other key is made");
    }
    std::fs::write(&file, text).unwrap();
    start().await.unwrap();
}

/// As Walrus would.
async fn put_encrypted(dir: &Path, key_file: &Path) {
    let master_keys = MasterKeys::load(key_file).unwrap().unwrap();
    let keeper = Arc::new(LocalKeeper::open(dir).unwrap());
    let config = ObjectsConfig { master_keys, ..ObjectsConfig::new(dir) };
    let objects = Objects::open(config, keeper, Arc::default()).await.unwrap();
    let new = NewBucket {
        name: "b".into(),
        owner: "111122223333".into(),
        region: "karri-1".into(),
        object_lock: false,
        settings: Vec::new(),
    };
    let bucket = objects.bucket_create(new).await.unwrap().id;
    let mut writer = objects.begin_write(None, SealWith::Master).unwrap();
    writer.write(b"secret").await.unwrap();
    let put = ObjectPut {
        bucket,
        key: "k".into(),
        owner: "111122223333".into(),
        etag: ETag::simple([0; 16]),
        content: writer.finish().await.unwrap(),
        facts: Facts::default(),
        check: None,
        tell: None,
    };
    objects.object_put(put).await.unwrap();
    objects.close().await;
}
