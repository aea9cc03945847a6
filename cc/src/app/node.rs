//! A node as the book keeps it: what it said of itself, what is placed there, what it is to be told.

use crate::app::plan::NodeCondition;
use karri_proto::ids::InstanceId;
use karri_proto::instance::InstanceReport;
use karri_proto::internal::instances::Cursor;
use karri_proto::resources::{Need, NodeFacts, NodeResources};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// Of what a node says.
const REASON_CODE_CHARS_MAX: usize = 128;
const REASON_CHARS_MAX: usize = 1_000;
/// Guests on one node that nobody here knows. Those beyond are not listened to; what is known is, always.
pub const UNKNOWN_STRAYS_MAX: usize = 2_000;

/// The durable part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRecord {
    /// The name in the certificate that speaks for it: its own, or that of the process which hosts it.
    pub owner: String,
    pub url: String,
    /// Where it takes packets of segments from other hosts.
    pub tunnel: Option<Ipv4Addr>,
    pub facts: NodeFacts,
}

/// A guest that is not where its instance is, as last heard.
#[derive(Debug, Clone)]
pub struct Stray {
    pub report: InstanceReport,
}

/// Whether a report that came from node `name` speaks of it.
pub fn is_of(report: &InstanceReport, name: &str) -> bool {
    report.node.as_deref().is_none_or(|node| node == name)
}

/// A reason as it is kept and told on: a node must not fill the databases of this cluster and of the cloud.
pub fn bounded(mut report: InstanceReport) -> InstanceReport {
    if let Some(reason) = &mut report.reason {
        cut(&mut reason.code, REASON_CODE_CHARS_MAX);
        cut(&mut reason.message, REASON_CHARS_MAX);
    }
    report
}

fn cut(text: &mut String, chars_max: usize) {
    if let Some((end, _)) = text.char_indices().nth(chars_max) {
        text.truncate(end);
        text.push('…');
    }
}

#[derive(Debug)]
pub struct Node {
    pub record: NodeRecord,
    /// The last heartbeat; after a restart of the cluster controller, that moment.
    pub heard_at_ms: i64,
    /// The last time it answered a call.
    pub answered_at_ms: i64,
    pub alive: bool,
    pub condition: NodeCondition,
    /// It has told everything since it was last out of reach: only then is it known what to push.
    pub synced: bool,
    pub cursor: Cursor,
    /// What has not been heard of in the full telling that is going on.
    pub unheard: Option<BTreeSet<InstanceId>>,
    pub used: Need,
    pub placed: BTreeSet<InstanceId>,
    pub push: BTreeSet<InstanceId>,
    pub strays: BTreeMap<InstanceId, Stray>,
    /// It has been told once that the node tells of more guests than are listened to.
    pub overflows: bool,
}

impl Node {
    pub fn new(record: NodeRecord, now_ms: i64) -> Self {
        Self {
            record,
            heard_at_ms: now_ms,
            answered_at_ms: now_ms,
            alive: true,
            condition: NodeCondition::Present,
            synced: false,
            cursor: Cursor::default(),
            unheard: None,
            used: Need::default(),
            placed: BTreeSet::new(),
            push: BTreeSet::new(),
            strays: BTreeMap::new(),
            overflows: false,
        }
    }

    pub fn resources(&self) -> NodeResources {
        NodeResources {
            facts: self.record.facts.clone(),
            used: self.used,
            alive: self.alive,
            tunnel: self.record.tunnel,
        }
    }

    pub fn free(&self) -> Need {
        self.record.facts.total - self.used
    }

    /// New instances may be placed here, and it may be told things.
    pub fn is_ready(&self) -> bool {
        self.alive && self.synced
    }
}
