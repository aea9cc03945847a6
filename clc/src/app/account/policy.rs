//! The condition keys that requests are told with, and policies that speak of others.
//!
//! A Deny under a key that is never there would never apply, so a policy with one is refused when it is given.
//! Keys of services that others serve (`s3:`, `iam:`) are theirs to know.

use karri_proto::policy::Policy;

/// Filled for each request: see `api::permit`.
const FILLED: [&str; 18] = [
    "aws:currenttime",
    "aws:epochtime",
    "aws:principalaccount",
    "aws:principalarn",
    "aws:principalisawsservice",
    "aws:principaltype",
    "aws:referer",
    "aws:requestedregion",
    "aws:securetransport",
    "aws:sourceip",
    "aws:tagkeys",
    "aws:useragent",
    "aws:userid",
    "aws:username",
    "aws:viaawsservice",
    "ec2:createaction",
    "ec2:instancetype",
    "ec2:region",
];

/// Absent from every request that a user signs with an access key of their own, on AWS as here.
const ABSENT: [&str; 16] = [
    "aws:calledvia",
    "aws:calledviafirst",
    "aws:calledvialast",
    "aws:federatedprovider",
    "aws:multifactorauthage",
    "aws:multifactorauthpresent",
    "aws:principalorgid",
    "aws:principalorgpaths",
    "aws:principalservicename",
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourceidentity",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "aws:tokenissuetime",
    "aws:vpcsourceip",
];

/// Keys with a tag's key behind them; users have no tags.
const PREFIXES: [&str; 4] = ["aws:principaltag/", "aws:requesttag/", "aws:resourcetag/", "ec2:resourcetag/"];

const RESOURCE_TAGS: [&str; 2] = ["aws:resourcetag/", "ec2:resourcetag/"];

const OURS: [&str; 3] = ["aws:", "ec2:", "sts:"];

fn is_known(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    !OURS.iter().any(|service| key.starts_with(service))
        || FILLED.contains(&key.as_str())
        || ABSENT.contains(&key.as_str())
        || PREFIXES.iter().any(|prefix| key.len() > prefix.len() && key.starts_with(prefix))
}

/// A condition key or variable that no request will ever have.
pub fn unknown_key(policy: &Policy) -> Option<String> {
    let conditions = policy.condition_keys().into_iter().filter(|key| !is_known(key));
    // A variable without a service is none of anybody's.
    let variables = policy.variables().into_iter().filter(|name| !name.contains(':') || !is_known(name));
    conditions.chain(variables.map(|name| format!("${{{name}}}"))).next()
}

/// Whether the tags of what a request touches must be looked up to decide by it.
pub fn minds_tags(policy: &Policy) -> bool {
    let names = policy.condition_keys().into_iter().chain(policy.variables());
    names
        .map(|name| name.to_ascii_lowercase())
        .any(|name| RESOURCE_TAGS.iter().any(|prefix| name.starts_with(prefix)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use karri_proto::policy::{Kind, managed};

    fn policy(condition: &str, resource: &str) -> Policy {
        let text = format!(
            r#"{{"Version": "2012-10-17", "Statement": [{{"Effect": "Deny", "Action": "*",
                "Resource": "{resource}", "Condition": {{"StringLike": {{"{condition}": "x"}}}}}}]}}"#
        );
        Policy::parse(&text, Kind::Identity).unwrap()
    }

    #[test]
    fn keys_that_no_request_has_are_named() {
        let check = |condition: &str, resource: &str, expected: Option<&str>| {
            assert_eq!(
                unknown_key(&policy(condition, resource)).as_deref(),
                expected,
                "{condition} {resource}"
            );
        };
        for known in ["aws:SourceIp", "AWS:sourceip", "ec2:ResourceTag/a:b", "aws:MultiFactorAuthPresent"] {
            check(known, "*", None);
        }
        check("s3:prefix", "arn:aws:s3:::${s3:x}", None);
        for unknown in ["ec2:Tenancy", "aws:SorceIp", "sts:ExternalId", "aws:ResourceTag/", "ec2:"] {
            check(unknown, "*", Some(unknown));
        }
        check("aws:SourceIp", "arn:aws:ec2:*:*:instance/${aws:usrname}", Some("${aws:usrname}"));
        check("aws:SourceIp", "arn:aws:ec2:*:*:instance/${username}", Some("${username}"));
        for name in ["AdministratorAccess", "PowerUserAccess", "ReadOnlyAccess"] {
            assert_eq!(unknown_key(&managed(name).unwrap().policy().unwrap()), None);
        }
    }

    #[test]
    fn tags_are_looked_up_for_those_who_mind_them() {
        assert!(minds_tags(&policy("ec2:ResourceTag/owner", "*")));
        assert!(minds_tags(&policy("aws:SourceIp", "arn:aws:ec2:*:*:instance/${aws:ResourceTag/x}")));
        assert!(!minds_tags(&policy("aws:RequestTag/owner", "*")));
    }
}
