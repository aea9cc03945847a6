//! What a handler knows about the request besides its parameters: who asks, and for what cloud.

use crate::app::App;
use crate::app::identity::Signer;
use crate::app::instance::control::Caller;
use crate::app::session::federated_arn;
use axum::body::Bytes;
use axum::http::header;
use axum::http::request::Parts;
use karri_proto::aws::Service;
use karri_proto::fault::Fault;
use karri_proto::runtime::server::PeerAddr;
use karri_proto::sign::form_pairs;
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use std::sync::Arc;

/// The kind of what GetFederationToken is asked for.
pub const FEDERATED_USER: &str = "federated-user";

/// Parameters that may differ between two tellings of one request.
const INCIDENTAL: &[&[u8]] = &[
    b"AWSAccessKeyId",
    b"ClientToken",
    b"DryRun",
    b"Expires",
    b"SecurityToken",
    b"Signature",
    b"SignatureMethod",
    b"SignatureVersion",
    b"Timestamp",
    b"Version",
];

/// Where a request came from, as policies may ask.
#[derive(Debug, Default)]
pub struct Client {
    pub address: Option<IpAddr>,
    pub user_agent: Option<String>,
    pub referer: Option<String>,
}

impl Client {
    pub fn of(parts: &Parts) -> Self {
        let text = |name| Some(parts.headers.get(name)?.to_str().ok()?.to_owned());
        Self {
            address: parts.extensions.get::<PeerAddr>().map(|peer| peer.0.ip().to_canonical()),
            user_agent: text(header::USER_AGENT),
            referer: text(header::REFERER),
        }
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Cx {
    pub app: Arc<App>,
    pub signer: Arc<Signer>,
    pub request_id: Arc<str>,
    pub service: Service,
    /// The API version the client asked for; its answer is in that namespace.
    pub version: &'static str,
    /// How the client reached us: host, and port if it named one.
    pub host: Arc<str>,
    pub client: Arc<Client>,
    pub(super) query: Bytes,
    pub(super) form: Bytes,
}

impl Cx {
    /// The account that asks.
    pub fn account(&self) -> &str {
        &self.signer.account
    }

    pub fn is_administrator(&self) -> bool {
        self.signer.administrator
    }

    /// Who asks, for the use cases.
    pub fn caller(&self) -> Caller<'_> {
        Caller {
            account: &self.signer.account,
            administrator: self.signer.administrator,
            request_id: &self.request_id,
        }
    }

    /// Whether a resource of `owner` may be acted on: one's own, and everyone's for an administrator.
    pub fn may_touch(&self, owner: &str) -> bool {
        self.signer.administrator || self.signer.account == owner
    }

    /// The ARN of one of the caller's own.
    pub fn arn(&self, kind: &str, id: &str) -> String {
        self.arn_of(self.account(), kind, id)
    }

    /// `arn:aws:ec2:REGION:ACCOUNT:KIND/ID`; an image's and a snapshot's name no account, as EC2 has it, and a federated user's is of STS.
    pub fn arn_of(&self, owner: &str, kind: &str, id: &str) -> String {
        if kind == FEDERATED_USER {
            return federated_arn(owner, id);
        }
        let account = if matches!(kind, "image" | "snapshot") { "" } else { owner };
        format!("arn:aws:ec2:{}:{account}:{kind}/{id}", self.app.region)
    }

    /// The same for two tellings of one request: what a client token and a cached answer are bound to.
    pub fn request_digest(&self) -> [u8; 32] {
        let mut pairs = form_pairs(&self.query);
        pairs.extend(form_pairs(&self.form));
        pairs.retain(|(name, _)| !INCIDENTAL.contains(&name.as_slice()) && !name.starts_with(b"X-Amz-"));
        pairs.sort();
        let mut hash = Sha256::new();
        for part in pairs.iter().flat_map(|(name, value)| [name, value]) {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}

/// What every handler answers with.
pub type Answer<T> = Result<T, Fault>;
