//! Counters, gauges and latency histograms in Prometheus' text form. Small on purpose: a name, a few
//! labels, a number.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const BUCKETS_SECS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0];
/// A label that a client can choose must not make the table grow without end.
const SERIES_PER_METRIC_MAX: usize = 2_000;

type Labels = Vec<(&'static str, String)>;

#[derive(Debug, Default)]
pub struct Metrics {
    families: Mutex<BTreeMap<&'static str, Family>>,
}

#[derive(Debug)]
struct Family {
    kind: &'static str,
    series: BTreeMap<Labels, Series>,
}

#[derive(Debug, Default, Clone)]
struct Series {
    value: f64,
    count: u64,
    buckets: [u64; BUCKETS_SECS.len()],
}

impl Metrics {
    pub fn count(&self, name: &'static str, labels: &[(&'static str, &str)]) {
        self.touch(name, "counter", labels, |series| series.value += 1.0);
    }

    pub fn gauge(&self, name: &'static str, labels: &[(&'static str, &str)], value: f64) {
        self.touch(name, "gauge", labels, |series| series.value = value);
    }

    pub fn observe(&self, name: &'static str, labels: &[(&'static str, &str)], took: Duration) {
        let secs = took.as_secs_f64();
        self.touch(name, "histogram", labels, |series| {
            series.value += secs;
            series.count += 1;
            for (bucket, bound) in series.buckets.iter_mut().zip(BUCKETS_SECS) {
                *bucket += u64::from(secs <= bound);
            }
        });
    }

    fn touch(
        &self,
        name: &'static str,
        kind: &'static str,
        labels: &[(&'static str, &str)],
        change: impl FnOnce(&mut Series),
    ) {
        let labels: Labels = labels.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let family = families.entry(name).or_insert_with(|| Family { kind, series: BTreeMap::new() });
        if family.series.len() < SERIES_PER_METRIC_MAX || family.series.contains_key(&labels) {
            change(family.series.entry(labels).or_default());
        }
    }

    pub fn render(&self) -> String {
        let families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for (name, family) in families.iter() {
            let _ = writeln!(text, "# TYPE {name} {}", family.kind);
            for (labels, series) in &family.series {
                render_series(&mut text, name, family.kind, labels, series);
            }
        }
        text
    }
}

fn render_series(text: &mut String, name: &str, kind: &str, labels: &Labels, series: &Series) {
    if kind != "histogram" {
        let _ = writeln!(text, "{name}{} {}", render_labels(labels, None), series.value);
        return;
    }
    for (bucket, bound) in series.buckets.iter().zip(BUCKETS_SECS) {
        let _ = writeln!(text, "{name}_bucket{} {bucket}", render_labels(labels, Some(&bound.to_string())));
    }
    let _ = writeln!(text, "{name}_bucket{} {}", render_labels(labels, Some("+Inf")), series.count);
    let _ = writeln!(text, "{name}_sum{} {}", render_labels(labels, None), series.value);
    let _ = writeln!(text, "{name}_count{} {}", render_labels(labels, None), series.count);
}

fn render_labels(labels: &Labels, bound: Option<&str>) -> String {
    let bound = bound.map(|bound| ("le", bound.to_owned()));
    let pairs: Vec<String> = labels
        .iter()
        .cloned()
        .chain(bound)
        .map(|(key, value)| {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            format!("{key}=\"{value}\"")
        })
        .collect();
    if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_each_kind_and_escapes_labels() {
        let metrics = Metrics::default();
        metrics.count("hits_total", &[("path", "a\"b")]);
        metrics.gauge("free", &[], 2.5);
        metrics.observe("took_seconds", &[], Duration::from_millis(3));
        let text = metrics.render();
        assert!(text.contains("hits_total{path=\"a\\\"b\"} 1\n"), "{text}");
        assert!(text.contains("free 2.5\n"), "{text}");
        assert!(text.contains("took_seconds_bucket{le=\"0.0025\"} 0\n"), "{text}");
        assert!(text.contains("took_seconds_bucket{le=\"0.005\"} 1\n"), "{text}");
        assert!(text.contains("took_seconds_count 1\n"), "{text}");
    }
}
