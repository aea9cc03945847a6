//! Logs: one event per line, for people on standard error, as JSON in the state directory for
//! `karri why`.

use crate::runtime::story_log::StoryLog;
use std::io::IsTerminal;
use std::path::Path;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Whether `filter` is what the config's `log` key takes.
pub fn check(filter: &str) -> Result<(), String> {
    EnvFilter::try_new(filter).map(drop).map_err(|error| format!("controller.log = \"{filter}\": {error}"))
}

/// Sets the process's logging up. `filter` is the config's `log` key, which `check` has seen.
pub fn init(filter: &str, who: &str, state_dir: &Path) -> std::io::Result<StoryLog> {
    let story = StoryLog::open(state_dir, who)?;
    let filter = || EnvFilter::new(filter);
    let people = tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_filter(filter());
    let machine = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(false)
        .with_target(false)
        .with_current_span(true)
        .with_span_list(false)
        .with_writer(story.clone())
        .with_filter(filter());
    let _ = tracing_subscriber::registry().with(people).with(machine).try_init();
    Ok(story)
}
