//! The JSON log that `karri why` reads: two files of bounded size, the older one dropped when the
//! newer is full.

use crate::internal::story::{STORY_LINES_MAX, StoryLine};
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tracing_subscriber::fmt::MakeWriter;

const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

#[derive(Debug, Clone)]
pub struct StoryLog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    who: String,
    path: PathBuf,
    open: Mutex<(File, u64)>,
}

impl StoryLog {
    pub fn open(state_dir: &Path, who: &str) -> io::Result<Self> {
        std::fs::create_dir_all(state_dir)?;
        let path = state_dir.join("log.jsonl");
        let file = File::options().append(true).create(true).open(&path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { shared: Arc::new(Shared { who: who.to_owned(), path, open: Mutex::new((file, bytes)) }) })
    }

    fn older(&self) -> PathBuf {
        self.shared.path.with_extension("jsonl.1")
    }

    /// The newest lines that mention `about` as a whole word.
    pub fn lines_about(&self, about: &str) -> Vec<StoryLine> {
        let mut found = Vec::new();
        for path in [self.older(), self.shared.path.clone()] {
            let Ok(file) = File::open(path) else { continue };
            let matching =
                BufReader::new(file).lines().map_while(Result::ok).filter(|line| mentions(line, about));
            found.extend(matching.filter_map(|line| parse(&line, &self.shared.who)));
        }
        let surplus = found.len().saturating_sub(STORY_LINES_MAX);
        found.split_off(surplus)
    }
}

/// A short id is no part of a longer one.
fn mentions(line: &str, about: &str) -> bool {
    let of_a_word = |c: char| c.is_ascii_alphanumeric() || c == '-';
    line.match_indices(about)
        .any(|(at, _)| !line[..at].ends_with(of_a_word) && !line[at + about.len()..].starts_with(of_a_word))
}

fn parse(line: &str, who: &str) -> Option<StoryLine> {
    let mut object: Map<String, Value> = serde_json::from_str(line).ok()?;
    let mut fields = match object.remove("fields") {
        Some(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    if let Some(Value::Object(span)) = object.remove("span") {
        fields.extend(span.into_iter().filter(|(key, _)| key != "name"));
    }
    let text = |value: Option<Value>| value.and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
    Some(StoryLine {
        timestamp: text(object.remove("timestamp")),
        who: who.to_owned(),
        level: text(object.remove("level")),
        message: text(fields.remove("message")),
        fields,
    })
}

impl<'a> MakeWriter<'a> for StoryLog {
    type Writer = StoryWriter;

    fn make_writer(&'a self) -> StoryWriter {
        StoryWriter(self.clone())
    }
}

pub struct StoryWriter(StoryLog);

impl Write for StoryWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let log = &self.0;
        let mut open = log.shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.1 + bytes.len() as u64 > FILE_BYTES_MAX {
            std::fs::rename(&log.shared.path, log.older())?;
            *open = (File::options().append(true).create(true).open(&log.shared.path)?, 0);
        }
        if let Err(error) = open.0.write_all(bytes) {
            open.0.set_len(open.1)?; // half a line of a full disk would spoil the next one
            return Err(error);
        }
        open.1 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_about_whole_ids_only() {
        let line = r#"{"fields":{"instance_id":"i-0a1b2c3d"},"message":"[i-11111111, i-2] goes"}"#;
        for (about, expected) in [
            ("i-0a1b2c3d", true),
            ("i-11111111", true),
            ("i-0a1b2c3", false),
            ("0a1b2c3d", false),
            ("i-3", false),
        ] {
            assert_eq!(mentions(line, about), expected, "{about}");
        }
    }
}
