//! Whose buckets there are, as the cloud controller asks.

use crate::harness::{caller, files};
use crate::s3_start::with_s3;
use karri_proto::internal::Role;
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::runtime::client::InternalClient;
use karri_proto::runtime::process::{Base, Controller};
use karri_walrus::store::keeper::local::LocalKeeper;
use karri_walrus::store::objects::*;
use karri_walrus::{Config, Walrus};
use std::path::Path;
use std::sync::Arc;

async fn fill(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    let keeper = Arc::new(LocalKeeper::open(dir).unwrap());
    let objects = Objects::open(ObjectsConfig::new(dir), keeper, Arc::default()).await.unwrap();
    let owned = [("111122223333", 7), ("444455556666", 1)];
    for (owner, count) in owned {
        for n in 0..count {
            let name = format!("b{n}-{owner}").as_str().into();
            let region = "karri-1".into();
            let new =
                NewBucket { name, owner: owner.into(), region, object_lock: false, settings: Vec::new() };
            objects.bucket_create(new).await.unwrap();
        }
    }
    objects.close().await;
}

async fn told(config: &Config, role: Role, account: &str) -> Result<(Vec<String>, bool), ApiErrorKind> {
    let (base, stopper) = Base::new(&config.controller, "walrus x").unwrap();
    let endpoint = Walrus::start(config.clone(), base).await.unwrap();
    let cloud = config.controller.state_dir.parent().unwrap();
    let client = InternalClient::new(&endpoint.url, Role::Walrus, &files(cloud, role)).unwrap();
    let answer = client.account_buckets(&caller(), account).await;
    stopper.stop().await;
    answer.map(|buckets| (buckets.names, buckets.more)).map_err(|error| error.kind)
}

#[tokio::test]
async fn an_accounts_buckets_are_told_to_the_cloud_controller_alone() {
    let cloud = tempfile::tempdir().unwrap();
    let mut config = with_s3(cloud.path());
    fill(&config.controller.state_dir.join("s3")).await;
    let first = (0..5).map(|n| format!("b{n}-111122223333")).collect();
    assert_eq!(told(&config, Role::Clc, "111122223333").await, Ok((first, true)));
    assert_eq!(told(&config, Role::Clc, "444455556666").await, Ok((vec!["b0-444455556666".into()], false)));
    assert_eq!(told(&config, Role::Clc, "999900001111").await, Ok((Vec::new(), false)));
    for role in [Role::Nc, Role::Cc, Role::Admin] {
        assert_eq!(told(&config, role, "111122223333").await, Err(ApiErrorKind::Forbidden), "{role:?}");
    }
    config.s3 = None;
    assert_eq!(told(&config, Role::Clc, "111122223333").await, Ok((Vec::new(), false)), "no S3, no buckets");
}
