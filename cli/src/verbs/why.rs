//! `karri why`: the story of an instance or a request, as every controller logged it.

use crate::args::Usage;
use crate::cloud::Cloud;
use crate::output::{Format, Table};
use anyhow::bail;
use karri_proto::internal::story::{NO_STORY, StoryLine, StoryService, has_a_story};
use serde_json::Value;

pub async fn run(cloud: &Cloud, id: &str, output: Format) -> anyhow::Result<()> {
    if !has_a_story(id) {
        return Err(Usage(format!("{id}: {NO_STORY}")).into());
    }
    let mut lines = cloud.clc()?.story(cloud.caller(), id).await?;
    sort(&mut lines);
    if lines.is_empty() {
        bail!("no controller has logged anything about {id}");
    }
    output.print(&lines, |lines| table(id, lines))
}

/// By time; lines of one instant in the order that a request travels.
fn sort(lines: &mut [StoryLine]) {
    let rank = |who: &str| ["clc", "cc", "nc", "walrus"].iter().position(|role| who.starts_with(role));
    lines.sort_by(|a, b| (&a.timestamp, rank(&a.who)).cmp(&(&b.timestamp, rank(&b.who))));
}

fn table(about: &str, lines: &[StoryLine]) -> String {
    let mut table = Table::new(["TIME", "CONTROLLER", "LEVEL", "WHAT"]);
    for line in lines {
        let what = format!("{}{}", line.message, fields(about, line));
        table.row([line.timestamp.clone(), line.who.clone(), line.level.clone(), what]);
    }
    table.to_string()
}

/// What the line says besides its message; what was asked for is known.
fn fields(about: &str, line: &StoryLine) -> String {
    let shown = line.fields.iter().filter(|(_, value)| value.as_str() != Some(about));
    shown
        .map(|(name, value)| match value {
            Value::String(text) => format!("  {name}={text}"),
            other => format!("  {name}={other}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(timestamp: &str, who: &str, fields: Value) -> StoryLine {
        let Value::Object(fields) = fields else { panic!("an object") };
        StoryLine {
            timestamp: timestamp.into(),
            who: who.into(),
            level: "INFO".into(),
            message: format!("{who} speaks"),
            fields,
        }
    }

    #[test]
    fn a_story_is_told_in_order_of_time_and_then_of_travel() {
        let mut lines = vec![
            line(
                "2026-01-01T00:00:02Z",
                "nc node-1",
                serde_json::json!({"instance_id": "i-1", "took_ms": 7}),
            ),
            line("2026-01-01T00:00:01Z", "cc a", serde_json::json!({"instance_id": "i-1", "node": "node-1"})),
            line("2026-01-01T00:00:01Z", "clc clc", serde_json::json!({"instance_id": "i-1"})),
        ];
        sort(&mut lines);
        assert_eq!(
            table("i-1", &lines),
            "TIME                  CONTROLLER  LEVEL  WHAT\n\
             2026-01-01T00:00:01Z  clc clc     INFO   clc clc speaks\n\
             2026-01-01T00:00:01Z  cc a        INFO   cc a speaks  node=node-1\n\
             2026-01-01T00:00:02Z  nc node-1   INFO   nc node-1 speaks  took_ms=7\n"
        );
    }
}
