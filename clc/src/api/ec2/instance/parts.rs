//! DescribeInstances as text, in parts: a part is a run of instances, and is written anew only when one of
//! them has changed.

use super::shape::{instance, reservation_of};
use crate::app::instance::Instance;
use crate::app::kept::{Before, Edges, Part};
use axum::body::Bytes;
use karri_proto::aws::ec2::DescribeInstancesResult;
use karri_proto::aws::{Encode, XmlWriter};
use std::sync::Arc;

/// One instance in so many ends a run. More to a run: more to write when one changes; fewer: more pieces
/// to send.
const RUN_MEAN: u32 = 32;

/// The elements of a result, which `<reservationSet>` comes last of; instances are sorted by reservation.
pub fn parts(instances: &[Arc<Instance>], next_token: Option<String>, before: &Before<'_>) -> Vec<Part> {
    let hollow = DescribeInstancesResult { next_token, reservations: Vec::new() };
    if instances.is_empty() {
        return vec![fixed(text_of(&hollow))];
    }
    let (head, tail) = opened(&text_of(&hollow), "reservationSet");
    let mut parts = vec![fixed(head)];
    let mut from = 0;
    for run in instances.chunk_by(|one, _| !ends_run(one)) {
        let to = from + run.len();
        let edges = Edges {
            opens: from == 0 || begins_reservation(instances, from),
            closes: to == instances.len() || begins_reservation(instances, to),
        };
        parts.push(before.part(run, edges).unwrap_or_else(|| written(run, edges)));
        from = to;
    }
    parts.push(fixed(tail));
    parts
}

/// Where runs end is for each instance to say, not for its place: a new one among them moves no other
/// into another run. Ids are random.
fn ends_run(one: &Instance) -> bool {
    let digits = one.id.as_str().get(one.id.as_str().len() - 4..).unwrap_or_default();
    u32::from_str_radix(digits, 16).is_ok_and(|number| number % RUN_MEAN == 0)
}

fn begins_reservation(instances: &[Arc<Instance>], at: usize) -> bool {
    instances[at - 1].reservation != instances[at].reservation
}

fn written(run: &[Arc<Instance>], edges: Edges) -> Part {
    let mut xml = XmlWriter::new();
    let reservations = run.chunk_by(|a, b| a.reservation == b.reservation);
    let last = run.chunk_by(|a, b| a.reservation == b.reservation).count() - 1;
    for (number, instances) in reservations.enumerate() {
        let mut item = XmlWriter::new();
        item.element("item", &reservation_of(&instances[0]));
        let (open, close) = opened(&item.finish(), "instancesSet");
        if number > 0 || edges.opens {
            xml.raw(&open);
        }
        instances.iter().for_each(|one| xml.element("item", &instance(one)));
        if number < last || edges.closes {
            xml.raw(&close);
        }
    }
    Part::new(run, edges, bytes(xml.finish()))
}

/// A text with one empty list, cut into what stands before the list's items and what stands after.
fn opened(text: &str, list: &str) -> (String, String) {
    let (before, after) = text.split_once(&format!("<{list}/>")).unwrap_or((text, ""));
    (format!("{before}<{list}>"), format!("</{list}>{after}"))
}

fn text_of(value: &impl Encode) -> String {
    let mut xml = XmlWriter::new();
    value.encode(&mut xml);
    xml.finish()
}

fn fixed(text: String) -> Part {
    Part::new(&[], Edges { opens: true, closes: true }, bytes(text))
}

fn bytes(mut text: String) -> Bytes {
    text.shrink_to_fit(); // it is kept
    Bytes::from(text)
}

#[cfg(test)]
mod tests;
