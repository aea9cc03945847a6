//! What a check has found, for people and for programs.

use super::owner::Thing;
use serde::Serialize;
use std::fmt;

/// Problems that are told one by one.
const TOLD_MAX: usize = 1000;

/// How far a check is. Only larger objects' bytes take long; of the rest it tells no amounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckProgress {
    pub stage: &'static str,
    pub bytes: u64,
    pub bytes_total: u64,
}

impl CheckProgress {
    pub(super) fn at(stage: &'static str) -> Self {
        Self { stage, bytes: 0, bytes_total: 0 }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub what: String,
    /// Whose bytes are concerned, as far as rows tell.
    pub objects: Vec<String>,
    #[serde(skip)]
    pub(super) thing: Thing,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.objects.iter().try_for_each(|object| write!(f, "; of {object}"))
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    pub buckets: u64,
    pub versions: u64,
    pub markers: u64,
    pub uploads: u64,
    pub parts: u64,
    pub inline: u64,
    pub blobs: u64,
    pub bytes: u64,
    /// Waiting to be removed.
    pub garbage: u64,
    /// Blobs of interrupted writes; the store removes them by itself.
    pub leftovers: u64,
    pub problems: Vec<Problem>,
    pub problems_untold: u64,
}

impl CheckReport {
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    pub(super) fn tell(&mut self, thing: Thing, problem: impl AsRef<str>) {
        if self.problems.len() < TOLD_MAX {
            let what = format!("{thing}{}", problem.as_ref());
            self.problems.push(Problem { what, objects: Vec::new(), thing });
        } else {
            self.problems_untold += 1;
        }
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            buckets, versions, markers, uploads, parts, inline, blobs, bytes, garbage, leftovers, ..
        } = self;
        writeln!(f, "{buckets} buckets, {versions} versions of {bytes} bytes, {markers} delete markers")?;
        writeln!(f, "{uploads} uploads under way with {parts} parts")?;
        writeln!(
            f,
            "{inline} small contents, {blobs} blobs, {garbage} to be removed, {leftovers} left over"
        )?;
        for problem in &self.problems {
            writeln!(f, "PROBLEM: {problem}")?;
        }
        if self.problems_untold > 0 {
            writeln!(f, "and {} more problems", self.problems_untold)?;
        }
        f.write_str(if self.is_clean() {
            "the store is consistent\n"
        } else {
            "the store is NOT consistent\n"
        })
    }
}
