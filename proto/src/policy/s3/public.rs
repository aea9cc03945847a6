//! Whether a bucket policy is public, as S3 defines it for GetBucketPolicyStatus and the public access block.
//!
//! Public is what allows anybody, unless a condition holds it down to fixed values of a key that tells who or
//! from where. A wildcard, a variable or a condition that an absent key satisfies fixes nothing. Denials do not
//! count: S3 does not look at what they leave.

use super::super::condition::{Condition, Quantifier};
use super::super::document::Policy;
use super::super::operator::{Compare, Operand};
use super::super::principal::PrincipalName;
use super::super::statement::{Effect, Statement};
use std::net::IpAddr;

/// Fixed values of these tell who may or from where.
const FIXING_KEYS: [&str; 13] = [
    "aws:principalaccount",
    "aws:principalarn",
    "aws:principalorgid",
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourceip",
    "aws:sourceowner",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "aws:userid",
    "s3:dataaccesspointaccount",
    "s3:dataaccesspointarn",
    "s3:x-amz-server-side-encryption-aws-kms-key-id",
];

/// A wider network is as good as everybody.
const IPV4_PREFIX_MIN: u8 = 8;
const IPV6_PREFIX_MIN: u8 = 32;

pub fn is_public(policy: &Policy) -> bool {
    policy.statements().iter().any(gives_to_all)
}

fn gives_to_all(statement: &Statement) -> bool {
    let everybody = statement
        .principals
        .as_ref()
        .is_none_or(|names| names.negated || names.any.contains(&PrincipalName::Anyone));
    statement.effect == Effect::Allow && everybody && !statement.conditions.iter().any(fixes)
}

fn fixes(condition: &Condition) -> bool {
    let key = condition.key.to_ascii_lowercase();
    let demands = !condition.negated && !condition.if_exists && condition.quantifier != Quantifier::ForAll;
    let compares = matches!(
        condition.compare,
        Compare::Text | Compare::TextIgnoreCase | Compare::Like | Compare::Arn | Compare::Ip
    );
    demands
        && compares
        && FIXING_KEYS.contains(&key.as_str())
        && condition.operands.iter().all(|value| is_fixed(&key, value))
}

fn is_fixed(key: &str, value: &Operand) -> bool {
    match value {
        // Sessions of one role are a fixed group.
        Operand::Pattern(pattern) if key == "aws:userid" => {
            pattern.literal().is_some() || pattern.open_ended().is_some_and(|role| role.ends_with(':'))
        }
        Operand::Pattern(pattern) => pattern.literal().is_some(),
        Operand::Net { address: IpAddr::V4(_), prefix } => *prefix >= IPV4_PREFIX_MIN,
        Operand::Net { address: IpAddr::V6(_), prefix } => *prefix >= IPV6_PREFIX_MIN,
        Operand::Number(_) | Operand::Date(_) | Operand::Bool(_) | Operand::Bytes(_) => false,
    }
}
