//! The log lines about an instance or a request: our own, and those of the nodes that our own lines name.

use super::Api;
use async_trait::async_trait;
use futures_util::StreamExt;
use karri_proto::internal::story::{STORY_LINES_MAX, StoryLine, StoryService};
use karri_proto::internal::{ApiError, Caller};
use karri_proto::runtime::client::InternalClient;
use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

const NODES_ASKED_MAX: usize = 16;
const NODES_AT_ONCE: usize = 8;
const NODE_TIMEOUT: Duration = Duration::from_secs(3);

#[async_trait]
impl StoryService for Api {
    async fn story(&self, caller: &Caller, about: &str) -> Result<Vec<StoryLine>, ApiError> {
        let (log, wanted) = (self.base.story.clone(), about.to_owned());
        let own = tokio::task::spawn_blocking(move || log.lines_about(&wanted));
        let mut lines = own.await.map_err(ApiError::internal)?;
        let asked = self.nodes_of(about, &lines).await?;
        let theirs: Vec<Vec<StoryLine>> = futures_util::stream::iter(asked)
            .map(|(name, owner, url)| self.ask_node(caller, about, name, self.nodes.to(&owner, &url)))
            .buffer_unordered(NODES_AT_ONCE)
            .collect()
            .await;
        extend_once(&mut lines, theirs.into_iter().flatten());
        lines.sort_by(|a, b| a.timestamp.cmp(&b.timestamp));
        Ok(lines.split_off(lines.len().saturating_sub(STORY_LINES_MAX)))
    }
}

impl Api {
    /// Those that had a part in it, with their owners and addresses.
    async fn nodes_of(
        &self,
        about: &str,
        own: &[StoryLine],
    ) -> Result<Vec<(String, String, String)>, ApiError> {
        let logged = own.iter().filter_map(|line| line.fields.get("node")?.as_str());
        let mut names: BTreeSet<String> = logged.map(str::to_owned).collect();
        let id = about.parse().ok();
        let nodes = self.keeper.ask(move |book, _| {
            if let Some(row) = id.as_ref().and_then(|id| book.row(id)) {
                names.extend(row.node.iter().chain(&row.tried).cloned());
            }
            let known = names.into_iter().filter_map(|name| {
                let record = &book.node(&name)?.record;
                Some((name, record.owner.clone(), record.url.clone()))
            });
            known.take(NODES_ASKED_MAX).collect()
        });
        Ok(nodes.await?)
    }

    async fn ask_node(
        &self,
        caller: &Caller,
        about: &str,
        name: String,
        node: Result<InternalClient, ApiError>,
    ) -> Vec<StoryLine> {
        let ask = async { node?.story(caller, about).await };
        let answer = tokio::time::timeout(NODE_TIMEOUT, ask).await;
        match answer {
            Ok(Ok(lines)) => lines,
            Ok(Err(error)) => vec![missing(&name, &error.to_string())],
            Err(_) => vec![missing(&name, "no answer in time")],
        }
    }
}

/// Simulated nodes share a process and its log: each of them tells the same lines.
fn extend_once(lines: &mut Vec<StoryLine>, theirs: impl Iterator<Item = StoryLine>) {
    let mut told = HashSet::new();
    lines.extend(theirs.filter(|line| told.insert(serde_json::to_string(line).unwrap_or_default())));
}

/// Stands for the lines of a node that could not be asked.
fn missing(name: &str, cause: &str) -> StoryLine {
    let now = time::OffsetDateTime::now_utc();
    let timestamp = now.format(&time::format_description::well_known::Rfc3339).unwrap_or_default();
    StoryLine {
        timestamp,
        who: format!("nc {name}"),
        level: "WARN".to_owned(),
        message: format!("its lines are missing: {cause}"),
        fields: Default::default(),
    }
}
