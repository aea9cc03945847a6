//! Workers in situations that no simulated node gets into by itself.

use super::instance::Alive;
use super::step::{Outcome, carry_out};
use crate::app::owner_tag::Owner;
use crate::app::plan::{Limits, Step};
use crate::app::record::Record;
use crate::app::sample;
use crate::drive::hypervisor::sim::SimHypervisor;
use crate::drive::ports::NoPorts;
use crate::drive::storage::{GuestPaths, Lying, Pins, Storage, StorageError};
use crate::node::{Drives, Node, NodeParts};
use crate::store::Store;
use async_trait::async_trait;
use karri_proto::ids::InstanceId;
use karri_proto::instance::{Desired, InstanceIntent, InstanceSpec};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Images never come.
struct Standstill;

#[async_trait]
impl Storage for Standstill {
    async fn images_ready(&self, _: &InstanceSpec) -> bool {
        false
    }

    async fn fetch_images(&self, _: &InstanceSpec, _: Pins<'_>) -> Result<(), StorageError> {
        std::future::pending().await
    }

    async fn lying(&self, _: &InstanceId) -> Lying {
        Lying::default()
    }

    async fn make_disk(&self, _: &InstanceId, _: &InstanceSpec, _: Pins<'_>) -> Result<(), StorageError> {
        Ok(())
    }

    async fn remove_files(&self, _: &InstanceId) -> Result<(), StorageError> {
        Ok(())
    }

    async fn console(&self, _: &InstanceId) -> Vec<u8> {
        Vec::new()
    }

    fn paths(&self, _: &InstanceId, _: &InstanceSpec) -> GuestPaths {
        let none = PathBuf::new;
        GuestPaths { disk: none(), base: none(), kernel: None, ramdisk: None, console_log: none() }
    }
}

fn node() -> Arc<Node> {
    Node::new(NodeParts {
        name: "node-1".to_owned(),
        owner: Owner { cloud: "cloud".to_owned(), node: "node-1".to_owned() },
        bridge: String::new(),
        boot_id: "boot-1".to_owned(),
        limits: Limits { prepare_ms: 1, stop_ms: 1, terminate_ms: 1, reboot_ms: 1 },
        store: Store::in_memory(),
        drives: Drives {
            hypervisor: Arc::new(SimHypervisor::new(Duration::ZERO)),
            ports: Arc::new(NoPorts),
            storage: Arc::new(Standstill),
        },
        metrics: Arc::default(),
    })
}

#[tokio::test]
async fn a_wish_that_comes_between_look_and_fetch_is_not_waited_with() {
    let node = node();
    let seen = Record::new(sample::intent(), 0);
    let generation = seen.intent.generation + 1;
    let wish = InstanceIntent { generation, desired: Desired::Terminated, ..sample::intent() };
    node.store.record_put(Record::new(wish, 1)).unwrap();
    let fetched = tokio::time::timeout(Duration::from_secs(5), carry_out(&node, &seen, Step::FetchImages));
    assert_eq!(fetched.await, Ok(Outcome::Done));
}

#[tokio::test]
async fn a_worker_that_panics_is_succeeded() {
    let (node, id) = (node(), sample::intent().id);
    node.live().entry(id.clone()).or_default().busy = true;
    let worker = Alive { node: node.clone(), id: id.clone() };
    let ended = tokio::spawn(async move {
        let _alive = worker;
        panic!("on purpose");
    });
    assert!(ended.await.is_err());
    let live = node.live();
    assert!(!live[&id].busy && live[&id].wake_at.is_some());
}
