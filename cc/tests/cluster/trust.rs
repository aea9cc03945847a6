//! Who may ask a cluster controller for what.

use crate::cloud::{Cloud, caller};
use crate::samples::{facts, intent};
use karri_proto::internal::Role;
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::instances::InstanceService;
use karri_proto::internal::nodes::{NodeHello, NodeService};

#[tokio::test]
async fn only_the_cloud_controller_commands_and_only_nodes_of_the_cluster_greet() {
    let cloud = Cloud::start().await;
    let hello = NodeHello { url: "https://127.0.0.1:1".to_owned(), facts: facts("node-1", 4) };
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
    let plain = NodeHello { url: "http://127.0.0.1:1".to_owned(), ..hello };
    assert_eq!(node.node_hello(&caller("r"), plain).await.unwrap_err().kind, ApiErrorKind::Invalid);
}
