//! A condition: an operator over the values of a context key.
//!
//! Must not: be true by accident. A key that is absent satisfies only negated operators, `IfExists`
//! and `ForAllValues`, as IAM's reference says.

use serde_json::Value;

use super::context::RequestContext;
use super::document::strings;
use super::fault::PolicyFault;
use super::operator::{Compare, Operand, find};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantifier {
    /// No prefix: some value of the request matches.
    Plain,
    ForAll,
    ForAny,
}

#[derive(Debug, Clone)]
pub(super) struct Condition {
    pub key: String,
    pub compare: Compare,
    pub negated: bool,
    pub quantifier: Quantifier,
    pub if_exists: bool,
    pub operands: Vec<Operand>,
}

impl Condition {
    /// Reads a whole `Condition` block.
    pub(super) fn parse_block(
        value: &Value,
        at: &str,
        variables: bool,
    ) -> Result<Vec<Condition>, PolicyFault> {
        let block = value.as_object().ok_or_else(|| PolicyFault::syntax(at, "It must be an object."))?;
        let mut out = Vec::new();
        for (operator, keys) in block {
            let at = format!("{at}.{operator}");
            let keys = keys.as_object().ok_or_else(|| PolicyFault::syntax(&at, "It must be an object."))?;
            for (key, values) in keys {
                out.push(Condition::parse(operator, key, values, &format!("{at}.{key}"), variables)?);
            }
        }
        Ok(out)
    }

    fn parse(
        operator: &str,
        key: &str,
        values: &Value,
        at: &str,
        variables: bool,
    ) -> Result<Self, PolicyFault> {
        let (quantifier, name) = match operator.split_once(':') {
            Some(("ForAllValues", name)) => (Quantifier::ForAll, name),
            Some(("ForAnyValue", name)) => (Quantifier::ForAny, name),
            _ => (Quantifier::Plain, operator),
        };
        let (name, if_exists) = name.strip_suffix("IfExists").map_or((name, false), |n| (n, true));
        let (compare, negated) = find(name)
            .filter(|(compare, _)| !(if_exists && *compare == Compare::Null))
            .ok_or_else(|| PolicyFault::new(at, format!("Invalid Condition type : {operator}.")))?;
        if !key.contains(':') {
            return Err(PolicyFault::syntax(at, "A condition key has a prefix, such as aws:."));
        }
        let read = |text: &String| {
            Operand::parse(compare, text, variables)
                .ok_or_else(|| PolicyFault::syntax(at, &format!("'{text}' is not a value for {operator}.")))
        };
        let operands: Vec<Operand> = strings(values, at)?.iter().map(read).collect::<Result<_, _>>()?;
        if operands.is_empty() {
            return Err(PolicyFault::syntax(at, "It is empty."));
        }
        Ok(Condition { key: key.to_owned(), compare, negated, quantifier, if_exists, operands })
    }

    pub(super) fn holds(&self, cx: &RequestContext) -> bool {
        let values = cx.values(&self.key);
        if self.compare == Compare::Null {
            return self.operands.contains(&Operand::Bool(values.is_none()));
        }
        let Some(values) = values.filter(|v| !v.is_empty()) else {
            let vacuous = match self.quantifier {
                Quantifier::Plain => self.negated,
                Quantifier::ForAll => true,
                Quantifier::ForAny => false,
            };
            return self.if_exists || vacuous;
        };
        let matches = |value: &String| self.operands.iter().any(|o| o.matches(self.compare, value, cx));
        match self.quantifier {
            Quantifier::Plain => values.iter().any(matches) != self.negated,
            Quantifier::ForAll => values.iter().all(|v| matches(v) != self.negated),
            Quantifier::ForAny => values.iter().any(|v| matches(v) != self.negated),
        }
    }
}
