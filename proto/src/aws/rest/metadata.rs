//! A user's own metadata: the headers that share a prefix.
//!
//! Values are kept as the bytes that were sent. Clients send UTF-8 and Latin-1 alike without saying
//! which, and each expects its own bytes back; text would have to guess.

use http::HeaderValue;
use http::header::{HeaderMap, HeaderName};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Lower-case names without the prefix, in the order of the headers.
    pairs: Vec<(String, HeaderValue)>,
}

impl Metadata {
    pub(super) fn from_headers(headers: &HeaderMap, prefix: &str) -> Self {
        let mut pairs: Vec<(String, HeaderValue)> = Vec::new();
        for (name, value) in headers {
            let Some(name) = name.as_str().strip_prefix(prefix).filter(|name| !name.is_empty()) else {
                continue;
            };
            // A map gives the values of one name one after the other; HTTP means them joined.
            match pairs.last_mut() {
                Some((last, values)) if last == name => *values = joined(values, value),
                _ => pairs.push((name.to_string(), value.clone())),
            }
        }
        Self { pairs }
    }

    /// False, and nothing is kept, if that cannot be a header's name or value.
    pub fn insert(&mut self, name: &str, value: &[u8]) -> bool {
        let name = name.to_ascii_lowercase();
        let (valid, value) =
            (HeaderName::from_bytes(name.as_bytes()).is_ok(), HeaderValue::from_bytes(value));
        match value {
            Ok(value) if valid => {
                self.pairs.retain(|(known, _)| *known != name);
                self.pairs.push((name, value));
                true
            }
            _ => false,
        }
    }

    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.pairs
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_bytes())
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
    }

    /// As text, for a store that keeps text: [`Metadata::from_texts`] gives the same bytes again.
    pub fn to_texts(&self) -> Vec<(String, String)> {
        self.iter().map(|(name, value)| (name.to_string(), as_text(value))).collect()
    }

    pub fn from_texts<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut metadata = Self::default();
        for (name, text) in pairs {
            metadata.insert(name, &as_bytes(text));
        }
        metadata
    }

    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// What S3 limits to 2 KB: the bytes of names and values.
    pub fn size_bytes(&self) -> usize {
        self.pairs.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    pub(super) fn write(&self, prefix: &str, headers: &mut HeaderMap) {
        for (name, value) in &self.pairs {
            if let Ok(name) = HeaderName::try_from(format!("{prefix}{name}")) {
                headers.append(name, value.clone());
            }
        }
    }
}

/// Bytes that are no UTF-8 are kept as characters that nobody uses, U+F780 to U+F7FF.
fn as_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match stands_for(c) {
                None => text.push(c),
                // Somebody does use one: then it is kept as its bytes.
                Some(_) => text.extend(c.encode_utf8(&mut [0; 4]).bytes().map(stand_in)),
            }
        }
        text.extend(chunk.invalid().iter().copied().map(stand_in));
    }
    text
}

fn as_bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match stands_for(c) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend(c.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    bytes
}

/// Only for bytes from 0x80: all others are UTF-8.
fn stand_in(byte: u8) -> char {
    char::from_u32(0xF700 + u32::from(byte)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn stands_for(c: char) -> Option<u8> {
    let byte = u32::from(c).checked_sub(0xF700).and_then(|byte| u8::try_from(byte).ok())?;
    (byte >= 0x80).then_some(byte)
}

fn joined(first: &HeaderValue, second: &HeaderValue) -> HeaderValue {
    let bytes = [first.as_bytes(), b",", second.as_bytes()].concat();
    // Both were header values, so what joins them is one.
    HeaderValue::from_bytes(&bytes).unwrap_or_else(|_| first.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PREFIX: &str = "x-amz-meta-";

    #[test]
    fn bytes_come_back_as_they_were_sent() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-amz-meta-latin", &b"\xe9"[..]),
            ("X-Amz-Meta-Utf8", "é".as_bytes()),
            ("x-amz-meta-empty", b""),
            ("x-amz-meta-", b"nameless"),
            ("x-amz-acl", b"private"),
        ] {
            headers.insert(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value).unwrap(),
            );
        }
        let metadata = Metadata::from_headers(&headers, PREFIX);
        assert_eq!(metadata.len(), 3);
        assert_eq!(metadata.get("Latin"), Some(&b"\xe9"[..]));
        let mut back = HeaderMap::new();
        metadata.write(PREFIX, &mut back);
        assert_eq!(back.len(), 3);
        assert!(back.iter().all(|(name, value)| headers[name] == value));
    }

    #[test]
    fn a_name_that_is_sent_twice_has_its_values_joined() {
        let mut headers = HeaderMap::new();
        for value in ["a", "b"] {
            headers.append("x-amz-meta-x", HeaderValue::from_static(value));
        }
        assert_eq!(Metadata::from_headers(&headers, PREFIX).get("x"), Some(&b"a,b"[..]));
    }

    #[test]
    fn what_no_header_can_carry_is_not_kept() {
        let mut metadata = Metadata::default();
        assert!(metadata.insert("Color", "grün".as_bytes()) && metadata.insert("color", b"red"));
        assert!(
            !metadata.insert("a b", b"") && !metadata.insert("a", b"x\r\ny: z") && !metadata.insert("", b"")
        );
        assert_eq!((metadata.len(), metadata.size_bytes()), (1, 8));
    }

    #[test]
    fn text_is_kept_as_it_is() {
        let mut metadata = Metadata::default();
        metadata.insert("a", "grün".as_bytes());
        metadata.insert("b", b"gr\xfcn");
        let texts = metadata.to_texts();
        assert_eq!(texts[0].1, "grün");
        assert_eq!(Metadata::from_texts(texts.iter().map(|(n, v)| (n.as_str(), v.as_str()))), metadata);
    }

    proptest! {
        #[test]
        fn any_bytes_survive_as_text(bytes in any::<Vec<u8>>(), text in any::<String>()) {
            prop_assert_eq!(as_bytes(&as_text(&bytes)), bytes);
            let odd = format!("{text}\u{F780}\u{F7FF}\u{F77F}");
            prop_assert_eq!(as_bytes(&as_text(odd.as_bytes())), odd.as_bytes());
        }
    }
}
