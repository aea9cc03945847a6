//! A borrowed look at an HTTP request: exactly the parts that signatures cover, as they were sent.
//!
//! Must not: decode or tidy anything. Signatures are over what the client sent, and each scheme
//! has its own idea of tidiness.

use std::borrow::Cow;

use super::encode::form_pairs;

/// The signed parts of a request, raw.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'a> {
    pub method: &'a str,
    /// The path as on the request line, still percent-encoded.
    pub path: &'a str,
    /// What follows `?` on the request line, still encoded; empty when absent.
    pub query: &'a str,
    /// Every header line, in order, `Host` among them (an HTTP/2 server adds it from `:authority`).
    pub headers: &'a [(&'a str, &'a [u8])],
    pub payload: Payload<'a>,
}

/// The request's body, as far as the caller has it.
#[derive(Debug, Clone, Copy)]
pub enum Payload<'a> {
    Body(&'a [u8]),
    /// The body is still on the wire; the caller checks its hash against
    /// [`Verified::payload`](super::Verified::payload) while reading. For S3 only.
    Unread,
}

impl<'a> Payload<'a> {
    /// The bytes at hand: none for a body that is not read yet.
    pub fn bytes(&self) -> &'a [u8] {
        match self {
            Payload::Body(bytes) => bytes,
            Payload::Unread => &[],
        }
    }
}

impl RequestView<'_> {
    /// The first header of that name (any case), trimmed. Bytes that are not UTF-8 are replaced:
    /// they cannot be part of anything that this module understands.
    pub fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        let (_, value) = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name))?;
        Some(String::from_utf8_lossy(value.trim_ascii()))
    }

    pub(super) fn is_form_post(&self) -> bool {
        self.method.eq_ignore_ascii_case("POST")
            && self.header("content-type").is_none_or(|t| {
                t.trim_start().to_ascii_lowercase().starts_with("application/x-www-form-urlencoded")
            })
    }

    /// The parameters in a POST form's body; none for any other request.
    pub(super) fn body_pairs(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        if self.is_form_post() { form_pairs(self.payload.bytes()) } else { Vec::new() }
    }
}

/// The header list of a request of the `http` crate, in the shape [`RequestView`] borrows.
pub fn header_list(headers: &http::HeaderMap) -> Vec<(&str, &[u8])> {
    headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect()
}
