//! EC2's states of an instance.
//!
//! ```text
//!   pending ──► running ──► stopping ──► stopped ──► pending …          (start)
//!      │           │            │           │
//!      └───────────┴────────────┴───────────┴──► shutting-down ──► terminated
//! ```
//!
//! `pending`, `stopping` and `shutting-down` are transitional: each has a deadline. A launch that fails
//! goes from `pending` to `terminated` with a reason.

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    Pending,
    Running,
    ShuttingDown,
    Terminated,
    Stopping,
    Stopped,
}

impl State {
    pub const ALL: [State; 6] = [
        State::Pending,
        State::Running,
        State::ShuttingDown,
        State::Terminated,
        State::Stopping,
        State::Stopped,
    ];

    /// EC2's number of it.
    pub fn code(self) -> i32 {
        match self {
            State::Pending => 0,
            State::Running => 16,
            State::ShuttingDown => 32,
            State::Terminated => 48,
            State::Stopping => 64,
            State::Stopped => 80,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Running => "running",
            State::ShuttingDown => "shutting-down",
            State::Terminated => "terminated",
            State::Stopping => "stopping",
            State::Stopped => "stopped",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        State::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Holds vCPUs and memory on a node.
    pub fn is_live(self) -> bool {
        match self {
            State::Pending | State::Running | State::Stopping | State::ShuttingDown => true,
            State::Stopped | State::Terminated => false,
        }
    }

    /// Must end by a deadline.
    pub fn is_transitional(self) -> bool {
        match self {
            State::Pending | State::Stopping | State::ShuttingDown => true,
            State::Running | State::Stopped | State::Terminated => false,
        }
    }
}
