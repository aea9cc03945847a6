//! A borrowed look at a request, and how members are taken from it.
//!
//! Headers are looked up by names that were made at compile time, so a look-up is a hash and a compare.

use super::read::{self, document, optional_document};
use super::{FromText, Metadata, Query, ReadXml, RestFault};
use http::HeaderValue;
use http::header::{HeaderMap, HeaderName};
use std::borrow::Cow;

/// What a transfer was wrapped in; it is no property of what was transferred.
const TRANSFER_CODING: &str = "aws-chunked";

/// The parts of a request, decoded: the edge has told the bucket from the key.
#[derive(Debug, Clone, Copy)]
pub struct RestRequest<'a> {
    pub method: &'a str,
    pub bucket: Option<&'a str>,
    /// `None` also for a path that ends behind the bucket.
    pub key: Option<&'a str>,
    pub query: &'a Query<'a>,
    pub headers: &'a HeaderMap,
}

impl<'a> RestRequest<'a> {
    pub fn take(&self, body: &'a [u8]) -> Take<'a> {
        Take { request: *self, body, fault: None }
    }
}

/// Takes members from a request. It keeps the first fault and goes on, so that a decoder is one plain
/// list of members; what is made meanwhile does not leave [`Take::finish`].
#[derive(Debug)]
pub struct Take<'a> {
    request: RestRequest<'a>,
    body: &'a [u8],
    fault: Option<RestFault>,
}

impl Take<'_> {
    pub fn finish<T>(self, value: T) -> Result<T, RestFault> {
        self.fault.map_or(Ok(value), Err)
    }

    pub fn bucket(&mut self) -> String {
        self.need("Bucket", self.request.bucket.map(str::to_string))
    }

    pub fn key(&mut self) -> String {
        self.need("Key", self.request.key.map(str::to_string))
    }

    pub fn header<T: FromText>(&mut self, name: &'static HeaderName) -> Option<T> {
        let value = self.request.headers.get(name)?;
        self.kept(one(name.as_str(), &text(value))).flatten()
    }

    pub fn required_header<T: FromText + Default>(&mut self, name: &'static HeaderName) -> T {
        let value = self.header(name);
        self.need(name.as_str(), value)
    }

    /// A condition that cannot be read counts as not given: so HTTP has it.
    pub fn condition<T: FromText>(&mut self, name: &'static HeaderName) -> Option<T> {
        self.request.headers.get(name).and_then(|value| T::from_text(&text(value)))
    }

    pub fn header_choice(&mut self, name: &'static HeaderName, choices: &[&str]) -> Option<String> {
        let value = self.request.headers.get(name)?;
        self.kept(chosen(name.as_str(), &text(value), choices)).flatten()
    }

    /// A list, in one header with commas or in several.
    pub fn header_choices(&mut self, name: &'static HeaderName, choices: &[&str]) -> Vec<String> {
        let mut items = Vec::new();
        for value in self.request.headers.get_all(name) {
            for item in text(value).split(',').map(str::trim).filter(|item| !item.is_empty()) {
                items.extend(self.kept(chosen(name.as_str(), item, choices)).flatten());
            }
        }
        items
    }

    pub fn required_header_choices(&mut self, name: &'static HeaderName, choices: &[&str]) -> Vec<String> {
        let items = self.header_choices(name, choices);
        self.need(name.as_str(), Some(items).filter(|items| !items.is_empty()))
    }

    /// `Content-Encoding` without what only wrapped the transfer.
    pub fn content_encoding(&mut self) -> Option<String> {
        let mut codings = Vec::new();
        for value in self.request.headers.get_all(http::header::CONTENT_ENCODING) {
            let text = text(value);
            if !text.to_ascii_lowercase().contains(TRANSFER_CODING) {
                codings.push(text.into_owned());
                continue;
            }
            let kept = text.split(',').map(str::trim).filter(|coding| !coding.is_empty());
            codings.extend(
                kept.filter(|coding| !coding.eq_ignore_ascii_case(TRANSFER_CODING)).map(str::to_string),
            );
        }
        (!codings.is_empty()).then(|| codings.join(", "))
    }

    pub fn metadata(&mut self, prefix: &str) -> Metadata {
        Metadata::from_headers(self.request.headers, prefix)
    }

    pub fn query<T: FromText>(&mut self, name: &'static str) -> Option<T> {
        let value = self.request.query.get(name)?;
        self.kept(one(name, value)).flatten()
    }

    pub fn required_query<T: FromText + Default>(&mut self, name: &'static str) -> T {
        let value = self.query(name);
        self.need(name, value)
    }

    pub fn query_choice(&mut self, name: &'static str, choices: &[&str]) -> Option<String> {
        let value = self.request.query.get(name)?;
        self.kept(chosen(name, value, choices)).flatten()
    }

    /// The body as a document with that root element.
    pub fn document<T: ReadXml + Default>(&mut self, root: &str) -> T {
        let body = self.body;
        self.unless_wrong(|| document(body, root)).unwrap_or_default()
    }

    pub fn optional_document<T: ReadXml>(&mut self, root: &str) -> Option<T> {
        let body = self.body;
        self.unless_wrong(|| optional_document(body, root)).flatten()
    }

    /// The body as it stands.
    pub fn text(&mut self) -> String {
        let body = self.body;
        self.unless_wrong(|| read::text(body)).unwrap_or_default()
    }

    /// Reading a body is not cheap, and for nothing when there is a fault already.
    fn unless_wrong<T>(&mut self, read: impl FnOnce() -> Result<T, RestFault>) -> Option<T> {
        if self.fault.is_some() { None } else { self.kept(read()) }
    }

    fn need<T: Default>(&mut self, name: &'static str, value: Option<T>) -> T {
        self.kept(value.ok_or(RestFault::Missing(name))).unwrap_or_default()
    }

    fn kept<T>(&mut self, value: Result<T, RestFault>) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err(fault) => {
                self.fault.get_or_insert(fault);
                None
            }
        }
    }
}

fn one<T: FromText>(name: &'static str, text: &str) -> Result<Option<T>, RestFault> {
    match T::from_text(text) {
        // A parameter without a value is as good as none.
        None if text.trim().is_empty() => Ok(None),
        None => Err(RestFault::invalid(name, text)),
        value => Ok(value),
    }
}

fn chosen(name: &'static str, text: &str, choices: &[&str]) -> Result<Option<String>, RestFault> {
    match choices.contains(&text) {
        true => Ok(Some(text.to_string())),
        // Some clients send every parameter that they know, those without a value as well.
        false if text.is_empty() => Ok(None),
        false => Err(RestFault::invalid(name, text)),
    }
}

/// A header's bytes as text. What is not UTF-8 is taken for Latin-1, as HTTP once had it.
fn text(value: &HeaderValue) -> Cow<'_, str> {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => Cow::Borrowed(text.trim_matches([' ', '\t'])),
        Err(_) => Cow::Owned(value.as_bytes().trim_ascii().iter().copied().map(char::from).collect()),
    }
}
