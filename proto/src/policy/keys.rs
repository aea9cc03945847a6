//! Which keys of the request a policy speaks of: whoever keeps policies can refuse those that it will never
//! fill. A Deny under such a key would never apply.
//!
//! Must not: say which keys there are. That depends on who fills the context.

use super::document::Policy;
use super::pattern::Pattern;
use std::collections::BTreeSet;

impl Policy {
    /// The condition keys, as written.
    pub fn condition_keys(&self) -> BTreeSet<String> {
        let conditions = self.statements().iter().flat_map(|statement| &statement.conditions);
        conditions.map(|condition| condition.key().to_owned()).collect()
    }

    /// The names of the variables in resources and conditions.
    pub fn variables(&self) -> BTreeSet<String> {
        let resources = self.statements().iter().flat_map(|statement| &statement.resources.any);
        let conditions = self.statements().iter().flat_map(|statement| &statement.conditions);
        let patterns = resources.chain(conditions.flat_map(|condition| condition.patterns()));
        patterns.flat_map(Pattern::variables).map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::document::{Kind, Policy};

    #[test]
    fn keys_and_variables_are_named_wherever_they_stand() {
        let text = r#"{"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:s3:::${aws:username}/*"},
            {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {
                "StringLike": {"ec2:ResourceTag/owner": ["${aws:userid, 'x'}", "b"]},
                "Bool": {"aws:SecureTransport": "false"}}}]}"#;
        let policy = Policy::parse(text, Kind::Identity).unwrap();
        let keys: Vec<String> = policy.condition_keys().into_iter().collect();
        assert_eq!(keys, ["aws:SecureTransport", "ec2:ResourceTag/owner"]);
        let variables: Vec<String> = policy.variables().into_iter().collect();
        assert_eq!(variables, ["aws:userid", "aws:username"]);
    }
}
