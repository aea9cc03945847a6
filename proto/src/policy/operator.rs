//! The condition operators, as a table: name, comparison, whether negated.
//!
//! Must not: know of context keys. An operator compares one value of the request with one of the
//! policy; `condition` quantifies.

use std::cmp::Ordering;
use std::net::IpAddr;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::context::RequestContext;
use super::pattern::{Pattern, Reading};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compare {
    Text,
    TextIgnoreCase,
    Like,
    Number(Order),
    Date(Order),
    Bool,
    Binary,
    Ip,
    Arn,
    Null,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Order {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Order::Equal => ordering.is_eq(),
            Order::Less => ordering.is_lt(),
            Order::LessOrEqual => ordering.is_le(),
            Order::Greater => ordering.is_gt(),
            Order::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

/// Every operator of IAM's reference.
const OPERATORS: [(&str, Compare, bool); 27] = [
    ("StringEquals", Compare::Text, false),
    ("StringNotEquals", Compare::Text, true),
    ("StringEqualsIgnoreCase", Compare::TextIgnoreCase, false),
    ("StringNotEqualsIgnoreCase", Compare::TextIgnoreCase, true),
    ("StringLike", Compare::Like, false),
    ("StringNotLike", Compare::Like, true),
    ("NumericEquals", Compare::Number(Order::Equal), false),
    ("NumericNotEquals", Compare::Number(Order::Equal), true),
    ("NumericLessThan", Compare::Number(Order::Less), false),
    ("NumericLessThanEquals", Compare::Number(Order::LessOrEqual), false),
    ("NumericGreaterThan", Compare::Number(Order::Greater), false),
    ("NumericGreaterThanEquals", Compare::Number(Order::GreaterOrEqual), false),
    ("DateEquals", Compare::Date(Order::Equal), false),
    ("DateNotEquals", Compare::Date(Order::Equal), true),
    ("DateLessThan", Compare::Date(Order::Less), false),
    ("DateLessThanEquals", Compare::Date(Order::LessOrEqual), false),
    ("DateGreaterThan", Compare::Date(Order::Greater), false),
    ("DateGreaterThanEquals", Compare::Date(Order::GreaterOrEqual), false),
    ("Bool", Compare::Bool, false),
    ("BinaryEquals", Compare::Binary, false),
    ("IpAddress", Compare::Ip, false),
    ("NotIpAddress", Compare::Ip, true),
    ("ArnEquals", Compare::Arn, false),
    ("ArnNotEquals", Compare::Arn, true),
    ("ArnLike", Compare::Arn, false),
    ("ArnNotLike", Compare::Arn, true),
    ("Null", Compare::Null, false),
];

/// The comparison that a name stands for, and whether it is negated.
pub(super) fn find(name: &str) -> Option<(Compare, bool)> {
    let (_, compare, negated) = OPERATORS.iter().find(|(n, _, _)| n.eq_ignore_ascii_case(name))?;
    Some((*compare, *negated))
}

/// A policy's value, read once.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand {
    Pattern(Pattern),
    Number(f64),
    Date(OffsetDateTime),
    Bool(bool),
    Bytes(String),
    Net { address: IpAddr, prefix: u8 },
}

impl Operand {
    /// Reads a policy's value for the comparison; `None` when it is not of that kind.
    pub(super) fn parse(compare: Compare, text: &str, variables: bool) -> Option<Self> {
        let pattern = |wildcards| Operand::Pattern(Pattern::parse(text, Reading { wildcards, variables }));
        match compare {
            Compare::Text | Compare::TextIgnoreCase => Some(pattern(false)),
            Compare::Like | Compare::Arn => Some(pattern(true)),
            Compare::Number(_) => number(text).map(Operand::Number),
            Compare::Date(_) => date(text).map(Operand::Date),
            Compare::Bool | Compare::Null => boolean(text).map(Operand::Bool),
            Compare::Binary => Some(Operand::Bytes(text.to_owned())),
            Compare::Ip => net(text),
        }
    }

    /// Whether a value of the request compares. One that is not of the right kind does not.
    pub(super) fn matches(&self, compare: Compare, text: &str, cx: &RequestContext) -> bool {
        match (compare, self) {
            (Compare::Text | Compare::Like, Operand::Pattern(p)) => p.matches(text, cx),
            (Compare::TextIgnoreCase, Operand::Pattern(p)) => p.matches_ignoring_case(text, cx),
            (Compare::Arn, Operand::Pattern(p)) => p.matches_arn(text, cx),
            (Compare::Number(order), Operand::Number(want)) => {
                number(text).and_then(|n| n.partial_cmp(want)).is_some_and(|o| order.holds(o))
            }
            (Compare::Date(order), Operand::Date(want)) => {
                date(text).is_some_and(|d| order.holds(d.cmp(want)))
            }
            (Compare::Bool, Operand::Bool(want)) => boolean(text) == Some(*want),
            (Compare::Binary, Operand::Bytes(want)) => text == want,
            (Compare::Ip, Operand::Net { address, prefix }) => {
                // A listener on both families sees IPv4 clients as ::ffff:a.b.c.d.
                text.parse().is_ok_and(|ip: IpAddr| in_net(ip.to_canonical(), *address, *prefix))
            }
            // Null asks about presence, not values; the rest cannot be built by `parse`.
            _ => false,
        }
    }
}

fn number(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|n| n.is_finite())
}

fn boolean(text: &str) -> Option<bool> {
    [("true", true), ("false", false)].iter().find(|(t, _)| t.eq_ignore_ascii_case(text)).map(|(_, b)| *b)
}

/// A date and time with zone, a day, or seconds since 1970.
fn date(text: &str) -> Option<OffsetDateTime> {
    let seconds = || OffsetDateTime::from_unix_timestamp(text.parse().ok()?).ok();
    let full = |t: &str| OffsetDateTime::parse(t, &Rfc3339).ok();
    full(text).or_else(|| full(&format!("{text}T00:00:00Z"))).or_else(seconds)
}

fn net(text: &str) -> Option<Operand> {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
    let address: IpAddr = address.parse().ok()?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.map_or(Ok(bits), str::parse).ok().filter(|p| *p <= bits)?;
    Some(Operand::Net { address, prefix })
}

fn in_net(ip: IpAddr, net: IpAddr, prefix: u8) -> bool {
    let (ip, net, bits) = match (ip, net) {
        (IpAddr::V4(ip), IpAddr::V4(net)) => (u128::from(ip.to_bits()), u128::from(net.to_bits()), 32),
        (IpAddr::V6(ip), IpAddr::V6(net)) => (ip.to_bits(), net.to_bits(), 128),
        _ => return false,
    };
    // A shift by all 128 bits compares nothing, which is what /0 means.
    (ip ^ net).checked_shr(bits - u32::from(prefix)).unwrap_or(0) == 0
}
