//! A borrowed look at a request, and how members are taken from it.
//!
//! Headers are looked up by names that were made at compile time, so a look-up is a hash and a compare.

use super::{FromText, Metadata, Query, RestFault};
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

impl RestRequest<'_> {
    pub fn bucket(&self) -> Result<String, RestFault> {
        self.bucket.map(str::to_string).ok_or(RestFault::Missing("Bucket"))
    }

    pub fn key(&self) -> Result<String, RestFault> {
        self.key.map(str::to_string).ok_or(RestFault::Missing("Key"))
    }

    pub fn header<T: FromText>(&self, name: &'static HeaderName) -> Result<Option<T>, RestFault> {
        self.headers.get(name).map_or(Ok(None), |value| one(name.as_str(), &text(value)))
    }

    pub fn required_header<T: FromText>(&self, name: &'static HeaderName) -> Result<T, RestFault> {
        self.header(name)?.ok_or(RestFault::Missing(name.as_str()))
    }

    /// A condition that cannot be read counts as not given: so HTTP has it.
    pub fn condition<T: FromText>(&self, name: &'static HeaderName) -> Option<T> {
        self.headers.get(name).and_then(|value| T::from_text(&text(value)))
    }

    pub fn header_choice(
        &self,
        name: &'static HeaderName,
        choices: &[&str],
    ) -> Result<Option<String>, RestFault> {
        self.headers.get(name).map_or(Ok(None), |value| chosen(name.as_str(), &text(value), choices))
    }

    /// A list, in one header with commas or in several.
    pub fn header_choices(
        &self,
        name: &'static HeaderName,
        choices: &[&str],
    ) -> Result<Vec<String>, RestFault> {
        let mut items = Vec::new();
        for value in self.headers.get_all(name) {
            for item in text(value).split(',').map(str::trim).filter(|item| !item.is_empty()) {
                items.extend(chosen(name.as_str(), item, choices)?);
            }
        }
        Ok(items)
    }

    pub fn required_header_choices(
        &self,
        name: &'static HeaderName,
        choices: &[&str],
    ) -> Result<Vec<String>, RestFault> {
        let items = self.header_choices(name, choices)?;
        if items.is_empty() { Err(RestFault::Missing(name.as_str())) } else { Ok(items) }
    }

    /// `Content-Encoding` without what only wrapped the transfer.
    pub fn content_encoding(&self) -> Option<String> {
        let mut codings = Vec::new();
        for value in self.headers.get_all(http::header::CONTENT_ENCODING) {
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

    pub fn metadata(&self, prefix: &str) -> Metadata {
        Metadata::from_headers(self.headers, prefix)
    }

    pub fn query<T: FromText>(&self, name: &'static str) -> Result<Option<T>, RestFault> {
        self.query.get(name).map_or(Ok(None), |value| one(name, value))
    }

    pub fn required_query<T: FromText>(&self, name: &'static str) -> Result<T, RestFault> {
        self.query(name)?.ok_or(RestFault::Missing(name))
    }

    pub fn query_choice(&self, name: &'static str, choices: &[&str]) -> Result<Option<String>, RestFault> {
        self.query.get(name).map_or(Ok(None), |value| chosen(name, value, choices))
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
