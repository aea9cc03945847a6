//! A fault as S3's clients know it: a code, a sentence, and what the fault is about.
//!
//! What went wrong inside (`cause`) is for logs only and is kept apart, so that it cannot leak. The
//! answers to HEAD and 304 have no body; that is the edge's to know.

use super::code::S3Code;
use crate::aws::XmlWriter;
use crate::aws::rest::PROLOGUE;
use http::header::{HeaderName, HeaderValue};
use std::borrow::Cow;
use std::fmt;

/// The most of a client's value that is repeated back to it.
const SHOWN_CHARS_MAX: usize = 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Fault {
    code: S3Code,
    message: Cow<'static, str>,
    detail: Option<Box<Detail>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Detail {
    elements: Vec<(&'static str, String)>,
    headers: Vec<(HeaderName, HeaderValue)>,
    cause: Option<String>,
}

impl S3Fault {
    /// With the sentence that S3 usually says.
    pub fn new(code: S3Code) -> Self {
        Self::saying(code, code.message())
    }

    pub fn saying(code: S3Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), detail: None }
    }

    /// A fault of ours: the client gets S3's neutral sentence, the log gets the cause.
    pub fn internal(cause: impl fmt::Display) -> Self {
        Self::new(S3Code::InternalError).because(cause)
    }

    /// Adds what only the operator may read.
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.detail().cause = Some(cause.to_string());
        self
    }

    /// Adds an element to the document (`Key`, `BucketName`, `ArgumentName` …).
    pub fn with(mut self, element: &'static str, value: impl AsRef<str>) -> Self {
        self.detail().elements.push((element, shown(value.as_ref())));
        self
    }

    /// Adds a header to the answer (`Allow`, `Content-Range`, `x-amz-delete-marker` …).
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.detail().headers.push((name, value));
        self
    }

    pub fn invalid_argument(name: &str, value: &str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::saying(S3Code::InvalidArgument, message).about_argument(name, value)
    }

    pub fn about_argument(self, name: &str, value: &str) -> Self {
        self.with("ArgumentName", name).with("ArgumentValue", value)
    }

    pub fn no_such_bucket(bucket: &str) -> Self {
        Self::new(S3Code::NoSuchBucket).with("BucketName", bucket)
    }

    pub fn no_such_key(key: &str) -> Self {
        Self::new(S3Code::NoSuchKey).with("Key", key)
    }

    pub fn no_such_version(key: &str, version: &str) -> Self {
        Self::new(S3Code::NoSuchVersion).with("Key", key).with("VersionId", version)
    }

    pub fn no_such_upload(upload: &str) -> Self {
        Self::new(S3Code::NoSuchUpload).with("UploadId", upload)
    }

    /// The condition that did not hold, as S3 names it: `If-Match`, `If-None-Match` …
    pub fn precondition_failed(condition: &str) -> Self {
        Self::new(S3Code::PreconditionFailed).with("Condition", condition)
    }

    /// `resource` is S3's name for what does not take the method: `OBJECT`, `ACL`, `SERVICE` …
    pub fn method_not_allowed(method: &str, resource: &str) -> Self {
        Self::new(S3Code::MethodNotAllowed).with("Method", method).with("ResourceType", resource)
    }

    pub fn not_implemented(what: &str) -> Self {
        Self::new(S3Code::NotImplemented).with("Header", what)
    }

    pub fn code(&self) -> S3Code {
        self.code
    }

    pub fn status(&self) -> u16 {
        self.code.status()
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    pub fn elements(&self) -> &[(&'static str, String)] {
        self.detail.as_ref().map_or(&[], |detail| &detail.elements)
    }

    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        self.detail.as_ref().map_or(&[], |detail| &detail.headers)
    }

    /// What only the operator may read.
    pub fn cause(&self) -> Option<&str> {
        self.detail.as_ref()?.cause.as_deref()
    }

    /// The body of the answer.
    pub fn document(&self, resource: &str, request_id: &str, host_id: &str) -> String {
        let mut xml = XmlWriter::with_references();
        xml.raw(PROLOGUE);
        self.root(&mut xml, resource, request_id, host_id);
        xml.finish()
    }

    /// What follows the prologue: alone where that was sent before the fault was known.
    pub fn root(&self, xml: &mut XmlWriter, resource: &str, request_id: &str, host_id: &str) {
        xml.open("Error");
        xml.element("Code", self.code.as_str());
        xml.element("Message", self.message());
        for (name, value) in self.elements() {
            xml.element(name, value);
        }
        xml.element("Resource", resource);
        xml.element("RequestId", request_id);
        xml.element("HostId", host_id);
        xml.close("Error");
    }

    fn detail(&mut self) -> &mut Detail {
        self.detail.get_or_insert_default()
    }
}

impl fmt::Display for S3Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}

impl std::error::Error for S3Fault {}

/// A client's text, cut to what belongs in an answer.
fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_says_what_s3_says_and_what_it_is_about() {
        let fault = S3Fault::no_such_key("a<\u{1}");
        assert_eq!(
            fault.document("/b/a", "R1", "H1"),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NoSuchKey</Code>\
             <Message>The specified key does not exist.</Message><Key>a&lt;&#x1;</Key>\
             <Resource>/b/a</Resource><RequestId>R1</RequestId><HostId>H1</HostId></Error>"
        );
        assert_eq!(fault.status(), 404);
    }

    #[test]
    fn what_went_wrong_inside_stays_inside() {
        let fault = S3Fault::internal("disk 7 is on fire");
        assert_eq!(fault.cause(), Some("disk 7 is on fire"));
        assert!(!fault.document("/", "R", "H").contains("fire"));
        assert!(!fault.to_string().contains("fire"));
    }

    #[test]
    fn a_long_value_is_cut() {
        let fault = S3Fault::no_such_key(&"é".repeat(5000));
        assert_eq!(fault.elements()[0].1.chars().count(), SHOWN_CHARS_MAX + 1);
    }
}
