//! The policies that every account has.
//!
//! Must not: grow into AWS's catalogue. Three roles cover accounts until IAM's API comes.

use super::document::{Kind, Policy};
use super::fault::PolicyFault;

/// A built-in policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Managed {
    /// As in `arn:aws:iam::aws:policy/NAME`.
    pub name: &'static str,
    pub document: &'static str,
}

impl Managed {
    pub fn arn(&self) -> String {
        format!("arn:aws:iam::aws:policy/{}", self.name)
    }

    /// # Errors
    /// None in practice: a test parses them all.
    pub fn policy(&self) -> Result<Policy, PolicyFault> {
        Policy::parse(self.document, Kind::Identity)
    }
}

const MANAGED: [Managed; 3] = [
    Managed {
        name: "AdministratorAccess",
        document: r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}"#,
    },
    Managed {
        name: "PowerUserAccess",
        document: r#"{"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "NotAction": ["iam:*", "organizations:*", "account:*"], "Resource": "*"},
            {"Effect": "Allow", "Resource": "*",
             "Action": ["iam:ListRoles", "iam:GetAccountSummary", "organizations:DescribeOrganization"]}]}"#,
    },
    Managed {
        name: "ReadOnlyAccess",
        document: r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Resource": "*", "Action": [
            "ec2:Describe*", "ec2:Get*", "ec2:List*", "ec2:Search*", "sts:GetCallerIdentity",
            "iam:Get*", "iam:List*", "s3:Get*", "s3:List*", "autoscaling:Describe*",
            "elasticloadbalancing:Describe*", "cloudwatch:Describe*", "cloudwatch:Get*", "cloudwatch:List*",
            "cloudformation:Describe*", "cloudformation:Get*", "cloudformation:List*"]}]}"#,
    },
];

/// The built-in policy of that name or ARN.
pub fn managed(name: &str) -> Option<&'static Managed> {
    let name = name.strip_prefix("arn:aws:iam::aws:policy/").unwrap_or(name);
    MANAGED.iter().find(|m| m.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_valid_and_found_by_name_and_arn() {
        for m in &MANAGED {
            m.policy().unwrap();
            assert_eq!(managed(m.name), Some(m));
            assert_eq!(managed(&m.arn()), Some(m));
        }
        assert_eq!(managed("Nobody"), None);
    }
}
