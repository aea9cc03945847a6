//! `karri why`: our own log lines about an instance or a request, and those of the clusters and of the image store.

use super::App;
use futures_util::future::join_all;
use karri_proto::internal::story::{STORY_LINES_MAX, StoryLine, StoryService};
use karri_proto::internal::{ApiError, Caller};

impl App {
    pub async fn story(&self, caller: &Caller, about: &str) -> Result<Vec<StoryLine>, ApiError> {
        let (log, word) = (self.base.story.clone(), about.to_owned());
        let own = tokio::task::spawn_blocking(move || log.lines_about(&word));
        let mut lines = own.await.map_err(ApiError::internal)?;
        let clusters = self.clusters.list();
        let clusters = clusters.iter().map(|link| (format!("cc {}", link.name), link.client()));
        let asked = clusters.chain([("walrus".to_owned(), self.walrus.clone())]).map(|(who, client)| {
            let caller = self.caller(&caller.request_id);
            async move { (who, client.story(&caller, about).await) }
        });
        for (who, told) in join_all(asked).await {
            match told {
                Ok(told) => lines.extend(told),
                Err(error) => lines.push(silent(who, &error)),
            }
        }
        lines.sort_by(|a, b| a.timestamp.cmp(&b.timestamp));
        let surplus = lines.len().saturating_sub(STORY_LINES_MAX);
        Ok(lines.split_off(surplus))
    }
}

fn silent(who: String, error: &ApiError) -> StoryLine {
    let now = time::OffsetDateTime::now_utc();
    StoryLine {
        timestamp: now.format(&time::format_description::well_known::Rfc3339).unwrap_or_default(),
        who,
        level: "WARN".to_owned(),
        message: format!("its lines are missing: {error}"),
        fields: serde_json::Map::new(),
    }
}
