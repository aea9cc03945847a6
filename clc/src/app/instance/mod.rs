//! Instances: what they are (`model`, `state`), what may become of them (`lifecycle`, `absorb`), what a
//! cluster is to be told (`plan`), and the copy that all reads come from (`view`).

pub mod absorb;
pub mod lifecycle;
pub mod model;
pub mod plan;
pub mod state;
pub mod view;

pub use model::{Instance, ShutdownBehavior};
pub use state::State;
pub use view::View;
