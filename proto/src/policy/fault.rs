//! Why a policy document is refused.
//!
//! Must not: pass for AWS's wording where AWS says less; the sentence comes first, then the place.

/// A refused document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyFault {
    /// `at` names the field, such as `Statement[0].Effect`.
    #[error("{text} ({at})")]
    Malformed { at: String, text: String },
    #[error("Cannot exceed quota for PolicySize: {max}")]
    TooLong { max: usize },
}

impl PolicyFault {
    pub(super) fn new(at: impl Into<String>, text: impl Into<String>) -> Self {
        PolicyFault::Malformed { at: at.into(), text: text.into() }
    }

    /// AWS's sentence for what is no policy at all, made more useful by what and where.
    pub(super) fn syntax(at: impl Into<String>, why: &str) -> Self {
        Self::new(at, format!("Syntax errors in policy. {why}"))
    }

    /// HTTP status, error code and message as IAM answers.
    pub fn iam(&self) -> (u16, &'static str, String) {
        match self {
            PolicyFault::Malformed { .. } => (400, "MalformedPolicyDocument", self.to_string()),
            PolicyFault::TooLong { .. } => (409, "LimitExceeded", self.to_string()),
        }
    }
}
