//! Tasks about images that take a while: imports of disks, exports to buckets.
//!
//! ```text
//!   active ──► completed
//!     │ ├────► deleted                 nothing can come of it; its message says why
//!     │ └────► deleting ──► deleted    cancelled: what is under way is given up first
//! ```
//!
//! `import`, `import_snapshot` and `export` say what each kind of task is about, `working` carries them on.

use super::export::ExportWork;
use super::import::ImportWork;
use super::import_snapshot::SnapshotWork;
use karri_proto::fault::{Fault, FaultCode};
use serde::{Deserialize, Serialize};

/// Of one account, at once, as on EC2.
pub const ACTIVE_MAX: i64 = 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageTask {
    /// `import-ami-…`, `import-snap-…`, `export-ami-…`
    pub id: String,
    pub account: String,
    pub state: TaskState,
    /// What is being done, or why nothing came of it.
    pub message: Option<String>,
    pub progress_percent: u8,
    pub work: Work,
    pub client_token: Option<String>,
    /// Of the request that the token stands for.
    pub request_digest: String,
    pub created_ms: i64,
    pub ended_ms: Option<i64>,
    /// The request that asked for it. Empty: that was before they were kept.
    pub request_id: String,
}

/// What a task is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    Import(ImportWork),
    ImportSnapshot(SnapshotWork),
    Export(ExportWork),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskState {
    Active,
    Deleting,
    Deleted,
    Completed,
}

/// What happens to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Done,
    Failed,
    Cancelled,
    GivenUp,
}

impl TaskState {
    const ALL: [Self; 4] = [Self::Active, Self::Deleting, Self::Deleted, Self::Completed];

    pub fn as_str(self) -> &'static str {
        match self {
            TaskState::Active => "active",
            TaskState::Deleting => "deleting",
            TaskState::Deleted => "deleted",
            TaskState::Completed => "completed",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// None: it does not happen to a task in this state.
    pub fn next(self, event: Event) -> Option<Self> {
        match (self, event) {
            (Self::Active, Event::Done) => Some(Self::Completed),
            (Self::Active, Event::Failed) => Some(Self::Deleted),
            (Self::Active | Self::Deleting, Event::Cancelled) => Some(Self::Deleting),
            (Self::Deleting, Event::GivenUp) => Some(Self::Deleted),
            (Self::Active, Event::GivenUp)
            | (Self::Deleting, Event::Done | Event::Failed)
            | (Self::Deleted | Self::Completed, _) => None,
        }
    }

    pub fn is_over(self) -> bool {
        matches!(self, Self::Deleted | Self::Completed)
    }
}

impl ImageTask {
    pub fn new(id: String, account: &str, work: Work, token: Token, asked: Asked<'_>) -> Self {
        Self {
            id,
            account: account.to_owned(),
            state: TaskState::Active,
            message: Some("pending".to_owned()),
            progress_percent: 0,
            work,
            client_token: token.client_token,
            request_digest: token.request_digest,
            created_ms: asked.now_ms,
            ended_ms: None,
            request_id: asked.request_id.to_owned(),
        }
    }

    /// What is done for it is logged under that.
    pub fn logged_as(&self) -> &str {
        if self.request_id.is_empty() { &self.id } else { &self.request_id }
    }

    /// The same after that has happened; None when it does not.
    #[must_use]
    pub fn after(&self, event: Event, message: Option<String>, now_ms: i64) -> Option<Self> {
        let state = self.state.next(event)?;
        let ended_ms = state.is_over().then_some(now_ms);
        Some(Self { state, message, ended_ms, ..self.clone() })
    }
}

/// By which request, and when.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub request_id: &'a str,
    pub now_ms: i64,
}

/// What makes two requests one.
#[derive(Debug, Clone)]
pub struct Token {
    pub client_token: Option<String>,
    pub request_digest: String,
}

impl Token {
    /// An earlier task of the token's, if it was asked for in the same words.
    ///
    /// # Errors
    /// `IdempotentParameterMismatch`
    pub fn same(&self, earlier: ImageTask) -> Result<ImageTask, Fault> {
        if earlier.request_digest == self.request_digest {
            return Ok(earlier);
        }
        let sentence = "Arguments on this idempotent request are inconsistent with arguments used in previous \
                        request(s).";
        Err(Fault::new(FaultCode::IdempotentParameterMismatch, sentence))
    }
}

pub fn too_many() -> Fault {
    let sentence = format!("You have reached the limit of {ACTIVE_MAX} import and export tasks at once");
    Fault::new(FaultCode::ResourceLimitExceeded, sentence)
}

/// `done` of `all`, in hundredths; the last one is left to the end itself.
pub fn percent(done: u64, all: u64) -> u8 {
    let hundredths = u128::from(done) * 100 / u128::from(all.max(1));
    u8::try_from(hundredths).unwrap_or(99).min(99)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_stays_over_and_what_is_cancelled_is_never_completed() {
        let events = [Event::Done, Event::Failed, Event::Cancelled, Event::GivenUp];
        for state in TaskState::ALL {
            for event in events {
                let next = state.next(event);
                assert!(!state.is_over() || next.is_none(), "{state:?} {event:?}");
                assert!(state != TaskState::Deleting || next != Some(TaskState::Completed), "{event:?}");
            }
            assert_eq!(TaskState::parse(state.as_str()), Some(state));
        }
        assert_eq!(TaskState::Active.next(Event::Done), Some(TaskState::Completed));
        assert_eq!(TaskState::Deleting.next(Event::GivenUp), Some(TaskState::Deleted));
    }

    #[test]
    fn no_task_is_at_a_hundred_before_its_end() {
        assert_eq!([percent(0, 0), percent(1, 3), percent(3, 3), percent(9, 3)], [0, 33, 99, 99]);
        assert_eq!(percent(u64::MAX, u64::MAX), 99);
    }
}
