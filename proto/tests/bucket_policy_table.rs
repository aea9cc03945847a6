//! Bucket policies: what S3 takes, what is public, and who may what across accounts, as tables.

#![allow(clippy::unwrap_used)] // helpers of tests, which the lint takes for code

use karri_proto::policy::s3::{bucket_policy, is_public};
use karri_proto::policy::{
    Access, Identity, Kind, Policy, PrincipalName, RequestContext, Requester, ResourceSide, Why, decide,
    managed,
};

const OWNER: &str = "111122223333";
const OTHER: &str = "999922223333";
const CANONICAL: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const OBJECTS: &str = r#""Resource": "arn:aws:s3:::b/*""#;

fn document(statements: &str) -> String {
    format!(r#"{{"Version": "2012-10-17", "Statement": [{statements}]}}"#)
}

#[track_caller]
fn refused(text: &str, sentence: &str) {
    let fault = bucket_policy(text, "b").expect_err(text);
    assert_eq!(fault.s3(), (400, "MalformedPolicy", sentence.to_owned()), "{text}");
}

#[track_caller]
fn taken(statement: &str) -> Policy {
    let text = document(statement);
    let policy = bucket_policy(&text, "b").unwrap_or_else(|fault| panic!("{text}: {fault}"));
    Policy::parse(&text, Kind::Resource).expect("what was taken can be read again");
    policy
}

#[test]
fn what_is_no_policy_is_refused_in_s3s_words() {
    let not_json = "Policies must be valid JSON and the first byte must be '{'";
    for text in ["", "x", "[]", "{", "null", " {}", r#"{"Version": }"#] {
        refused(text, not_json);
    }
    refused("{}", "Missing required field Statement");
    refused(r#"{"Statement": 5}"#, "Invalid policy syntax.");
    refused(r#"{"Statement": [5]}"#, "Invalid policy syntax.");
    refused(r#"{"Statement": []}"#, "Could not parse the policy: Statement is empty!");
    refused(
        r#"{"Version": "2020-01-01", "Statement": []}"#,
        "The policy must contain a valid version string",
    );
    refused(r#"{"Statements": []}"#, "Unknown field Statements");
    let long = "x".repeat(20_480);
    let statement = r#""Effect": "Allow", "Principal": "*", "Action": "s3:GetObject""#;
    refused(
        &document(&format!(r#"{{"Sid": "{long}", {statement}, {OBJECTS}}}"#)),
        "Policy document size exceeds the allowed limit of 20480 bytes",
    );
}

/// Fields of a statement, and S3's sentence.
const REFUSED: &[(&str, &str)] = &[
    (r#""Principal": "*", "Action": "s3:*", "Resource": "*""#, "Missing required field Effect"),
    (r#""Effect": "Maybe", "Principal": "*", "Action": "s3:*", "Resource": "*""#, "Invalid effect: Maybe"),
    (r#""Effect": "Allow", "Action": "s3:*", "Resource": "*""#, "Missing required field Principal"),
    (r#""Effect": "Allow", "Principal": "*", "Resource": "*""#, "Missing required field Action"),
    (r#""Effect": "Allow", "Principal": "*", "Action": "s3:*""#, "Missing required field Resource"),
    (r#""Effect": "Allow", "Principal": "*", "Actions": "s3:*""#, "Unknown field Actions"),
    (
        r#""Effect": "Allow", "NotPrincipal": {"AWS": "111122223333"}, "Action": "s3:*", "Resource": "arn:aws:s3:::b""#,
        "Allow with NotPrincipal is not allowed.",
    ),
];

#[test]
fn a_statement_needs_its_fields() {
    for (fields, sentence) in REFUSED {
        refused(&document(&format!("{{{fields}}}")), sentence);
    }
}

#[test]
fn principals_must_be_names_of_somebody() {
    let with = |principal: &str| {
        format!(r#"{{"Effect": "Allow", "Principal": {principal}, "Action": "s3:GetObject", {OBJECTS}}}"#)
    };
    for good in [
        r#""*""#.to_owned(),
        r#"{"AWS": "*"}"#.to_owned(),
        r#"{"AWS": ["111122223333", "arn:aws:iam::999922223333:root"]}"#.to_owned(),
        r#"{"AWS": "arn:aws:iam::111122223333:user/path/bob"}"#.to_owned(),
        r#"{"AWS": "arn:aws:sts::111122223333:assumed-role/r/s"}"#.to_owned(),
        format!(r#"{{"CanonicalUser": "{CANONICAL}"}}"#),
        r#"{"Service": "logging.s3.amazonaws.com"}"#.to_owned(),
    ] {
        taken(&with(&good));
    }
    for bad in [
        "5",
        r#""bob""#,
        "{}",
        r#"{"AWS": []}"#,
        r#"{"AWS": "bob"}"#,
        r#"{"AWS": "arn:aws:iam::tenant:root"}"#,
        r#"{"AWS": "arn:aws:iam::111122223333:user/*"}"#,
        r#"{"AWS": "arn:aws:iam::111122223333:group/g"}"#,
        r#"{"CanonicalUser": "abc"}"#,
        r#"{"Service": "*"}"#,
        r#"{"Service": "logging.example.com"}"#,
        r#"{"Who": "111122223333"}"#,
    ] {
        refused(&document(&with(bad)), "Invalid principal in policy");
    }
    let policy = taken(&with(r#"{"AWS": ["*", "arn:aws:iam::999922223333:user/eve", "111122223333"]}"#));
    let accounts: Vec<Option<&str>> = policy.principals().map(PrincipalName::account).collect();
    assert_eq!(accounts, [None, Some(OTHER), Some(OWNER)]);
}

/// Actions, resources, and S3's sentence if they do not go together.
const COMBINATIONS: &[(&str, &str, Option<&str>)] = &[
    (r#""s3:GetObject""#, r#""arn:aws:s3:::b/*""#, None),
    (r#""s3:GetObject""#, r#""arn:aws:s3:::b/some/key""#, None),
    (r#""s3:GetObject""#, r#""arn:aws:s3:::b*""#, None),
    (r#""s3:GetObject""#, r#""arn:aws:s3:::b/${aws:username}/*""#, None),
    (r#""s3:ListBucket""#, r#""arn:aws:s3:::b""#, None),
    (r#""s3:ListBucket""#, r#"["arn:aws:s3:::*", "arn:aws:s3:::*/*"]"#, None),
    (r#"["s3:ListBucket", "s3:GetObject"]"#, r#"["arn:aws:s3:::b", "arn:aws:s3:::b/*"]"#, None),
    (r#""s3:*""#, r#""arn:aws:s3:::b""#, None),
    (r#""*""#, r#""*""#, None),
    (r#""s3:Get*""#, r#""arn:aws:s3:::b/*""#, None),
    (
        r#""s3:GetObject""#,
        r#""arn:aws:s3:::b""#,
        Some("Action does not apply to any resource(s) in statement"),
    ),
    (
        r#""s3:ListBucket""#,
        r#""arn:aws:s3:::b/*""#,
        Some("Action does not apply to any resource(s) in statement"),
    ),
    (
        r#"["s3:ListBucket", "s3:GetObject"]"#,
        r#""arn:aws:s3:::b/*""#,
        Some("Action does not apply to any resource(s) in statement"),
    ),
    (r#""s3:GetObject""#, r#""arn:aws:s3:::other/*""#, Some("Policy has invalid resource")),
    (
        r#""s3:GetObject""#,
        r#"["arn:aws:s3:::b/*", "arn:aws:s3:::bb/*"]"#,
        Some("Policy has invalid resource"),
    ),
    (r#""s3:GetObject""#, r#""arn:aws:sqs:::b/*""#, Some("Policy has invalid resource")),
    (r#""s3:GetObject""#, r#""b/*""#, Some("Policy has invalid resource")),
    (r#""s3:GetObject""#, "[]", Some("Policy has invalid resource")),
    (r#""s3:ListObjects""#, r#""arn:aws:s3:::b""#, Some("Policy has invalid action")),
    (r#""ec2:RunInstances""#, r#""arn:aws:s3:::b""#, Some("Policy has invalid action")),
    ("[]", r#""arn:aws:s3:::b""#, Some("Policy has invalid action")),
    ("{}", r#""arn:aws:s3:::b""#, Some("Policy has invalid action")),
];

#[test]
fn actions_and_resources_must_go_together() {
    for (action, resource, sentence) in COMBINATIONS {
        let statement =
            format!(r#"{{"Effect": "Allow", "Principal": "*", "Action": {action}, "Resource": {resource}}}"#);
        match sentence {
            None => drop(taken(&statement)),
            Some(sentence) => refused(&document(&statement), sentence),
        }
    }
    taken(
        r#"{"Effect": "Deny", "Principal": "*", "NotAction": "s3:GetObject", "Resource": "arn:aws:s3:::b"}"#,
    );
    taken(
        r#"{"Effect": "Deny", "NotPrincipal": {"AWS": "111122223333"}, "Action": "s3:*", "NotResource": "arn:aws:s3:::b/x"}"#,
    );
}

#[test]
fn conditions_speak_of_keys_that_requests_have() {
    let with = |block: &str| {
        document(&format!(
            r#"{{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", {OBJECTS}, "Condition": {block}}}"#
        ))
    };
    bucket_policy(
        &with(
            r#"{"StringEquals": {"s3:ExistingObjectTag/a": "b"}, "Bool": {"aws:SecureTransport": "true"}}"#,
        ),
        "b",
    )
    .unwrap();
    refused(&with(r#"{"StringEquals": {"s3:nothing": "b"}}"#), "Policy has an invalid condition key");
    refused(&with(r#"{"StringEqual": {"aws:UserAgent": "b"}}"#), "Invalid Condition type : StringEqual.");
    refused(&with("5"), "Invalid policy syntax.");
}

/// Principal, the condition block (empty: none), whether the policy is public.
const PUBLIC: &[(&str, &str, bool)] = &[
    (r#""*""#, "", true),
    (r#"{"AWS": "*"}"#, "", true),
    (r#"{"AWS": ["111122223333", "*"]}"#, "", true),
    (r#"{"AWS": "111122223333"}"#, "", false),
    (r#"{"Service": "logging.s3.amazonaws.com"}"#, "", false),
    (r#""*""#, r#"{"IpAddress": {"aws:SourceIp": "10.0.0.0/32"}}"#, false),
    (r#""*""#, r#"{"IpAddress": {"aws:SourceIp": ["10.0.0.0/8", "2001:db8::/32"]}}"#, false),
    (r#""*""#, r#"{"IpAddress": {"aws:SourceIp": ["10.0.0.0/8", "0.0.0.0/1"]}}"#, true),
    (r#""*""#, r#"{"IpAddress": {"aws:SourceIp": "2000::/3"}}"#, true),
    (r#""*""#, r#"{"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}"#, true),
    (r#""*""#, r#"{"IpAddressIfExists": {"aws:SourceIp": "10.0.0.0/8"}}"#, true),
    (r#""*""#, r#"{"StringEquals": {"aws:SourceVpc": "vpc-91237329"}}"#, false),
    (r#""*""#, r#"{"StringLike": {"aws:SourceVpc": "vpc-*"}}"#, true),
    (r#""*""#, r#"{"StringLike": {"aws:SourceVpc": "vpc-91237329"}}"#, false),
    (r#""*""#, r#"{"ForAllValues:StringEquals": {"aws:SourceVpc": "vpc-91237329"}}"#, true),
    (r#""*""#, r#"{"StringEquals": {"aws:SourceVpc": "${aws:username}"}}"#, true),
    (r#""*""#, r#"{"StringLike": {"aws:userid": "AROAEXAMPLE:*"}}"#, false),
    (r#""*""#, r#"{"StringLike": {"aws:userid": "ARO*"}}"#, true),
    (r#""*""#, r#"{"StringEquals": {"aws:PrincipalOrgID": "o-1"}}"#, false),
    (r#""*""#, r#"{"StringEquals": {"aws:UserAgent": "x"}}"#, true),
    (r#""*""#, r#"{"StringEquals": {"aws:UserAgent": "x", "aws:SourceAccount": "111122223333"}}"#, false),
    (r#""*""#, r#"{"Bool": {"aws:SecureTransport": "true"}}"#, true),
];

#[test]
fn public_is_what_no_fixed_value_holds_down() {
    for (principal, condition, public) in PUBLIC {
        let condition =
            if condition.is_empty() { String::new() } else { format!(r#", "Condition": {condition}"#) };
        let statement = format!(
            r#"{{"Effect": "Allow", "Principal": {principal}, "Action": "s3:GetObject", {OBJECTS}{condition}}}"#
        );
        assert_eq!(is_public(&taken(&statement)), *public, "{statement}");
        let deny = statement.replace("Allow", "Deny");
        assert!(!is_public(&taken(&deny)), "a denial gives nothing");
    }
}

/// Who asks: anonymous, a service, or account and policies.
#[derive(Clone, Copy, Debug)]
enum Who {
    Nobody,
    Service,
    /// A user of this account who may do everything, or nothing.
    User(&'static str, bool),
    /// A user whose policy denies it.
    Denied(&'static str),
    Administrator,
}

const ALLOW_ALL: &str = r#"{"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": "*"}"#;
const ALLOW_OTHER: &str =
    r#"{"Effect": "Allow", "Principal": {"AWS": "999922223333"}, "Action": "s3:*", "Resource": "*"}"#;
const ALLOW_OWNER: &str =
    r#"{"Effect": "Allow", "Principal": {"AWS": "111122223333"}, "Action": "s3:*", "Resource": "*"}"#;
const ALLOW_BOB: &str = r#"{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111122223333:user/bob"}, "Action": "s3:*", "Resource": "*"}"#;
const ALLOW_LOGGING: &str = r#"{"Effect": "Allow", "Principal": {"Service": "logging.s3.amazonaws.com"}, "Action": "s3:*", "Resource": "*"}"#;
const DENY_ALL: &str = r#"{"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*"}"#;
const DENY_ALL_BUT_OWNER: &str =
    r#"{"Effect": "Deny", "NotPrincipal": {"AWS": "111122223333"}, "Action": "s3:*", "Resource": "*"}"#;

/// What a decision is asked about, besides who.
struct Case {
    policy: &'static str,
    acl_grants: bool,
    restricted: bool,
    owner: &'static str,
    action: &'static str,
}

const PLAIN: Case =
    Case { policy: "", acl_grants: false, restricted: false, owner: OWNER, action: "s3:GetObject" };

fn access(who: Who, case: &Case) -> Access {
    let everything = [managed("AdministratorAccess").unwrap().policy().unwrap()];
    let deny = r#"{"Statement": {"Effect": "Deny", "Action": "s3:*", "Resource": "*"}}"#;
    let denied = [Policy::parse(deny, Kind::Identity).unwrap(), everything[0].clone()];
    let user = |account, policies, administrator| Requester::User {
        account,
        identity: Identity { policies, session: None },
        administrator,
        root: matches!(who, Who::User(_, true) | Who::Administrator),
    };
    let arn = |account: &str| format!("arn:aws:iam::{account}:user/bob");
    let (requester, principal) = match who {
        Who::Nobody => (Requester::Anonymous, String::new()),
        Who::Service => (Requester::Service, "logging.s3.amazonaws.com".to_owned()),
        Who::User(account, true) => (user(account, &everything, false), arn(account)),
        Who::User(account, false) => (user(account, &[], false), arn(account)),
        Who::Denied(account) => (user(account, &denied, false), arn(account)),
        Who::Administrator => (user(OTHER, &everything, true), arn(OTHER)),
    };
    let policy =
        (!case.policy.is_empty()).then(|| Policy::parse(&document(case.policy), Kind::Resource).unwrap());
    let side = ResourceSide {
        owner: case.owner,
        policy: policy.as_ref(),
        policy_owner: OWNER,
        acl_grants: case.acl_grants,
        restricted: case.restricted,
    };
    let cx = RequestContext::new(principal, case.action).resource("arn:aws:s3:::b/k");
    decide(&requester, &side, &cx)
}

#[track_caller]
fn check(who: Who, case: &Case, want: Result<(), Why>) {
    let want = want.map_or_else(Access::Refused, |()| Access::Granted);
    assert_eq!(access(who, case), want, "{who:?}, {}", case.policy);
}

#[test]
fn without_a_policy_the_account_decides_and_strangers_need_an_acl() {
    let acl = Case { acl_grants: true, ..PLAIN };
    check(Who::User(OWNER, true), &PLAIN, Ok(()));
    check(Who::User(OWNER, false), &PLAIN, Err(Why::NoIdentityAllows));
    check(Who::Denied(OWNER), &PLAIN, Err(Why::IdentityDenies));
    check(Who::Administrator, &PLAIN, Ok(()));
    check(Who::User(OTHER, true), &PLAIN, Err(Why::NoResourceAllows));
    check(Who::User(OTHER, true), &acl, Ok(()));
    check(Who::User(OTHER, false), &acl, Err(Why::NoIdentityAllows));
    check(Who::Denied(OTHER), &acl, Err(Why::IdentityDenies));
    check(Who::Nobody, &PLAIN, Err(Why::NoResourceAllows));
    check(Who::Nobody, &acl, Ok(()));
}

#[test]
fn a_policy_lets_in_and_a_denial_wins() {
    let with = |policy| Case { policy, ..PLAIN };
    for who in
        [Who::Nobody, Who::Service, Who::User(OWNER, false), Who::User(OTHER, true), Who::Administrator]
    {
        check(who, &with(ALLOW_ALL), Ok(()));
    }
    check(Who::User(OTHER, false), &with(ALLOW_ALL), Err(Why::NoIdentityAllows));
    check(Who::Denied(OWNER), &with(ALLOW_ALL), Err(Why::IdentityDenies));
    check(Who::User(OTHER, true), &with(ALLOW_OTHER), Ok(()));
    check(Who::Nobody, &with(ALLOW_OTHER), Err(Why::NoResourceAllows));
    check(Who::User(OWNER, false), &with(ALLOW_BOB), Ok(()));
    check(Who::User(OWNER, false), &with(ALLOW_OWNER), Err(Why::NoIdentityAllows));
    check(Who::User(OTHER, true), &with(ALLOW_OWNER), Err(Why::NoResourceAllows));
    check(Who::Service, &with(ALLOW_LOGGING), Ok(()));
    check(Who::User(OTHER, true), &with(ALLOW_LOGGING), Err(Why::NoResourceAllows));
    for who in [Who::Nobody, Who::Service, Who::User(OWNER, true), Who::User(OTHER, true), Who::Administrator]
    {
        let denied = Case { acl_grants: true, ..with(DENY_ALL) };
        check(who, &denied, Err(Why::ResourceDenies));
    }
    check(Who::User(OWNER, true), &with(DENY_ALL_BUT_OWNER), Ok(()));
    check(
        Who::User(OTHER, true),
        &Case { acl_grants: true, ..with(DENY_ALL_BUT_OWNER) },
        Err(Why::ResourceDenies),
    );
}

#[test]
fn root_can_always_repair_the_policy() {
    for action in ["s3:PutBucketPolicy", "s3:GetBucketPolicy", "s3:DeleteBucketPolicy"] {
        let case = Case { policy: DENY_ALL, action, ..PLAIN };
        check(Who::User(OWNER, true), &case, Ok(()));
        check(Who::Administrator, &case, Ok(()));
        check(Who::User(OWNER, false), &case, Err(Why::ResourceDenies));
        check(Who::User(OTHER, true), &case, Err(Why::ResourceDenies));
    }
}

#[test]
fn what_belongs_to_another_account_the_buckets_policy_can_only_deny() {
    let theirs = Case { owner: OTHER, policy: ALLOW_ALL, ..PLAIN };
    check(Who::Nobody, &theirs, Err(Why::NoResourceAllows));
    check(Who::User(OWNER, true), &theirs, Err(Why::NoResourceAllows));
    check(Who::User(OWNER, true), &Case { acl_grants: true, ..theirs }, Ok(()));
    check(
        Who::User(OTHER, true),
        &Case { owner: OTHER, policy: DENY_ALL, ..PLAIN },
        Err(Why::ResourceDenies),
    );
}

#[test]
fn a_restricted_public_policy_gives_nothing_to_other_accounts() {
    let restricted = Case { policy: ALLOW_ALL, restricted: true, ..PLAIN };
    check(Who::User(OWNER, false), &restricted, Ok(()));
    check(Who::Service, &restricted, Ok(()));
    check(Who::Nobody, &restricted, Err(Why::NoResourceAllows));
    check(Who::User(OTHER, true), &restricted, Err(Why::NoResourceAllows));
    check(Who::User(OTHER, true), &Case { acl_grants: true, ..restricted }, Ok(()));
}

#[test]
fn canonical_ids_name_an_account() {
    let statement = format!(
        r#"{{"Effect": "Allow", "Principal": {{"CanonicalUser": "{CANONICAL}"}}, "Action": "s3:GetObject", {OBJECTS}}}"#
    );
    let policy = taken(&statement);
    let everything = [managed("AdministratorAccess").unwrap().policy().unwrap()];
    let identity = Identity { policies: &everything, session: None };
    let requester = Requester::User { account: OTHER, identity, administrator: false, root: true };
    let side = ResourceSide {
        owner: OWNER,
        policy: Some(&policy),
        policy_owner: OWNER,
        acl_grants: false,
        restricted: false,
    };
    let cx = RequestContext::new("arn:aws:iam::999922223333:user/eve", "s3:GetObject")
        .resource("arn:aws:s3:::b/k");
    assert!(decide(&requester, &side, &cx.clone().canonical(CANONICAL)).is_granted());
    assert!(!decide(&requester, &side, &cx).is_granted());
}

/// A federated user of a user who may everything, with session policies of its own.
fn federated(session: &str, bucket_policy: &str, owner: &str) -> Access {
    let everything = [managed("AdministratorAccess").unwrap().policy().unwrap()];
    let session: Vec<Policy> =
        (!session.is_empty()).then(|| Policy::parse(session, Kind::Identity).unwrap()).into_iter().collect();
    let policy =
        (!bucket_policy.is_empty()).then(|| Policy::parse(&document(bucket_policy), Kind::Resource).unwrap());
    let side = ResourceSide {
        owner,
        policy: policy.as_ref(),
        policy_owner: owner,
        acl_grants: false,
        restricted: false,
    };
    let cx = RequestContext::new(format!("arn:aws:sts::{OWNER}:federated-user/sam"), "s3:GetObject")
        .sponsor(format!("arn:aws:iam::{OWNER}:user/bob"))
        .resource("arn:aws:s3:::b/k");
    let identity = Identity { policies: &everything, session: Some(&session) };
    decide(&Requester::User { account: OWNER, identity, administrator: false, root: false }, &side, &cx)
}

#[test]
fn a_federated_user_may_what_both_the_user_and_the_session_allow() {
    let reads = r#"{"Statement": {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}}"#;
    let lists = r#"{"Statement": {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*"}}"#;
    let never = r#"{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"},
                                  {"Effect": "Deny", "Action": "s3:GetObject", "Resource": "*"}]}"#;
    let bob = format!(
        r#"{{"Effect": "Allow", "Principal": {{"AWS": "arn:aws:iam::{OWNER}:user/bob"}}, "Action": "s3:GetObject", {OBJECTS}}}"#
    );
    let sam = bob.replace(&format!("iam::{OWNER}:user/bob"), &format!("sts::{OWNER}:federated-user/sam"));
    let not_bob = bob.replace("Allow", "Deny");
    let refused = |why| Access::Refused(why);
    for (session, bucket_policy, want) in [
        (reads, "", Access::Granted),
        (lists, "", refused(Why::NoSessionAllows)),
        ("", "", refused(Why::NoSessionAllows)),
        (never, "", refused(Why::SessionDenies)),
        // What bob is given, sam has only as far as the session lets it; what is denied to bob is denied to sam.
        (lists, &bob, refused(Why::NoSessionAllows)),
        (reads, &not_bob, refused(Why::ResourceDenies)),
        // Named itself, the session needs no policy of its own, and its denial counts all the same.
        ("", &sam, Access::Granted),
        (never, &sam, refused(Why::SessionDenies)),
    ] {
        assert_eq!(federated(session, bucket_policy, OWNER), want, "{session} {bucket_policy}");
    }
    assert_eq!(federated(reads, &bob, OTHER), Access::Granted, "another account's bucket that lets bob in");
    assert_eq!(federated(lists, &bob, OTHER), refused(Why::NoSessionAllows));
}

#[test]
fn a_refusal_is_worded_as_aws_words_it() {
    let cx = RequestContext::new("arn:aws:iam::111122223333:user/bob", "s3:GetObject")
        .resource("arn:aws:s3:::b/k");
    assert_eq!(
        Why::NoIdentityAllows.sentence(&cx),
        "User: arn:aws:iam::111122223333:user/bob is not authorized to perform: s3:GetObject on resource: \
         \"arn:aws:s3:::b/k\" because no identity-based policy allows the s3:GetObject action"
    );
    assert_eq!(Why::NoResourceAllows.sentence(&RequestContext::new("", "s3:GetObject")), "Access Denied");
}

#[test]
fn reading_a_bucket_policy_never_panics() {
    let near = document(
        r#"{"Sid": "a", "Effect": "Allow", "Principal": {"AWS": ["*", "arn:aws:iam::111122223333:user/b"]}, "Action": ["s3:Get*"], "Resource": "arn:aws:s3:::b/${aws:username}*", "Condition": {"IpAddress": {"aws:SourceIp": "::/0"}}}"#,
    );
    for at in 0..near.len() {
        for byte in [b'"', b'*', b':', b'{', b'[', b' ', b'0', 0xff] {
            let mut bytes = near.clone().into_bytes();
            bytes[at] = byte;
            if let Ok(policy) = bucket_policy(&String::from_utf8_lossy(&bytes), "b") {
                is_public(&policy);
            }
        }
    }
}
