//! Filters, case by case.

use super::*;
use proptest::prelude::*;

struct Machine;

impl Filterable for Machine {
    const FILTERS: &'static [&'static str] = &["instance-id", "group-id"];

    fn filter_values(&self, name: &str, each: &mut dyn FnMut(&str)) {
        match name {
            "instance-id" => each("i-12*"),
            "group-id" => ["sg-1", "sg-2"].into_iter().for_each(each),
            _ => {}
        }
    }

    fn filter_tags(&self, each: &mut dyn FnMut(&str, &str)) {
        each("Name", "web");
        each("a:b", "");
    }
}

fn filters(wanted: &[(&str, &[&str])]) -> Vec<Filter> {
    let text = |values: &[&str]| values.iter().map(|value| value.to_string()).collect();
    wanted.iter().map(|(name, values)| Filter { name: name.to_string(), values: text(values) }).collect()
}

#[test]
fn values_are_alternatives_and_filters_add_up() {
    let check = |wanted: &[(&str, &[&str])], expected: bool| {
        let selection = Selection::of::<Machine>(&filters(wanted)).unwrap();
        assert_eq!(selection.matches(&Machine), expected, "{wanted:?}");
    };
    check(&[], true);
    check(&[("group-id", &["sg-9", "sg-2"])], true);
    check(&[("group-id", &["sg-2"]), ("instance-id", &["i-9"])], false);
    check(&[("group-id", &[])], false);
    check(&[("instance-id", &["i-*"])], true);
    check(&[("instance-id", &["I-*"])], false);
    check(&[("instance-id", &["i-12\\*"])], true);
    check(&[("instance-id", &["i-\\?2*"])], false);
    check(&[("tag:Name", &["w?b"])], true);
    check(&[("tag:name", &["web"])], false);
    check(&[("tag:a:b", &[""])], true);
    check(&[("tag:Name", &[""])], false);
    check(&[("tag-key", &["Na*"])], true);
    check(&[("tag-value", &["web"])], true);
}

#[test]
fn an_unknown_filter_is_refused_in_ec2s_words() {
    let fault = Selection::of::<Machine>(&filters(&[("colour", &["red"])])).unwrap_err();
    assert_eq!(fault.to_string(), "InvalidParameterValue: The filter 'colour' is invalid");
    let many = vec!["x"; FILTER_VALUES_MAX + 1];
    let fault = Selection::of::<Machine>(&filters(&[("group-id", &many)])).unwrap_err();
    assert_eq!(fault.code, "FilterLimitExceeded");
}

/// The obvious matcher, exponential but plainly right.
fn plainly(pattern: &[char], text: &[char]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        (['*', rest @ ..], _) => plainly(rest, text) || (!text.is_empty() && plainly(pattern, &text[1..])),
        (['?', rest @ ..], [_, after @ ..]) => plainly(rest, after),
        ([wanted, rest @ ..], [c, after @ ..]) if wanted == c => plainly(rest, after),
        _ => false,
    }
}

proptest! {
    #[test]
    fn patterns_match_as_the_plain_matcher_does(pattern in "[ab*?é]{0,8}", text in "[abé]{0,10}") {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        prop_assert_eq!(Pattern::new(&pattern).matches(&text), plainly(&chars(&pattern), &chars(&text)));
    }
}

#[test]
fn a_hostile_pattern_costs_no_more_than_its_length() {
    let pattern = Pattern::new(&"*a".repeat(100));
    let started = std::time::Instant::now();
    assert!(!pattern.matches(&"a".repeat(2_000).replace("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "b")));
    assert!(started.elapsed().as_secs() < 2);
}
