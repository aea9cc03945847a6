//! Writes the headers of an answer.
//!
//! A value may come from a place that knows no rules of headers (`response-content-type` in a query), so
//! a character that would end the header is replaced by a space, as RFC 9110 tells its readers to do.

use super::Metadata;
use super::scalar::http_date;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub(super) const XML: HeaderValue = HeaderValue::from_static("application/xml");
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A value as a header spells it.
pub trait ToHeader {
    fn to_header(&self) -> HeaderValue;
}

pub struct Head<'a> {
    headers: &'a mut HeaderMap,
}

impl<'a> Head<'a> {
    pub fn new(headers: &'a mut HeaderMap) -> Self {
        Self { headers }
    }

    pub fn put<T: ToHeader>(&mut self, name: &'static HeaderName, value: &Option<T>) {
        if let Some(value) = value {
            self.headers.insert(name, value.to_header());
        }
    }

    /// A time in HTTP's form, which is that of times in headers unless the model says otherwise.
    pub fn put_http_date(&mut self, name: &'static HeaderName, at: &Option<OffsetDateTime>) {
        if let Some(at) = at {
            self.headers.insert(name, http_date(*at).to_header());
        }
    }

    pub fn put_iso_date(&mut self, name: &'static HeaderName, at: &Option<OffsetDateTime>) {
        if let Some(at) = at {
            self.headers.insert(name, at.format(&Rfc3339).unwrap_or_default().to_header());
        }
    }

    pub fn put_metadata(&mut self, prefix: &str, metadata: &Metadata) {
        metadata.write(prefix, self.headers);
    }
}

impl ToHeader for String {
    fn to_header(&self) -> HeaderValue {
        HeaderValue::from_str(self)
            .or_else(|_| HeaderValue::from_bytes(self.as_bytes()))
            .unwrap_or_else(|_| tamed(self))
    }
}

impl ToHeader for bool {
    fn to_header(&self) -> HeaderValue {
        HeaderValue::from_static(if *self { "true" } else { "false" })
    }
}

impl ToHeader for i32 {
    fn to_header(&self) -> HeaderValue {
        HeaderValue::from(*self)
    }
}

impl ToHeader for i64 {
    fn to_header(&self) -> HeaderValue {
        HeaderValue::from(*self)
    }
}

fn tamed(text: &str) -> HeaderValue {
    let text = text.replace(|c: char| c.is_ascii_control(), " ");
    HeaderValue::from_bytes(text.as_bytes()).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_end_its_header() {
        for (text, expected) in [("a\r\nx: y", "a  x: y"), ("\0", " "), ("ü\t", "ü\t"), ("", "")] {
            assert_eq!(text.to_string().to_header().as_bytes(), expected.as_bytes(), "{text:?}");
        }
    }
}
