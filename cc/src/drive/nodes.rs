//! Connections to nodes: each goes to the very process whose certificate the node was introduced with.

use karri_proto::internal::{ApiError, Identity, Role};
use karri_proto::runtime::client::InternalClient;
use karri_proto::runtime::tls::{Peer, TlsFiles};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// As many as there were owners of nodes in this life. Cheap to clone.
#[derive(Debug, Clone)]
pub struct NodeClients {
    cluster: String,
    files: TlsFiles,
    by_owner: Arc<Mutex<HashMap<String, InternalClient>>>,
}

impl NodeClients {
    pub fn new(cluster: &str, files: &TlsFiles) -> Self {
        Self { cluster: cluster.to_owned(), files: files.clone(), by_owner: Arc::default() }
    }

    /// `owner` is the name in the certificate that speaks for the node at `url`.
    pub fn to(&self, owner: &str, url: &str) -> Result<InternalClient, ApiError> {
        let mut by_owner = self.by_owner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = by_owner.get(owner) {
            return Ok(client.with_base(url));
        }
        let identity = Identity::new(Role::Nc, &self.cluster, owner);
        let client = InternalClient::new(url, Peer::Exactly(identity), &self.files)?;
        by_owner.insert(owner.to_owned(), client.clone());
        Ok(client)
    }
}
