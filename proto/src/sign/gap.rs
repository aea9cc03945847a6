//! What a Version 4 signature lacks or spells wrongly, kept apart from how services word it: the Query
//! services and S3 do so differently.
//!
//! Must not: hold the `Authorization` header itself. AWS shows a hash of it, so that a signature does not
//! end in somebody's log.

use super::fault::echo;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gap {
    /// The header lacks these components, or the request has no date.
    Header { missing: Vec<&'static str>, dated: bool, hash: String },
    /// The query lacks these parameters.
    Query { missing: Vec<&'static str> },
    /// Not `KEY/DATE/REGION/SERVICE/aws4_request`.
    Credential(String),
    /// Not sorted, or not in lower case.
    SignedHeaders(String),
}

impl Gap {
    pub(super) fn header(value: &str, missing: Vec<&'static str>, dated: bool) -> Self {
        Gap::Header { missing, dated, hash: BASE64_STANDARD.encode(Sha256::digest(value.as_bytes())) }
    }

    /// The sentences of EC2 and the Query services, which name everything that is missing.
    pub(super) fn text(&self) -> String {
        match self {
            Gap::Header { missing, dated, hash } => {
                let mut text = String::new();
                for name in missing {
                    text.push_str(&format!("Authorization header requires '{name}' parameter. "));
                }
                if !dated {
                    text.push_str(
                        "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ",
                    );
                }
                format!("{text}(Hashed with SHA-256 and encoded with Base64) Authorization={hash}")
            }
            Gap::Query { missing } => {
                let sentences =
                    missing.iter().map(|name| format!("AWS query-string parameters must include '{name}'. "));
                format!("{}Re-examine the query-string parameters.", sentences.collect::<String>())
            }
            Gap::Credential(text) => format!(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{}'",
                echo(text)
            ),
            Gap::SignedHeaders(text) => {
                format!("'SignedHeaders' must be sorted and in lower case, got '{}'", echo(text))
            }
        }
    }
}
