//! A website's rules, one by one.

use super::*;
use karri_proto::aws::s3::{Condition, ErrorDocument, IndexDocument, RedirectAllRequestsTo};

fn rule(prefix: Option<&str>, error: Option<&str>, redirect: Redirect) -> RoutingRule {
    let condition = Condition {
        http_error_code_returned_equals: error.map(str::to_owned),
        key_prefix_equals: prefix.map(str::to_owned),
    };
    RoutingRule { condition: (prefix.is_some() || error.is_some()).then_some(condition), redirect }
}

fn with(host: &str) -> Redirect {
    Redirect { host_name: Some(host.to_owned()), ..Redirect::default() }
}

fn site(rules: Vec<RoutingRule>) -> WebsiteConfiguration {
    WebsiteConfiguration {
        index_document: Some(IndexDocument { suffix: "index.html".to_owned() }),
        routing_rules: rules,
        ..WebsiteConfiguration::default()
    }
}

const ASKED: Asked<'_> = Asked { host: "b.web.example.com", key: "docs/a b", query: "?x=1" };

#[test]
fn a_path_means_an_object_or_an_index() {
    let site = site(Vec::new());
    assert_eq!(document(&site, ""), "index.html");
    assert_eq!(document(&site, "docs/"), "docs/index.html");
    assert_eq!(document(&site, "docs"), "docs");
    assert_eq!(index_below(&site, "docs").as_deref(), Some("docs/index.html"));
    assert_eq!(index_below(&site, "docs/"), None);
}

#[test]
fn the_first_rule_that_is_meant_says_where() {
    let replaced = Redirect { replace_key_prefix_with: Some("new/".to_owned()), ..Redirect::default() };
    let gone = Redirect { http_redirect_code: Some("302".to_owned()), ..with("other.example.com") };
    let rules = [
        rule(Some("img/"), None, with("img.example.com")),
        rule(Some("docs/"), None, replaced),
        rule(None, Some("404"), gone),
    ];
    let said = |error| routed(&rules, ASKED, error).map(|target| (target.status, target.location));
    assert_eq!(said(None), Some((301, "http://b.web.example.com/new/a%20b".to_owned())));
    assert_eq!(said(Some(404)), Some((302, "http://other.example.com/docs/a%20b".to_owned())));
    assert_eq!(said(Some(403)), None);
}

#[test]
fn all_requests_keep_their_path_and_query() {
    let to = RedirectAllRequestsTo {
        host_name: "other.example.com".to_owned(),
        protocol: Some("https".to_owned()),
    };
    let site = WebsiteConfiguration { redirect_all_requests_to: Some(to), ..WebsiteConfiguration::default() };
    let location = redirect_all(&site, ASKED).unwrap().location;
    assert_eq!(location, "https://other.example.com/docs/a%20b?x=1");
}

#[test]
fn what_no_website_can_mean_is_refused() {
    assert!(check(&site(vec![rule(Some("a"), Some("404"), with("h"))])).is_ok());
    let code = |code: &str| Redirect { http_redirect_code: Some(code.to_owned()), ..Redirect::default() };
    let both = Redirect {
        replace_key_with: Some(String::new()),
        replace_key_prefix_with: Some(String::new()),
        ..Redirect::default()
    };
    for wrong in [
        rule(None, Some("200"), with("h")),
        rule(None, Some("x"), with("h")),
        rule(Some("a"), None, with("h/x")),
        rule(Some("a"), None, with("h\r\nx: y")),
        rule(Some("a"), None, code("300")),
        rule(Some("a"), None, code("200")),
        rule(Some("a"), None, both),
        rule(Some("a"), None, Redirect::default()),
    ] {
        assert!(check(&site(vec![wrong.clone()])).is_err(), "{wrong:?}");
    }
    let all = Some(RedirectAllRequestsTo { host_name: "h".to_owned(), protocol: None });
    assert!(check(&WebsiteConfiguration { redirect_all_requests_to: all, ..site(Vec::new()) }).is_err());
    let error_document = Some(ErrorDocument { key: String::new() });
    assert!(check(&WebsiteConfiguration { error_document, ..site(Vec::new()) }).is_err());
    assert!(check(&WebsiteConfiguration::default()).is_err());
}
