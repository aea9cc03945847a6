//! What a cluster is to be told about an instance. Pure: a row in, a step out.

use super::model::Instance;
use super::state::State;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The cluster knows all.
    Rest,
    /// Send the intent.
    Put,
    /// It is over, and reported so: let the cluster drop it.
    Forget,
}

pub fn plan(instance: &Instance) -> Step {
    if instance.forgotten {
        Step::Rest
    } else if instance.acknowledged < instance.generation {
        Step::Put
    } else if instance.state == State::Terminated {
        Step::Forget
    } else {
        Step::Rest
    }
}
