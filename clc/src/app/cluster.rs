//! The clusters this cloud has, and how to reach each.

use karri_proto::internal::clusters::ClusterHello;
use karri_proto::internal::instances::InstanceService;
use karri_proto::internal::{ApiError, Role};
use karri_proto::runtime::client::InternalClient;
use karri_proto::runtime::tls::TlsFiles;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::sync::Notify;

/// One cluster. Lives as long as the controller.
pub struct ClusterLink {
    pub name: String,
    /// Something is to be told to the cluster.
    pub wake: Notify,
    /// Something of what its networks let through has changed.
    pub news: Notify,
    facts: Mutex<Facts>,
    seen_ms: AtomicI64,
    /// How often it has told everything: what it answered before the newest telling is old news.
    tellings: AtomicU64,
}

struct Facts {
    hello: ClusterHello,
    client: InternalClient,
}

impl ClusterLink {
    pub fn hello(&self) -> ClusterHello {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).hello.clone()
    }

    pub fn client(&self) -> InternalClient {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).client.clone()
    }

    pub fn service(&self) -> Arc<dyn InstanceService> {
        Arc::new(self.client())
    }

    pub fn tellings(&self) -> u64 {
        self.tellings.load(Ordering::SeqCst)
    }

    pub fn told_everything(&self) {
        self.tellings.fetch_add(1, Ordering::SeqCst);
    }

    /// When it last said hello or answered.
    pub fn seen_ms(&self) -> i64 {
        self.seen_ms.load(Ordering::Relaxed)
    }

    pub fn saw(&self, now_ms: i64) {
        self.seen_ms.fetch_max(now_ms, Ordering::Relaxed);
    }
}

#[derive(Default)]
pub struct Clusters {
    links: RwLock<BTreeMap<String, Arc<ClusterLink>>>,
    /// A cluster came that was not known: its loops are to be started.
    pub arrived: Notify,
}

impl Clusters {
    /// Adds a cluster or brings its facts up to date.
    pub fn put(
        &self,
        name: &str,
        hello: ClusterHello,
        files: &TlsFiles,
    ) -> Result<Arc<ClusterLink>, ApiError> {
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = links.get(name) {
            let mut facts = link.facts.lock().unwrap_or_else(PoisonError::into_inner);
            if facts.hello.url != hello.url {
                facts.client = facts.client.with_base(&hello.url);
            }
            facts.hello = hello;
            drop(facts);
            return Ok(link.clone());
        }
        let client = InternalClient::new(&hello.url, Role::Cc, files)?;
        let link = Arc::new(ClusterLink {
            name: name.to_owned(),
            wake: Notify::new(),
            news: Notify::new(),
            facts: Mutex::new(Facts { hello, client }),
            seen_ms: AtomicI64::new(0),
            tellings: AtomicU64::new(0),
        });
        links.insert(name.to_owned(), link.clone());
        self.arrived.notify_one();
        Ok(link)
    }

    pub fn get(&self, name: &str) -> Option<Arc<ClusterLink>> {
        self.links.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The one that the zone is.
    pub fn by_zone(&self, zone: &str) -> Option<Arc<ClusterLink>> {
        self.zones().into_iter().find(|link| link.hello().zone == zone)
    }

    /// Those that are zones, without those that extend one.
    pub fn zones(&self) -> Vec<Arc<ClusterLink>> {
        self.list().into_iter().filter(|link| !link.hello().extends).collect()
    }

    /// By name.
    pub fn list(&self) -> Vec<Arc<ClusterLink>> {
        self.links.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}
