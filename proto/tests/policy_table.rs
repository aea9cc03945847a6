//! What policies decide, as a table; and what no policy may do, as properties.

#![allow(clippy::unwrap_used)] // helpers of tests, which the lint takes for code

use karri_proto::policy::{Decision, Kind, Policy, RequestContext, evaluate, managed};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use Decision::{Allow, ExplicitDeny, ImplicitDeny};

const BOB: &str = "arn:aws:iam::111122223333:user/bob";
const INSTANCE: &str = "arn:aws:ec2:us-east-1:111122223333:instance/i-1";

/// A document with these statements.
fn document(statements: &str) -> String {
    format!(r#"{{"Version": "2012-10-17", "Statement": [{statements}]}}"#)
}

fn request(action: &str) -> RequestContext {
    RequestContext::new(BOB, action).key("aws:username", "bob")
}

#[track_caller]
fn check(statements: &str, cx: &RequestContext, want: Decision) {
    let policy = Policy::parse(&document(statements), Kind::Identity).unwrap();
    assert_eq!(evaluate(&[policy], cx), want, "{statements}\n{cx:?}");
}

#[track_caller]
fn check_resource_policy(statement: &str, principal: &str, want: Decision) {
    let policy = Policy::parse(&document(statement), Kind::Resource).unwrap();
    let cx = RequestContext::new(principal, "s3:GetObject").resource("arn:aws:s3:::b/k");
    assert_eq!(evaluate(&[policy], &cx), want, "{statement} for {principal}");
}

#[track_caller]
fn refused(text: &str, kind: Kind, at: &str) {
    let fault = Policy::parse(text, kind).expect_err(text);
    let (status, code, message) = fault.iam();
    assert_eq!((status, code), (400, "MalformedPolicyDocument"), "{text}");
    assert!(message.ends_with(&format!("({at})")), "{message}, expected at {at}");
}

#[test]
fn actions() {
    let allow = |action: &str| format!(r#"{{"Effect": "Allow", "Action": {action}, "Resource": "*"}}"#);
    check(&allow(r#""ec2:RunInstances""#), &request("ec2:RunInstances"), Allow);
    check(&allow(r#""EC2:runinstances""#), &request("ec2:RunInstances"), Allow);
    check(&allow(r#"["s3:*", "ec2:Describe*"]"#), &request("ec2:DescribeImages"), Allow);
    check(&allow(r#""ec2:Run?nstances""#), &request("ec2:RunInstances"), Allow);
    check(&allow(r#""*""#), &request("sts:GetCallerIdentity"), Allow);
    check(&allow(r#""ec2:Describe*""#), &request("ec2:RunInstances"), ImplicitDeny);
    check(&allow(r#""ec2:*""#), &request("ec2x:RunInstances"), ImplicitDeny);
    let not = r#"{"Effect": "Allow", "NotAction": ["iam:*"], "Resource": "*"}"#;
    check(not, &request("ec2:RunInstances"), Allow);
    check(not, &request("IAM:CreateUser"), ImplicitDeny);
}

#[test]
fn resources() {
    let on = |arn: &str| format!(r#"{{"Effect": "Allow", "Action": "*", "Resource": "{arn}"}}"#);
    let stop = request("ec2:StopInstances").resource(INSTANCE);
    check(&on("arn:aws:ec2:*:111122223333:instance/*"), &stop, Allow);
    check(&on("arn:aws:ec2:*:999922223333:instance/*"), &stop, ImplicitDeny);
    check(&on("arn:aws:ec2:*:*:INSTANCE/*"), &stop, ImplicitDeny);
    check(&on("*"), &request("ec2:DescribeImages"), Allow);
    check(&on("arn:aws:ec2:*:*:*"), &request("ec2:DescribeImages"), ImplicitDeny);
    let two = request("ec2:RunInstances").resource(INSTANCE).resource("arn:aws:ec2:us-east-1::image/ami-1");
    check(&on("arn:aws:ec2:*:*:instance/*"), &two, ImplicitDeny);
    check(&on("arn:aws:ec2:*:*:*"), &two, Allow);
    let not = r#"{"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:ec2:*:*:image/*"}"#;
    check(not, &stop, Allow);
    check(not, &two, ImplicitDeny);
    let home = request("s3:GetObject").resource("arn:aws:s3:::homes/bob/notes");
    check(&on("arn:aws:s3:::homes/${aws:username}/*"), &home, Allow);
    check(&on("arn:aws:s3:::homes/${aws:userid}/*"), &home, ImplicitDeny);
}

#[test]
fn deny_wins() {
    let allow = r#"{"Effect": "Allow", "Action": "*", "Resource": "*"}"#;
    let deny = r#"{"Effect": "Deny", "Action": "ec2:Terminate*", "Resource": "*"}"#;
    let both = [format!("{allow}, {deny}"), format!("{deny}, {allow}")];
    for statements in &both {
        check(statements, &request("ec2:TerminateInstances").resource(INSTANCE), ExplicitDeny);
        check(statements, &request("ec2:StopInstances").resource(INSTANCE), Allow);
    }
    let none: [Policy; 0] = [];
    assert_eq!(evaluate(&none, &request("ec2:StopInstances")), ImplicitDeny);
    let one_image = r#"{"Effect": "Deny", "Action": "*", "Resource": "arn:aws:ec2:*::image/ami-1"}"#;
    let run = request("ec2:RunInstances").resource(INSTANCE).resource("arn:aws:ec2:us-east-1::image/ami-1");
    check(&format!("{allow}, {one_image}"), &run, ExplicitDeny);
}

#[test]
fn variables_need_the_newer_version() {
    let text =
        r#"{"Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::${aws:username}"}}"#;
    let policy = Policy::parse(text, Kind::Identity).unwrap();
    let by_name = request("s3:GetObject").resource("arn:aws:s3:::bob");
    let literal = request("s3:GetObject").resource("arn:aws:s3:::${aws:username}");
    assert_eq!(evaluate(&[&policy], &by_name), ImplicitDeny);
    assert_eq!(evaluate(&[&policy], &literal), Allow);
}

/// Operator, the policy's value, the request's values (none: the key is absent), whether it holds.
const CONDITIONS: &[(&str, &str, &[&str], bool)] = &[
    ("StringEquals", r#""a""#, &["a"], true),
    ("StringEquals", r#""a""#, &["A"], false),
    ("StringEquals", r#"["a", "b"]"#, &["b"], true),
    ("StringEquals", r#""a*""#, &["ab"], false),
    ("StringEquals", r#""a""#, &[], false),
    ("StringEqualsIfExists", r#""a""#, &[], true),
    ("StringEqualsIfExists", r#""a""#, &["b"], false),
    ("StringNotEquals", r#"["a", "b"]"#, &["b"], false),
    ("StringNotEquals", r#""a""#, &["b"], true),
    ("StringNotEquals", r#""a""#, &[], true),
    ("StringEqualsIgnoreCase", r#""a""#, &["A"], true),
    ("StringNotEqualsIgnoreCase", r#""a""#, &["A"], false),
    ("StringLike", r#""a?c*""#, &["abcd"], true),
    ("StringLike", r#""${aws:username}*""#, &["bobby"], true),
    ("StringNotLike", r#""a*""#, &["abcd"], false),
    ("NumericEquals", "10", &["10.0"], true),
    ("NumericNotEquals", r#""10""#, &["11"], true),
    ("NumericLessThan", r#""10""#, &["9.5"], true),
    ("NumericLessThanEquals", r#""10""#, &["10"], true),
    ("NumericGreaterThan", r#""10""#, &["10"], false),
    ("NumericGreaterThanEquals", r#""10""#, &["10"], true),
    ("NumericEquals", r#""10""#, &["ten"], false),
    ("DateEquals", r#""2026-01-01T00:00:00Z""#, &["2026-01-01"], true),
    ("DateNotEquals", r#""2026-01-01""#, &["2026-01-02"], true),
    ("DateLessThan", r#""2026-01-01T00:00:00Z""#, &["2025-12-31T23:59:59Z"], true),
    ("DateLessThanEquals", r#""1767225600""#, &["2026-01-01T00:00:00Z"], true),
    ("DateGreaterThan", r#""2026-01-01T01:00:00+01:00""#, &["2026-01-01T00:00:01Z"], true),
    ("DateGreaterThanEquals", r#""2026-01-01T00:00:00Z""#, &["2025-12-31T23:59:59Z"], false),
    ("Bool", r#""true""#, &["true"], true),
    ("Bool", "true", &["false"], false),
    ("Bool", "false", &[], false),
    ("BoolIfExists", "false", &[], true),
    ("BinaryEquals", r#""QmluYXJ5""#, &["QmluYXJ5"], true),
    ("IpAddress", r#""203.0.113.0/24""#, &["203.0.113.255"], true),
    ("IpAddress", r#""203.0.113.0/24""#, &["203.0.114.0"], false),
    ("IpAddress", r#""203.0.113.7""#, &["203.0.113.7"], true),
    ("IpAddress", r#""0.0.0.0/0""#, &["8.8.8.8"], true),
    ("IpAddress", r#"["10.0.0.0/8", "2001:db8::/32"]"#, &["2001:db8:1::1"], true),
    ("IpAddress", r#""::/0""#, &["10.0.0.1"], false),
    ("IpAddress", r#""10.0.0.0/8""#, &["::ffff:10.1.2.3"], true),
    ("NotIpAddress", r#""10.0.0.0/8""#, &["10.1.2.3"], false),
    ("NotIpAddress", r#""10.0.0.0/8""#, &[], true),
    ("ArnEquals", r#""arn:aws:sns:*:1:t*""#, &["arn:aws:sns:eu:1:topic"], true),
    ("ArnLike", r#""arn:aws:sns:*:t*""#, &["arn:aws:sns:eu:1:topic"], false),
    ("ArnNotEquals", r#""arn:aws:sns:eu:1:t""#, &["arn:aws:sns:eu:1:t"], false),
    ("ArnNotLike", r#""arn:aws:sns:eu:1:t""#, &["arn:aws:sns:eu:1:u"], true),
    ("Null", "true", &[], true),
    ("Null", "true", &["a"], false),
    ("Null", r#""false""#, &["a"], true),
    ("ForAllValues:StringEquals", r#"["a", "b"]"#, &["a", "b"], true),
    ("ForAllValues:StringEquals", r#"["a", "b"]"#, &["a", "c"], false),
    ("ForAllValues:StringEquals", r#""a""#, &[], true),
    ("ForAnyValue:StringEquals", r#"["a", "b"]"#, &["c", "b"], true),
    ("ForAnyValue:StringEquals", r#""a""#, &["c"], false),
    ("ForAnyValue:StringEquals", r#""a""#, &[], false),
    ("ForAnyValue:StringEqualsIfExists", r#""a""#, &[], true),
    ("ForAllValues:StringNotEquals", r#""a""#, &["b", "a"], false),
    ("ForAnyValue:StringNotEquals", r#""a""#, &["b", "a"], true),
];

#[test]
fn conditions() {
    for (operator, want, values, holds) in CONDITIONS {
        let statement = format!(
            r#"{{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {{"{operator}": {{"T:Key": {want}}}}}}}"#
        );
        let cx = values.iter().fold(request("ec2:RunInstances"), |cx, value| cx.key("t:kEY", *value));
        check(&statement, &cx, if *holds { Allow } else { ImplicitDeny });
    }
}

#[test]
fn all_conditions_must_hold() {
    let statement = r#"{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {
        "StringEquals": {"t:a": "1", "t:b": "2"}, "Bool": {"aws:SecureTransport": true}}}"#;
    let cx = request("ec2:RunInstances").key("t:a", "1").key("aws:securetransport", "true");
    check(statement, &cx, ImplicitDeny);
    check(statement, &cx.key("t:b", "2"), Allow);
}

#[test]
fn principals() {
    let to =
        |p: &str| format!(r#"{{"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::b/*", {p}}}"#);
    let other = "arn:aws:iam::999922223333:user/bob";
    check_resource_policy(&to(r#""Principal": "*""#), "", Allow);
    check_resource_policy(&to(r#""Principal": {"AWS": "*"}"#), BOB, Allow);
    for account in ["111122223333", "arn:aws:iam::111122223333:root"] {
        check_resource_policy(&to(&format!(r#""Principal": {{"AWS": ["{account}"]}}"#)), BOB, Allow);
        check_resource_policy(&to(&format!(r#""Principal": {{"AWS": "{account}"}}"#)), other, ImplicitDeny);
        check_resource_policy(&to(&format!(r#""Principal": {{"AWS": "{account}"}}"#)), "", ImplicitDeny);
    }
    check_resource_policy(&to(&format!(r#""Principal": {{"AWS": "{BOB}"}}"#)), BOB, Allow);
    check_resource_policy(&to(&format!(r#""Principal": {{"AWS": "{BOB}"}}"#)), other, ImplicitDeny);
    check_resource_policy(&to(&format!(r#""NotPrincipal": {{"AWS": "{BOB}"}}"#)), other, Allow);
    check_resource_policy(
        &to(r#""Principal": {"Service": "ec2.amazonaws.com"}"#),
        "ec2.amazonaws.com",
        Allow,
    );
}

#[test]
fn managed_policies() {
    let check = |name: &str, action: &str, want: Decision| {
        let policy = managed(name).unwrap().policy().unwrap();
        assert_eq!(evaluate(&[policy], &request(action)), want, "{name}: {action}");
    };
    check("AdministratorAccess", "iam:CreateUser", Allow);
    check("PowerUserAccess", "ec2:RunInstances", Allow);
    check("PowerUserAccess", "iam:CreateUser", ImplicitDeny);
    check("ReadOnlyAccess", "ec2:DescribeInstances", Allow);
    check("ReadOnlyAccess", "sts:GetCallerIdentity", Allow);
    check("ReadOnlyAccess", "ec2:RunInstances", ImplicitDeny);
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    let rest = r#""Action": "ec2:*", "Resource": "*""#;
    let in_statement = |fields: &str, at: &str| {
        refused(&document(&format!("{{{fields}}}")), Kind::Identity, &format!("Statement[0]{at}"));
    };
    refused("{", Kind::Identity, "line 1, column 1");
    refused("[]", Kind::Identity, "document");
    refused(r#"{"Version": "2012-10-17"}"#, Kind::Identity, "Statement");
    refused(r#"{"Statement": [], "Version": "2012-10-17"}"#, Kind::Identity, "Statement");
    refused(r#"{"Version": "2020-01-01", "Statement": []}"#, Kind::Identity, "Version");
    refused(r#"{"Statements": []}"#, Kind::Identity, "document.Statements");
    in_statement(rest, ".Effect");
    in_statement(&format!(r#""Effect": "allow", {rest}"#), ".Effect");
    in_statement(&format!(r#""Effect": "Allow", "Actions": "*", {rest}"#), ".Actions");
    in_statement(&format!(r#""Effect": "Allow", "NotAction": "*", {rest}"#), "");
    in_statement(r#""Effect": "Allow", "Resource": "*""#, "");
    in_statement(r#""Effect": "Allow", "Action": "*""#, "");
    in_statement(r#""Effect": "Allow", "Action": [], "Resource": "*""#, ".Action");
    in_statement(r#""Effect": "Allow", "Action": {}, "Resource": "*""#, ".Action");
    in_statement(r#""Effect": "Allow", "Action": "RunInstances", "Resource": "*""#, ".Action");
    in_statement(r#""Effect": "Allow", "Action": "a:b:c", "Resource": "*""#, ".Action");
    in_statement(r#""Effect": "Allow", "Action": "*", "Resource": "i-1""#, ".Resource");
    in_statement(&format!(r#""Effect": "Allow", "Principal": "*", {rest}"#), ".Principal");
    let condition = |block: &str, at: &str| {
        in_statement(
            &format!(r#""Effect": "Allow", "Condition": {block}, {rest}"#),
            &format!(".Condition{at}"),
        );
    };
    condition(r#""x""#, "");
    condition(r#"{"StringEqual": {"aws:a": "b"}}"#, ".StringEqual.aws:a");
    condition(r#"{"NullIfExists": {"aws:a": "true"}}"#, ".NullIfExists.aws:a");
    condition(r#"{"ForSome:Bool": {"aws:a": "true"}}"#, ".ForSome:Bool.aws:a");
    condition(r#"{"StringEquals": {"a": "b"}}"#, ".StringEquals.a");
    condition(r#"{"StringEquals": {"aws:a": []}}"#, ".StringEquals.aws:a");
    condition(r#"{"Bool": {"aws:a": "maybe"}}"#, ".Bool.aws:a");
    condition(r#"{"NumericLessThan": {"aws:a": "x"}}"#, ".NumericLessThan.aws:a");
    condition(r#"{"DateLessThan": {"aws:a": "soon"}}"#, ".DateLessThan.aws:a");
    condition(r#"{"IpAddress": {"aws:a": "10.0.0.0/33"}}"#, ".IpAddress.aws:a");
    let statement = format!(r#"{{"Sid": "a", "Effect": "Allow", {rest}}}"#);
    refused(&document(&format!("{statement}, {statement}")), Kind::Identity, "Statement[1].Sid");
    refused(&document(&statement), Kind::Resource, "Statement[0]");
    let whom = format!(r#"{{"Effect": "Allow", "Principal": {{"Who": "x"}}, {rest}}}"#);
    refused(&document(&whom), Kind::Resource, "Statement[0].Principal.Who");
    let twice = r#"{"Statement": {"Effect": "Deny", "Effect": "Allow", "Action": "*", "Resource": "*"}}"#;
    refused(twice, Kind::Identity, "line 1, column 50");
}

#[test]
fn long_documents_are_refused_and_white_space_is_free() {
    let allow = |pad: &str, sid: &str| {
        document(&format!(r#"{{"Sid": "{sid}", {pad} "Effect": "Allow", "Action": "*", "Resource": "*"}}"#))
    };
    Policy::parse(&allow(&" ".repeat(10_000), "a"), Kind::Identity).unwrap();
    let fault = Policy::parse(&allow("", &"a".repeat(6_144)), Kind::Identity).unwrap_err();
    assert_eq!(fault.iam(), (409, "LimitExceeded", "Cannot exceed quota for PolicySize: 6144".into()));
    Policy::parse(&allow(&" ".repeat(200_000), "a"), Kind::Identity).unwrap_err();
}

/// A statement from few parts, so that statements and requests often meet.
fn statement(effect: &'static str) -> impl Strategy<Value = String> {
    let action = prop_oneof![Just("*"), Just("ec2:*"), Just("ec2:Run*"), Just("s3:GetObject")];
    let resource = prop_oneof![Just("*"), Just("arn:aws:ec2:*"), Just("arn:aws:s3:::b/${aws:username}")];
    let condition = prop_oneof![
        Just(""),
        Just(r#", "Condition": {"StringNotEquals": {"aws:username": "bob"}}"#),
        Just(r#", "Condition": {"ForAllValues:StringLike": {"t:a": "x*"}}"#),
    ];
    (any::<bool>(), any::<bool>(), action, resource, condition).prop_map(move |(na, nr, action, resource, condition)| {
        let (na, nr) = (if na { "Not" } else { "" }, if nr { "Not" } else { "" });
        format!(r#"{{"Effect": "{effect}", "{na}Action": "{action}", "{nr}Resource": "{resource}"{condition}}}"#)
    })
}

fn any_request() -> impl Strategy<Value = RequestContext> {
    let action = prop_oneof![Just("ec2:RunInstances"), Just("s3:GetObject"), Just("iam:CreateUser")];
    let resource = prop_oneof![Just(INSTANCE), Just("arn:aws:s3:::b/bob")];
    let tag = proptest::option::of("[xy]{1,2}");
    (action, proptest::collection::vec(resource, 0..3), tag).prop_map(|(action, resources, tag)| {
        let cx = resources.into_iter().fold(request(action), RequestContext::resource);
        if let Some(tag) = tag { cx.key("t:a", tag) } else { cx }
    })
}

/// Fixed seed, so that a run is repeatable; `PROPTEST_CASES` makes it longer.
fn config() -> ProptestConfig {
    let defaults = ProptestConfig::default();
    let cases = defaults.cases.max(1_000);
    ProptestConfig { cases, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..defaults }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn adding_a_deny_never_allows_more(
        statements in proptest::collection::vec(prop_oneof![statement("Allow"), statement("Deny")], 1..5),
        deny in statement("Deny"),
        cx in any_request(),
    ) {
        let parse = |s: &str| Policy::parse(&document(s), Kind::Identity).unwrap();
        let before = parse(&statements.join(", "));
        let decided = evaluate(&[&before], &cx);
        let after = evaluate(&[before, parse(&deny)], &cx);
        prop_assert!(decided.is_allowed() || !after.is_allowed());
        prop_assert!(decided != ExplicitDeny || after == ExplicitDeny);
    }

    #[test]
    fn parsing_never_panics(text in ".{0,200}", bits in proptest::collection::vec(any::<u8>(), 0..4), at in any::<usize>()) {
        let _ = Policy::parse(&text, Kind::Identity);
        let mut near = document(r#"{"Effect": "Allow", "Action": "a:${b, 'c'}*", "Resource": "*", "Principal": {"AWS": "*"},
            "Condition": {"DateLessThan": {"aws:a": "2026-01-01"}, "IpAddress": {"aws:b": "::/0"}}}"#).into_bytes();
        for bit in bits {
            let place = at.wrapping_mul(usize::from(bit) + 1) % near.len();
            near[place] = bit;
        }
        let near = String::from_utf8_lossy(&near);
        for kind in [Kind::Identity, Kind::Resource] {
            if let Ok(policy) = Policy::parse(&near, kind) {
                evaluate(&[policy], &request("a:b").key("aws:b", "::1").key("aws:a", &*near));
            }
        }
    }
}
