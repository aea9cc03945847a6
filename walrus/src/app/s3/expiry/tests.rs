//! Rules against versions, at a noon that the tests know.

use super::*;
use crate::store::objects::{ETag, ListEntry, VersionEntry, VersionId};

const NOON: UnixMs = 20_000 * DAY_MS + DAY_MS / 2;
const TENS: u32 = 10;

fn configuration(rules: &str) -> BucketLifecycleConfiguration {
    let text = format!("<LifecycleConfiguration>{rules}</LifecycleConfiguration>");
    document(text.as_bytes(), "LifecycleConfiguration").unwrap()
}

fn rule(inner: &str) -> BucketLifecycleConfiguration {
    configuration(&format!("<Rule><ID>r 1</ID><Status>Enabled</Status>{inner}</Rule>"))
}

fn current(key: &str, size: u64) -> Scanned {
    Scanned {
        version: VersionEntry {
            entry: ListEntry {
                key: key.into(),
                version: VersionId::Seq(7),
                modified: NOON,
                size,
                etag: ETag::simple([0; 16]),
                owner: "1".into(),
                storage_class: None,
                checksum: None,
            },
            is_latest: true,
            is_marker: false,
        },
        seq: 7,
        tags: vec![("a".into(), "b".into())],
        retention: None,
        legal_hold: false,
        noncurrent_since: None,
        newer_noncurrent: 0,
        is_alone: false,
    }
}

fn noncurrent(newer: u32) -> Scanned {
    let mut scanned = current("k", 1);
    scanned.version.is_latest = false;
    Scanned { noncurrent_since: Some(NOON), newer_noncurrent: newer, ..scanned }
}

fn marker(alone: bool) -> Scanned {
    let mut scanned = current("k", 0);
    scanned.version.is_marker = true;
    Scanned { is_alone: alone, tags: Vec::new(), ..scanned }
}

#[test]
fn a_day_ends_at_midnight_and_a_short_one_when_it_is_over() {
    let days = rule("<Prefix/><Expiration><Days>1</Days></Expiration>");
    let at = |now, calendar| verdict(&days, &current("k", 1), now, calendar);
    let midnight = 20_002 * DAY_MS;
    assert_eq!(at(midnight - 1, Calendar::REAL), None);
    assert_eq!(at(midnight, Calendar::REAL), Some(Verdict::DeleteKey));
    let short = Calendar::with_day_secs(TENS);
    assert_eq!(at(NOON + 9_999, short), None);
    assert_eq!(at(NOON + 10_000, short), Some(Verdict::DeleteKey));
}

#[test]
fn a_rule_is_about_what_all_of_its_filter_says() {
    let check = |filter: &str, expected: bool| {
        let rules = rule(&format!("{filter}<Expiration><Date>2015-01-01T00:00:00Z</Date></Expiration>"));
        let found = verdict(&rules, &current("dir/k", 1000), NOON, Calendar::REAL).is_some();
        assert_eq!(found, expected, "{filter}");
    };
    check("<Filter/>", true);
    check("<Prefix>dir/</Prefix>", true);
    check("<Prefix>other/</Prefix>", false);
    check("<Filter><Prefix>dir/</Prefix></Filter>", true);
    check("<Filter><Tag><Key>a</Key><Value>b</Value></Tag></Filter>", true);
    check("<Filter><Tag><Key>a</Key><Value>c</Value></Tag></Filter>", false);
    check("<Filter><ObjectSizeGreaterThan>999</ObjectSizeGreaterThan></Filter>", true);
    check("<Filter><ObjectSizeGreaterThan>1000</ObjectSizeGreaterThan></Filter>", false);
    check("<Filter><ObjectSizeLessThan>1000</ObjectSizeLessThan></Filter>", false);
    check("<Filter><And><Prefix>dir/</Prefix><Tag><Key>a</Key><Value>b</Value></Tag></And></Filter>", true);
    check("<Filter><And><Prefix>x</Prefix><Tag><Key>a</Key><Value>b</Value></Tag></And></Filter>", false);
    check("<Filter><Prefix>dir/</Prefix><Tag><Key>a</Key><Value>c</Value></Tag></Filter>", false);
    let off = configuration(
        "<Rule><ID>r</ID><Status>Disabled</Status><Prefix/><Expiration><Days>1</Days></Expiration></Rule>",
    );
    assert_eq!(verdict(&off, &current("k", 1), NOON * 2, Calendar::REAL), None);
}

#[test]
fn old_versions_go_when_they_are_old_and_enough_newer_ones_stay() {
    let rules = rule(
        "<Prefix/><NoncurrentVersionExpiration><NoncurrentDays>2</NoncurrentDays>\
         <NewerNoncurrentVersions>3</NewerNoncurrentVersions></NoncurrentVersionExpiration>",
    );
    let short = Calendar::with_day_secs(TENS);
    let check = |newer, now| verdict(&rules, &noncurrent(newer), now, short);
    assert_eq!(check(3, NOON + 20_000), Some(Verdict::DeleteVersion));
    assert_eq!(check(2, NOON + 20_000), None);
    assert_eq!(check(3, NOON + 19_999), None);
    assert_eq!(verdict(&rules, &current("k", 1), NOON * 2, short), None);
}

#[test]
fn a_marker_goes_that_hides_nothing() {
    let asked =
        rule("<Prefix/><Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>");
    let days = rule("<Prefix/><Expiration><Days>1</Days></Expiration>");
    let short = Calendar::with_day_secs(TENS);
    assert_eq!(verdict(&asked, &marker(true), NOON, short), Some(Verdict::DeleteVersion));
    assert_eq!(verdict(&asked, &marker(false), NOON, short), None);
    assert_eq!(verdict(&asked, &current("k", 1), NOON * 2, short), None);
    assert_eq!(verdict(&days, &marker(true), NOON + 10_000, short), Some(Verdict::DeleteVersion));
    assert_eq!(verdict(&days, &marker(true), NOON + 9_000, short), None);
    assert_eq!(verdict(&days, &marker(false), NOON * 2, short), None);
}

#[test]
fn the_header_names_the_first_day_and_its_rule() {
    let rules = configuration(
        "<Rule><ID>late</ID><Status>Enabled</Status><Prefix/><Expiration><Days>9</Days></Expiration></Rule>\
         <Rule><ID>r 1</ID><Status>Enabled</Status><Prefix>d</Prefix><Expiration><Days>1</Days></Expiration></Rule>",
    );
    let shown = |key| header(&rules, key, &Vec::new(), 1, NOON);
    let first = "expiry-date=\"Sun, 06 Oct 2024 00:00:00 GMT\", rule-id=\"r%201\"";
    assert_eq!(shown("d").unwrap().split(", ").nth(2), first.split(", ").nth(2));
    assert!(shown("k").unwrap().ends_with("rule-id=\"late\""));
    assert_eq!(
        header(&rule("<Prefix>x</Prefix><Expiration><Days>1</Days></Expiration>"), "k", &Vec::new(), 1, NOON),
        None
    );
}

#[test]
fn a_scan_begins_where_all_rules_do() {
    let of = |a: &str, b: &str| {
        let one = |prefix: &str| {
            format!(
                "<Rule><Status>Enabled</Status><Prefix>{prefix}</Prefix><Expiration><Days>1</Days></Expiration></Rule>"
            )
        };
        common_prefix(&configuration(&format!("{}{}", one(a), one(b))))
    };
    assert_eq!(of("logs/a", "logs/b"), "logs/");
    assert_eq!(of("logs/a", ""), "");
    assert_eq!(of("é", "è"), "");
}
