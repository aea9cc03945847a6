//! Pages, and tokens that somebody played with.

use super::*;
use crate::aws::ec2::{DescribeInstancesRequest, DescribeTagsRequest, Filter};

fn asking(limit: Option<i32>, token: Option<String>) -> DescribeInstancesRequest {
    DescribeInstancesRequest { max_results: limit, next_token: token, ..Default::default() }
}

#[test]
fn pages_follow_each_other_without_loss_or_repetition() {
    let all: Vec<String> = (0..23).map(|n| format!("i-{n:02}")).collect();
    let (mut seen, mut token) = (Vec::new(), None);
    loop {
        let page = Page::of(&asking(Some(5), token)).unwrap();
        let (items, next) = page.cut(all.clone(), |item| item);
        seen.extend(items);
        token = next;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(seen, all);
}

#[test]
fn no_token_after_the_last_item_and_none_without_a_limit() {
    let all: Vec<String> = (0..5).map(|n| n.to_string()).collect();
    assert_eq!(Page::of(&asking(Some(5), None)).unwrap().cut(all.clone(), |item| item).1, None);
    assert_eq!(Page::of(&asking(None, Some(String::new()))).unwrap().cut(all, |item| item).1, None);
}

#[test]
fn a_foreign_or_changed_token_is_refused() {
    let page = Page::of(&asking(Some(5), None)).unwrap();
    let token = page.cut((0..9).map(|n| n.to_string()).collect(), |item| item).1.unwrap();
    let filtered = DescribeInstancesRequest {
        filters: vec![Filter { name: "vpc-id".into(), values: vec![] }],
        ..asking(None, Some(token.clone()))
    };
    assert!(Page::of(&asking(None, Some(token.clone()))).is_ok());
    assert!(Page::of(&filtered).is_err());
    let other = DescribeTagsRequest { next_token: Some(token.clone()), ..Default::default() };
    assert!(Page::of(&other).is_err());
    for bad in [format!("{token}A"), token[1..].to_string(), "!".into(), "AAAA".into(), "\u{e9}".into()] {
        let fault = Page::of(&asking(None, Some(bad))).unwrap_err();
        assert_eq!(fault.code, "InvalidParameterValue");
        assert!(fault.message.ends_with("for parameter NextToken is invalid. The token is invalid."));
    }
}

#[test]
fn a_page_size_out_of_range_is_refused() {
    for count in [i32::MIN, 0, 4, 1001] {
        assert_eq!(Page::of(&asking(Some(count), None)).unwrap_err().code, "InvalidParameterValue");
    }
}
