//! `karri why`: our own log lines about an instance or a request, and those of the clusters.

use super::App;
use futures_util::future::join_all;
use karri_proto::internal::story::{STORY_LINES_MAX, StoryLine, StoryService};
use karri_proto::internal::{ApiError, Caller};

impl App {
    pub async fn story(&self, caller: &Caller, about: &str) -> Result<Vec<StoryLine>, ApiError> {
        let (log, word) = (self.base.story.clone(), about.to_owned());
        let own = tokio::task::spawn_blocking(move || log.lines_about(&word));
        let mut lines = own.await.map_err(ApiError::internal)?;
        let links = self.clusters.list();
        let asked = links.iter().map(|link| {
            let (client, caller) = (link.client(), self.caller(&caller.request_id));
            async move { (link.name.clone(), client.story(&caller, about).await) }
        });
        for (name, told) in join_all(asked).await {
            match told {
                Ok(told) => lines.extend(told),
                Err(error) => lines.push(silent(&name, &error)),
            }
        }
        lines.sort_by(|a, b| a.timestamp.cmp(&b.timestamp));
        let surplus = lines.len().saturating_sub(STORY_LINES_MAX);
        Ok(lines.split_off(surplus))
    }
}

fn silent(cluster: &str, error: &ApiError) -> StoryLine {
    let now = time::OffsetDateTime::now_utc();
    StoryLine {
        timestamp: now.format(&time::format_description::well_known::Rfc3339).unwrap_or_default(),
        who: format!("cc {cluster}"),
        level: "WARN".to_owned(),
        message: format!("does not tell its part: {error}"),
        fields: serde_json::Map::new(),
    }
}
