//! Instances: what they are (`model`, `state`), what may become of them (`lifecycle`, `absorb`), what a
//! cluster is to be told (`plan`), the copy that all reads come from (`view`), and the use cases
//! (`launch`, `control`, `report`, `older`).

pub mod absorb;
pub mod attribute;
pub mod control;
pub mod launch;
pub mod lifecycle;
pub mod model;
mod older;
pub mod plan;
pub mod report;
pub mod said;
#[cfg(test)]
pub mod sample;
pub mod state;
mod tokens;
pub mod view;

pub use model::{Instance, ShutdownBehavior};
pub use state::State;
pub use tokens::Tokens;
pub use view::View;
