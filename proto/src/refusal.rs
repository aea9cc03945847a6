//! S3's answer to a request that it does not serve: status, code, sentence, and the extra elements that
//! some codes carry (`<Region>`, `<StringToSign>`, …).
//!
//! Everything that judges a request before there is a handler (signatures, body framing, forms,
//! checksums) refuses with this one type; the edge adds `RequestId` and `Resource` and writes the XML.
//!
//! Must not: hold a cause that a client may not see.

use std::borrow::Cow;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct S3Refusal {
    /// HTTP status.
    pub status: u16,
    pub code: &'static str,
    pub message: Cow<'static, str>,
    /// Element names and their text, in the order in which S3 writes them. The text is what the client
    /// sent or what follows from it; it may hold any character, so the writer must escape it.
    pub fields: Vec<(&'static str, String)>,
}

impl S3Refusal {
    pub fn new(status: u16, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, message: message.into(), fields: Vec::new() }
    }

    #[must_use]
    pub fn with(mut self, name: &'static str, text: impl Into<String>) -> Self {
        self.fields.push((name, text.into()));
        self
    }

    /// `AccessDenied`, which S3 explains in many ways.
    pub fn denied(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(403, "AccessDenied", message)
    }

    /// `InvalidRequest`
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, "InvalidRequest", message)
    }

    /// `InvalidArgument`, which names the argument and shows its value.
    pub fn argument(
        message: impl Into<Cow<'static, str>>,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Self {
        Self::new(400, "InvalidArgument", message).with("ArgumentName", name).with("ArgumentValue", value)
    }

    /// The text of an extra element.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| *n == name).map(|(_, text)| text.as_str())
    }
}
