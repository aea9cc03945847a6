//! Who may ask a cluster controller for what.

use crate::cloud::{Cloud, caller, until};
use crate::samples::{facts, intent};
use karri_proto::internal::Role;
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::instances::InstanceService;
use karri_proto::internal::nodes::{NodeHello, NodeService};
use karri_proto::network::SegmentDriver;
use karri_proto::runtime::client::InternalClient;
use karri_proto::runtime::tls::fingerprint;
use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;

#[tokio::test]
async fn only_the_cloud_controller_commands_and_only_nodes_of_the_cluster_greet() {
    let cloud = Cloud::start().await;
    let hello = NodeHello {
        url: "https://127.0.0.1:1".to_owned(),
        tunnel: None,
        user_network: false,
        driver: Default::default(),
        facts: facts("node-1", 4),
    };
    for (role, cluster) in [(Role::Nc, "zone-a"), (Role::Cc, "zone-b"), (Role::Walrus, ""), (Role::Admin, "")]
    {
        let client = cloud.client(role, cluster, "somebody");
        let refused = client.instance_put(&caller("r"), intent(1)).await.unwrap_err();
        assert_eq!(refused.kind, ApiErrorKind::Forbidden, "{role:?}");
    }
    for (role, cluster) in [(Role::Nc, "zone-b"), (Role::Clc, ""), (Role::Cc, "zone-a")] {
        let client = cloud.client(role, cluster, "somebody");
        let refused = client.node_hello(&caller("r"), hello.clone()).await.unwrap_err();
        assert_eq!(refused.kind, ApiErrorKind::Forbidden, "{role:?}");
    }
    let node = cloud.client(Role::Nc, "zone-a", "node-1");
    let welcome = node.node_hello(&caller("r"), hello.clone()).await.unwrap();
    assert_eq!((welcome.zone.as_str(), welcome.subnet_cidr.as_str()), ("zone-a", "172.31.0.0/20"));
    let mut other = hello.clone();
    other.facts.name = "node-2".to_owned();
    assert_eq!(node.node_hello(&caller("r"), other).await.unwrap_err().kind, ApiErrorKind::Forbidden);
    let shorter = cloud.client(Role::Nc, "zone-a", "node");
    let taken = shorter.node_hello(&caller("r"), hello.clone()).await.unwrap_err();
    assert_eq!(taken.kind, ApiErrorKind::Forbidden, "another certificate has this name");
    let of_another_mode = NodeHello { user_network: true, ..hello.clone() };
    let refused = node.node_hello(&caller("r"), of_another_mode).await.unwrap_err();
    assert_eq!(refused.kind, ApiErrorKind::Conflict);
    assert!(refused.message.contains("network.mode is \"managed\""), "{}", refused.message);
    let of_another_driver = NodeHello { driver: SegmentDriver::Vlan, ..hello.clone() };
    let refused = node.node_hello(&caller("r"), of_another_driver).await.unwrap_err();
    assert_eq!(refused.kind, ApiErrorKind::Conflict);
    assert!(refused.message.starts_with("the cluster's network.driver is \"vxlan\", the node's is \"vlan\""));
    let plain = NodeHello { url: "http://127.0.0.1:1".to_owned(), ..hello };
    assert_eq!(node.node_hello(&caller("r"), plain).await.unwrap_err().kind, ApiErrorKind::Invalid);
}

#[tokio::test]
async fn a_forgotten_nodes_certificate_is_refused() {
    let mut cloud = Cloud::start().await;
    let greet = async |client: &InternalClient, name: &str| {
        let port = name.len(); // nobody answers there, and each has its own
        let hello = NodeHello {
            url: format!("https://127.0.0.1:{port}"),
            tunnel: None,
            user_network: false,
            driver: Default::default(),
            facts: facts(name, 4),
        };
        client.node_hello(&caller("r"), hello).await
    };
    let (gone, stays) = (cloud.client(Role::Nc, "zone-a", "gone"), cloud.client(Role::Nc, "zone-a", "stays"));
    greet(&gone, "gone").await.unwrap();
    let pem = std::fs::read_to_string(cloud.files(Role::Nc, "zone-a", "gone").certificate).unwrap();
    *cloud.revoked.lock().unwrap() = Some(vec![fingerprint(&pem).unwrap()]);
    // On the connection that it has already.
    until("it is refused", async || greet(&gone, "gone").await.is_err()).await;
    greet(&stays, "stays").await.unwrap();

    // The cloud controller is away, or says nothing, and the cluster is started anew.
    *cloud.revoked.lock().unwrap() = None;
    cloud.restart_cc().await;
    let gone = cloud.client(Role::Nc, "zone-a", "gone");
    let refused = greet(&gone, "gone").await.unwrap_err();
    assert_eq!(refused.kind, ApiErrorKind::Forbidden);
    assert!(refused.message.contains("revoked") && refused.message.contains("karri node"), "{refused}");
    greet(&cloud.client(Role::Nc, "zone-a", "stays"), "stays").await.unwrap();
}

#[tokio::test]
async fn an_ill_controller_names_what_is_wrong() {
    let cloud = Cloud::start().await;
    let client = InternalClient::new(&cloud.cc_url, Role::Cc, &cloud.files(Role::Clc, "", "clc")).unwrap();
    let health =
        async || client.get_stream("/healthz", "r", 0).await.map(drop).map_err(|error| error.message);
    health().await.unwrap();
    cloud.network.fail(true);
    until("it notices", async || health().await.is_err_and(|wrong| wrong.contains("network: bridge"))).await;
    cloud.network.fail(false);
    until("it is well again", async || health().await.is_ok()).await;

    let path = cloud.state_dir().join("cc.sqlite").display().to_string();
    let mut database = SqliteConnection::connect(&path).await.unwrap();
    sqlx::query("ALTER TABLE numbering RENAME TO mislaid").execute(&mut database).await.unwrap();
    until("it notices", async || {
        health().await.is_err_and(|wrong| wrong.contains("503") && wrong.contains("database: "))
    })
    .await;
    sqlx::query("ALTER TABLE mislaid RENAME TO numbering").execute(&mut database).await.unwrap();
    until("it is well again", async || health().await.is_ok()).await;
}
