//! A manifest's elements one after the other, with limits, and with the path of each for errors.
//!
//! Nothing is built in memory that the caller has not asked for. What a manifest has no use for and a
//! hostile one has (document types, entities, processing instructions, depth) is refused here.

use quick_xml::Reader;
use quick_xml::events::{BytesRef, BytesStart, Event};
use std::ops::Range;

const ELEMENTS_MAX: usize = 200_000;
const DEPTH_MAX: usize = 12;
const ATTRIBUTES_MAX: usize = 16;
const LABEL_CHARS_MAX: usize = 40;

/// What is wrong with a manifest, and at which element.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the manifest is not valid: {path} {problem}")]
pub struct ManifestError {
    pub path: String,
    pub problem: String,
}

impl ManifestError {
    pub fn new(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { path: path.into(), problem: problem.into() }
    }
}

pub type Parsed<T> = Result<T, ManifestError>;

pub struct Cursor<'a> {
    reader: Reader<&'a [u8]>,
    /// The elements that are open, and where each begins.
    open: Vec<(String, usize)>,
    tag: Option<BytesStart<'a>>,
    elements: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a str) -> Self {
        let mut reader = Reader::from_str(text);
        reader.config_mut().expand_empty_elements = true;
        Self { reader, open: Vec::new(), tag: None, elements: 0 }
    }

    /// Where the reader stands.
    fn at(&self) -> usize {
        self.reader.buffer_position() as usize
    }

    pub fn path(&self) -> String {
        let names: Vec<&str> = self.open.iter().map(|(name, _)| name.as_str()).collect();
        if names.is_empty() { "it".to_owned() } else { names.join("/") }
    }

    pub fn error<T>(&self, problem: impl Into<String>) -> Parsed<T> {
        Err(ManifestError::new(self.path(), problem))
    }

    /// Names the open element more closely in errors: `part` becomes `part[3]`.
    pub fn call(&mut self, label: String) {
        if let Some((name, _)) = self.open.last_mut() {
            *name = label;
        }
    }

    fn event(&mut self) -> Parsed<Event<'a>> {
        match self.reader.read_event() {
            Ok(Event::DocType(_)) => self.error("holds a document type, which no manifest needs"),
            Ok(Event::PI(_)) => self.error("holds a processing instruction, which no manifest needs"),
            Ok(event) => Ok(event),
            Err(error) => self.error(format!("is not well-formed XML: {}", plain(&error.to_string()))),
        }
    }

    /// Goes on to the next element inside the open one; None when that one closes. Every element that is
    /// returned must be consumed: by `text`, `skip`, or `child` until None.
    pub fn child(&mut self) -> Parsed<Option<String>> {
        loop {
            let began = self.at();
            match self.event()? {
                Event::Start(tag) => return self.enter(tag, began).map(Some),
                Event::End(_) => {
                    self.open.pop();
                    return Ok(None);
                }
                Event::Text(text) if text.trim_ascii().is_empty() => {}
                Event::Comment(_) => {}
                Event::Decl(_) if self.open.is_empty() => {}
                Event::Eof if self.open.is_empty() => return Ok(None),
                Event::Eof => return self.error("is not closed: the manifest has been cut"),
                _ => return self.error("holds text where elements are expected"),
            }
        }
    }

    fn enter(&mut self, tag: BytesStart<'a>, began: usize) -> Parsed<String> {
        let name = tag.name().as_ref().to_owned();
        self.elements += 1;
        if self.elements > ELEMENTS_MAX {
            return self.error(format!("holds more than {ELEMENTS_MAX} elements"));
        }
        if self.open.len() >= DEPTH_MAX {
            return self.error("is nested too deeply");
        }
        self.open.push((plain(&name), began));
        self.tag = Some(tag);
        Ok(name)
    }

    /// An attribute of the element that was entered last.
    pub fn attribute(&self, name: &str) -> Parsed<Option<String>> {
        let Some(tag) = &self.tag else { return Ok(None) };
        let mut attributes = tag.attributes();
        // The check for duplicates compares each with all: many attributes would take long.
        attributes.with_checks(false);
        for (number, attribute) in attributes.enumerate() {
            if number >= ATTRIBUTES_MAX {
                return self.error(format!("has more than {ATTRIBUTES_MAX} attributes"));
            }
            match attribute {
                Ok(found) if found.key.as_ref() == name => {
                    return match quick_xml::escape::unescape(&found.value) {
                        Ok(value) => Ok(Some(value.into_owned())),
                        Err(_) => self.error(format!("has an attribute {name} that cannot be read")),
                    };
                }
                Ok(_) => {}
                Err(_) => return self.error("has an attribute that cannot be read"),
            }
        }
        Ok(None)
    }

    /// The text of the element that was entered last, without the white space around it. Closes it.
    pub fn text(&mut self, bytes_max: usize) -> Parsed<String> {
        let mut text = String::new();
        loop {
            match self.event()? {
                Event::Text(part) => text.push_str(&part),
                Event::CData(part) => text.push_str(&part),
                Event::GeneralRef(reference) => text.push(self.resolve(&reference)?),
                Event::Comment(_) => {}
                Event::End(_) => break,
                Event::Eof => return self.error("is not closed: the manifest has been cut"),
                _ => return self.error("holds elements where text is expected"),
            }
            if text.len() > bytes_max {
                return self.error(format!("is longer than {bytes_max} bytes"));
            }
        }
        let text = text.trim_ascii();
        if text.contains(|c: char| c.is_control()) {
            return self.error("holds control characters");
        }
        self.open.pop();
        Ok(text.to_owned())
    }

    fn resolve(&self, reference: &BytesRef<'_>) -> Parsed<char> {
        let name: &str = reference;
        let named = match name {
            "lt" => Some('<'),
            "gt" => Some('>'),
            "amp" => Some('&'),
            "apos" => Some('\''),
            "quot" => Some('"'),
            _ => reference.resolve_char_ref().ok().flatten(),
        };
        named.map_or_else(|| self.error(format!("uses an unknown entity &{};", plain(name))), Ok)
    }

    /// Passes over the element that was entered last, whatever is in it.
    pub fn skip(&mut self) -> Parsed<()> {
        let depth = self.open.len();
        while self.open.len() >= depth {
            let began = self.at();
            match self.event()? {
                Event::Start(tag) => drop(self.enter(tag, began)?),
                Event::End(_) => drop(self.open.pop()),
                Event::Eof => return self.error("is not closed: the manifest has been cut"),
                _ => {}
            }
        }
        Ok(())
    }

    /// What `read` makes of the element that was entered last; there may be one of its kind.
    pub fn once<T>(&mut self, slot: &mut Option<T>, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<()> {
        if slot.is_some() {
            return self.error("is there twice");
        }
        *slot = Some(read(self)?);
        Ok(())
    }

    /// As `read`, which consumes the element, and where in the text the element stands.
    pub fn spanned<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<(T, Range<usize>)> {
        let began = self.open.last().map_or(0, |(_, began)| *began);
        let value = read(self)?;
        Ok((value, began..self.at()))
    }
}

/// A hostile name, fit for an error message.
fn plain(name: &str) -> String {
    let chars = name.chars().take(LABEL_CHARS_MAX);
    chars.map(|c| if c.is_control() || c == '\u{fffd}' { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Parsed<Vec<String>> {
        let mut cursor = Cursor::new(text);
        let mut names = Vec::new();
        let mut depth = 0;
        loop {
            match cursor.child()? {
                Some(name) => {
                    depth += 1;
                    names.push(name);
                }
                None if depth == 0 => return Ok(names),
                None => depth -= 1,
            }
        }
    }

    fn refused(text: &str, expected: &str) {
        let error = all(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error} should say: {expected}");
    }

    #[test]
    fn elements_come_in_order_and_white_space_does_not_count() {
        assert_eq!(all("<?xml version='1.0'?>\n<a> <!-- c --><b/>\n<c></c></a>\n").unwrap(), ["a", "b", "c"]);
    }

    #[test]
    fn what_no_manifest_needs_is_refused() {
        refused("<!DOCTYPE a [<!ENTITY b 'c'>]><a/>", "document type");
        refused("<a><?php x?></a>", "a processing instruction");
        refused("<a>text</a>", "a holds text");
        refused("<a><b></a>", "not well-formed");
        refused("<a><b>", "a/b is not closed");
        refused(&"<a>".repeat(100), "nested too deeply");
        refused(&format!("<a>{}", "<b/>".repeat(ELEMENTS_MAX)), "more than 200000 elements");
    }

    #[test]
    fn text_is_resolved_and_bounded() {
        let text = |xml: &str| {
            let mut cursor = Cursor::new(xml);
            cursor.child().unwrap();
            cursor.text(10)
        };
        assert_eq!(text("<a> x &amp; <![CDATA[<]]>&#121; </a>").unwrap(), "x & <y");
        assert_eq!(text("<a/>").unwrap(), "");
        for (xml, expected) in [
            ("<a>12345678901</a>", "longer than 10 bytes"),
            ("<a>&bomb;</a>", "unknown entity &bomb;"),
            ("<a>&#0;</a>", "a "),
            ("<a>x&#9;y</a>", "control characters"),
            ("<a><b/></a>", "elements where text"),
        ] {
            let error = text(xml).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} should say: {expected}");
        }
    }

    #[test]
    fn a_tag_of_many_attributes_takes_no_time() {
        let xml = format!("<a {}/>", "b='' ".repeat(500_000));
        let mut cursor = Cursor::new(&xml);
        cursor.child().unwrap();
        assert!(cursor.attribute("c").unwrap_err().problem.contains("attributes"));
    }
}
