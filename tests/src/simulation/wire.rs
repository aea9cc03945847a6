//! Messages between controllers: lost, repeated, late, in any order.

use karri_cc::app::node::NodeRecord;
use karri_proto::ids::InstanceId;
use karri_proto::instance::{InstanceIntent, InstanceReport};
use karri_proto::internal::error::ApiErrorKind;
use karri_proto::internal::facts::{FactsAt, FactsPage};
use karri_proto::internal::instances::{Cursor, ReportPage};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    Clc,
    Cc,
    Node(usize),
}

#[derive(Debug, Clone)]
pub enum Body {
    Put(Box<InstanceIntent>),
    Forget(InstanceId),
    /// To a node, and to nobody but its life of that number.
    ForLife(u64, Box<Body>),
    Poll(Cursor),
    Hello(Box<NodeRecord>),
    Facts(Box<FactsPage>),
    PutDone(Result<InstanceReport, ApiErrorKind>),
    ForgetDone(Result<(), ApiErrorKind>),
    Page(ReportPage),
    HelloDone,
    FactsDone(Result<FactsAt, ApiErrorKind>),
}

impl Body {
    /// Worth a line in the trace.
    pub fn is_news(&self) -> bool {
        match self {
            Body::Put(_) | Body::Forget(_) | Body::PutDone(_) | Body::ForgetDone(_) => true,
            Body::Page(page) => page.restarted || !page.reports.is_empty(),
            Body::Facts(_) | Body::FactsDone(_) => true,
            Body::ForLife(_, body) => body.is_news(),
            Body::Poll(_) | Body::Hello(_) | Body::HelloDone => false,
        }
    }

    /// For the trace.
    pub fn name(&self) -> String {
        match self {
            Body::Put(intent) => format!(
                "put {} {:?} generation {} attempt {}",
                intent.id, intent.desired, intent.generation, intent.attempt
            ),
            Body::Forget(id) => format!("forget {id}"),
            Body::ForLife(life, body) => format!("for life {life}: {}", body.name()),
            Body::Poll(cursor) => format!("poll after {}", cursor.sequence),
            Body::Hello(_) => "hello".to_owned(),
            Body::Facts(page) => format!(
                "facts of epoch {} from {:?} to {} caught_up={} {:?}",
                page.epoch, page.from, page.to, page.caught_up, page.changes
            ),
            Body::FactsDone(outcome) => format!("facts answered: {outcome:?}"),
            Body::PutDone(Ok(report)) => format!("accepted: {}", brief(report)),
            Body::PutDone(Err(kind)) => format!("put refused: {kind:?}"),
            Body::ForgetDone(outcome) => format!("forget answered: {outcome:?}"),
            Body::Page(page) => {
                let reports: Vec<String> = page.reports.iter().map(brief).collect();
                format!(
                    "page restarted={} caught_up={} [{}]",
                    page.restarted,
                    page.caught_up,
                    reports.join(", ")
                )
            }
            Body::HelloDone => "welcome".to_owned(),
        }
    }
}

fn brief(report: &InstanceReport) -> String {
    format!("{} {:?} generation {} attempt {}", report.id, report.phase, report.generation, report.attempt)
}

#[derive(Debug, Clone)]
pub struct Packet {
    pub from: Who,
    pub to: Who,
    pub answer: bool,
    /// The asker's call, and which of its lives made it: an answer to a dead process reaches nobody.
    pub call: u64,
    pub life: u64,
    pub sent_ms: i64,
    pub body: Body,
}
