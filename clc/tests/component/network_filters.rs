//! Every filter that a listing of networks declares finds what has the value, and nothing that has another one.

mod declared;
mod world;

use crate::support::{Client, Cloud};
use declared::{declared, kinds};
use std::collections::BTreeSet;
use world::{World, world};

on_both! {
    every_filter_finds_and_excludes
}

/// A filter, a value that finds the thing, one that does not.
type Row = (&'static str, String, String);

/// What is asked of one listing.
struct Table {
    action: &'static str,
    /// Where its filters are declared: the source, and the type.
    declared: (&'static str, &'static str),
    /// What a thing is known by, and that of the one which is looked for.
    element: &'static str,
    one: String,
    rows: Vec<Row>,
    /// About what nothing in this cloud has.
    nothing: &'static [&'static str],
    /// What is given tags to find it by, where it can have any.
    tagged: Option<String>,
}

/// Only a NAT gateway's interface has one; it is asked for where those are.
const ELSEWHERE: &str = "attachment.nat-gateway-id";

/// Other kinds that go through the same code: what is no part of a network, and what has no filters.
const OTHERS: [&str; 17] = [
    "$name",            // entries and associations of prefix lists: none
    "AddressAttribute", // its listing takes no filters
    "AvailabilityZone",
    "BundleTask",
    "ExportImageTask",
    "IamInstanceProfileAssociation",
    "Image",
    "ImportImageTask",
    "ImportSnapshotTask",
    "InstanceCreditSpecification",
    "InstanceTypeInfo",
    "InstanceTypeOffering",
    "KeyPairInfo",
    "Region",
    "Snapshot",
    "TagDescription",
    "Volume",
];

async fn found(client: &Client, action: &str, element: &str, filter: &str, value: &str) -> Vec<String> {
    let words = [("Filter.1.Name", filter), ("Filter.1.Value.1", value)];
    client.ec2(action, &words).await.ok().all(element)
}

impl Table {
    async fn holds(mut self, client: &Client) {
        let action = self.action;
        if let Some(id) = &self.tagged {
            let tag = [("ResourceId.1", id.as_str()), ("Tag.1.Key", "side"), ("Tag.1.Value", "front")];
            client.ec2("CreateTags", &tag).await.ok();
            for (filter, value, other) in
                [("tag:side", "front", "side"), ("tag-key", "side", "front"), ("tag-value", "front", "side")]
            {
                self.rows.push((filter, value.to_owned(), other.to_owned()));
            }
        }
        for (filter, value, other) in &self.rows {
            let these = found(client, action, self.element, filter, value).await;
            assert!(these.contains(&self.one), "{action} {filter} = {value}: {these:?}");
            let others = found(client, action, self.element, filter, other).await;
            assert!(!others.contains(&self.one), "{action} {filter} = {other}: {others:?}");
        }
        for filter in self.nothing {
            let these = found(client, action, self.element, filter, "*").await;
            assert!(these.is_empty(), "{action} {filter}: {these:?}");
        }
        let asked = self.rows.iter().map(|(filter, ..)| *filter).filter(|filter| !filter.starts_with("tag"));
        let asked: BTreeSet<&str> = asked.chain(self.nothing.iter().copied()).collect();
        let mut known = declared(self.declared.0, self.declared.1);
        known.remove(ELSEWHERE);
        assert_eq!(asked, known, "{action}");
    }
}

async fn every_filter_finds_and_excludes(cloud: Cloud) {
    let _cluster = cloud.cluster("zone-a", 1).await;
    let alice = cloud.owner().await;
    let World { tables } = world(&alice).await;
    let here = tables.iter().map(|table| table.declared.1).chain(OTHERS).map(str::to_owned);
    assert_eq!(here.collect::<BTreeSet<_>>(), kinds(), "no kind is left out unseen");
    for table in tables {
        table.holds(&alice).await;
    }
}
