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
        let Parties { asked, left_out } = self.nodes_of(about, &lines).await?;
        lines.extend(left_out);
        let theirs: Vec<Vec<StoryLine>> = futures_util::stream::iter(asked)
            .map(|(name, place)| self.ask_node(caller, about, name, self.nodes.to(&place.owner, &place.url)))
            .buffer_unordered(NODES_AT_ONCE)
            .collect()
            .await;
        extend_once(&mut lines, theirs.into_iter().flatten());
        lines.sort_by(|a, b| a.timestamp.cmp(&b.timestamp));
        Ok(lines.split_off(lines.len().saturating_sub(STORY_LINES_MAX)))
    }
}

struct NodePlace {
    owner: String,
    url: String,
}

/// The nodes that had a part in it: those that are asked, and a line for those that are not.
struct Parties {
    asked: Vec<(String, NodePlace)>,
    left_out: Vec<StoryLine>,
}

impl Parties {
    fn of(names: BTreeSet<String>, place: impl Fn(&str) -> Option<NodePlace>) -> Self {
        let (mut asked, mut unknown, mut beyond) = (Vec::new(), Vec::new(), Vec::new());
        for name in names {
            match place(&name) {
                None => unknown.push(name),
                Some(_) if asked.len() == NODES_ASKED_MAX => beyond.push(name),
                Some(place) => asked.push((name, place)),
            }
        }
        let too_many = format!("no more than {NODES_ASKED_MAX} are asked");
        let left_out = [(unknown, "they are of this cluster no more"), (beyond, too_many.as_str())];
        let left_out = left_out.into_iter().filter(|(nodes, _)| !nodes.is_empty());
        Self { asked, left_out: left_out.map(|(nodes, cause)| missing_all(&nodes, cause)).collect() }
    }
}

impl Api {
    async fn nodes_of(&self, about: &str, own: &[StoryLine]) -> Result<Parties, ApiError> {
        let logged = own.iter().filter_map(|line| line.fields.get("node")?.as_str());
        let mut names: BTreeSet<String> = logged.map(str::to_owned).collect();
        let id = about.parse().ok();
        let nodes = self.keeper.ask(move |book, _| {
            if let Some(row) = id.as_ref().and_then(|id| book.row(id)) {
                names.extend(row.node.iter().chain(&row.tried).cloned());
            }
            let place = |name: &str| {
                let record = &book.node(name)?.record;
                Some(NodePlace { owner: record.owner.clone(), url: record.url.clone() })
            };
            Parties::of(names, place)
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

/// Stands for the lines of several nodes.
fn missing_all(nodes: &[String], cause: &str) -> StoryLine {
    let mut line = missing("", cause);
    line.who = "nc".to_owned();
    line.message = format!("the lines of {} nodes are missing: {cause}", nodes.len());
    line.fields.insert("nodes".to_owned(), nodes.join(", ").into());
    line
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_are_not_asked_are_told_of() {
        let names =
            |count: usize| (0..count).map(|number| format!("node-{number:02}")).collect::<BTreeSet<_>>();
        let place = |_: &str| Some(NodePlace { owner: String::new(), url: String::new() });
        let all = Parties::of(names(NODES_ASKED_MAX), place);
        assert_eq!((all.asked.len(), all.left_out), (NODES_ASKED_MAX, Vec::new()));
        let some = Parties::of(names(NODES_ASKED_MAX + 2), place);
        assert_eq!(some.asked.len(), NODES_ASKED_MAX);
        let [line] = &some.left_out[..] else { panic!("{:?}", some.left_out) };
        assert_eq!(line.message, "the lines of 2 nodes are missing: no more than 16 are asked");
        assert_eq!(line.fields["nodes"], "node-16, node-17");
        let gone = Parties::of(names(1), |_| None);
        assert!(gone.asked.is_empty());
        assert_eq!(
            gone.left_out[0].message,
            "the lines of 1 nodes are missing: they are of this cluster no more"
        );
    }
}
