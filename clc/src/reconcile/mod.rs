//! The loops: intent and observation in, idempotent steps out.

use crate::app::App;
use std::sync::Arc;

/// Starts every loop; they end with the controller.
pub fn start(_app: &Arc<App>) {}
