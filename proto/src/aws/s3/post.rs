//! The answer to an upload from a browser's form, which is no operation of the model.
//!
//! Its request has the members of PutObject in form fields instead of headers: the handler writes the
//! fields into a header map and decodes that as a `PutObjectRequest`.

use crate::aws::XmlWriter;
use crate::aws::rest::PROLOGUE;

/// Said when the form asks for `success_action_status` 201.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PostResponse {
    pub location: String,
    pub bucket: String,
    pub key: String,
    pub etag: String,
}

impl PostResponse {
    pub fn document(&self) -> String {
        let mut xml = XmlWriter::with_references();
        xml.raw(PROLOGUE);
        xml.open("PostResponse");
        xml.element("Location", &self.location);
        xml.element("Bucket", &self.bucket);
        xml.element("Key", &self.key);
        xml.element("ETag", &self.etag);
        xml.close("PostResponse");
        xml.finish()
    }
}
